// A data thread: its own loop, arena, listeners and TLS contexts. It wires and decides nothing.
import {
  MESH_ALPN_DATAGRAMS,
  MESH_ALPN_HBONE,
  MESH_ALPN_HTTP,
  MESH_ALPN_OPAQUE,
  MESH_ALPN_OPAQUE_FRAMED,
  MESH_ALPN_STREAMS,
  MESH_ALPNS,
} from "./api/mesh-wire.ts";
import { SeededRandom } from "./base/clock.ts";
import type { Log, LogFields } from "./base/log.ts";
import type { Stream } from "./base/net.ts";
import { SharedSlots } from "./base/slots.ts";
import type { FromThread, ThreadConfig, ThreadFault, ToThread } from "./control/thread-messages.ts";
import { DatagramsWhenDeclared } from "./datagrams-when-declared.ts";
import { LookupsWhenUsed } from "./lookups-when-used.ts";
import { ACCESS_LOG_DEFAULTS, AccessLog } from "./observe/access-log.ts";
import { DecisionBook, type DecisionBookConfig } from "./observe/decision-book.ts";
import { SERIES_TABLE_DEFAULTS, SeriesTable } from "./observe/series.ts";
import { CannotListen } from "./os/cannot-listen.ts";
import { ListenerStore } from "./os/listener-store.ts";
import { Loop } from "./os/loop.ts";
import { collectGarbage, collectShortLived } from "./os/memory.ts";
import { MeshTls } from "./os/mesh-tls.ts";
import { OsNetwork } from "./os/network.ts";
import { isLocalAddress } from "./os/route.ts";
import { exportsKeys } from "./os/runtime.ts";
import { ThreadListeners } from "./os/thread-listeners.ts";
import { webSocketKeys } from "./os/websocket-keys.ts";
import type { Snapshot } from "./policy/snapshot.ts";
import { SnapshotAssembly, type SnapshotPiece } from "./policy/snapshot-pieces.ts";
import { AppConnections } from "./protocol/http2/app-connections.ts";
import { sharedByThread } from "./protocol/http2/shared-by-thread.ts";
import { TunnelDials } from "./protocol/http2/tunnel-dials.ts";
import { OpaqueStreams } from "./protocol/opaque/opaque-streams.ts";
import { MeshStreams } from "./protocol/streams/mesh-streams.ts";
import { DATA_PLANE_DEFAULTS } from "./proxy/config.ts";
import { DataPlane } from "./proxy/data-plane.ts";
import { namesOf } from "./proxy/names.ts";
import { KeyedBuckets } from "./resilience/keyed-buckets.ts";
import { startNames, type ThreadNames } from "./worker-names.ts";

declare const self: {
  onmessage: ((event: { data: ToThread }) => void) | null;
  postMessage(message: FromThread): void;
};

const tell = (message: FromThread): void => self.postMessage(message);

