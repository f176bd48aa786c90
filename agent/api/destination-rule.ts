// networking.istio.io DestinationRule: subsets of a service, and how its endpoints are balanced, limited and ejected.
// https://istio.io/latest/docs/reference/config/networking/destination-rule/
import * as z from "zod";
import {
  across,
  atLeast,
  duration,
  exportTo,
  fields,
  labels,
  list,
  nonEmpty,
  percentValue,
  port,
  subsetName,
  wholePercent,
  wildcardHost,
} from "./schema-parts.ts";

/** Places that agents hash to (resilience/rendezvous.ts): what a ring's minimum size asks for, they have. */
const RING_SIZE_MAX = 16_384;
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}$/;

const consistentHash = fields(
  {
    httpHeaderName: z
      .string()
      .regex(FIELD_NAME, { error: "must be the name of a header" })
      .optional()
      .describe("By the value of this request header; a request without it goes anywhere."),
    httpQueryParameterName: nonEmpty
      .optional()
      .describe(
        "By the value, as sent, of the first parameter of this name in the request's query; a request without it goes anywhere.",
      ),
    useSourceIp: z
      .literal(true, { error: "must be true, or left out" })
      .optional()
      .describe(
        "By the caller's address: of an HTTP request, a TCP connection or a flow of UDP datagrams. A program that calls from the loopback address, as all do that call a virtual IP, counts with its host's first address.",
      ),
    ringHash: fields({
      minimumRingSize: atLeast(1)
        .check(
          across((size, report) => {
            if (size > RING_SIZE_MAX) report(`must be at most ${RING_SIZE_MAX}`);
          }),
        )
        .optional()
        .describe(
          `Least number of parts that keys are told apart by. There are always ${RING_SIZE_MAX}.`,
        ),
    })
      .optional()
      .describe("Default: as if it were there."),
  },
  {
    named: "ConsistentHash",
    notYet: {
      httpCookie: "write httpHeaderName with a header that your clients send",
      maglev: "leave it out: an endpoint that leaves moves no key but its own here",
      minimumRingSize: "write ringHash.minimumRingSize",
    },
  },
).check(
  across((given, report) => {
    const { httpHeaderName, httpQueryParameterName, useSourceIp } = given;
    const keys = [httpHeaderName, httpQueryParameterName, useSourceIp];
    if (keys.filter((key) => key !== undefined).length !== 1)
      report("must have exactly one of httpHeaderName, httpQueryParameterName, useSourceIp");
  }),
);

const loadBalancer = fields(
  {
    simple: z
      .enum(["UNSPECIFIED", "LEAST_CONN", "RANDOM", "ROUND_ROBIN", "LEAST_REQUEST"])
      .optional()
      .describe(
        "LEAST_REQUEST (default; also UNSPECIFIED and the older name LEAST_CONN): the less busy of two at random. ROUND_ROBIN: in turn. RANDOM: any.",
      ),
    consistentHash: consistentHash
      .optional()
      .describe(
        "The same key goes to the same endpoint, from every agent, as long as that one is there and healthy; meanwhile the next best takes its keys, and nobody else's move.",
      ),
  },
  {
    named: "LoadBalancer",
    notYet: {
      localityLbSetting: "",
      zoneAwareLbSetting: "",
      warmup: "",
      warmupDurationSecs: "",
    },
  },
).check(
  across((given, report) => {
    if (given.simple !== undefined && given.consistentHash !== undefined)
      report("must not be there beside consistentHash", "simple");
  }),
);

const connectionPool = fields(
  {
    tcp: fields(
      {
        maxConnections: atLeast(1)
          .optional()
          .describe("Connections to all endpoints together, per agent. Default 2147483647."),
        connectTimeout: duration
          .optional()
          .describe("How long a connect may take, the mesh handshake included. Default 10s."),
      },
      { notYet: { tcpKeepalive: "", maxConnectionDuration: "", idleTimeout: "" } },
    )
      .optional()
      .describe("For every connection."),
    http: fields(
      {
        http1MaxPendingRequests: atLeast(1)
          .optional()
          .describe("Requests that may wait for a connection; 503 beyond it. Default 2147483647."),
        http2MaxRequests: atLeast(1)
          .optional()
          .describe(
            "Requests under way to all endpoints together, HTTP/1.1 too, per agent; 503 beyond it. Default 2147483647.",
          ),
        maxRequestsPerConnection: atLeast(0)
          .optional()
          .describe(
            "Requests before a connection is closed; 1 switches keep-alive off. Default 0: unlimited.",
          ),
        maxRetries: atLeast(0)
          .optional()
          .describe(
            "Retries under way to all endpoints together, per agent. Default: as `retryBudget` says, which also takes its place where both are given.",
          ),
        idleTimeout: duration
          .optional()
          .describe("How long an unused connection is kept. Default 1h."),
        h2UpgradePolicy: z
          .enum(["DEFAULT", "DO_NOT_UPGRADE"], {
            error: (issue) =>
              issue.input === "UPGRADE" ? "UPGRADE is not supported yet" : undefined,
          })
          .optional()
          .describe("HTTP/1.1 stays HTTP/1.1: DEFAULT and DO_NOT_UPGRADE both say so."),
      },
      { notYet: { useClientProtocol: "", maxConcurrentStreams: "", http2KeepAlive: "" } },
    )
      .optional()
      .describe("For HTTP requests."),
  },
  { named: "ConnectionPool" },
);

