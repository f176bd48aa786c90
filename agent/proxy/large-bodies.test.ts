import { expect, test } from "bun:test";
import { MeshFixture, VIP } from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";

const TO = { address: VIP, port: 80 };
const MEGABYTE = 1 << 20;
/** Windows of the streams, and what our connections may hold: far less than the body, whatever its size. */
const UNDER_WAY_MAX = 1 * MEGABYTE;

function dial(mesh: MeshFixture): TextEnd {
  const end = new TextEnd();
  end.keepsText = false;
  return end.attach(mesh.client.dialOut(TO, end));
}

test("an upload waits at its source while the app does not read, and passes whole when it does", () => {
  const mesh = new MeshFixture();
  const apps: TextEnd[] = [];
  mesh.server.network.listen(8080, (stream) => {
    const end = new TextEnd().attach(stream);
    end.keepsText = false;
    stream.pause();
    apps.push(end);
  });
  const client = dial(mesh);
  const size = 8 * MEGABYTE;
  client.send(`PUT /big HTTP/1.1\r\nhost: a\r\ncontent-length: ${size}\r\n\r\n`);
  client.send(new Uint8Array(size));
  mesh.clock.pass(2000);
  expect(size - client.unsentBytes).toBeLessThan(UNDER_WAY_MAX);
  apps[0]?.stream?.resume();
  mesh.clock.until(() => (apps[0]?.bytesReceived ?? 0) > size);
  apps[0]?.send("HTTP/1.1 204 No Content\r\n\r\n");
  mesh.clock.pass(100);
  expect(client.bytesReceived).toBe("HTTP/1.1 204 No Content\r\n\r\n".length);
  expect(mesh.bugs).toEqual([]);
});

test("a download waits at the app while the client does not read, and the connection is used again after it", () => {
  const mesh = new MeshFixture();
  const size = 8 * MEGABYTE;
  const apps: TextEnd[] = [];
  mesh.server.network.listen(8080, (stream) => {
    const end = new TextEnd().attach(stream);
    apps.push(end);
    end.onText = () => {
      end.take();
      end.send(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`);
      end.send(new Uint8Array(size));
    };
  });
  const client = dial(mesh);
  for (let round = 1; round <= 2; round++) {
    client.stream?.pause();
    client.send("GET /big HTTP/1.1\r\nhost: a\r\n\r\n");
    mesh.clock.pass(2000);
    expect(size - (apps[0]?.unsentBytes ?? 0)).toBeLessThan(UNDER_WAY_MAX);
    client.stream?.resume();
    mesh.clock.until(() => client.bytesReceived > size * round);
  }
  mesh.clock.pass(100);
  expect(apps).toHaveLength(1);
  expect(mesh.bugs).toEqual([]);
});
