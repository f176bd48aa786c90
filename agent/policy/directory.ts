// Who is who, for questions in the words that people have at hand: what a name may mean, and what it is then.
import type { ExplainRefusal } from "../api/explain.ts";
import { parseSpiffeId, spiffeIdOf } from "../api/spiffe.ts";
import { suggest } from "../api/suggest.ts";
import { err, ok, type Result } from "../base/result.ts";
import { principalOf } from "./clauses.ts";
import type { LocalWorkload } from "./snapshot.ts";

export interface KnownWorkload {
  readonly name: string;
  readonly namespace: string;
  readonly identity: string;
  /** Where it runs, as far as it is known. */
  readonly hosts: readonly string[];
}
export interface KnownService {
  readonly host: string;
  readonly name: string;
  readonly namespace: string;
}
export interface KnownHost {
  readonly name: string;
  readonly identity: string;
  readonly address: string | undefined;
}

/** As a host's agent compiles it. */
export interface CompiledWorkload {
  readonly workload: LocalWorkload;
  /** Ports' `services` count in this list. */
  readonly services: readonly { readonly host: string }[];
}

/** A mesh as far as somebody knows it: the config server all of it, an agent its own part. */
export interface Directory {
  readonly epoch: number;
  readonly version: number;
  readonly trustDomain: string;
  readonly workloads: readonly KnownWorkload[];
  readonly services: readonly KnownService[];
  readonly hosts: readonly KnownHost[];
  /** Workloads behind a service, by its canonical host, as `NAMESPACE/NAME`. */
  backing(service: string): ReadonlySet<string>;
  /** Undefined: nothing is known of who may call it. */
  compiled(host: string, workload: KnownWorkload): CompiledWorkload | undefined;
}

export interface KnownCaller {
  /** Undefined: it proves nothing. */
  readonly identity: string | undefined;
  readonly address: string | undefined;
  readonly note?: string;
}

export type KnownTarget = {
  /** What was named; undefined: the workloads themselves. */
  readonly service: KnownService | undefined;
  readonly workloads: readonly KnownWorkload[];
};

const fullName = ({ namespace, name }: { namespace: string; name: string }): string =>
  `${namespace}/${name}`;

/** Word for a caller that proves nothing. */
export const PLAINTEXT = "plaintext";

export function findCaller(
  directory: Directory,
  text: string,
): Result<KnownCaller, ExplainRefusal> {
  if (text === PLAINTEXT) return ok({ identity: undefined, address: undefined });
  const spelled = identityIn(text);
  if (spelled !== undefined) return ofIdentity(directory, spelled);
  const workloads = directory.workloads.filter((one) => isCalled(one, text));
  if (workloads.length > 0) return oneIdentity(directory, text, workloads);
  const services = directory.services.filter((one) => isService(one, text));
  const behind = services.flatMap(({ host }) => workloadsBehind(directory, host));
  if (behind.length > 0) return oneIdentity(directory, text, behind);
  const ofAccount = directory.workloads.filter(({ identity, namespace }) => {
    const account = accountOf(identity);
    return account === text || `${namespace}/${account}` === text;
  });
  if (ofAccount.length > 0) return oneIdentity(directory, text, ofAccount);
  const host = directory.hosts.find(({ name }) => name === text);
  if (host !== undefined) return ok({ identity: host.identity, address: host.address });
  return err(
    unknown(
      directory,
      text,
      "--from takes a workload, a service, a SPIFFE ID, a host, or `plaintext`",
    ),
  );
}

