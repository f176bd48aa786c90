// Two hosts of a small mesh in memory, each with a data plane of its own: `client` on 10.0.0.1 calls `server` on 10.0.0.2, whose app
// listens on 8080, by the virtual IP 240.240.0.1:80. What a test needs otherwise it changes in the snapshots.
import { SeededRandom } from "../../agent/base/clock.ts";
import { type LogFields, SILENT_LOG } from "../../agent/base/log.ts";
import type {
  MeshPeer,
  Network,
  OriginalDestination,
  Stream,
  StreamHandler,
} from "../../agent/base/net.ts";
import { SharedSlots } from "../../agent/base/slots.ts";
import { TimerWheel } from "../../agent/base/timer-wheel.ts";
import { AccessLog, type AccessLogMode } from "../../agent/observe/access-log.ts";
import { DecisionBook } from "../../agent/observe/decision-book.ts";
import { type SeriesAnnouncement, SeriesTable } from "../../agent/observe/series.ts";
import { webSocketKeys } from "../../agent/os/websocket-keys.ts";
import type {
  Cluster,
  Endpoint,
  HttpRoute,
  LocalWorkload,
  Service,
  Snapshot,
} from "../../agent/policy/snapshot.ts";
import { AppConnections } from "../../agent/protocol/http2/app-connections.ts";
import { sharedByThread } from "../../agent/protocol/http2/shared-by-thread.ts";
import { TunnelDials } from "../../agent/protocol/http2/tunnel-dials.ts";
import { OpaqueStreams } from "../../agent/protocol/opaque/opaque-streams.ts";
import { MeshStreams } from "../../agent/protocol/streams/mesh-streams.ts";
import { DATA_PLANE_DEFAULTS, type DataPlaneConfig } from "../../agent/proxy/config.ts";
import { DataPlane } from "../../agent/proxy/data-plane.ts";
import { serveHbone } from "../../agent/proxy/hbone.ts";
import { ALPN_HBONE, ALPN_HTTP, ALPN_OPAQUE } from "../../agent/proxy/mesh-alpn.ts";
import { bucketMemory, KeyedBuckets } from "../../agent/resilience/keyed-buckets.ts";
import { MemoryFabric, type MemoryNetwork, type MemoryNetworkConfig } from "./memory-network.ts";
import { VirtualClock } from "./virtual-clock.ts";

export const VIP = "240.240.0.1";
export const CLIENT_ID = "spiffe://mesh/ns/default/sa/client";
export const SERVER_ID = "spiffe://mesh/ns/default/sa/server";
export const SERVER_NAME = "8080.server.server.default.ironmesh";
export const NO_HEADERS: HttpRoute["headers"] = {
  request: { set: [], add: [], remove: [] },
  response: { set: [], add: [], remove: [] },
};

export const endpoint = (index: number, changes: Partial<Endpoint> = {}): Endpoint => {
  const address = changes.address ?? `10.0.0.${index + 2}`;
  const slot = 100 + index * 5;
  return {
    id: `${address}:8080`,
    address,
    port: 8080,
    weight: 1,
    mesh: { port: 15008, serverName: SERVER_NAME, identity: SERVER_ID },
    workload: "server",
    namespace: "default",
    labels: { app: "server", version: "v1" },
    slots: {
      active: slot,
      consecutive5xx: slot + 1,
      consecutiveGatewayErrors: slot + 2,
      ejectedUntilMs: slot + 3,
      ejections: slot + 4,
    },
    ...changes,
  };
};

export const cluster = (changes: Partial<Cluster> = {}): Cluster => ({
  name: "outbound|80||server.default.mesh",
  service: 0,
  port: 80,
  subset: undefined,
  endpoints: [0],
  balancer: "round_robin",
  limits: {
    maxConnections: 2 ** 31 - 1,
    connectTimeoutMs: 10_000,
    maxPendingRequests: 2 ** 31 - 1,
    maxRequests: 2 ** 31 - 1,
    maxRequestsPerConnection: 0,
    maxRetries: 2 ** 31 - 1,
    retryBudget: { percent: 20, minConcurrency: 3 },
    idleTimeoutMs: 3_600_000,
  },
  outlier: undefined,
  slots: { connections: 10, pending: 11, requests: 12, retries: 13 },
  ...changes,
});

export const forwardRoute = (
  changes: Partial<Extract<HttpRoute["action"], { is: "forward" }>> = {},
): HttpRoute => ({
  name: "default",
  matches: [],
  headers: NO_HEADERS,
  action: {
    is: "forward",
    destinations: [{ cluster: 0, weight: 100, headers: NO_HEADERS }],
    timeoutMs: undefined,
    retry: {
      attempts: 2,
      perTryTimeoutMs: undefined,
      on: ["connect-failure", "refused-stream", "unavailable", "cancelled"],
      statusCodes: [],
      backoffBaseMs: 25,
    },
    rewrite: undefined,
    fault: undefined,
    ...changes,
  },
});

