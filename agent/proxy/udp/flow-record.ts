// The access record of a flow: a connection's, and how many datagrams went each way.
import type { AccessRecord } from "../../observe/access-log.ts";
import { type ConnectionFacts, connectionRecord } from "../connection-record.ts";

export interface FlowTally {
  /** From downstream, and passed on. */
  received: number;
  receivedBytes: number;
  /** To downstream. */
  sent: number;
  sentBytes: number;
}

export function datagramRecord(
  flags: string,
  { receivedBytes, sentBytes, received, sent }: FlowTally,
  facts: ConnectionFacts,
): AccessRecord {
  return {
    ...connectionRecord({ flags, receivedBytes, sentBytes }, facts),
    protocol: "UDP",
    datagrams_received: received,
    datagrams_sent: sent,
  };
}
