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
    address: endpointAddress.describe("IP address."),
    ports: z
      .record(nonEmpty, port)
      .optional()
      .describe("Port name of the service to the port here. Default: the service's targetPort."),
    labels: labels.optional().describe("What subsets and selectors choose it by."),
    weight: atLeast(1).optional().describe("Share of traffic among endpoints. Default 1."),
    serviceAccount: dnsLabel
      .optional()
      .describe("Service account it runs as; told to telemetry only, since nothing proves it."),
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

/** DNS stays in the type: the compiler is total over whatever another version of the server let in. */
const RESOLUTIONS_NOT_YET = new Set(["DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]);
const NOT_DNS =
  "is not supported yet; write STATIC and the addresses in `endpoints`, or for TLS that clients look up themselves NONE";

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
      .enum(["NONE", "STATIC", "DNS"], {
        error: (issue) =>
          RESOLUTIONS_NOT_YET.has(String(issue.input))
            ? `${String(issue.input)} ${NOT_DNS}`
            : undefined,
      })
      .refine((v) => !RESOLUTIONS_NOT_YET.has(v), { error: `DNS ${NOT_DNS}` })
      .optional()
      .describe(
        "STATIC: the addresses of `endpoints`. NONE, the default: wherever the client was going; only for ports of TLS and HTTPS, which are known by their server name.",
      ),
    endpoints: list(workloadEntrySpec).optional().describe("Where the service is."),
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
  }),
);

interface Named {
  readonly hosts: readonly string[];
  readonly ports: readonly z.infer<typeof servicePort>[];
  readonly resolution?: string | undefined;
  readonly endpoints?: unknown;
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

export type ServiceEntrySpec = z.infer<typeof serviceEntrySpec>;
export type WorkloadEntrySpec = z.infer<typeof workloadEntrySpec>;
