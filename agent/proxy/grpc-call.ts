// What the request at hand is to gRPC, if it is: its deadline, its status, its messages, and how an answer of ours is said so that a gRPC
// client understands it. Part of an Exchange, and reused with it.
import type { RequestFamily } from "../observe/request-metrics.ts";
import {
  grpcMessage,
  grpcStatusOfHttp,
  isGrpc,
  parseGrpcTimeout,
  statusInHead,
  statusInTrailers,
} from "../protocol/grpc.ts";
import { MessageCounter } from "../protocol/grpc-messages.ts";
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
  readonly #requests = new MessageCounter();
  readonly #responses = new MessageCounter();

  forget(): void {
    this.isGrpc = false;
    this.timeoutMs = NEVER;
    this.status = "";
  }

  /** `body`: of the request, none of which was scanned yet. */
  begin(head: RequestHead, body: BodyReader): void {
    this.isGrpc = isGrpc(head);
    body.watcher = this.isGrpc ? this.#requests : undefined;
    if (!this.isGrpc) return;
    this.#requests.begin();
    this.#responses.begin();
    const timeout = head.find("grpc-timeout");
    if (timeout >= 0) this.timeoutMs = parseGrpcTimeout(head.value(timeout)) ?? NEVER;
  }

  /** The head of a response came, which may yet be given up for another try's; `body` as above. */
  watch(head: ResponseHead, body: BodyReader): void {
    body.watcher = undefined;
    if (!this.isGrpc) return;
    this.#responses.begin();
    if (isGrpc(head)) body.watcher = this.#responses;
  }

  /** A response begins, perhaps with its trailers only. */
  answered(head: ResponseHead): void {
    if (this.isGrpc) this.status = statusInHead(head) ?? "";
  }

  /** Adds the messages that were passed on and not told yet. */
  tellMessages(family: RequestFamily): void {
    family.messages(this.#requests.takeNew(), this.#responses.takeNew());
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
