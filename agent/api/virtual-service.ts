// networking.istio.io VirtualService: how requests for a host are matched and where they go.
// https://istio.io/latest/docs/reference/config/networking/virtual-service/
import * as z from "zod";
import { authorityText, headerOperations, retryOn } from "./http-fields.ts";
import { gateways, httpMatch } from "./http-match.ts";
import {
  across,
  atLeast,
  cidr,
  destinationHost,
  duration,
  exportTo,
  fields,
  isAddress,
  labels,
  list,
  percentValue,
  port,
  type Report,
  regex,
  subsetName,
  wildcardHost,
} from "./schema-parts.ts";

const destination = fields(
  {
    host: destinationHost.describe(
      "Service that gets the request. A short name is looked up in this resource's namespace.",
    ),
    subset: subsetName
      .optional()
      .describe("Subset of that service, declared by a DestinationRule for the same host."),
    port: fields({ number: port.describe("Port of the service.") })
      .optional()
      .describe("Needed only when the service has several ports and the one called is not meant."),
  },
  { named: "Destination" },
);

const weight = atLeast(0)
  .optional()
  .describe(
    "Share of requests, relative to the sum over the route. Default 0 with several destinations, all with one.",
  );

type Weighted = { weight?: number | undefined }[];
function shareSomething(routes: Weighted, report: Report): void {
  if (routes.length === 0) report("must name at least one destination");
  const total = routes.reduce((sum, r) => sum + (r.weight ?? 0), 0);
  if (routes.length > 1 && total === 0)
    report("must give a weight above 0 to at least one of several destinations");
  if (total > 2 ** 31 - 1) report("must have weights whose sum is at most 2147483647");
  if (routes.length === 1 && routes[0]?.weight === 0)
    report("must be above 0 for the only destination", 0, "weight");
}

const httpRouteDestination = fields({
  destination: destination.describe("Where these requests go."),
  weight,
  headers: headerOperations
    .optional()
    .describe("Header edits for requests to this destination and their responses."),
});

const percentage = fields({
  value: percentValue.optional().describe("0 to 100, fractions allowed. Default 0: nobody."),
})
  .optional()
  .describe("Share of requests it happens to. Without it, to none.");

const fault = fields({
  delay: fields(
    {
      fixedDelay: duration.describe("How long the request waits before it is forwarded."),
      percentage,
    },
    { notYet: { exponentialDelay: "", percent: "write `percentage: {value: N}`" } },
  )
    .optional()
    .describe("Waits before forwarding."),
  abort: fields(
    {
      httpStatus: z
        .int()
        .refine((v) => v >= 200 && v <= 599, { error: "must be a status from 200 to 599" })
        .describe("Status that is answered instead of forwarding."),
      percentage,
    },
    { notYet: { grpcStatus: "", http2Error: "" } },
  )
    .optional()
    .describe("Answers without forwarding."),
}).check(
  across((value, report) => {
    if (value.delay === undefined && value.abort === undefined)
      report("must have delay or abort or both");
  }),
);

const redirect = fields(
  {
    uri: z
      .string()
      .optional()
      .describe("Path and query that replace the request's. Default: the request's own."),
    authority: authorityText.optional().describe("Host that replaces the request's."),
    scheme: z
      .enum(["http", "https"])
      .optional()
      .describe("Scheme that replaces the request's. Default: the request's own."),
    port: port.optional().describe("Port in the new location. Not together with derivePort."),
    derivePort: z
      .enum(["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"])
      .optional()
      .describe("FROM_PROTOCOL_DEFAULT: 80 or 443 by scheme. FROM_REQUEST_PORT: as requested."),
    redirectCode: z
      .int()
      .refine((v) => [301, 302, 303, 307, 308].includes(v), {
        error: "must be 301, 302, 303, 307 or 308",
      })
      .optional()
      .describe("Status of the answer. Default 301."),
  },
  { notYet: { prefixRewrite: "" } },
).check(
  across((value, report) => {
    if (value.port !== undefined && value.derivePort !== undefined)
      report("must have only one of port, derivePort");
    if (Object.keys(value).length === 0)
      report("must have at least one of uri, authority, scheme, port, redirectCode");
  }),
);

