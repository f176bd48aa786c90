import { expect, test } from "bun:test";
import { type AdminSource, answerAdmin } from "./admin.ts";

const unused = (): never => {
  throw new Error("not asked for");
};
const SOURCE: AdminSource = {
  status: unused,
  snapshot: () => undefined,
  certificates: () => [],
  metrics: () => "",
  isReady: () => true,
  setAccessLog: unused,
  renew: unused,
};

test("a target that is no URL is refused and does not end the agent", () => {
  for (const target of ["//", "http://", "//a:b"]) {
    expect(answerAdmin(SOURCE, "GET", target).status).toBe(400);
  }
});
