import { expect, test } from "bun:test";
import { flowsOf, isAllTlsRecords, tlsVersionChosen } from "./capture.ts";

/** A pcap file of Linux cooked (v1) packets, each one TCP segment from 10.0.0.1:1000 to 10.0.0.2:2000. */
function pcap(segments: readonly { sequence: number; flags?: number; text: string }[]): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt32LE(113, 20);
  const packets = segments.map(({ sequence, flags = 0x10, text }) => {
    const packet = Buffer.alloc(16 + 16 + 40 + text.length);
    packet.writeUInt32LE(56 + text.length, 8);
    const ip = packet.subarray(32);
    ip[0] = 0x45;
    ip.writeUInt16BE(40 + text.length, 2);
    ip.set([10, 0, 0, 1, 10, 0, 0, 2], 12);
    ip.writeUInt16BE(1000, 20);
    ip.writeUInt16BE(2000, 22);
    ip.writeUInt32BE(sequence >>> 0, 24);
    ip[32] = 0x50;
    ip[33] = flags;
    ip.write(text, 40, "latin1");
    return packet;
  });
  return Buffer.concat([header, ...packets]);
}
const SYN = 2;
const texts = (file: Buffer): string[] => flowsOf(file).map(({ payload }) => payload.toString());

test("segments are put together once, though the router sees each coming and leaving", () => {
  const seen = [
    { sequence: 99, flags: SYN, text: "" },
    { sequence: 99, flags: SYN, text: "" },
    { sequence: 100, text: "one " },
    { sequence: 100, text: "one " },
    { sequence: 102, text: "e two" },
  ];
  expect(texts(pcap(seen))).toEqual(["one two"]);
});

test("a direction is put together across the end of the sequence numbers", () => {
  const seen = [
    { sequence: 0xfffffffe, text: "abcd" },
    { sequence: 2, text: "ef" },
  ];
  expect(texts(pcap(seen))).toEqual(["abcdef"]);
});

test("a port used again is a second connection", () => {
  const seen = [
    { sequence: 9, flags: SYN, text: "" },
    { sequence: 10, text: "first" },
    { sequence: 5009, flags: SYN, text: "" },
    { sequence: 5010, text: "second" },
  ];
  expect(texts(pcap(seen))).toEqual(["first", "second"]);
});

test("a ServerHello that chose TLS 1.3 is told from one that chose TLS 1.2, and from HTTP", () => {
  const hello = (extensions: string): Buffer =>
    Buffer.from(
      `160303${"0040"}020000${"3c"}0303${"00".repeat(32)}00130100${(extensions.length / 2)
        .toString(16)
        .padStart(4, "0")}${extensions}`,
      "hex",
    );
  expect(tlsVersionChosen(hello("00330000002b00020304"))).toBe(0x0304);
  expect(tlsVersionChosen(hello("00330000"))).toBe(0x0303);
  expect(tlsVersionChosen(Buffer.from("HTTP/1.1 200 OK\r\n".repeat(4)))).toBeUndefined();
});

test("a stream is TLS only while every record is one", () => {
  const record = Buffer.from("17030300021234", "hex");
  expect(isAllTlsRecords(Buffer.concat([record, record, record.subarray(0, 4)]))).toBe(true);
  expect(isAllTlsRecords(Buffer.concat([record, Buffer.from("GET / HTTP/1.1")]))).toBe(false);
});
