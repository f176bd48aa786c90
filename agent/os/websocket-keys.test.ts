import { expect, test } from "bun:test";
import { webSocketKeys } from "./websocket-keys.ts";

test("the answer to a key is that of RFC 6455's example (1.3), and no key is made twice", () => {
  expect(webSocketKeys.acceptOf("dGhlIHNhbXBsZSBub25jZQ==")).toBe("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  const keys = Array.from({ length: 100 }, () => webSocketKeys.make());
  expect(new Set(keys).size).toBe(100);
  for (const key of keys) expect(Buffer.from(key, "base64")).toHaveLength(16);
});
