// One host's data plane on real sockets, in this process and without TLS.
import { MESH_ALPNS } from "../../agent/api/mesh-wire.ts";
import { SeededRandom } from "../../agent/base/clock.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import type { OriginalDestination } from "../../agent/base/net.ts";
import { SharedSlots } from "../../agent/base/slots.ts";
import { ACCESS_LOG_DEFAULTS, AccessLog } from "../../agent/observe/access-log.ts";
import { DecisionBook } from "../../agent/observe/decision-book.ts";
import { SERIES_TABLE_DEFAULTS, SeriesTable } from "../../agent/observe/series.ts";
import type { Loop } from "../../agent/os/loop.ts";
import { MeshTls } from "../../agent/os/mesh-tls.ts";
import { OsNetwork } from "../../agent/os/network.ts";
import { listenTcp, localEnd } from "../../agent/os/socket.ts";
import { TcpListener } from "../../agent/os/tcp-listener.ts";
import { webSocketKeys } from "../../agent/os/websocket-keys.ts";
import type { Snapshot } from "../../agent/policy/snapshot.ts";
import { AppConnections } from "../../agent/protocol/http2/app-connections.ts";
import { sharedByThread } from "../../agent/protocol/http2/shared-by-thread.ts";
import { DATA_PLANE_DEFAULTS } from "../../agent/proxy/config.ts";
import { DataPlane } from "../../agent/proxy/data-plane.ts";
import { bucketMemory, KeyedBuckets } from "../../agent/resilience/keyed-buckets.ts";
import { snapshot } from "./mesh-fixture.ts";

export interface RealPlane {
  readonly plane: DataPlane;
  /** A port of loopback whose connections were going to `original`, from a local process of no workload or from elsewhere. */
  listen(side: "outbound" | "inbound", original: OriginalDestination): number;
}

export function realPlane(
  loop: Loop,
  host: string,
  changes: Partial<Snapshot>,
  onBug: (error: unknown) => void,
): RealPlane {
  const sockets = new OsNetwork(loop, new MeshTls(loop, MESH_ALPNS));
  const metrics = new SeriesTable(SERIES_TABLE_DEFAULTS, () => {});
  const http2 = sharedByThread(DATA_PLANE_DEFAULTS.headersMax, {
    soon: (task) => loop.again({ onReady: task }),
    now: () => loop.nowMs(),
    arrivals: loop,
    timers: loop.wheel,
    stage: sockets.stage,
    webSocketKeys,
    bug: onBug,
    count: (reason) => metrics.counter("ironmesh_http2_refused_total", { reason }).add(),
  });
  const plane = new DataPlane(DATA_PLANE_DEFAULTS, {
    network: new AppConnections(sockets, http2),
    http2,
    clock: loop,
    wheel: loop.wheel,
    random: new SeededRandom(7),
    slots: new SharedSlots(new SharedArrayBuffer(65_536)),
    buckets: new KeyedBuckets([1, 2], bucketMemory(64)),
    metrics,
    accessLog: new AccessLog({ ...ACCESS_LOG_DEFAULTS, mode: "off" }, { write: () => {} }),
    decisions: new DecisionBook(
      { nonce: 1, hashSeed: 2 },
      { wallMs: () => 1_000, log: SILENT_LOG },
    ),
    log: SILENT_LOG,
    isLocalAddress: () => false,
    useName: () => {},
    bug: onBug,
  });
  plane.swap(snapshot(host, changes));
  return {
    plane,
    listen: (side, original) => {
      const fd = listenTcp(loop, "127.0.0.1", 0);
      if (!fd.ok) throw new Error(fd.error);
      new TcpListener(loop, fd.value, {
        onAccept: (stream) =>
          side === "outbound"
            ? plane.acceptOutbound(stream, original, undefined)
            : plane.acceptInbound(stream, original),
      });
      return localEnd(loop, fd.value).port;
    },
  };
}
