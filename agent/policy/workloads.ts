// The workloads of this host: who their processes are, which ports they serve, and who may call them.

import type { ServiceEntrySpec } from "../api/service-entry.ts";
import { spiffeIdOf } from "../api/spiffe.ts";
import type { WorkloadSpec } from "../api/workload.ts";
import { compileAuthorization } from "./authorization.ts";
import type { Authorization } from "./authorization-rules.ts";
import { asksServerName } from "./authorize.ts";
import type { PortDraft, SlotDraft } from "./books.ts";
import { type HostBook, meshHost } from "./hosts.ts";
import { labelsHold } from "./labels.ts";
import type { Holding, PeerAuthentications } from "./peer-authentication.ts";
import { type PortProtocol, portProtocol } from "./port-protocol.ts";
import { compileRateLimits } from "./rate-limits.ts";
import type { InboundPort, LocalWorkload, ProcessSelector, Protocol } from "./snapshot.ts";
import type { ProblemList, Rule, Sources } from "./sources.ts";

type Workload = Rule<WorkloadSpec>;

interface WorkloadsDeps {
  readonly host: { readonly name: string; readonly addresses: readonly string[] };
  readonly sources: Sources;
  readonly hosts: HostBook;
  readonly peerAuthentications: PeerAuthentications;
  readonly mesh: { readonly rootNamespace: string; readonly trustDomain: string };
  readonly ports: PortDraft;
  readonly slots: SlotDraft;
  readonly problems: ProblemList;
}

export const localWorkloads = (host: string, sources: Sources): readonly Workload[] =>
  sources.Workload.filter(({ spec }) => spec.hosts.includes(host));

export function compileWorkloads(deps: WorkloadsDeps): LocalWorkload[] {
  const compiled: LocalWorkload[] = [];
  const seen = new Map<string, string>();
  for (const workload of localWorkloads(deps.host.name, deps.sources)) {
    const { name, namespace, labels, title, spec } = workload;
    const selector = selectorOf(spec);
    const processes = JSON.stringify(selector);
    const other = seen.get(processes);
    if (other !== undefined)
      deps.problems.error(
        title,
        "spec.process",
        `are the processes of ${other} too, on host ${deps.host.name}: give one of them a user of its own`,
      );
    seen.set(processes, title);
    const outboundPort = deps.ports.take(`${namespace}/${name}`);
    if (outboundPort === undefined) {
      deps.problems.error(
        title,
        "spec.hosts",
        `is one workload too many for ${deps.host.name}: a host holds 99`,
      );
      continue;
    }
    const ports = inboundPorts(workload, deps);
    const authorization = compileAuthorization(
      deps.sources.AuthorizationPolicy,
      workload,
      deps.mesh,
    );
    tellNameless(`${namespace}/${name}`, ports, authorization, deps.problems);
    compiled.push({
      name,
      namespace,
      identity: spiffeIdOf({
        trustDomain: deps.mesh.trustDomain,
        namespace,
        serviceAccount: spec.serviceAccount,
      }),
      serviceAccount: spec.serviceAccount,
      labels,
      selector,
      outboundPort,
      ports,
      authorization,
      ...rateLimitsOf(workload, deps),
    });
  }
  return compiled;
}

function rateLimitsOf(
  workload: Workload,
  { sources, mesh, slots, problems }: WorkloadsDeps,
): Pick<LocalWorkload, "rateLimits"> {
  const rateLimits = compileRateLimits(sources.RateLimit, workload, {
    rootNamespace: mesh.rootNamespace,
    slots,
    problems,
  });
  return rateLimits.length === 0 ? {} : { rateLimits };
}

/** Nobody listens for a server name there, so a condition on it holds for none. */
function tellNameless(
  workload: string,
  ports: readonly InboundPort[],
  { deny, allow }: Authorization,
  problems: ProblemList,
): void {
  const nameless = ports.filter(({ isTls, protocol }) => isTls !== true && protocol !== "udp");
  for (const policy of [...deny, ...allow]) {
    if (!asksServerName({ deny: [policy], allow: [] })) continue;
    for (const { appPort } of nameless)
      problems.warn(
        `AuthorizationPolicy ${policy.policy}`,
        "spec.rules",
        `ask for connection.sni, and there is none at port ${appPort} of ${workload}: it is not of protocol TLS or HTTPS`,
      );
  }
}

