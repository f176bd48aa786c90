// What the request at hand is to gRPC, if it is: its deadline, its status, and how an answer of ours is said so that a gRPC client
// understands it. Part of an Exchange, and reused with it.

import {
  grpcMessage,
  grpcStatusOfHttp,
  isGrpc,
  parseGrpcTimeout,
  statusInHead,
  statusInTrailers,
} from "../protocol/grpc.ts";
import type { BodyReader } from "../protocol/http1/body.ts";
import type { RequestHead, ResponseHead } from "../protocol/http1/head.ts";
import type { LocalAnswer } from "./traffic-plan.ts";

const NEVER = Number.POSITIVE_INFINITY;

export class GrpcCall {
  isGrpc = false;
  /** From its beginning; Infinity: the caller waits for as long as it takes. */
  timeoutMs = NEVER;
  /** As far as it is known. */
  status = "";

  forget(): void {
    this.isGrpc = false;
    this.timeoutMs = NEVER;
    this.status = "";
  }

  begin(head: RequestHead): void {
    this.isGrpc = isGrpc(head);
    if (!this.isGrpc) return;
    const timeout = head.find("grpc-timeout");
    if (timeout >= 0) this.timeoutMs = parseGrpcTimeout(head.value(timeout)) ?? NEVER;
  }

  /** A response begins, perhaps with its trailers only. */
  answered(head: ResponseHead): void {
    if (this.isGrpc) this.status = statusInHead(head) ?? "";
  }

  /** It ended. */
  ended({ trailers, trailerBytes }: BodyReader): void {
    if (!this.isGrpc || trailerBytes === 0) return;
    this.status = statusInTrailers(trailers, trailerBytes) ?? this.status;
  }

  get isFailed(): boolean {
    return this.status !== "" && this.status !== "0";
  }

  /** Undefined: it is no gRPC. */
  get label(): string | undefined {
    return this.isGrpc ? this.status : undefined;
  }

  /** An answer of ours, as a response of trailers only. */
  said(answer: LocalAnswer): LocalAnswer {
    if (!this.isGrpc || answer.status < 400) return answer;
    this.status = grpcStatusOfHttp(answer.status);
    const said = [
      ["content-type", "application/grpc"],
      ["grpc-status", this.status],
      ["grpc-message", grpcMessage(answer.body.trim())],
    ] as const;
    const fields = answer.fields.filter(([name]) => name !== "content-type");
    return { ...answer, status: 200, body: "", fields: [...said, ...fields] };
  }
}