const directResponse = fields({
  status: z
    .int()
    .refine((v) => v >= 200 && v <= 599, { error: "must be a status from 200 to 599" })
    .describe("Status of the answer."),
  body: fields(
    {
      string: z
        .string()
        .max(65_536, "must be at most 65536 characters")
        .describe("Text of the answer; set its type by `headers.response.set`."),
    },
    { notYet: { bytes: "write `string`" } },
  )
    .optional()
    .describe("Body of the answer. Default: none."),
});

const rewrite = fields({
  uri: z
    .string()
    .optional()
    .describe("Replaces the path; where the match was a prefix, only that prefix."),
  authority: authorityText.optional().describe("Replaces the Host header towards the upstream."),
  uriRegexRewrite: fields({
    match: regex.describe("RE2 regex; what it finds in the path is replaced."),
    rewrite: z.string().describe("Replacement; \\1 to \\9 are groups of the match."),
  })
    .optional()
    .describe("Replaces parts of the path. Not together with `uri`."),
}).check(
  across((value, report) => {
    if (Object.keys(value).length === 0)
      report("must have at least one of uri, authority, uriRegexRewrite");
    if (value.uri !== undefined && value.uriRegexRewrite !== undefined)
      report("must have only one of uri, uriRegexRewrite");
  }),
);

const retries = fields(
  {
    attempts: atLeast(0).describe(
      "Retries after the first try; 0 switches retries off. Each costs the upstream a request.",
    ),
    perTryTimeout: duration
      .optional()
      .describe("Bound for each try. Default: the route's `timeout`."),
    retryOn: retryOn
      .optional()
      .describe(
        "Comma-separated conditions, status codes among them. Default connect-failure,refused-stream,unavailable,cancelled.",
      ),
    backoff: duration
      .optional()
      .describe("Base of the jittered, doubling wait between tries. Default 25ms."),
  },
  { notYet: { retryRemoteLocalities: "", retryIgnorePreviousHosts: "" } },
).check(
  across((value, report) => {
    if (value.attempts === 0 && (value.perTryTimeout ?? value.retryOn ?? value.backoff))
      report("must have no other settings when attempts is 0 (retries are off)");
  }),
);

const httpRoute = fields(
  {
    name: z.string().optional().describe("Shown in logs and metrics."),
    match: list(httpMatch)
      .optional()
      .describe("Any of these; within one, all that is given must hold. Default: every request."),
    route: list(httpRouteDestination)
      .check(across(shareSomething))
      .optional()
      .describe("Where the requests go, by weight."),
    redirect: redirect.optional().describe("Answers with a redirect instead of forwarding."),
    directResponse: directResponse
      .optional()
      .describe("Answers with this status instead of forwarding."),
    rewrite: rewrite.optional().describe("Changes path or host before forwarding."),
    timeout: duration
      .optional()
      .describe("For the whole request, retries included; 504 after it. Default: none."),
    retries: retries
      .optional()
      .describe("When a failed try is repeated. Default: 2 attempts on Istio's conditions."),
    fault: fault.optional().describe("Injected delays and failures, to test clients with."),
    headers: headerOperations.optional().describe("Header edits for all of this route."),
  },
  {
    notYet: {
      delegate: "",
      mirror: "",
      mirrors: "",
      mirrorPercent: "",
      mirror_percent: "",
      mirrorPercentage: "",
      corsPolicy: "",
    },
  },
).check(
  across((value, report) => {
    const actions = [value.route, value.redirect, value.directResponse];
    if (actions.filter((a) => a !== undefined).length !== 1)
      report("must have exactly one of route, redirect, directResponse");
    if (value.route !== undefined) return;
    for (const name of ["rewrite", "retries", "timeout"] as const)
      if (value[name] !== undefined) report("holds only for a route that forwards", name);
    if (value.fault !== undefined)
      report(
        value.redirect === undefined
          ? "holds only for a route that forwards"
          : "is not supported yet with a redirect",
        "fault",
      );
    if (value.headers?.request !== undefined)
      report("holds only for a route that forwards", "headers", "request");
    if (value.headers?.response?.remove !== undefined)
      report("holds only for a route that forwards", "headers", "response", "remove");
  }),
);

