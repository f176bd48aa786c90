// What flows inside a mesh connection; the words of agent/api/mesh-wire.ts, which this sealed room may not import
// (mesh-alpn.test.ts holds the two together).

export const ALPN_HTTP = "ironmesh/1+http/1.1";
export const ALPN_OPAQUE = "ironmesh/1+opaque";
export const ALPN_DATAGRAMS = "ironmesh/1+datagrams";
export const ALPN_HBONE = "h2";
