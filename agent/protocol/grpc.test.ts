import { expect, test } from "bun:test";
import { bytesOf } from "../base/bytes.ts";
import {
  grpcMessage,
  grpcStatusOfHttp,
  isGrpc,
  parseGrpcTimeout,
  statusInHead,
  statusInTrailers,
} from "./grpc.ts";
import { HEAD_LIMITS, ResponseHead } from "./http1/head.ts";
import { readResponseHead } from "./http1/read-response.ts";

function headOf(fields: string): ResponseHead {
  const bytes = bytesOf(`HTTP/1.1 200 OK\r\n${fields}\r\n`);
  const head = new ResponseHead();
  expect(readResponseHead(head, bytes, 0, bytes.length, HEAD_LIMITS, false, false)).toBe(
    bytes.length,
  );
  return head;
}

test("application/grpc is gRPC with any message format, and gRPC-Web is not", () => {
  for (const type of ["application/grpc", "application/grpc+proto", "Application/gRPC;x=y"])
    expect(isGrpc(headOf(`content-type: ${type}\r\n`))).toBe(true);
  for (const type of ["application/grpc-web", "application/grpc-web+proto", "text/plain", ""])
    expect(isGrpc(headOf(`content-type: ${type}\r\n`))).toBe(false);
  expect(isGrpc(headOf("x: application/grpc\r\n"))).toBe(false);
});

test("a timeout is at most eight digits and a unit", () => {
  expect(["1H", "2M", "3S", "40m", "1500u", "99999999n"].map(parseGrpcTimeout)).toEqual([
    3_600_000, 120_000, 3_000, 40, 1.5, 99.999999,
  ]);
  for (const text of ["", "1", "m", "123456789m", "-1m", "1 m", "1.5S", "1s", "1mm"])
    expect(parseGrpcTimeout(text)).toBeUndefined();
});

test("the status is found in a head and in trailers, and is one there is", () => {
  expect(statusInHead(headOf("grpc-status: 7\r\n"))).toBe("7");
  expect(statusInHead(headOf("grpc-status: 99\r\n"))).toBe("2");
  expect(statusInHead(headOf("x: 7\r\n"))).toBeUndefined();
  const found = (text: string) => {
    const lines = bytesOf(`${text}junk`);
    return statusInTrailers(lines, lines.length - 4);
  };
  expect(found("grpc-status: 5\r\r")).toBe("5");
  expect(found("x: 1\rGRPC-Status:0\rgrpc-message: a\r\r")).toBe("0");
  expect(found("grpc-status: nonsense\r\r")).toBe("2");
  expect(found("grpc-status-x: 1\rx: grpc-status: 1\r\r")).toBeUndefined();
  expect(found("\r")).toBeUndefined();
});

test("a refusal has the status that says it, and its words are one line of ASCII", () => {
  expect([403, 404, 503, 504, 418].map(grpcStatusOfHttp)).toEqual(["7", "12", "14", "4", "2"]);
  expect(grpcMessage("50 % é\n")).toBe("50 %25 %C3%A9%0A");
});
