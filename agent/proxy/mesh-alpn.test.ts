import { expect, test } from "bun:test";
import {
  MESH_ALPN_DATAGRAMS,
  MESH_ALPN_HBONE,
  MESH_ALPN_HTTP,
  MESH_ALPN_OPAQUE,
} from "../api/mesh-wire.ts";
import { ALPN_DATAGRAMS, ALPN_HBONE, ALPN_HTTP, ALPN_OPAQUE } from "./mesh-alpn.ts";

test("the proxy says the words of the mesh wire", () => {
  expect([ALPN_HTTP, ALPN_OPAQUE, ALPN_DATAGRAMS, ALPN_HBONE]).toEqual([
    MESH_ALPN_HTTP,
    MESH_ALPN_OPAQUE,
    MESH_ALPN_DATAGRAMS,
    MESH_ALPN_HBONE,
  ]);
});
