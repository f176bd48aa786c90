import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { connect as connectTcp, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { AuthorityFiles } from "../ca/authority-files.ts";
import { Issuer } from "../ca/issuer.ts";
import { Listener, type TlsCredentials } from "./listener.ts";

const TIMEOUT_MS = 100;
let directory: string;
let issuer: Issuer;
let listener: Listener;
let port: number;

async function credentials(): Promise<TlsCredentials> {
  const { keyPem, certificates } = await issuer.issueServer({ dns: [], ips: ["127.0.0.1"] });
  const { trustBundle } = issuer;
  return { keyPem, chainPem: [...certificates, ...trustBundle], trustBundle };
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "ironmesh-listener-"));
  const files = new AuthorityFiles(directory);
  issuer = await Issuer.open("mesh.test", { files, nowMs: () => Date.now() });
  await listen(TIMEOUT_MS);
});
async function listen(timeoutMs: number): Promise<void> {
  listener = new Listener(
    {
      credentials: await credentials(),
      handshakeTimeoutMs: timeoutMs,
      requestTimeoutMs: timeoutMs,
    },
    {
      fetch: async (request) => new Response(String((await request.arrayBuffer()).byteLength)),
      upgrade: (_request, socket) => socket.end(),
    },
  );
  ({ port } = await listener.listen("127.0.0.1", 0));
}
afterEach(async () => {
  await listener.close();
  rmSync(directory, { recursive: true });
});

const dial = (): Promise<TLSSocket> =>
  new Promise((resolve, reject) => {
    const ca = [...issuer.trustBundle];
    const socket = connect({ host: "127.0.0.1", port, ca }, () => resolve(socket));
    socket.on("error", reject);
  });

const closed = (socket: Socket): Promise<string> =>
  new Promise((resolve) => {
    let text = "";
    socket.on("data", (data: Buffer) => {
      text += data.toString();
    });
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(text));
  });

test("a client that never finishes its request is cut, in the head, in the body and between requests", async () => {
  const head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n";
  for (const begun of ["", "POST / HT", head, `${head}\r\nab`]) {
    const socket = await dial();
    if (begun !== "") socket.write(begun);
    expect(await closed(socket)).toBe("");
  }
  const patient = await dial();
  patient.write(`${head}\r\nabcde`);
  expect(await closed(patient)).toContain("200 OK");
});

test("no session ticket is given, for a resumed session would outlive the certificate that made it", async () => {
  await listener.close();
  await listen(10_000); // a handshake on a loaded machine may take longer than TIMEOUT_MS
  const socket = await dial();
  let tickets = 0;
  socket.on("session", () => tickets++);
  socket.write("POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
  expect(await closed(socket)).toContain("200 OK");
  expect(tickets).toBe(0);
});

test("a client that never begins its handshake is cut", async () => {
  expect(await closed(connectTcp(port, "127.0.0.1"))).toBe("");
});

test("a renewed certificate is shown to new connections at once, and open ones live on", async () => {
  await listener.close();
  await listen(10_000); // making a certificate on a loaded machine takes longer than TIMEOUT_MS
  const before = await dial();
  const next = await credentials();
  listener.rotate(next);
  const after = await dial();
  expect(after.getPeerX509Certificate()?.serialNumber).not.toBe(
    before.getPeerX509Certificate()?.serialNumber,
  );
  before.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  expect(await closed(before)).toContain("200 OK");
  after.destroy();
});
