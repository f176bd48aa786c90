// What the two ends of a datagram session say over its mesh connection, one byte each but for the first (docs/decisions/0025-udp.md):
//
//   dialler: HELLO, its UDP port (2 bytes, big endian)     acceptor: READY
//                                                          acceptor: RENEW, when its keys are due; the dialler dials anew
//
// Anything else ends the session.

export const HELLO = 1;
export const READY = 1;
export const RENEW = 2;
export const HELLO_BYTES = 3;
/** How a session ends by nobody's failure. */
export const ENDED_WELL: readonly string[] = ["ended", "closed", "retired"];
/** RFC 5705 4: a label of our own. */
export const EXPORTER_LABEL = "EXPORTER-ironmesh-datagrams-1";