export const service = (changes: Partial<Service> = {}, routes = [forwardRoute()]): Service => ({
  host: "server.default.mesh",
  name: "server",
  namespace: "default",
  names: ["server.default.mesh", "server.default", "server"],
  vip4: VIP,
  vip6: undefined,
  isExternal: false,
  ports: [
    { port: 80, name: "http", protocol: "http", httpRoutes: routes, tcpRoutes: [], cluster: 0 },
  ],
  ...changes,
});

export const workload = (name: string, changes: Partial<LocalWorkload> = {}): LocalWorkload => ({
  name,
  namespace: "default",
  identity: `spiffe://mesh/ns/default/sa/${name}`,
  serviceAccount: name,
  labels: { app: name },
  selector: { is: "user", user: name },
  outboundPort: 15101,
  ports: [],
  authorization: { deny: [], allow: [] },
  ...changes,
});

export const serverWorkload = (changes: Partial<LocalWorkload> = {}): LocalWorkload =>
  workload("server", {
    ports: [
      {
        appAddress: "10.0.0.2",
        appPort: 8080,
        protocol: "http",
        mtls: "permissive",
        services: [{ service: 0, port: 80 }],
      },
    ],
    ...changes,
  });

export const snapshot = (host: string, changes: Partial<Snapshot> = {}): Snapshot => ({
  epoch: 1,
  version: 1,
  trustDomain: "mesh",
  host: {
    name: host,
    identity: `spiffe://mesh/ns/ironmesh-system/sa/host.${host}`,
    addresses: [host],
  },
  workloads: [],
  services: [service()],
  clusters: [cluster()],
  endpoints: [endpoint(0)],
  outboundPolicy: "allow_any",
  ...changes,
});

export interface FixtureOptions {
  readonly seed?: number;
  readonly network?: Partial<MemoryNetworkConfig>;
  readonly config?: Partial<DataPlaneConfig>;
  readonly accessLog?: AccessLogMode;
  /** Addresses of the host that its snapshot does not name. Default: none. */
  readonly localAddresses?: readonly string[];
  /** Shared with other data planes: threads of one agent. */
  readonly slots?: SharedSlots;
  readonly buckets?: KeyedBuckets;
  /** Hosts whose agents know the wire of before alone. Default: none. */
  readonly oldWire?: readonly string[];
  /** Streams of HTTP between agents share connections, as the agent's do. Default: each has its own. */
  readonly sharesConnections?: boolean;
}

const CARRIER_ALPN = "ironmesh/2+streams";
const OPAQUE = { alpn: ALPN_OPAQUE, framedAlpn: "ironmesh/2+opaque" };

/** One host with its agent's data plane. */
export class Host {
  readonly network: MemoryNetwork;
  readonly plane: DataPlane;
  readonly slots: SharedSlots;
  readonly decisions: DecisionBook;
  /** As the agent's log tells them. */
  readonly refusals: LogFields[] = [];
  readonly log: Record<string, unknown>[] = [];
  /** What the loop would be told. */
  readonly arrivals = { messages: 0 };
  /** Host names that connections were for, as the data plane asks for them. */
  readonly usedNames: string[] = [];
  readonly announced: SeriesAnnouncement[] = [];
  readonly #metrics: SeriesTable;
  readonly #accessLog: AccessLog;
  /** Undefined: of before. */
  readonly opaque: OpaqueStreams | undefined;
  /** Undefined: each stream of HTTP has a connection of its own. */
  readonly streams: MeshStreams | undefined;
  readonly tunnels: TunnelDials;

