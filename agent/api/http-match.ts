// What a VirtualService's HTTP route matches requests by.
import * as z from "zod";
import { headerName } from "./http-fields.ts";
import { across, fields, labels, list, nonEmpty, port, regex } from "./schema-parts.ts";

const stringMatch = fields(
  {
    exact: z.string().optional().describe("The whole value, byte for byte."),
    prefix: nonEmpty.optional().describe("How the value begins."),
    regex: regex
      .optional()
      .describe("RE2 regex that the whole value must match (it is anchored at both ends)."),
  },
  { named: "StringMatch" },
);
export type StringMatchSpec = z.infer<typeof stringMatch>;

const kindsOf = (match: StringMatchSpec): number =>
  [match.exact, match.prefix, match.regex].filter((v) => v !== undefined).length;
const one = stringMatch.check(
  across((match, report) => {
    if (kindsOf(match) !== 1) report("must have exactly one of exact, prefix, regex");
  }),
);
/** `{}` asks only that the field is there. */
const oneOrPresent = stringMatch.check(
  across((match, report) => {
    if (kindsOf(match) > 1) report("must have at most one of exact, prefix, regex");
  }),
);

const headerMatches = z.record(headerName, oneOrPresent);
/** Only the mesh's own sidecars: there are no gateways to bind to yet. */
export const gateways = list(
  z.string().refine((name) => name === "mesh", {
    error: "is not supported yet: gateways other than `mesh` are not there",
  }),
);

export const httpMatch = fields(
  {
    name: z.string().optional().describe("Shown in logs next to the route's name."),
    uri: one
      .optional()
      .describe("Path of the request, without its query. Case-sensitive unless ignoreUriCase."),
    ignoreUriCase: z
      .boolean()
      .optional()
      .describe("Compares `uri` exact and prefix without regard to case. Default false."),
    scheme: one.optional().describe("`http` or `https`."),
    method: one.optional().describe("Method, upper case as HTTP writes it."),
    authority: one.optional().describe("Host header (or :authority) as the client sent it."),
    headers: headerMatches
      .optional()
      .describe("Header name to match; `{}` asks only that it is there. Names in any case."),
    withoutHeaders: headerMatches
      .optional()
      .describe("Header name to match that must NOT hold; `{}`: the header must be absent."),
    queryParams: z
      .record(nonEmpty, oneOrPresent)
      .optional()
      .describe("Query parameter to match; `{}` asks only that it is there. Not percent-decoded."),
    port: port.optional().describe("Port of the service that was called."),
    sourceLabels: labels
      .optional()
      .describe("Labels the calling workload must have. Known at the caller's agent only."),
    sourceNamespace: z.string().optional().describe("Namespace of the calling workload."),
    gateways: gateways.optional().describe("Only `mesh` is supported."),
  },
  { notYet: { statPrefix: "" } },
);
export type HttpMatchSpec = z.infer<typeof httpMatch>;
