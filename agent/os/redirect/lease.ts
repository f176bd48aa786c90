// DNS capture lives by a lease: each resolver's entry in the kernel's set lasts a second, and a child of ours (ipset or nft,
// fed line by line) renews it while this thread's loop turns. Whatever ends the agent, a kill -9 too, ends the capture
// within that second, with nobody needed to clean up.
import type { Timer, Timers } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import { byNumber } from "./ipset.ts";
import { setName } from "./iptables.ts";
import { NFT_TABLE, nftElement, nftSet } from "./nft.ts";
import type { RedirectPlan } from "./plan.ts";
import type { Family } from "./rules.ts";
import type { Feed, Runner } from "./runner.ts";

/** Three renewals may come late before capture lapses. */
const RENEW_EVERY_MS = 300;
const PROTOCOLS = ["udp", "tcp"] as const;

export interface LeaseConfig {
  readonly backend: RedirectPlan["backend"];
  readonly resolvers: readonly string[];
}

export class DnsLease {
  readonly #config: LeaseConfig;
  readonly #deps: { readonly runner: Runner; readonly timers: Timers; readonly log: Log };
  #feed: Feed | undefined;
  #timer: Timer | undefined;
  #hasComplained = false;
  #isOver = false;

  constructor(
    config: LeaseConfig,
    deps: { readonly runner: Runner; readonly timers: Timers; readonly log: Log },
  ) {
    this.#config = config;
    this.#deps = deps;
  }

  /** Call when the sockets are open. Resolves when queries come, or when the kernel refused and that was told. */
  async start(): Promise<void> {
    if (this.#config.resolvers.length === 0) return;
    const isNft = this.#config.backend === "nft";
    const argv = isNft ? ["nft", "-f", "-"] : ["ipset", "-"];
    const ran = await this.#deps.runner.run(argv, `${this.#lines("add")}\n`);
    if (ran.code !== 0)
      this.#deps.log.warn("names are not captured yet, and it is tried again", {
        program: argv[0],
        said: ran.stderr.trim().slice(-300),
      });
    if (!this.#isOver) this.#renew();
  }

  /** A successor renews it from now on. */
  release(): void {
    this.#isOver = true;
    this.#timer?.cancel();
    void this.#feed?.end();
    this.#feed = undefined;
  }

  /** This process ends and the capture goes on for a while. Who ends it may have ended its children too: no reason to complain. */
  outlive(): void {
    this.#hasComplained = true;
  }

  /** Ends the capture at once instead of a second later. Resolves when that is done: an agent that starts next begins its own. */
  async stop(): Promise<void> {
    this.#feed?.write(this.#lines("del"));
    const ended = this.#feed?.end();
    this.#feed = undefined;
    this.release();
    await ended;
  }

  #renew(): void {
    this.#timer = this.#deps.timers.after(RENEW_EVERY_MS, () => this.#renew());
    if (this.#feed?.isAlive !== true) {
      this.#complain(this.#feed);
      this.#feed = this.#deps.runner.feed(
        this.#config.backend === "nft" ? ["nft", "-i"] : ["ipset", "-"],
      );
    }
    this.#feed.write(this.#lines("add"));
  }

  #complain(dead: Feed | undefined): void {
    if (dead === undefined || this.#hasComplained) return;
    this.#hasComplained = true; // it is restarted every time; once is enough to know
    this.#deps.log.warn(
      "the program that keeps DNS capture alive ended and is started again; mesh names may fail for a moment",
      {
        program: this.#config.backend === "nft" ? "nft" : "ipset",
        said: dead.complaint,
      },
    );
  }

  #lines(verb: "add" | "del"): string {
    const elements = this.#config.resolvers.flatMap((resolver) =>
      PROTOCOLS.map((protocol) => ({ resolver, protocol, family: familyOf(resolver) })),
    );
    if (this.#config.backend === "iptables") {
      const timeout = verb === "add" ? " timeout 1" : "";
      return elements
        .map(
          ({ resolver, protocol, family }) =>
            `${verb} ${setName("dns", family)} ${resolver},${protocol}:53${timeout} -exist`,
        )
        .map(byNumber)
        .join("\n");
    }
    // An existing element's time is not renewed by adding it: it goes and comes back in one transaction. It is added first,
    // since deleting what has just timed out is an error.
    const steps =
      verb === "add" ? (["add", "delete", "add"] as const) : (["add", "delete"] as const);
    return elements
      .flatMap(({ resolver, protocol, family }) =>
        steps.map(
          (step) =>
            `${step} element ${NFT_TABLE} ${nftSet("dns", family)} { ${nftElement(resolver, protocol, 53)} }`,
        ),
      )
      .join("; ");
  }
}

const familyOf = (address: string): Family => (address.includes(":") ? "ip6" : "ip");
