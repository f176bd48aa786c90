import { expect, test } from "bun:test";
import { latin1, readNaively } from "../../../test/support/naive-http1.ts";
import { answerBytes } from "./answer.ts";

test("an answer is a whole valid response", () => {
  const text = latin1(answerBytes({ status: 503, body: "no healthy upstream", isLast: true }));
  const read = readNaively(text, "response");
  expect(read?.line).toEqual(["HTTP/1.1", "503", "Service Unavailable"]);
  expect(read?.fields).toEqual([
    ["content-type", "text/plain"],
    ["content-length", "19"],
    ["connection", "close"],
  ]);
  expect(read?.rest).toBe("no healthy upstream");
});

test("HEAD gets the length without the body, 204 neither", () => {
  expect(latin1(answerBytes({ status: 404, body: "gone", isHead: true }))).toEndWith(
    "content-length: 4\r\n\r\n",
  );
  expect(latin1(answerBytes({ status: 204 }))).toBe("HTTP/1.1 204 No Content\r\n\r\n");
});

test("a type among the fields is the only one", () => {
  const fields = [["content-type", "application/json"]] as const;
  const read = readNaively(latin1(answerBytes({ status: 200, body: "{}", fields })), "response");
  expect(read?.fields).toEqual([
    ["content-type", "application/json"],
    ["content-length", "2"],
  ]);
});

test("no value splits the response", () => {
  const fields = [["location", "/a\r\nset-cookie: x=1\0"]] as const;
  const read = readNaively(latin1(answerBytes({ status: 301, fields })), "response");
  expect(read?.fields).toEqual([
    ["location", "/a  set-cookie: x=1"],
    ["content-length", "0"],
  ]);
});

test("a status without a phrase, and a body beyond ASCII, are measured right", () => {
  const read = readNaively(latin1(answerBytes({ status: 418, body: "ä" })), "response");
  expect(read?.line).toEqual(["HTTP/1.1", "418", ""]);
  expect(read?.fields).toContainEqual(["content-length", "2"]);
});
