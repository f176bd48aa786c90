// security.istio.io PeerAuthentication and AuthorizationPolicy: who must prove who they are, and who may do what.
// https://istio.io/latest/docs/reference/config/security/authorization-policy/
import * as z from "zod";
import { across, cidr, fields, filledList, labels, nonEmpty, type Report } from "./schema-parts.ts";

export const selector = fields({
  matchLabels: labels.optional().describe("All of these labels must be the workload's."),
})
  .optional()
  .describe(
    "Workloads of this namespace that it holds for; in the root namespace, of any. Default: all.",
  );

const mutualTls = fields({
  mode: z
    .enum(["UNSET", "DISABLE", "PERMISSIVE", "STRICT"])
    .optional()
    .describe(
      "STRICT: only mTLS. PERMISSIVE: mTLS and plaintext. DISABLE: only plaintext. UNSET: as the wider policy says, PERMISSIVE if none does.",
    ),
});

export const peerAuthenticationSpec = fields({
  selector,
  mtls: mutualTls.optional().describe("What incoming connections must be."),
  portLevelMtls: z
    .record(z.string(), mutualTls)
    .optional()
    .describe("The same for single ports (the port the app listens on). Needs a selector."),
}).check(
  across((spec, report) => {
    if (spec.portLevelMtls === undefined) return;
    if (Object.keys(spec.selector?.matchLabels ?? {}).length === 0)
      report("needs a selector with matchLabels", "portLevelMtls");
    if (Object.keys(spec.portLevelMtls).length === 0) report("must not be empty", "portLevelMtls");
    for (const name of Object.keys(spec.portLevelMtls))
      if (!isPortText(name)) report("must be a port from 1 to 65535", "portLevelMtls", name);
  }),
);
export type PeerAuthenticationSpec = z.infer<typeof peerAuthenticationSpec>;

const isPortText = (v: string): boolean => /^[1-9][0-9]{0,4}$/.test(v) && Number(v) <= 65535;

const patterns = filledList(nonEmpty);
const portTexts = filledList(
  z.string().refine(isPortText, { error: 'must be a port from 1 to 65535 as text, such as "80"' }),
);
/** `{*}` templates are Envoy's own path language. */
const paths = filledList(
  nonEmpty.refine((v) => !/\{\*\*?\}/.test(v), {
    error: "is not supported yet: path templates `{*}`",
  }),
);

const notEmptyObject = (given: object, report: Report): void => {
  if (Object.keys(given).length === 0)
    report("must not be empty: it would hold for everybody; remove it if that is meant");
};

const source = fields(
  {
    principals: patterns
      .optional()
      .describe(
        "Identities without `spiffe://`: `TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, exact, `prefix*`, `*suffix` or `*` (anybody with an identity).",
      ),
    notPrincipals: patterns.optional().describe("None of these identities."),
    namespaces: patterns.optional().describe("Namespaces of the caller's identity."),
    notNamespaces: patterns.optional().describe("None of these namespaces."),
    ipBlocks: filledList(cidr).optional().describe("Addresses the connection comes from."),
    notIpBlocks: filledList(cidr).optional().describe("None of these addresses."),
  },
  {
    notYet: {
      requestPrincipals: "",
      notRequestPrincipals: "",
      remoteIpBlocks: "",
      notRemoteIpBlocks: "",
      serviceAccounts: "write principals",
      notServiceAccounts: "write notPrincipals",
      trustDomains: "",
      notTrustDomains: "",
    },
  },
).check(across(notEmptyObject));

export const operation = fields({
  hosts: patterns
    .optional()
    .describe("Host header, without regard to case; HTTP only, like methods and paths."),
  notHosts: patterns.optional().describe("None of these hosts."),
  ports: portTexts.optional().describe("Port the app listens on."),
  notPorts: portTexts.optional().describe("None of these ports."),
  methods: patterns.optional().describe("HTTP methods."),
  notMethods: patterns.optional().describe("None of these methods."),
  paths: paths.optional().describe("Path without its query, normalised."),
  notPaths: paths.optional().describe("None of these paths."),
}).check(across(notEmptyObject));

const HEADER_KEY = /^request\.headers\[([!#$%&'*+\-.^_`|~0-9A-Za-z]+)\]$/;
const KEYS = [
  "source.ip",
  "source.namespace",
  "source.principal",
  "destination.port",
  "connection.sni",
];
const KEYS_NOT_YET =
  /^(?:remote\.ip|source\.serviceAccount|source\.trustDomain|destination\.ip|request\.auth\..+|experimental\..+)$/;

const condition = fields({
  key: z
    .string()
    .check(across(knownKey))
    .describe(
      "`request.headers[NAME]`, `source.ip`, `source.namespace`, `source.principal`, `destination.port` or `connection.sni` (the server name a client asks an app for that terminates TLS itself: on ports of protocol TLS or HTTPS; elsewhere there is none).",
    ),
  values: patterns.optional().describe("Any of these must match."),
  notValues: patterns.optional().describe("None of these may match."),
}).check(
  across((given, report) => {
    if ((given.values ?? given.notValues) === undefined)
      report("must have values or notValues or both");
    if (given.key === "source.ip")
      checkAll(given, report, isBlock, "must be an IP address or block");
    if (given.key === "destination.port") checkAll(given, report, isPortText, "must be a port");
  }),
);

const isBlock = (v: string): boolean => cidr.safeParse(v).success;

function knownKey(key: string, report: Report): void {
  if (KEYS.includes(key) || HEADER_KEY.test(key)) return;
  if (KEYS_NOT_YET.test(key)) report(`\`${key}\` is not supported yet`);
  else report(`must be request.headers[NAME], ${KEYS.join(", ")}`);
}

type Condition = { values?: string[] | undefined; notValues?: string[] | undefined };
function checkAll(
  given: Condition,
  report: Report,
  isRight: (v: string) => boolean,
  reason: string,
): void {
  for (const list of ["values", "notValues"] as const)
    given[list]?.forEach((v, i) => {
      if (!isRight(v)) report(reason, list, i);
    });
}

const rule = fields({
  from: filledList(fields({ source: source.describe("All that is given must hold.") }))
    .optional()
    .describe("Who calls: any of these. Default: everybody."),
  to: filledList(fields({ operation: operation.describe("All that is given must hold.") }))
    .optional()
    .describe("What is called: any of these. Default: everything."),
  when: filledList(condition)
    .optional()
    .describe("Further conditions: all of these. Default: none."),
});

const ACTIONS_NOT_YET = ["AUDIT", "CUSTOM"];

export const authorizationPolicySpec = fields(
  {
    selector,
    action: z
      .enum(["ALLOW", "DENY"], {
        error: (issue) =>
          ACTIONS_NOT_YET.some((name) => name === issue.input)
            ? `${issue.input} is not supported yet`
            : undefined,
      })
      .optional()
      .describe(
        "DENY policies are looked at first; then, once a workload has any ALLOW policy, only what one of them allows passes. Default ALLOW.",
      ),
    rules: z
      .array(rule)
      .max(512)
      .optional()
      .describe(
        "Any of these. No rules: an ALLOW policy admits nobody. One empty rule `{}`: everybody.",
      ),
  },
  { notYet: { provider: "", targetRef: "write selector", targetRefs: "write selector" } },
);
export type AuthorizationPolicySpec = z.infer<typeof authorizationPolicySpec>;
export type AuthorizationRuleSpec = z.infer<typeof rule>;
