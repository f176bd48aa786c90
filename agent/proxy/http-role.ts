// What outbound and inbound do differently with a request. One role serves every connection of which it would say the same: those of
// one workload to one destination, those of one caller to one port.
import type { Stream } from "../base/net.ts";
import type { RequestView } from "../policy/request-view.ts";
import type { RequestHead } from "../protocol/http1/head.ts";
import type { Exchange } from "./exchange.ts";
import type { ForwardPlan, LocalAnswer } from "./traffic-plan.ts";

export interface HttpRole {
  /** Who the caller is, as fields for the next hop. */
  readonly identityFields: Uint8Array;
  /** Whether the request may pass, and where to. */
  decide(head: RequestHead): ForwardPlan | LocalAnswer;
  /** Whether a request that passed, and became a tunnel, would still pass. */
  mayStay(request: RequestView): boolean;
  /** A snapshot replaced the one it decides by: idle connections must not keep the old one alive. */
  renew(): void;
  /** Messages of a gRPC call were passed on, which has a target. */
  recordMessages(exchange: Exchange): void;
  /** An exchange on this downstream stream is over. */
  record(exchange: Exchange, downstream: Stream): void;
}
