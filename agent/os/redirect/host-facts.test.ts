import { expect, test } from "bun:test";
import { pinOwner, resolversOf, sshPortsOf } from "./host-facts.ts";
import { hostRunner } from "./runner.ts";
import { slicePath } from "./slice.ts";

test("a resolv.conf names at most three resolvers, each once and in its shortest form", () => {
  const text =
    "# nameserver 9.9.9.9\nsearch lab\nnameserver 10.0.0.1\n nameserver  fd00:0:0::0053 # x\nnameserver 10.0.0.1\nnameserver 10.0.0.4\n";
  expect(resolversOf(text)).toEqual(["10.0.0.1", "fd00::53"]);
  expect(resolversOf("options edns0\n")).toEqual([]);
});

test("the SSH session's server port is known from its environment", () => {
  expect(sshPortsOf("192.0.2.1 50000 192.0.2.2 2222")).toEqual([2_222]);
  expect(sshPortsOf(undefined)).toEqual([]);
});

test("a slice's path follows systemd's nesting", () => {
  expect(slicePath("mesh-batch-night.slice")).toBe(
    "mesh.slice/mesh-batch.slice/mesh-batch-night.slice",
  );
});

test("a user is pinned by uid, and one that does not exist is refused with the way to make it", async () => {
  expect(await pinOwner({ is: "user", user: "root" }, hostRunner())).toEqual({
    ok: true,
    value: { is: "uid", uid: 0 },
  });
  const unknown = await pinOwner({ is: "user", user: "im-rd-nobody" }, hostRunner());
  expect(unknown.ok ? "" : unknown.error).toContain("useradd");
});
