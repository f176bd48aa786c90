// networking.istio.io ServiceEntry and WorkloadEntry: services and machines that are no Workload of ours.
// https://istio.io/latest/docs/reference/config/networking/service-entry/
import * as z from "zod";
import { portProtocolName, saysTls } from "./port-protocol.ts";
import {
  across,
  atLeast,
  cidr,
  dnsLabel,
  exportTo,
  fields,
  isAddress,
  isDomain,
  labels,
  list,
  nonEmpty,
  port,
  type Report,
  wildcardHost,
} from "./schema-parts.ts";

const endpointAddress = z.string().refine((v) => isAddress(v) || isDomain(v), {
  error: (issue) =>
    String(issue.input).startsWith("unix://")
      ? "is not supported yet: unix sockets"
      : "must be an IP address or a host name",
});

/** A machine that backs a service, without an agent of ours unless a Workload says otherwise: dialled in plaintext. */
export const workloadEntrySpec = fields(
  {
    address: endpointAddress.describe(
      "IP address; for a service of resolution DNS also a host name, which agents look up.",
    ),
    ports: z
      .record(nonEmpty, port)
      .optional()
      .describe("Port name of the service to the port here. Default: the service's targetPort."),
    labels: labels
      .optional()
      .describe(
        "What subsets and selectors choose it by. `networking.istio.io/tunnel: http`: it takes HBONE at port 15008, and must prove `serviceAccount`.",
      ),
    weight: atLeast(1).optional().describe("Share of traffic among endpoints. Default 1."),
    serviceAccount: dnsLabel
      .optional()
      .describe(
        "Service account it runs as; told to telemetry only, since nothing proves it but HBONE.",
      ),
  },
  { notYet: { network: "", locality: "" } },
);

const servicePort = fields({
  number: port.describe("Port that callers use."),
  name: dnsLabel.describe("Name of the port, unique in the service."),
  protocol: portProtocolName
    .optional()
    .describe(
      "HTTP, HTTP2 and GRPC: routed request by request; to the latter two in HTTP/2 without TLS. TCP (also MONGO): opaque. TLS, HTTPS: opaque but for the server name in the ClientHello. Default: by `name` (`http-web`), else the first bytes decide.",
    ),
  targetPort: port.optional().describe("Port at the endpoints. Default: `number`."),
});

/** One after the other as Istio has them; DYNAMIC_DNS it has too. */
const RESOLUTIONS = ["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"] as const;

function checkHosts(hosts: string[], report: Report): void {
  if (hosts.length === 0) report("must not be empty");
  hosts.forEach((host, i) => {
    if (hosts.indexOf(host) !== i) report("is named twice", i);
    if (host === "*") report("must not be `*`", i);
    if (isAddress(host)) report("must be a DNS name; write addresses in `addresses`", i);
  });
}

