import { expect, test } from "bun:test";
import { type AdminSource, answerAdmin, decisionAnswer, decisionIn } from "./admin.ts";

const unused = (): never => {
  throw new Error("not asked for");
};
const SOURCE: AdminSource = {
  status: unused,
  snapshot: () => undefined,
  certificates: () => [],
  names: () => [],
  members: unused,
  metrics: () => "",
  isReady: () => true,
  setAccessLog: unused,
  renew: unused,
  fault: () => "not_allowed",
};

test("a target that is no URL is refused and does not end the agent", () => {
  for (const target of ["//", "http://", "//a:b"]) {
    expect(answerAdmin(SOURCE, "GET", target).status).toBe(400);
  }
});

test("a decision is asked for by its id, by GET alone", () => {
  expect(decisionIn("GET", "/decisions/3h7k2q-0a1b2-c")).toBe("3h7k2q-0a1b2-c");
  expect(decisionIn("PUT", "/decisions/3h7k2q-0a1b2-c")).toBeUndefined();
  expect(decisionIn("GET", "/status")).toBeUndefined();
  expect(decisionAnswer({ ok: false, error: "gone: ask anew" })).toMatchObject({
    status: 404,
    body: "gone: ask anew\n",
  });
});

test("a thread is harmed only where tests may, and only in ways there are", () => {
  const put = (source: AdminSource, words: string): number =>
    answerAdmin(source, "PUT", `/fault?${words}`).status;
  expect(put(SOURCE, "thread=0&kind=stall")).toBe(403);
  const asked: string[] = [];
  const source: AdminSource = {
    ...SOURCE,
    fault: (thread, kind) => {
      asked.push(`${thread} ${kind}`);
      return thread > 1 ? "no_such_thread" : "done";
    },
  };
  const words = ["thread=1&kind=throw", "thread=2&kind=throw", "thread=1&kind=burn", "kind=throw"];
  expect(words.map((one) => put(source, one))).toEqual([200, 404, 400, 400]);
  expect(asked).toEqual(["1 throw", "2 throw"]);
  expect(answerAdmin(source, "GET", "/fault?thread=1&kind=throw").status).toBe(404);
});
