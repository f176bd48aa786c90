// What the main thread and a data thread say to each other, and what a data thread is started with.
import type { LogFields } from "../base/log.ts";
import type { AccessLogMode } from "../observe/access-log.ts";
import type { Decision } from "../observe/decision-book.ts";
import type { SeriesAnnouncement } from "../observe/series.ts";
import type { LoopDescriptors } from "../os/left-behind.ts";
import type { KeptDescriptor } from "../os/notify.ts";
import type { SnapshotPiece } from "../policy/snapshot-pieces.ts";
import type { NameNews, ToldName } from "../policy/told-names.ts";
import type { HttpOptions } from "./agent-options.ts";

/** PEM; see agent/os/mesh-tls.ts. */
export interface ThreadKeys {
  readonly identities: readonly {
    readonly identity: string;
    readonly certificates: readonly string[];
    readonly keyPem: string;
  }[];
  readonly trustBundle: readonly string[];
}

export interface ThreadConfig {
  readonly index: number;
  readonly seed: number;
  readonly slots: SharedArrayBuffer;
  /** What this thread holds of the slots (base/slots.ts). */
  readonly held: SharedArrayBuffer;
  /** One cell, which each turn of the thread's loop counts up: what stands still has stalled. */
  readonly beat: SharedArrayBuffer;
  /** Tests may make it throw or stall. */
  readonly takesFaults: boolean;
  /** Rate limits' buckets of callers (resilience/keyed-buckets.ts), and the secret that says where each lies. */
  readonly buckets: {
    readonly memory: SharedArrayBuffer;
    readonly seed: readonly [number, number];
  };
  readonly connectionsMax: number;
  readonly http: HttpOptions;
  /** Once told to drain, open connections that are left after this are cut. */
  readonly drainTimeoutMs: number;
  readonly accessLog: AccessLogMode;
  readonly hostListenerPort: number;
  readonly inboundPort: number;
  readonly meshPort: number;
  readonly hasIpv6: boolean;
  readonly usesUring: boolean;
  readonly resumesSessions: boolean;
  /** A redirect brings datagrams to this thread. */
  readonly takesDatagrams: boolean;
  /** Resolvers whose port 53 is redirected to this thread; undefined: this thread answers no names. */
  readonly dns: { readonly resolvers: readonly string[]; readonly port: number } | undefined;
  /** Whom this host asks for names, as resolv.conf has them; for the one thread that looks up endpoints' names. */
  readonly resolvers: readonly string[];
  /** Where listeners are given to, that they outlive the process (agent/os/listener-store.ts); undefined: nobody keeps them. */
  readonly notifySocket: string | undefined;
  /** Listeners that were kept for this thread. */
  readonly kept: readonly { readonly fd: number; readonly name: string }[];
}

/** What a test may do to a thread. */
export type ThreadFault = "throw" | "stall";

export type ToThread =
  | { readonly type: "start"; readonly config: ThreadConfig }
  | { readonly type: "keys"; readonly keys: ThreadKeys }
  /** Each is answered by `taken`. */
  | { readonly type: "snapshot"; readonly piece: SnapshotPiece }
  | { readonly type: "access_log"; readonly mode: AccessLogMode }
  /** Some host went down or came back; the slots say which. */
  | { readonly type: "hosts" }
  /** To the first thread alone: names of endpoints that it is to look up, again and again, and those that it need not any more. */
  | {
      readonly type: "look_up";
      readonly names: readonly string[];
      readonly dropped: readonly string[];
    }
  | { readonly type: "names"; readonly names: readonly ToldName[] }
  | { readonly type: "drain" }
  /** Answered by `sockets`. */
  | { readonly type: "name_sockets" }
  /** A successor accepts on all of them: drain slowly, for `limitMs` at most. */
  | { readonly type: "hand_over"; readonly limitMs: number }
  /** The process is about to end: what is asked from now on waits for the next one. Answered by `ended`. */
  | { readonly type: "end" }
  /** Answered by `decision`. */
  | { readonly type: "decision"; readonly turn: number; readonly id: string }
  /** For tests. */
  | { readonly type: "fault"; readonly fault: ThreadFault };

export type FromThread =
  | {
      readonly type: "started";
      readonly series: SharedArrayBuffer;
      readonly descriptors: LoopDescriptors;
    }
  | { readonly type: "series"; readonly series: SeriesAnnouncement }
  | { readonly type: "taken" }
  /** Somebody dials an endpoint of that name. */
  | { readonly type: "name_used"; readonly name: string }
  | { readonly type: "name_news"; readonly news: NameNews }
  /** It cannot do its work, and another in its place could not either: a port is taken. One sentence for the operator. */
  | { readonly type: "unable"; readonly reason: string }
  | { readonly type: "sockets"; readonly sockets: readonly KeptDescriptor[] }
  /** After `drain` or `hand_over`: no connection is open any more, and its last log lines are told. */
  | { readonly type: "drained" }
  | { readonly type: "ended" }
  /** The snapshot is in use and all its listeners are open. */
  | { readonly type: "serving"; readonly epoch: number; readonly version: number }
  | { readonly type: "access"; readonly lines: string }
  | {
      readonly type: "log";
      readonly level: "error" | "warn" | "info" | "debug";
      readonly message: string;
      readonly fields?: LogFields | undefined;
    }
  /** Undefined: this thread does not know it. */
  | { readonly type: "decision"; readonly turn: number; readonly found: Decision | undefined }
  | { readonly type: "bug"; readonly message: string };

/** The part of a Worker that is used here. */
export interface ThreadHandle {
  send(message: ToThread): void;
  /** Ends it, whatever it does; onExit follows. */
  end(reason: string): void;
  stop(): void;
}
export interface ThreadEvents {
  onMessage(message: FromThread): void;
  onExit(reason: string): void;
}
