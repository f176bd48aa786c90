// `meshctl explain --from A --to B`: names to identities and ports, and an explanation for each workload that the call may reach.
import type {
  ExplainAnswer,
  ExplainQuestion,
  ExplainRefusal,
  ExplainResult,
} from "../api/explain.ts";
import { err, ok, type Result } from "../base/result.ts";
import { canonicalAddress } from "./address-block.ts";
import {
  type CompiledWorkload,
  type Directory,
  findCaller,
  findTarget,
  type KnownService,
  type KnownTarget,
  type KnownWorkload,
} from "./directory.ts";
import { explain } from "./explain.ts";
import { isMeshHost } from "./hosts.ts";
import { ALL_IS_KNOWN } from "./question.ts";
import type { Caller, RequestView } from "./request-view.ts";
import type { InboundPort } from "./snapshot.ts";

/** Workloads behind one service that are explained; each may need a compile of its host. */
export const RESULTS_MAX = 16;

export function answerQuestion(
  directory: Directory,
  question: ExplainQuestion,
): Result<ExplainAnswer, ExplainRefusal> {
  const wrong = wrongIn(question);
  if (wrong !== undefined) return err(wrong);
  const caller = findCaller(directory, question.from);
  if (!caller.ok) return caller;
  const target = findTarget(directory, question.to);
  if (!target.ok) return target;
  const places = placesOf(directory, target.value);
  if (places.length === 0) return err(notHere(question.to, target.value));
  const port = portOf(places, target.value.service, question);
  if (!port.ok) return port;
  const { identity, address, note } = caller.value;
  const who: Caller = { identity, address: question.address ?? address ?? "" };
  const results: ExplainResult[] = [];
  for (const place of places) {
    const found = inboundPort(place, target.value.service, port.value);
    if (found === undefined) continue;
    const request = requestOf(found, question);
    if (!request.ok) return request;
    const service = serviceOf(place, found, target.value.service);
    const authority = question.host ?? authorityOf(directory, service, port.value);
    const asked = {
      caller: who,
      destination: { port: found.appPort, address: found.appAddress },
      request: request.value && { ...request.value, authority },
      service,
      serverName: nameIn(question),
      notKept: ALL_IS_KNOWN,
    };
    const { workload } = place.compiled;
    results.push({ hosts: place.known.hosts, explanation: explain(workload, found, asked) });
  }
  const { epoch, version } = directory;
  const more = target.value.workloads.length - RESULTS_MAX;
  const notes = [
    ...(note === undefined ? [] : [note]),
    ...(more > 0 ? [`${more} further workloads behind it are not shown`] : []),
    ...unseen(target.value, places),
  ];
  return ok({ epoch, version, results, notes });
}

interface Place {
  readonly known: KnownWorkload;
  readonly compiled: CompiledWorkload;
}

/** A workload has the same policies on each of its hosts. */
function placesOf(directory: Directory, { workloads }: KnownTarget): Place[] {
  return workloads.slice(0, RESULTS_MAX).flatMap((known) => {
    for (const host of known.hosts) {
      const compiled = directory.compiled(host, known);
      if (compiled !== undefined) return [{ known, compiled }];
    }
    return [];
  });
}

function unseen({ workloads }: KnownTarget, places: readonly Place[]): string[] {
  const left = workloads
    .slice(0, RESULTS_MAX)
    .filter((one) => !places.some(({ known }) => known === one));
  const names = left.map(({ namespace, name, hosts }) => `${namespace}/${name}${onHosts(hosts)}`);
  return left.length === 0 ? [] : [`not known here: who may call ${names.slice(0, 8).join(", ")}`];
}

const onHosts = (hosts: readonly string[]): string =>
  hosts.length === 0 ? "" : ` (on ${hosts.slice(0, 4).join(", ")})`;

function notHere(to: string, { workloads, service }: KnownTarget): ExplainRefusal {
  if (workloads.length === 0 && service !== undefined && !isMeshHost(service))
    return {
      code: "not_here",
      message: `${JSON.stringify(to)} is what a ServiceEntry declares, and no workload of the mesh is behind it: no agent stands there, so nothing is enforced`,
      next: "`meshctl config endpoints` on the calling host shows where calls go",
    };
  if (workloads.length === 0)
    return {
      code: "not_here",
      message: `no workload of the mesh is behind ${JSON.stringify(to)}: no agent stands there, so nothing is enforced`,
      next: "declare it by a Workload, on a host that joined",
    };
  const hosts = [...new Set(workloads.flatMap((one) => one.hosts))];
  return {
    code: "not_here",
    message: `who may call ${JSON.stringify(to)} is not known here: it runs elsewhere${onHosts(hosts)}`,
    next: "ask the config server (without --admin), or the agent there",
  };
}

// ---- ports

const isOf = (place: Place, service: KnownService | undefined, index: number): boolean =>
  service === undefined || place.compiled.services[index]?.host === service.host;

/** A service's port as callers know it; of a workload also the one its app listens on. */
function inboundPort(
  place: Place,
  service: KnownService | undefined,
  port: number,
): InboundPort | undefined {
  const { ports } = place.compiled.workload;
  return (
    ports.find((one) =>
      one.services.some((s) => s.port === port && isOf(place, service, s.service)),
    ) ?? ports.find((one) => one.appPort === port)
  );
}

/** A port that callers may use, and how the app behind it is reached. */
type OpenPorts = ReadonlyMap<number, InboundPort>;