function selectorOf({ process: who }: WorkloadSpec): ProcessSelector {
  if (who.user !== undefined) return { is: "user", user: who.user };
  if (who.uid !== undefined) return { is: "uid", uid: who.uid };
  if (who.gid !== undefined) return { is: "gid", gid: who.gid };
  return { is: "slice", slice: who.slice ?? "" };
}

interface Declared {
  readonly host: string;
  readonly port: number;
  readonly targetPort: number;
  readonly spoken: PortProtocol;
}

/** By the port the app listens on: several services may share one. */
function inboundPorts(workload: Workload, deps: WorkloadsDeps): InboundPort[] {
  const { namespace, labels, title, spec } = workload;
  const byTarget = new Map<
    string,
    { appPort: number; spoken: PortProtocol; services: InboundPort["services"][number][] }
  >();
  for (const declared of [
    ...ownPorts(workload),
    ...entryPorts(workload, deps.sources.ServiceEntry),
  ]) {
    const service = deps.hosts.find(declared.host, namespace);
    if (service === undefined) continue;
    // TCP and UDP ports of one number are two.
    const target = `${declared.targetPort}${declared.spoken.protocol === "udp" ? "/udp" : ""}`;
    const known = byTarget.get(target);
    if (known === undefined)
      byTarget.set(target, {
        appPort: declared.targetPort,
        spoken: declared.spoken,
        services: [{ service, port: declared.port }],
      });
    else {
      const [holds, other] = [wordOf(known.spoken), wordOf(declared.spoken)];
      if (holds !== other)
        deps.problems.warn(
          title,
          "spec.services",
          `speak both ${holds} and ${other} at port ${declared.targetPort}; ${holds} holds`,
        );
      known.services.push({ service, port: declared.port });
    }
  }
  const appAddress =
    spec.address === "loopback" ? "127.0.0.1" : (deps.host.addresses[0] ?? "127.0.0.1");
  return [...byTarget.values()].map(({ appPort, spoken, services }) => ({
    appAddress,
    appPort,
    ...spoken,
    ...mtlsOf(
      spoken.protocol,
      deps.peerAuthentications.holding(namespace, labels, appPort),
      (reason) => deps.problems.error(title, `spec.services: port ${appPort}`, reason),
    ),
    services,
  }));
}

const wordOf = ({ protocol, speaks, isTls }: PortProtocol): string =>
  isTls === true ? "tls" : (speaks ?? protocol);

function mtlsOf(
  protocol: Protocol,
  holding: Holding | undefined,
  refuse: (reason: string) => void,
): Pick<InboundPort, "mtls" | "mtlsBy"> {
  if (protocol !== "udp")
    return holding === undefined
      ? { mtls: "permissive" }
      : { mtls: holding.mode, mtlsBy: holding.by };
  // Datagrams of callers without an agent could be answered by the app alone, past the policy.
  if (holding?.mode === "disable")
    refuse(
      `is UDP, which is taken from the mesh only, and PeerAuthentication ${holding.by.policy} says DISABLE (${holding.by.path}): not supported yet`,
    );
  return holding?.mode === "strict" ? { mtls: "strict", mtlsBy: holding.by } : { mtls: "strict" };
}

const ownPorts = ({ namespace, spec }: Workload): Declared[] =>
  (spec.services ?? []).flatMap((service) =>
    service.ports.map(({ port, targetPort = port, name, protocol }) => ({
      host: meshHost(service.name, namespace),
      port,
      targetPort,
      spoken: portProtocol(protocol, name, port),
    })),
  );

/** A ServiceEntry may pick this workload by label, and so declare ports of it. */
const entryPorts = (
  { namespace, labels }: Workload,
  entries: readonly Rule<ServiceEntrySpec>[],
): Declared[] =>
  entries.flatMap(({ namespace: of, spec }) => {
    const wanted = spec.workloadSelector?.labels;
    if (of !== namespace || wanted === undefined || !labelsHold(wanted, labels)) return [];
    return spec.hosts.flatMap((host) =>
      spec.ports.map(({ number, targetPort = number, name, protocol }) => ({
        host,
        port: number,
        targetPort,
        spoken: portProtocol(protocol, name, number),
      })),
    );
  });
