// The mesh wire: what two agents say to each other before the first byte of traffic. See docs/decisions/0002-mesh-wire.md. TLS 1.3,
// both ends authenticated by SPIFFE X.509-SVIDs; SNI names the target, ALPN names what flows and in which version. Peers that share no
// ALPN share no version, so their handshake fails.

export const MESH_PORT = 15008;

/** What flows inside. */
export type MeshAlpn =
  | "ironmesh/1+streams"
  | "ironmesh/1+http/1.1"
  | "ironmesh/2+opaque"
  | "ironmesh/1+opaque"
  | "ironmesh/1+datagrams"
  | "h2";
/** Many streams of HTTP/1.1 (docs/decisions/0013-mesh-streams.md): what agents dial. */
export const MESH_ALPN_STREAMS: MeshAlpn = "ironmesh/1+streams";
export const MESH_ALPN_HTTP: MeshAlpn = "ironmesh/1+http/1.1";
/** Any bytes, as they are: its end may be forged by whoever sees the packets. Spoken only with agents that know no other. */
export const MESH_ALPN_OPAQUE: MeshAlpn = "ironmesh/1+opaque";
/** The same in frames, with an end of their own (docs/decisions/0024-ends-of-tls.md): what agents dial. */
export const MESH_ALPN_OPAQUE_FRAMED: MeshAlpn = "ironmesh/2+opaque";
/** Keys and liveness of datagrams that go beside it, on UDP at the same port number (docs/decisions/0025-udp.md). */
export const MESH_ALPN_DATAGRAMS: MeshAlpn = "ironmesh/1+datagrams";
/** HBONE of peers that are no agents, and towards them (docs/decisions/0030-hbone.md). */
export const MESH_ALPN_HBONE: MeshAlpn = "h2";
/** What is accepted, the one to take of several first. */
export const MESH_ALPNS: readonly MeshAlpn[] = [
  MESH_ALPN_STREAMS,
  MESH_ALPN_HTTP,
  MESH_ALPN_OPAQUE_FRAMED,
  MESH_ALPN_OPAQUE,
  MESH_ALPN_DATAGRAMS,
  MESH_ALPN_HBONE,
];

/** One declared port of one workload, and the service it is called as. */
export interface MeshTargetName {
  /** The port the app listens on (the endpoint's port). */
  readonly port: number;
  readonly service: string;
  readonly workload: string;
  readonly namespace: string;
}

/** SNI: at most 250 bytes (longer ones are silently not sent by the runtime), which DNS labels of 63 bytes ensure. */
export const writeServerName = (name: MeshTargetName): string =>
  `${name.port}.${name.service}.${name.workload}.${name.namespace}.ironmesh`;

const SERVER_NAME =
  /^([1-9][0-9]{0,4})\.([a-z0-9-]{1,63})\.([a-z0-9-]{1,63})\.([a-z0-9-]{1,63})\.ironmesh$/;

export function parseServerName(text: string): MeshTargetName | undefined {
  const found = SERVER_NAME.exec(text);
  if (found === null) return undefined;
  const [, port = "", service = "", workload = "", namespace = ""] = found;
  return Number(port) <= 65535 ? { port: Number(port), service, workload, namespace } : undefined;
}