const tcpRoute = fields({
  match: list(
    fields(
      {
        destinationSubnets: list(cidr)
          .optional()
          .describe("Addresses that were dialled, any of these blocks."),
        port: port.optional().describe("Port of the service that was called."),
        sourceLabels: labels.optional().describe("Labels the calling workload must have."),
        sourceNamespace: z.string().optional().describe("Namespace of the calling workload."),
        gateways: gateways.optional().describe("Only `mesh` is supported."),
      },
      { notYet: { sourceSubnet: "" } },
    ),
  )
    .optional()
    .describe("Any of these; within one, all that is given must hold. Default: every connection."),
  route: list(fields({ destination: destination.describe("Where these connections go."), weight }))
    .check(across(shareSomething))
    .describe("Where the connections go, by weight."),
});

const tlsRoute = fields({
  match: list(
    fields(
      {
        sniHosts: list(wildcardHost)
          .check(
            across((hosts, report) => {
              if (hosts.length === 0) report("must not be empty");
              hosts.forEach((host, at) => {
                if (isAddress(host)) report("must be a name: a ClientHello names no address", at);
                if (host === "*")
                  report("must not be `*`: name what is within this resource's hosts", at);
              });
            }),
          )
          .describe(
            "Server names, any of these: as clients send them, or `*.x` for all below x. Each within this resource's `hosts`.",
          ),
        destinationSubnets: list(cidr)
          .optional()
          .describe("Addresses that were dialled, any of these blocks."),
        port: port.optional().describe("Port of the service that was called."),
        sourceLabels: labels.optional().describe("Labels the calling workload must have."),
        sourceNamespace: z.string().optional().describe("Namespace of the calling workload."),
        gateways: gateways.optional().describe("Only `mesh` is supported."),
      },
      { notYet: { sourceSubnet: "" } },
    ),
  )
    .check(
      across((matches, report) => {
        if (matches.length === 0) report("must not be empty: `sniHosts` say what it is for");
      }),
    )
    .describe("Any of these; within one, all that is given must hold."),
  route: list(fields({ destination: destination.describe("Where these connections go."), weight }))
    .check(across(shareSomething))
    .describe("Where the connections go, by weight."),
});

function checkHosts(hosts: string[], report: Report): void {
  if (hosts.length === 0)
    report("must not be empty: only delegates have no hosts, and they are not supported yet");
  hosts.forEach((host, i) => {
    if (host === "*") report("must not be `*`: inside the mesh, name the hosts", i);
    if (hosts.indexOf(host) !== i) report("is named twice", i);
  });
}

export const virtualServiceSpec = fields(
  {
    hosts: list(wildcardHost)
      .check(across(checkHosts))
      .describe(
        "Hosts whose requests these rules are for. A short name is looked up in this resource's namespace; it must be a service of the mesh for callers to reach it.",
      ),
    gateways: gateways.optional().describe("Only `mesh`, the default, is supported."),
    http: list(httpRoute)
      .optional()
      .describe("Rules for HTTP ports, first match wins. A request that none matches gets 404."),
    tcp: list(tcpRoute)
      .optional()
      .describe(
        "Rules for opaque TCP ports, first match wins. Without a match: the service itself.",
      ),
    tls: list(tlsRoute)
      .optional()
      .describe(
        "Rules for ports of protocol TLS or HTTPS, by the server name of the client's ClientHello, which is passed on as it came; first match wins. Where there are any, what none matches is refused; elsewhere such ports follow `tcp`.",
      ),
    exportTo: exportTo.optional().describe('Namespaces that see it. Only `"*"`, the default.'),
  },
  { notYet: {} },
).check(
  across((spec, report) => {
    if ((spec.http ?? spec.tcp ?? spec.tls) === undefined) report("must have http, tcp or tls");
  }),
);

export type VirtualServiceSpec = z.infer<typeof virtualServiceSpec>;
export type HttpRouteSpec = z.infer<typeof httpRoute>;
export type TcpRouteSpec = z.infer<typeof tcpRoute>;
export type TlsRouteSpec = z.infer<typeof tlsRoute>;
export type DestinationSpec = z.infer<typeof destination>;