function startThread(config: ThreadConfig): (message: ToThread) => void {
  const loop = new Loop({ usesUring: config.usesUring });
  const alpns = exportsKeys()
    ? MESH_ALPNS
    : MESH_ALPNS.filter((one) => one !== MESH_ALPN_DATAGRAMS);
  const meshTls = new MeshTls(loop, alpns, config.resumesSessions ? undefined : 0);
  const metrics = new SeriesTable(SERIES_TABLE_DEFAULTS, (series) =>
    tell({ type: "series", series }),
  );
  tell({ type: "started", series: metrics.memory, descriptors: loop.descriptors });
  const accessLog = new AccessLog(
    { ...ACCESS_LOG_DEFAULTS, mode: config.accessLog },
    { write: (lines) => tell({ type: "access", lines }) },
  );
  const bugs = metrics.counter("ironmesh_bugs_total");
  const bug = (error: unknown): void => {
    bugs.add();
    tell({
      type: "bug",
      message: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
  };
  loop.onBug = bug;
  const log = toldLog();
  const sockets = new OsNetwork(loop, meshTls);
  const soon = (task: () => void): void => loop.again({ onReady: task });
  const opaque = new OpaqueStreams(
    { alpn: MESH_ALPN_OPAQUE, framedAlpn: MESH_ALPN_OPAQUE_FRAMED },
    {
      network: sockets,
      timers: loop.wheel,
      soon,
      onCut: () => metrics.counter("ironmesh_mesh_opaque_cut_total").add(),
      onOldPeer: () => metrics.counter("ironmesh_mesh_old_wire_total").add(),
    },
  );
  const streams = new MeshStreams(
    { alpn: MESH_ALPN_HTTP, carrierAlpn: MESH_ALPN_STREAMS },
    {
      network: opaque,
      timers: loop.wheel,
      soon,
      bug,
      onRetiring: () => plane.closeRetiring(),
      stage: sockets.stage,
    },
  );
  loop.onIdle = (): void => {
    streams.releaseMemory();
    collectGarbage();
  };
  const http2 = sharedByThread(config.http.headersMax, {
    soon,
    now: () => loop.nowMs(),
    arrivals: loop,
    timers: loop.wheel,
    stage: sockets.stage,
    webSocketKeys,
    bug,
    count: (reason) => metrics.counter("ironmesh_http2_refused_total", { reason }).add(),
  });
  const tunnels = new TunnelDials(streams, http2);
  const network = new AppConnections(tunnels, http2);
  const decisions = new DecisionBook(newBook(), { wallMs: () => loop.wallMs(), log });
  const plane = new DataPlane(
    {
      ...DATA_PLANE_DEFAULTS,
      ...config.http,
      connectionsMax: config.connectionsMax,
      drainTimeoutMs: config.drainTimeoutMs,
      poisonsBuffers: process.env["IRONMESH_POISON"] === "1",
    },
    {
      network,
      http2,
      clock: loop,
      wheel: loop.wheel,
      random: new SeededRandom(config.seed),
      slots: new SharedSlots(config.slots, config.held),
      buckets: new KeyedBuckets(config.buckets.seed, config.buckets.memory),
      metrics,
      accessLog,
      decisions,
      log,
      isLocalAddress: (address) => isLocalAddress(loop, address),
      useName: (name) => tell({ type: "name_used", name }),
      bug,
    },
  );
  const lookups = new LookupsWhenUsed(loop, network, config, {
    metrics,
    bug,
    tell: (news) => tell({ type: "name_news", news }),
  });
  const store = new ListenerStore({ ...config, thread: config.index }, loop);
  const datagrams = new DatagramsWhenDeclared(loop, store, config, plane, { fail, log });
  const listeners = new ThreadListeners(loop, store, meshTls, config, {
    acceptOutbound: (stream, original, workload) =>
      plane.acceptOutbound(stream, original, workload),
    acceptInbound: (stream, original) => plane.acceptInbound(stream, original),
    acceptMesh: (stream) => {
      const take = (one: Stream): void => plane.acceptMesh(one);
      if (streams.accept(stream, take) || opaque.accept(stream, take)) return;
      if (stream.mesh?.alpn === MESH_ALPN_DATAGRAMS) datagrams.acceptMesh(stream);
      else if (stream.mesh?.alpn === MESH_ALPN_HBONE) acceptHbone(plane, stream, bug);
      else take(stream);
    },
    refusedPeer: (reason, address, serverName) =>
      plane.handshakeRefused(reason, address, serverName),
    refused: (reason) => metrics.counter("ironmesh_mesh_refused_total", { reason }).add(),
    proven: (isResumed) => {
      metrics.counter("ironmesh_mesh_handshakes_total").add();
      if (isResumed) metrics.counter("ironmesh_mesh_resumed_total").add();
    },
    identityFor: (serverName) => {
      const tables = plane.view?.tables;
      const target =
        tables?.inboundByServerName(serverName) ?? tables?.udpInboundByServerName(serverName);
      return target && plane.view?.snapshot.workloads[target.workload]?.identity;
    },
    namelessAlpn: MESH_ALPN_HBONE,
    soleIdentity: () => plane.view?.soleIdentity,
  });
  const names = config.dns && startNames(loop, store, network, config.dns, config.hasIpv6);
  const drain = drainOf(plane, { loop, streams, opaque, meshTls }, { listeners, names, datagrams });
  const beat = new Int32Array(config.beat);
  loop.onTurnEnd = () => {
    beat[0] = (beat[0] as number) + 1;
    accessLog.flush();
    drain.look();
    collectShortLived(loop);
  };
  const assembly = new SnapshotAssembly();
  const serve = (snapshot: Snapshot): void => {
    plane.swap(snapshot);
    names?.follow(namesOf(snapshot));
    const workloads = snapshot.workloads.map(({ outboundPort: port, namespace, name }) => ({
      port,
      workload: `${namespace}/${name}`,
    }));
    listeners.follow(workloads);
    datagrams.follow(snapshot, workloads, () =>
      tell({ type: "serving", epoch: snapshot.epoch, version: snapshot.version }),
    );
  };
  const take = (piece: SnapshotPiece): void => {
    const whole = assembly.add(piece);
    if (whole !== undefined) serve(whole);
    tell({ type: "taken" });
  };
  loop.start().catch(bug);
  return (message) => {
    switch (message.type) {
      case "keys": {
        const renewed = meshTls.setKeys(message.keys);
        streams.renewed(renewed);
        tunnels.renewed(renewed);
        plane.renewed(renewed);
        datagrams.renewed(renewed);
        listeners.openMesh(message.keys);
        return;
      }
      case "snapshot":
        take(message.piece);
        return;
      case "hosts":
        plane.hostsChanged();
        datagrams.hostsChanged();
        return;
      case "look_up":
        lookups.follow(message.names, message.dropped);
        return;
      case "names":
        plane.hearNames(message.names);
        return;
      case "access_log":
        accessLog.mode = message.mode;
        return;
      case "name_sockets":
        tell({
          type: "sockets",
          sockets: [...listeners.sockets, ...datagrams.sockets(), ...(names?.sockets() ?? [])],
        });
        return;
      case "hand_over":
        drain.handOver(message.limitMs);
        return;
      case "drain":
        drain.begin();
        return;
      case "end":
        names?.giveAway();
        tell({ type: "ended" });
        return;
      case "decision": {
        const { turn, id } = message;
        tell({ type: "decision", turn, found: decisions.find(id) });
        return;
      }
      case "fault":
        if (config.takesFaults) suffer(message.fault);
        return;
      case "start": // told once, before all others
        return;
    }
  };
}

/** The main thread writes it. */
function toldLog(): Log {
  const line =
    (level: keyof Log) =>
    (message: string, fields?: LogFields): void =>
      tell({ type: "log", level, message, fields });
  return { error: line("error"), warn: line("warn"), info: line("info"), debug: line("debug") };
}

/** Few hosts have peers that speak it: its code is loaded when the first comes, and that one waits. */
function acceptHbone(plane: DataPlane, stream: Stream, bug: (error: unknown) => void): void {
  stream.pause();
  import("./proxy/hbone.ts")
    .then(({ serveHbone }) => {
      if (!stream.isOpen) return;
      plane.acceptTunnels(stream, (peer) => serveHbone(plane, stream, peer));
      stream.resume();
    })
    .catch((error) => {
      stream.reset();
      bug(error);
    });
}

/** A thread that replaces another makes no id a second time. */
function newBook(): DecisionBookConfig {
  const [nonce = 0, hashSeed = 0] = crypto.getRandomValues(new Uint32Array(2));
  return { nonce, hashSeed };
}

/** What a test asked for. */
function suffer(fault: ThreadFault): void {
  if (fault === "throw") throw new Error("a test made this thread throw");
  for (;;);
}

interface Wire {
  readonly loop: Loop;
  readonly streams: MeshStreams;
  readonly opaque: OpaqueStreams;
  readonly meshTls: MeshTls;
}

/** `look` tells, once, that the last connection has ended. Call it after the log lines of a turn are told. */
function drainOf(
  plane: DataPlane,
  { loop, streams, opaque, meshTls }: Wire,
  {
    listeners,
    names,
    datagrams,
  }: {
    readonly listeners: ThreadListeners;
    readonly names: ThreadNames | undefined;
    readonly datagrams: DatagramsWhenDeclared;
  },
) {
  let state: "serving" | "draining" | "drained" = "serving";
  return {
    begin(): void {
      state = "draining";
      streams.drain(); // first: what their peers were asked to end is theirs to end
      plane.drain();
      listeners.close();
      datagrams.close();
    },
    handOver(limitMs: number): void {
      state = "draining";
      plane.handOver(limitMs);
      streams.drain();
      listeners.giveAway();
      datagrams.handOver();
      names?.giveAway();
    },
    look(): void {
      if (state !== "draining" || plane.openConnections > 0) return;
      if (loop.leftovers > 0 || !streams.isDrained || !opaque.isDrained) return;
      if (meshTls.handshakes > 0 && !streams.hasWaited) return;
      state = "drained";
      tell({ type: "drained" });
    },
  };
}

let react: ((message: ToThread) => void) | undefined;
self.onmessage = ({ data }) => {
  try {
    if (data.type === "start") react = startThread(data.config);
    else react?.(data);
  } catch (error) {
    fail(error);
  }
};

/** It cannot go on; another in its place could, unless a port is taken. */
function fail(error: unknown): void {
  if (!(error instanceof CannotListen)) throw error;
  react = undefined;
  tell({ type: "unable", reason: error.message });
}
