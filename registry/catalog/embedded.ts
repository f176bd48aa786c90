// The embedded catalog: pure. A Workload on a joined host is an endpoint only if that host's grant holds the Workload's
// service account; so neither a host nor a Workload alone can put an address behind a service.
import { readServiceEntry, readWorkload, titleOf } from "../../agent/api/resource.ts";
import type { CatalogService, ResourceDocument } from "../../agent/api/session.ts";
import { err, ok, type Problem, type Result } from "../../agent/base/result.ts";
import type { Catalog, CatalogHost, CatalogInput, CatalogView } from "./catalog.ts";
import { addDiscovered } from "./discovered.ts";
import type { Draft, Gathered } from "./draft.ts";
import { serviceHostOf } from "./draft.ts";
import { allot, VIRTUAL_ADDRESSES_MAX, vip4Of, vip6Of } from "./virtual-addresses.ts";

export class EmbeddedCatalog implements Catalog {
  view(input: CatalogInput): Result<CatalogView, readonly Problem[]> {
    const gathered = gather(input);
    if (gathered.errors.length > 0) return err(gathered.errors);
    const { drafts, warnings } = gathered;
    const addressed = [...drafts.values()].filter(({ isNameOnly }) => isNameOnly !== true);
    const hosts = addressed.map(({ host }) => host);
    const allotment = allot(input.reservations, hosts, input.nowMs);
    if (!allotment.ok) {
      const reason = `no virtual address is free for another service: at most ${VIRTUAL_ADDRESSES_MAX}, and a removed service keeps its own for a day`;
      return err([{ path: "", reason, severity: "error" }]);
    }
    const { indexOf, changed } = allotment.value;
    const sorted = [...drafts.values()].sort((a, b) => (a.host < b.host ? -1 : 1));
    return ok({
      services: sorted.map((draft) => serviceOf(draft, indexOf.get(draft.host))),
      endpoints: new Map(sorted.map((draft) => [draft.host, draft.endpoints])),
      reservationsChanged: changed,
      warnings,
    });
  }
}

const serviceOf = (draft: Draft, index: number | undefined): CatalogService => ({
  host: draft.host,
  name: draft.name,
  namespace: draft.namespace,
  vip4: index === undefined ? "" : vip4Of(index),
  vip6: index === undefined ? "" : vip6Of(index),
  ports: [...draft.ports.values()]
    .sort((a, b) => a.port - b.port)
    .map(({ port, name, protocol }) => ({ port, name, protocol })),
});

function gather(input: CatalogInput): Gathered {
  const gathered: Gathered = { drafts: new Map(), errors: [], warnings: [] };
  const hosts = new Map(input.hosts.map((host) => [host.name, host]));
  // Workloads first: what the mesh runs itself decides a port's protocol, whatever a ServiceEntry says of it.
  for (const document of input.resources) {
    if (document.kind === "Workload") addWorkload(gathered, document, hosts);
  }
  for (const document of input.resources) {
    if (document.kind === "ServiceEntry") addServiceEntry(gathered, document);
  }
  // Last: what is declared decides, what is found only adds.
  addDiscovered(gathered, input.discovered, input.hosts);
  return gathered;
}

function addWorkload(
  gathered: Gathered,
  document: ResourceDocument,
  hosts: ReadonlyMap<string, CatalogHost>,
): void {
  const { namespace } = document.metadata;
  const spec = readWorkload(document);
  const running = spec.hosts.flatMap((name, i) => {
    const reason = whyNot(hosts.get(name), name, `${namespace}/${spec.serviceAccount}`);
    if (reason === undefined) return [name];
    gathered.warnings.push({
      document: titleOf(document),
      path: `spec.hosts[${i}]`,
      reason,
      severity: "warning",
    });
    return [];
  });
  for (const service of spec.services ?? []) {
    const draft = draftOf(
      gathered,
      serviceHostOf(service.name, namespace),
      service.name,
      namespace,
    );
    for (const port of service.ports) {
      addPort(gathered, draft, document, { ...port, number: port.port });
    }
    for (const name of running) {
      const address = hosts.get(name)?.addresses[0];
      if (address === undefined) continue;
      draft.endpoints.push({
        address,
        host: name,
        workload: document.metadata.name,
        namespace,
        serviceAccount: spec.serviceAccount,
        labels: document.metadata.labels ?? {},
        weight: spec.weight ?? 1,
        ports: service.ports.map(({ port, targetPort }) => ({
          port,
          targetPort: targetPort ?? port,
        })),
        hasAgent: true,
      });
    }
  }
}

/** Why a workload has no endpoint on a host. */
function whyNot(host: CatalogHost | undefined, name: string, account: string): string | undefined {
  if (host === undefined) {
    return `names host ${name}, which has not joined: run \`meshctl token create --host ${name} --service-account ${account}\` and join it`;
  }
  if (!host.serviceAccounts.includes(account)) {
    return `names host ${name}, whose join token does not grant ${account}, so it gets no endpoint there: make the host a new token that grants it`;
  }
  if (host.addresses.length === 0) {
    return `names host ${name}, whose address is not known yet: start its agent, or state the address in its token`;
  }
  return undefined;
}

function addServiceEntry(gathered: Gathered, document: ResourceDocument): void {
  const spec = readServiceEntry(document);
  for (const written of spec.hosts) {
    const host = written.toLowerCase().replace(/\.$/, "");
    const isNew = !gathered.drafts.has(host);
    const draft = draftOf(gathered, host, host, document.metadata.namespace);
    const isNameOnly = host.startsWith("*.") || (spec.resolution ?? "NONE") === "NONE";
    // Whoever else declares it gives it an address.
    if (isNew && isNameOnly) draft.isNameOnly = true;
    else if (!isNameOnly) delete draft.isNameOnly;
    for (const port of spec.ports) addPort(gathered, draft, document, port);
  }
}

function draftOf({ drafts }: Gathered, host: string, name: string, namespace: string): Draft {
  const found = drafts.get(host);
  if (found !== undefined) return found;
  const draft: Draft = { host, name, namespace, ports: new Map(), endpoints: [] };
  drafts.set(host, draft);
  return draft;
}

interface PortAsked {
  readonly number: number;
  readonly name?: string | undefined;
  readonly protocol?: string | undefined;
}

/** Several resources may declare a port of one service, but not with different protocols: callers cannot know which holds. */
function addPort(gathered: Gathered, draft: Draft, from: ResourceDocument, asked: PortAsked): void {
  const before = draft.ports.get(asked.number);
  const name = asked.name ?? "";
  const protocol = asked.protocol ?? "";
  if (before === undefined) {
    draft.ports.set(asked.number, { port: asked.number, name, protocol, from: titleOf(from) });
  } else if (before.protocol !== protocol) {
    gathered.errors.push({
      document: titleOf(from),
      path: "spec",
      reason: `declares port ${asked.number} of ${draft.host} as ${protocol || "undetected"}, and ${before.from} as ${before.protocol || "undetected"}: write the same protocol in both`,
      severity: "error",
    });
  } else if (before.name === "" && name !== "") {
    before.name = name;
  }
}
