// The datagram sessions that this thread dialled.
import type { MeshTarget } from "../../base/net.ts";
import { ALPN_DATAGRAMS } from "../mesh-alpn.ts";
import { OutboundSession } from "./outbound-session.ts";
import { ENDED_WELL } from "./session-words.ts";
import type { UdpContext } from "./udp-context.ts";

export class SessionBook {
  readonly #udp: UdpContext;
  readonly #sessions = new Map<string, OutboundSession>();
  /** Until when a target that failed is left alone. */
  readonly #failedUntilMs = new Map<string, number>();

  constructor(udp: UdpContext) {
    this.#udp = udp;
  }

  /** The session towards an endpoint, dialled if there is none; undefined: that failed a moment ago. */
  to(dial: MeshTarget): OutboundSession | undefined {
    const key = `${dial.as} ${dial.address} ${dial.port} ${dial.serverName} ${dial.peers.join(" ")}`;
    const known = this.#sessions.get(key);
    if (known !== undefined && known.state !== "retired" && !known.isSpent) return known;
    known?.retire();
    const nowMs = this.#udp.plane.context.nowMs();
    const failedUntilMs = this.#failedUntilMs.get(key);
    if (failedUntilMs !== undefined && nowMs < failedUntilMs) return undefined;
    this.#failedUntilMs.delete(key);
    const made = new OutboundSession(this.#udp, { ...dial, alpn: ALPN_DATAGRAMS }, (code) => {
      if (this.#sessions.get(key) === made) this.#sessions.delete(key);
      if (ENDED_WELL.includes(code)) return;
      this.#udp.plane.context.countConnectFailure(code);
      this.#failedUntilMs.set(key, this.#udp.plane.context.nowMs() + this.#udp.bounds.redialMs);
    });
    this.#sessions.set(key, made);
    return made;
  }

  /** These identities have new certificates, so new keys. */
  renew(identities: ReadonlySet<string>): void {
    for (const session of [...this.#sessions.values()])
      if (identities.has(session.as)) session.retire();
  }

  /** Nothing more is sent by any; what is under way is still heard. */
  retireAll(): void {
    for (const session of [...this.#sessions.values()]) session.retire();
  }

  /** Ends sessions that had no flow for so long. */
  sweep(nowMs: number): void {
    for (const session of [...this.#sessions.values()]) {
      if (session.users.size > 0) session.quietSinceMs = nowMs;
      else if (nowMs - session.quietSinceMs >= this.#udp.bounds.flowIdleMs) session.close();
    }
    for (const [key, untilMs] of this.#failedUntilMs)
      if (untilMs <= nowMs) this.#failedUntilMs.delete(key);
  }

  closeAll(): void {
    for (const session of [...this.#sessions.values()]) session.close();
  }
}