const outlierDetection = fields(
  {
    consecutive5xxErrors: atLeast(0)
      .optional()
      .describe(
        "Answers 5xx (or failures) in a row that eject an endpoint; 0 switches it off. Default 5.",
      ),
    consecutiveGatewayErrors: atLeast(0)
      .optional()
      .describe("Answers 502, 503, 504 (or failures) in a row that eject; 0, the default: off."),
    interval: duration.optional().describe("How often ejections are looked over. Default 10s."),
    baseEjectionTime: duration
      .optional()
      .describe("How long an endpoint is out, times how often it was ejected. Default 30s."),
    maxEjectionPercent: wholePercent
      .optional()
      .describe("Most endpoints that may be out at once; one may always be. Default 10."),
    minHealthPercent: wholePercent
      .optional()
      .describe("Below this share of healthy endpoints all are used. Default 0."),
  },
  {
    named: "OutlierDetection",
    notYet: {
      consecutiveErrors: "write consecutiveGatewayErrors or consecutive5xxErrors",
      consecutiveLocalOriginFailures: "",
      splitExternalLocalOriginErrors: "",
      outlierDetectionHttpErrorCodes: "",
    },
  },
);

const tls = fields(
  {
    mode: z
      .enum(["DISABLE", "ISTIO_MUTUAL"], {
        error: (issue) =>
          issue.input === "SIMPLE" || issue.input === "MUTUAL"
            ? `${issue.input} is not supported yet`
            : undefined,
      })
      .describe("ISTIO_MUTUAL (default for endpoints with an agent): mTLS. DISABLE: plaintext."),
  },
  {
    named: "ClientTls",
    notYet: {
      clientCertificate: "",
      privateKey: "",
      caCertificates: "",
      caCrl: "",
      credentialName: "",
      insecureSkipVerify: "",
      sni: "",
      subjectAltNames: "",
    },
  },
);

const policySections = {
  loadBalancer: loadBalancer.optional().describe("How an endpoint is picked."),
  connectionPool: connectionPool.optional().describe("Limits, held per agent over all threads."),
  outlierDetection: outlierDetection
    .optional()
    .describe(
      "When a failing endpoint is left out. Default: never; `{}` switches the defaults on.",
    ),
  tls: tls.optional().describe("How endpoints are dialled."),
};

const portPolicy = fields({
  port: fields({ number: port.describe("Port of the service.") }).describe(
    "The port that it holds for.",
  ),
  ...policySections,
});

const retryBudget = fields(
  {
    percent: percentValue
      .optional()
      .describe("Retries under way, in percent of all requests under way. Default 20."),
    minRetryConcurrency: atLeast(0)
      .optional()
      .describe("So many retries under way are always allowed. Default 3."),
  },
  { named: "RetryBudget", notYet: { budgetInterval: "" } },
);

const trafficPolicy = fields(
  {
    ...policySections,
    retryBudget: retryBudget
      .optional()
      .describe(
        "How many retries may be under way to all endpoints together, per agent, so that they do not multiply an outage; ports cannot differ. Default: `{}`, unless `maxRetries` is set.",
      ),
    portLevelSettings: list(portPolicy)
      .check(
        across((ports, report) => {
          const numbers = ports.map((p) => p.port.number);
          numbers.forEach((number, i) => {
            if (numbers.indexOf(number) !== i)
              report(`is declared twice: ${number}`, i, "port", "number");
          });
        }),
      )
      .optional()
      .describe(
        "Replaces the whole policy for single ports: sections a port does not name have their defaults there, not what stands above.",
      ),
  },
  { named: "TrafficPolicy", notYet: { tunnel: "", proxyProtocol: "" } },
);

export const destinationRuleSpec = fields(
  {
    host: wildcardHost.describe(
      "Service that the rule is for. A short name is looked up in this resource's namespace.",
    ),
    trafficPolicy: trafficPolicy
      .optional()
      .describe("Holds for all endpoints; a subset's own policy overrides it section by section."),
    subsets: list(
      fields({
        name: subsetName.describe("What VirtualServices call it."),
        labels: labels
          .optional()
          .describe("Labels an endpoint must have to belong to it. Default: all endpoints."),
        trafficPolicy: trafficPolicy.optional().describe("Overrides the rule's own policy."),
      }),
    )
      .check(
        across((subsets, report) => {
          const names = subsets.map((s) => s.name);
          names.forEach((name, i) => {
            if (names.indexOf(name) !== i) report(`is named twice: \`${name}\``, i, "name");
          });
        }),
      )
      .optional()
      .describe("Named parts of the service, chosen by label: its versions, say."),
    exportTo: exportTo.optional().describe('Namespaces that see it. Only `"*"`, the default.'),
  },
  { notYet: { workloadSelector: "" } },
);

export type DestinationRuleSpec = z.infer<typeof destinationRuleSpec>;
export type TrafficPolicySpec = z.infer<typeof trafficPolicy>;