export const serviceEntrySpec = fields(
  {
    hosts: list(wildcardHost)
      .check(across(checkHosts))
      .describe(
        "DNS names of the service; each gets a virtual IP, but with resolution NONE, and `*.x`: all names below x, which clients look up themselves, and which are known by the server name of TLS.",
      ),
    addresses: list(
      cidr.refine((v) => !v.includes("/") || /\/(?:32|128)$/.test(v), {
        error: "is not supported yet: a block of addresses; write single addresses",
      }),
    )
      .optional()
      .describe("Further addresses that mean this service when dialled."),
    ports: list(servicePort)
      .check(
        across((ports, report) => {
          ports.forEach((p, i) => {
            if (ports.findIndex((q) => q.number === p.number) !== i)
              report(`is declared twice: ${p.number}`, i, "number");
            if (ports.findIndex((q) => q.name === p.name) !== i)
              report(`is declared twice: \`${p.name}\``, i, "name");
          });
        }),
      )
      .describe("Ports of the service; at least one."),
    location: z
      .enum(["MESH_EXTERNAL", "MESH_INTERNAL"])
      .optional()
      .describe("Told to telemetry: outside the mesh (default) or part of it."),
    resolution: z
      .enum(RESOLUTIONS, {
        error: (issue) =>
          issue.input === "DYNAMIC_DNS" ? "DYNAMIC_DNS is not supported yet" : undefined,
      })
      .optional()
      .describe(
        "STATIC: the addresses of `endpoints`. DNS: all addresses of the host names in `endpoints`, or without any of `hosts`, which each agent that is asked for them looks up at its host's resolvers. DNS_ROUND_ROBIN: the same of one name, and always the first address of its last answer; connections stay when it changes. NONE, the default: wherever the client was going; only for ports of TLS and HTTPS, which are known by their server name.",
      ),
    endpoints: list(workloadEntrySpec)
      .optional()
      .describe("Where the service is. With DNS_ROUND_ROBIN at most one."),
    workloadSelector: fields({
      labels: labels.describe("Labels a WorkloadEntry or Workload must have."),
    })
      .optional()
      .describe("Picks endpoints of this namespace by label. Not together with `endpoints`."),
    exportTo: exportTo.optional().describe('Namespaces that see it. Only `"*"`, the default.'),
  },
  { notYet: { subjectAltNames: "" } },
).check(
  across((spec, report) => {
    if (spec.ports.length === 0) report("must not be empty", "ports");
    if (spec.endpoints !== undefined && spec.workloadSelector !== undefined)
      report("must have only one of endpoints, workloadSelector");
    checkNames(spec, report);
    spec.endpoints?.forEach((endpoint, i) => {
      if (spec.resolution === "STATIC" && !isAddress(endpoint.address))
        report("must be an IP address with resolution STATIC", "endpoints", i, "address");
      for (const name of Object.keys(endpoint.ports ?? {})) {
        if (!spec.ports.some((p) => p.name === name))
          report("is no port name of this service", "endpoints", i, "ports", name);
      }
    });
    if (spec.resolution === "STATIC" && (spec.endpoints ?? spec.workloadSelector) === undefined)
      report("needs endpoints or workloadSelector with STATIC", "resolution");
    checkLookups(spec, report);
  }),
);

interface Named {
  readonly hosts: readonly string[];
  readonly ports: readonly z.infer<typeof servicePort>[];
  readonly resolution?: string | undefined;
  readonly endpoints?: readonly unknown[] | undefined;
  readonly workloadSelector?: unknown;
}

/** What has no virtual IP is known by a server name alone. */
function checkNames(spec: Named, report: Report): void {
  const isOriginal = (spec.resolution ?? "NONE") === "NONE";
  const why = isOriginal
    ? "with resolution NONE"
    : spec.hosts.some((host) => host.startsWith("*."))
      ? "with a wildcard in `hosts`"
      : undefined;
  if (why === undefined) return;
  spec.ports.forEach((port, i) => {
    if (!saysTls(port))
      report(`is not supported yet ${why}: a port that is not TLS or HTTPS`, "ports", i);
    if (isOriginal && port.targetPort !== undefined)
      report("has no meaning with resolution NONE: the dialled port is", "ports", i, "targetPort");
  });
  if (!isOriginal) return;
  for (const name of ["endpoints", "workloadSelector"] as const)
    if (spec[name] !== undefined) report("must not be there with resolution NONE", name);
}

/** As Istio refuses them too, but for UDP. */
function checkLookups(spec: Named, report: Report): void {
  const { resolution, hosts, endpoints, workloadSelector, ports } = spec;
  if (resolution !== "DNS" && resolution !== "DNS_ROUND_ROBIN") return;
  const isOne = resolution === "DNS_ROUND_ROBIN";
  if (isOne && (endpoints?.length ?? 0) > 1)
    report("must be one at most with DNS_ROUND_ROBIN", "endpoints");
  if (isOne && workloadSelector !== undefined)
    report("must not be there with DNS_ROUND_ROBIN", "workloadSelector");
  hosts.forEach((host, i) => {
    if (host.startsWith("*.") && (endpoints?.length ?? 0) === 0 && workloadSelector === undefined)
      report(`is no name to look up with ${resolution}; write \`endpoints\``, "hosts", i);
  });
  ports.forEach((port, i) => {
    if (port.protocol === "UDP")
      report(`is not supported yet with ${resolution}: a UDP port`, "ports", i, "protocol");
  });
}

export type ServiceEntrySpec = z.infer<typeof serviceEntrySpec>;
export type WorkloadEntrySpec = z.infer<typeof workloadEntrySpec>;