function openPorts(places: readonly Place[], service: KnownService | undefined): OpenPorts {
  const open = new Map<number, InboundPort>();
  for (const place of places)
    for (const port of place.compiled.workload.ports)
      for (const one of port.services)
        if (isOf(place, service, one.service)) open.set(one.port, port);
  return open;
}

function portOf(
  places: readonly Place[],
  service: KnownService | undefined,
  { port, to, method, path }: ExplainQuestion,
): Result<number, ExplainRefusal> {
  const open = openPorts(places, service);
  const listed = [...open.keys()].sort((a, b) => a - b).join(", ") || "none";
  const refuse = (message: string): Result<number, ExplainRefusal> =>
    err({ code: "no_such_port", message, next: `its ports: ${listed}; choose one with --port` });
  if (port !== undefined) {
    const isThere = places.some((place) => inboundPort(place, service, port) !== undefined);
    return isThere ? ok(port) : refuse(`${to} has no port ${port}`);
  }
  const only = onlyPort(open, method !== undefined || path !== undefined);
  return only === undefined
    ? refuse(`${to} has ${open.size === 0 ? "no port" : "several ports"}`)
    : ok(only);
}

/** The one there is, or the one that speaks HTTP. */
function onlyPort(open: OpenPorts, isHttp: boolean): number | undefined {
  const fitting = [...open].filter(
    ([, { protocol }]) => !isHttp || (protocol !== "tcp" && protocol !== "udp"),
  );
  const http = fitting.filter(([, { protocol }]) => protocol === "http");
  const [only, ...others] = fitting.length === 1 ? fitting : http;
  return others.length > 0 ? undefined : only?.[0];
}

const serviceOf = (
  place: Place,
  port: InboundPort,
  service: KnownService | undefined,
): string | undefined =>
  service?.host ?? place.compiled.services[port.services[0]?.service ?? -1]?.host;

/** As its callers most likely write it. */
function authorityOf({ services }: Directory, host: string | undefined, port: number): string {
  const name = services.find((one) => one.host === host)?.name ?? host ?? "";
  return port === 80 ? name : `${name}:${port}`;
}

// ---- the request

const nameIn = ({ serverName }: ExplainQuestion): string | undefined => serverName?.toLowerCase();

/** Undefined: a server name may be asked for there, or none is. */
const namesNobody = (
  { appPort, isTls }: InboundPort,
  { serverName }: ExplainQuestion,
): Result<never, ExplainRefusal> | undefined =>
  serverName === undefined || isTls === true
    ? undefined
    : err(invalid(`port ${appPort} is not of TLS: its clients name no server there`));

const requestOf = (port: InboundPort, question: ExplainQuestion) =>
  namesNobody(port, question) ?? requestAt(port, question);

function requestAt(
  { protocol, appPort }: InboundPort,
  { method, path, headers, host, isTcp }: ExplainQuestion,
): Result<Omit<RequestView, "authority"> | undefined, ExplainRefusal> {
  const isRequest = [method, path, headers, host].some((part) => part !== undefined);
  if (isTcp === true && isRequest)
    return err(invalid("an opaque connection has no method, path, host or headers"));
  const isOpaque = protocol === "tcp" || protocol === "udp";
  if (isOpaque && isRequest)
    return err(
      invalid(
        `port ${appPort} speaks ${protocol.toUpperCase()}: leave out method, path, host and headers`,
      ),
    );
  if (protocol === "http" && isTcp === true)
    return err(invalid(`port ${appPort} speaks HTTP: there are no opaque connections to it`));
  if (isOpaque || isTcp === true) return ok(undefined);
  const fields = new Map<string, string>();
  for (const [name, value] of headers ?? []) {
    const before = fields.get(name.toLowerCase());
    fields.set(name.toLowerCase(), before === undefined ? value : `${before}, ${value}`);
  }
  return ok({
    method: method ?? "GET",
    path: path ?? "/",
    scheme: "http",
    header: (name) => fields.get(name),
  });
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}$/;
const SERVER_NAME = /^[a-zA-Z0-9_.-]{1,255}$/;
/** What the agent makes of a path before policies see it (RFC 3986 6.2.2) is not done here. */
const NOT_NORMAL = /\/\.{1,2}(?:\/|$|\?)|\/\/|%(?:2[ef]|5c)|\\|[^\x21-\x7e]/i;

const invalid = (message: string): ExplainRefusal => ({
  code: "invalid_question",
  message,
  next: "`meshctl explain --help` has examples",
});

function wrongIn(question: ExplainQuestion): ExplainRefusal | undefined {
  const { method, path, headers, address, serverName } = question;
  if (method !== undefined && !TOKEN.test(method)) return invalid("the method is no HTTP method");
  if (path !== undefined && (!path.startsWith("/") || NOT_NORMAL.test(path)))
    return invalid(
      "the path must begin with `/`, and be normalised as agents do it: no `.`, `..` or empty segments, and what is not visible ASCII percent-encoded",
    );
  const field = headers?.find(([name]) => !TOKEN.test(name));
  if (field !== undefined) return invalid(`${JSON.stringify(field[0])} is no header name`);
  if (address !== undefined && canonicalAddress(address) === undefined)
    return invalid(`${JSON.stringify(address)} is no IP address`);
  if (serverName !== undefined && !SERVER_NAME.test(serverName))
    return invalid(`${JSON.stringify(serverName)} is no server name`);
  return undefined;
}
