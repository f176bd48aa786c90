import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import net from "node:net";
import tls from "node:tls";
import fc from "fast-check";
import {
  extension,
  message,
  nameEntry,
  record,
  sni,
  text,
  u24,
} from "../../../test/support/client-hello-bytes.ts";
import {
  type ClientHello,
  HELLO_BYTES_MAX,
  HELLO_RECORDS_MAX,
  readClientHello,
} from "./client-hello.ts";

const read = (bytes: number[]) => readClientHello(Uint8Array.from(bytes), 0, bytes.length);
const named = (name: string) => read(record(message({ extensions: sni(nameEntry(name)) })));
const MALFORMED = { is: "malformed" } as const;

describe("real clients", () => {
  let server: net.Server;
  let port: number;
  let heard: (bytes: Buffer) => void;
  beforeAll(async () => {
    server = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", (bytes: Buffer) => {
        heard(bytes);
        socket.destroy();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    port = (server.address() as net.AddressInfo).port;
  });
  afterAll(() => server.close());

  const helloOf = (options: tls.ConnectionOptions): Promise<Buffer> =>
    new Promise((resolve) => {
      heard = resolve;
      tls.connect({ host: "127.0.0.1", port, ...options }).on("error", () => {});
    });

  test("say whom they want, in lower case", async () => {
    const bytes = await helloOf({ servername: "API.Example.com", ALPNProtocols: ["h2"] });
    const hello = readClientHello(bytes, 0, bytes.length);
    expect(hello).toEqual({ is: "hello", serverName: "api.example.com" });
  });

  test("or nobody", async () => {
    const bytes = await helloOf({ servername: "" });
    expect(readClientHello(bytes, 0, bytes.length)).toEqual({ is: "hello", serverName: undefined });
  });

  test("and every prefix of it waits for more", async () => {
    const bytes = await helloOf({ servername: "api.example.com" });
    for (let end = 0; end < bytes.length; end++)
      expect(readClientHello(bytes, 0, end).is).toBe("need_more");
  });
});

test("a message cut into any records is read as one", () => {
  const whole = message({ extensions: sni(nameEntry("a.example")) });
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 20 }), (sizes) => {
      const records: number[] = [];
      let at = 0;
      for (const size of [...sizes, whole.length]) {
        if (at >= whole.length) break;
        records.push(...record(whole.slice(at, at + size)));
        at += size;
      }
      expect(read(records)).toEqual({ is: "hello", serverName: "a.example" });
      for (let end = 0; end < records.length; end++)
        expect(read(records.slice(0, end)).is).toBe("need_more");
    }),
  );
});

test("nothing changes before as many bytes came as it says it needs", () => {
  const whole = message({ extensions: sni(nameEntry("a.example")) });
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 20 }), (sizes) => {
      const records: number[] = [];
      let at = 0;
      for (const size of [...sizes, whole.length]) {
        if (at < whole.length) records.push(...record(whole.slice(at, at + size)));
        at += size;
      }
      let looks = 0;
      for (let end = 0; ; looks++) {
        const found = read(records.slice(0, end));
        if (found.is !== "need_more") break;
        expect(found.bytes).toBeGreaterThan(end);
        expect(found.bytes).toBeLessThanOrEqual(records.length);
        end = found.bytes;
      }
      expect(looks).toBeLessThan(3 * (sizes.length + 2) + 2);
    }),
  );
});

test("more records than any client writes are refused", () => {
  const whole = message({ extensions: sni(nameEntry("a.example")) });
  const pieces = (count: number): number[] => {
    const records: number[] = [];
    for (let i = 0; i < count - 1; i++) records.push(...record(whole.slice(i, i + 1)));
    return [...records, ...record(whole.slice(count - 1))];
  };
  expect(read(pieces(HELLO_RECORDS_MAX))).toEqual({ is: "hello", serverName: "a.example" });
  expect(read(pieces(HELLO_RECORDS_MAX + 1))).toEqual(MALFORMED);
});

