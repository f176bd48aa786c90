// A gRPC server and its caller, @grpc/grpc-js on Node: `grpc-peer serve PORT`, `grpc-peer call HOST:PORT JOB` with a job of JSON, whose outcome it prints.
import * as grpc from "@grpc/grpc-js";

export interface CallJob {
  /** Messages, and bytes of each. */
  readonly count: number;
  readonly bytes: number;
}
export interface CallOutcome {
  readonly count?: number;
  readonly bytes?: number;
  readonly code?: number;
  readonly text?: string;
  readonly ms: number;
}
type Verb = "down" | "up" | "slow" | "both" | "cancel" | "deadline" | "gone";

const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/peer.Peer/${name}`,
  requestStream,
  responseStream,
  requestSerialize: (bytes: Buffer) => bytes,
  requestDeserialize: (bytes: Buffer) => bytes,
  responseSerialize: (bytes: Buffer) => bytes,
  responseDeserialize: (bytes: Buffer) => bytes,
});
const DEFINITION = {
  Down: method("Down", false, true),
  Up: method("Up", true, false),
  Hold: method("Hold", true, true),
  Never: method("Never", false, false),
  Gone: method("Gone", false, false),
};
const UNLIMITED = { "grpc.max_receive_message_length": -1 };

/** Writes as fast as the other end takes it. */
function pour(
  call: grpc.ServerWritableStream<Buffer, Buffer> | grpc.ClientWritableStream<Buffer>,
  job: CallJob,
): void {
  const piece = Buffer.alloc(job.bytes, "p");
  let sent = 0;
  const go = (): void => {
    while (sent < job.count) {
      sent++;
      if (!call.write(piece)) {
        call.once("drain", go);
        return;
      }
    }
    call.end();
  };
  go();
}

function serve(port: string): void {
  /** A call may hear it twice. */
  const gone = new Set<unknown>();
  const server = new grpc.Server(UNLIMITED);
  server.addService(DEFINITION, {
    Down: (call: grpc.ServerWritableStream<Buffer, Buffer>) =>
      pour(call, JSON.parse(String(call.request))),
    Up: (call: grpc.ServerReadableStream<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      let count = 0;
      let bytes = 0;
      call.on("data", (piece: Buffer) => {
        count++;
        bytes += piece.length;
      });
      call.on("end", () => done(null, Buffer.from(`${count} ${bytes}`)));
    },
    Hold: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on("cancelled", () => gone.add(call));
      call.on("data", (piece: Buffer) => call.write(piece));
      call.on("end", () => call.end());
    },
    Never: (call: grpc.ServerUnaryCall<Buffer, Buffer>) =>
      call.on("cancelled", () => gone.add(call)),
    Gone: (_: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) =>
      done(null, Buffer.from(`${gone.size} gone`)),
  });
  server.bindAsync(`[::]:${port}`, grpc.ServerCredentials.createInsecure(), (error) => {
    if (error !== null) throw error;
    console.log("serving");
  });
}

function call(to: string, verb: Verb, job: CallJob): Promise<CallOutcome> {
  const client = new grpc.Client(to, grpc.credentials.createInsecure(), UNLIMITED);
  const startedMs = performance.now();
  return new Promise((resolve) => {
    const over = (outcome: Omit<CallOutcome, "ms">): void =>
      resolve({ ...outcome, ms: Math.round(performance.now() - startedMs) });
    const answered = (error: grpc.ServiceError | null, answer?: Buffer): void =>
      over(error === null ? { text: String(answer) } : { code: error.code });
    const of = (name: keyof typeof DEFINITION) => DEFINITION[name];
    const asIs = (bytes: Buffer): Buffer => bytes;
    switch (verb) {
      case "down":
      case "slow": {
        let count = 0;
        let bytes = 0;
        const stream = client.makeServerStreamRequest(
          of("Down").path,
          asIs,
          asIs,
          Buffer.from(JSON.stringify(job)),
        );
        stream.on("data", (piece: Buffer) => {
          count++;
          bytes += piece.length;
          if (verb === "down" || count % 1_000 !== 0) return;
          stream.pause();
          setTimeout(() => stream.resume(), 100);
        });
        stream.on("end", () => over({ count, bytes }));
        stream.on("error", (error: grpc.ServiceError) => over({ code: error.code, count }));
        break;
      }
      case "up":
        pour(client.makeClientStreamRequest(of("Up").path, asIs, asIs, answered), job);
        break;
      case "both":
      case "cancel": {
        let count = 0;
        const stream = client.makeBidiStreamRequest(of("Hold").path, asIs, asIs);
        stream.on("data", () => {
          if (++count < job.count) stream.write(Buffer.alloc(job.bytes));
          else if (verb === "cancel") stream.cancel();
          else stream.end();
        });
        stream.on("end", () => over({ count }));
        stream.on("error", (error: grpc.ServiceError) => over({ code: error.code, count }));
        stream.write(Buffer.alloc(job.bytes));
        break;
      }
      case "deadline":
        client.makeUnaryRequest(
          of("Never").path,
          asIs,
          asIs,
          Buffer.from("x"),
          { deadline: Date.now() + 500 },
          answered,
        );
        break;
      case "gone":
        client.makeUnaryRequest(of("Gone").path, asIs, asIs, Buffer.from("x"), answered);
        break;
    }
  });
}

const [, , verb = "", to = "", job = "{}"] = process.argv;
if (verb === "serve") serve(to);
else {
  console.log(JSON.stringify(await call(to, verb as Verb, JSON.parse(job))));
  process.exit(0);
}