  constructor(fabric: MemoryFabric, address: string, options: FixtureOptions, bugs: unknown[]) {
    this.network = fabric.host(address);
    this.slots = options.slots ?? new SharedSlots(new ArrayBuffer(4096));
    const wheel = new TimerWheel(() => fabric.clock.nowMs());
    fabric.clock.drive(wheel);
    this.#metrics = new SeriesTable({ cells: 16_384 }, (s) => this.announced.push(s));
    this.decisions = new DecisionBook(
      { nonce: 1, hashSeed: 2 },
      {
        wallMs: () => fabric.clock.wallMs(),
        log: { ...SILENT_LOG, info: (_, fields) => void this.refusals.push(fields ?? {}) },
      },
    );
    this.#accessLog = new AccessLog(
      { mode: options.accessLog ?? "off", batchCharsMax: 1 << 20 },
      {
        write: (lines) => {
          for (const line of lines.trim().split("\n")) this.log.push(JSON.parse(line));
        },
      },
    );
    const http2 = sharedByThread(options.config?.headersMax ?? DATA_PLANE_DEFAULTS.headersMax, {
      soon: (task) => void fabric.clock.after(0, task),
      now: () => fabric.clock.nowMs(),
      arrivals: this.arrivals,
      timers: fabric.clock,
      stage: this.network.stage,
      webSocketKeys,
      bug: (error) => bugs.push(error),
      count: (reason) => this.#metrics.counter("ironmesh_http2_refused_total", { reason }).add(),
    });
    const count = (name: string) => (): void => this.#metrics.counter(name).add();
    this.opaque = options.oldWire?.includes(address)
      ? undefined
      : new OpaqueStreams(OPAQUE, {
          network: this.network,
          timers: fabric.clock,
          soon: (task) => void fabric.clock.after(0, task),
          onCut: count("ironmesh_mesh_opaque_cut_total"),
          onOldPeer: count("ironmesh_mesh_old_wire_total"),
        });
    if (options.sharesConnections === true) {
      const config = { alpn: ALPN_HTTP, carrierAlpn: CARRIER_ALPN };
      this.streams = new MeshStreams(config, {
        network: this.opaque ?? this.network,
        timers: fabric.clock,
        soon: (task) => void fabric.clock.after(0, task),
        bug: (error) => bugs.push(error),
        onRetiring: () => this.plane.closeRetiring(),
        stage: this.network.stage,
      });
    }
    const network: Network = this.streams ?? this.opaque ?? this.network;
    this.tunnels = new TunnelDials(network, http2);
    this.plane = new DataPlane(
      { ...DATA_PLANE_DEFAULTS, poisonsBuffers: true, ...options.config },
      {
        network: new AppConnections(this.tunnels, http2),
        http2,
        clock: fabric.clock,
        wheel,
        random: new SeededRandom(options.seed ?? 1),
        slots: this.slots,
        buckets: options.buckets ?? new KeyedBuckets([1, 2], bucketMemory(64)),
        metrics: this.#metrics,
        accessLog: this.#accessLog,
        decisions: this.decisions,
        log: SILENT_LOG,
        isLocalAddress: (one) => options.localAddresses?.includes(one) ?? false,
        useName: (name) => this.usedNames.push(name),
        bug: (error) => bugs.push(error),
      },
    );
  }

  /** As the mesh listener of the agent does: who answers for the server name is asked from its own snapshot. */
  listenMesh(): void {
    this.network.listenMesh(15008, {
      alpns:
        this.opaque === undefined
          ? [ALPN_HTTP, ALPN_OPAQUE]
          : [CARRIER_ALPN, ALPN_HTTP, OPAQUE.framedAlpn, ALPN_OPAQUE, ALPN_HBONE],
      accept: (stream) => {
        const take = (one: Stream): void => this.plane.acceptMesh(one);
        if (stream.mesh?.alpn === ALPN_HBONE)
          this.plane.acceptTunnels(stream, (peer) => serveHbone(this.plane, stream, peer));
        else if (this.streams?.accept(stream, take) === true) return;
        else if (this.opaque?.accept(stream, take) !== true) take(stream);
      },
      identityOf: (serverName) => {
        const view = this.plane.view;
        if (serverName === "") return view?.soleIdentity;
        const at = view?.tables.inboundByServerName(serverName);
        return at === undefined ? undefined : view?.snapshot.workloads[at.workload]?.identity;
      },
    });
  }

  /** A local process dials; its end of the connection is returned. */
  dialOut(to: OriginalDestination, handler: StreamHandler, workload: number | "none" = 0): Stream {
    const [near, far] = this.network.accept(handler, { address: "127.0.0.1" });
    this.plane.acceptOutbound(near, to, workload === "none" ? undefined : workload);
    return far;
  }

  /** Somebody from elsewhere arrives, in the clear or over the mesh. */
  arrive(
    handler: StreamHandler,
    from: { address: string; mesh?: MeshPeer; to?: OriginalDestination },
  ): Stream {
    const [near, far] = this.network.accept(handler, from);
    if (from.mesh === undefined) this.plane.acceptInbound(near, from.to);
    else this.plane.acceptMesh(near);
    return far;
  }

  records(): Record<string, unknown>[] {
    this.#accessLog.flush();
    return this.log;
  }

  /** Sum over the series of that name whose labels include these. */
  count(name: string, labels: Record<string, string> = {}): number {
    const cells = new Float64Array(this.#metrics.memory);
    return this.announced
      .filter((s) => s.name === name)
      .filter((s) => Object.entries(labels).every(([key, value]) => s.labels[key] === value))
      .reduce((sum, s) => sum + (cells[s.index] ?? 0), 0);
  }
}

export class MeshFixture {
  readonly clock = new VirtualClock();
  readonly fabric: MemoryFabric;
  readonly client: Host;
  readonly server: Host;
  readonly bugs: unknown[] = [];

  constructor(options: FixtureOptions = {}) {
    const random = new SeededRandom(options.seed ?? 1);
    this.fabric = new MemoryFabric(options.network ?? {}, { clock: this.clock, random });
    this.client = new Host(this.fabric, "10.0.0.1", options, this.bugs);
    this.server = new Host(this.fabric, "10.0.0.2", options, this.bugs);
    this.server.listenMesh();
    this.swapClient({});
    this.swapServer({});
  }

  swapClient(changes: Partial<Snapshot>): void {
    this.client.plane.swap(snapshot("10.0.0.1", { workloads: [workload("client")], ...changes }));
  }

  swapServer(changes: Partial<Snapshot>): void {
    this.server.plane.swap(snapshot("10.0.0.2", { workloads: [serverWorkload()], ...changes }));
  }
}