test("what follows the ClientHello's last record is nobody's concern here", () => {
  const hello = record(message({ extensions: sni(nameEntry("a.example")) }));
  expect(read([...hello, 23, 3, 3, 0, 1, 0])).toEqual({ is: "hello", serverName: "a.example" });
});

test("extensions around the name are passed over", () => {
  const extensions = [
    ...extension(43, [2, 3, 4]),
    ...sni(nameEntry("a.example")),
    ...extension(21, []),
  ];
  expect(read(record(message({ extensions })))).toEqual({ is: "hello", serverName: "a.example" });
  expect(read(record(message()))).toEqual({ is: "hello", serverName: undefined });
});

test("names that are none are refused", () => {
  for (const name of ["", ".", "a..b", "a.example.", "-a.example", "a b", "a\u0000b", "10.0.0.1"])
    expect(named(name)).toEqual(MALFORMED);
  expect(named("*.example.com")).toEqual(MALFORMED);
  expect(named("x".repeat(256))).toEqual(MALFORMED);
  expect(named("_srv.a-b.example")).toEqual({ is: "hello", serverName: "_srv.a-b.example" });
});

describe("what breaks the grammar is refused", () => {
  const cases: Record<string, number[]> = {
    "two names": record(message({ extensions: sni(nameEntry("a"), nameEntry("b")) })),
    "a name of an unknown kind": record(message({ extensions: sni(nameEntry("a", 1)) })),
    "two lists of names": record(
      message({ extensions: [...sni(nameEntry("a")), ...sni(nameEntry("a"))] }),
    ),
    "another extension twice": record(
      message({ extensions: [...extension(43, [1]), ...extension(43, [1])] }),
    ),
    "a list longer than its extension": record(
      message({ extensions: extension(0, [0, 9, 0, 0, 1, 97]) }),
    ),
    "bytes after the list": record(message({ extensions: extension(0, [0, 4, 0, 0, 1, 97, 0]) })),
    "bytes after the extensions": record(message({ extensions: [], after: [0] })),
    "an extension that is cut off": record(message({ extensions: [0, 0, 0] })),
    "a session id of 33 bytes": record(message({ session: new Array<number>(33).fill(1) })),
    "no cipher suites": record(message({ suites: [] })),
    "half a cipher suite": record(message({ suites: [1, 2, 3] })),
    "no compression": record(message({ compressions: [] })),
    "another message": record([2, ...u24(2), 3, 3]),
    "more in its record than the message": record([...message(), 11]),
    "an empty record": [22, 3, 1, 0, 0],
    "a record that is too long": [22, 3, 1, 0x40, 0x01, 1],
    "a record of another kind in the middle": [...record(message().slice(0, 9)), 23, 3, 3, 0, 1],
    "a message that is too long": record([1, ...u24(HELLO_BYTES_MAX + 1), 3, 3]),
    "another protocol": text("GET / HTTP/1.1"),
    "SSL 2.0": [128, 46, 1, 3, 1],
    "a version of the future": [22, 4, 0, 0, 9],
  };
  for (const [what, bytes] of Object.entries(cases))
    test(what, () => expect(read(bytes)).toEqual(MALFORMED));
});

test("garbage never throws, and an answer never changes as more comes", () => {
  const near = fc.tuple(fc.nat(80), fc.nat(255)).map(([at, byte]) => {
    const bytes = record(message({ extensions: sni(nameEntry("a.example")) }));
    bytes[at] = byte;
    return bytes;
  });
  fc.assert(
    fc.property(fc.oneof(near, fc.array(fc.nat(255), { maxLength: 80 })), (bytes) => {
      const all = read(bytes);
      for (let end = 0; end < bytes.length; end++) {
        const part = read(bytes.slice(0, end));
        if (part.is !== "need_more") expect<ClientHello>(part).toEqual(all);
      }
    }),
  );
});