export function findTarget(
  directory: Directory,
  text: string,
): Result<KnownTarget, ExplainRefusal> {
  const services = directory.services.filter((one) => isService(one, text));
  const [service, ...others] = services;
  if (service !== undefined && others.length > 0)
    return err(ambiguous(text, services.map(fullName)));
  if (service !== undefined)
    return ok({ service, workloads: workloadsBehind(directory, service.host) });
  const spelled = identityIn(text);
  const workloads = directory.workloads.filter((one) =>
    spelled === undefined ? isCalled(one, text) : one.identity === spelled,
  );
  const names = [...new Set(workloads.map(fullName))];
  if (names.length > 1 && spelled === undefined) return err(ambiguous(text, names));
  if (workloads.length > 0) return ok({ service: undefined, workloads });
  return err(unknown(directory, text, "--to takes a service, a workload or a SPIFFE ID"));
}

/** With or without its scheme. */
function identityIn(text: string): string | undefined {
  const full = text.startsWith("spiffe://") ? text : `spiffe://${text}`;
  return parseSpiffeId(full).ok ? full : undefined;
}

function ofIdentity(directory: Directory, identity: string): Result<KnownCaller, ExplainRefusal> {
  const host = directory.hosts.find((one) => one.identity === identity);
  if (host !== undefined) return ok({ identity, address: host.address });
  const holder = directory.workloads.find((one) => one.identity === identity);
  if (holder !== undefined) return ok({ identity, address: addressOf(directory, holder) });
  const note = `nobody who is known here has the identity ${identity}`;
  return ok({ identity, address: undefined, note });
}

function oneIdentity(
  directory: Directory,
  text: string,
  workloads: readonly KnownWorkload[],
): Result<KnownCaller, ExplainRefusal> {
  const [first] = workloads;
  if (first === undefined) return err(unknown(directory, text, ""));
  const { identity } = first;
  if (workloads.some((one) => one.identity !== identity)) {
    const names = [...new Set(workloads.map(fullName))];
    const identities = [...new Set(workloads.map((one) => principalOf(one.identity) ?? ""))];
    return err(ambiguous(text, names.length > 1 ? names : identities));
  }
  return ok({ identity, address: addressOf(directory, first) });
}

const addressOf = ({ hosts }: Directory, workload: KnownWorkload): string | undefined =>
  hosts.find(({ name }) => name === workload.hosts[0])?.address;

function workloadsBehind(directory: Directory, service: string): KnownWorkload[] {
  const names = directory.backing(service);
  return directory.workloads.filter((one) => names.has(fullName(one)));
}

const isCalled = (one: KnownWorkload, text: string): boolean =>
  one.name === text || fullName(one) === text;

/** As callers write it (docs/operating.md), or as `NAMESPACE/NAME`. */
function isService(service: KnownService, text: string): boolean {
  const { host, name, namespace } = service;
  const written = text.toLowerCase().replace(/\.$/, "");
  const own = `${name}.${namespace}`;
  return [
    host,
    name,
    own,
    `${own}.mesh`,
    `${own}.svc`,
    `${own}.svc.cluster.local`,
    `${name}.service.consul`,
    fullName(service),
  ].includes(written);
}

const accountOf = (identity: string): string | undefined => {
  const parsed = parseSpiffeId(identity);
  return parsed.ok && spiffeIdOf(parsed.value) === identity
    ? parsed.value.serviceAccount
    : undefined;
};

const ambiguous = (text: string, names: readonly string[]): ExplainRefusal => ({
  code: "ambiguous_name",
  message: `${JSON.stringify(text)} may mean ${names.slice(0, 8).join(", ")}${names.length > 8 ? ` and ${names.length - 8} more` : ""}`,
  next: "write one of them in full",
});

function unknown(directory: Directory, text: string, takes: string): ExplainRefusal {
  const names = [...directory.workloads, ...directory.services].flatMap((one) => [
    one.name,
    fullName(one),
  ]);
  const near = suggest(text, [...new Set(names)]);
  return {
    code: "unknown_name",
    message: `nobody here is called ${JSON.stringify(text.slice(0, 200))}${near === undefined ? "" : `; did you mean ${near}?`}`,
    next: `${takes}; \`meshctl get workloads\` shows them`,
  };
}
