// docs/resources.md, made from the schemas: what people read is what is checked. Written by test/support/write-resource-docs.ts.
import * as z from "zod";
import { SPEC_SCHEMAS } from "./parse-resource.ts";
import { KIND_NAMES, KINDS, type Kind } from "./resource.ts";

/** What each kind is for, and the file of docs/examples that shows it. */
const ABOUT: Readonly<Record<Kind, { readonly prose: string; readonly example?: string }>> = {
  Workload: {
    prose:
      "Processes on hosts of the mesh: who they are and which services they back. Labels that subsets and selectors choose by (`app`, `version`) stand in `metadata.labels`. Only declared ports are reachable over the mesh.",
    example: "workloads.yaml",
  },
  VirtualService: {
    prose:
      "Where requests for a host go: matched, split by weight, rewritten, retried, timed out. The caller's agent does it. With several VirtualServices for one host the first by name holds, and the others are warned about.",
    example: "canary.yaml",
  },
  DestinationRule: {
    prose:
      "Subsets of a service, and how its endpoints are balanced, limited and ejected. The caller's agent does it. Rules for one host and namespace are merged: subsets add up, the first traffic policy stays.",
    example: "canary.yaml",
  },
  ServiceEntry: {
    prose: "A service that no Workload backs: a database outside, an API on the internet.",
  },
  WorkloadEntry: {
    prose: "A machine without an agent, to be picked by the labels of a ServiceEntry.",
  },
  PeerAuthentication: {
    prose:
      "Whether callers must use mTLS. The most specific one holds: port, then selector, then namespace, then root namespace `istio-system`. Default PERMISSIVE.",
    example: "strict-mtls.yaml",
  },
  AuthorizationPolicy: {
    prose:
      "Who may do what with a workload; enforced by the agent of the host that is called. One in the root namespace `istio-system` holds in all namespaces. A refused HTTP request gets 403 with the policy's name, a refused TCP connection is closed.",
    example: "authorize-reviews.yaml",
  },
  RateLimit: {
    prose:
      "How many requests a workload takes. Counted and enforced by the agent of the host that is called, for that host alone and over all its threads: a service on three hosts takes three times as much. A request beyond it gets 429 with `retry-after` and `x-ratelimit-limit`, `-remaining`, `-reset`; flag RL in log and metrics. Looked at after authorization, so what is refused counts nothing. Opaque TCP is not limited. One in the root namespace `istio-system` holds in all namespaces.",
    example: "rate-limit.yaml",
  },
};

/** What z.toJSONSchema gives, as far as it is read here. */
interface Shape {
  readonly type?: string;
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Shape>>;
  readonly required?: readonly string[];
  readonly items?: Shape;
  readonly additionalProperties?: Shape;
  readonly notYet?: Readonly<Record<string, string>>;
  readonly named?: string;
}

interface Row {
  readonly path: string;
  readonly type: string;
  readonly prose: string;
}

interface Sheet {
  readonly rows: Row[];
  readonly refused: string[];
}

/** The whole file. */
export function resourceDocs(): string {
  const shared = new Map<string, Shape>();
  const kinds = [...KIND_NAMES].sort((a) => (a === "Workload" ? -1 : 0));
  const sections = kinds.map((kind) => section(kind, shared));
  const shapes = sharedShapes(shared);
  return `${[HEAD, ...sections, "## Shapes used in several places", ...shapes].join("\n\n")}\n`;
}

const HEAD = `# Resources

Generated from the schemas in \`agent/api\` by \`npm run docs\`; do not edit.

Every resource has \`apiVersion\`, \`kind\`, \`metadata\` (\`name\`, \`namespace\`, default \`default\`, \`labels\`, \`annotations\`) and \`spec\`.
Field names and meanings are Istio's, so files written for Istio work as they are. A field that is not known, or not
supported yet, is refused by name with its file and line; Kubernetes' own kinds in the same file (\`apps/v1\` Deployment, \`v1\` Service)
are skipped with a warning. Durations are written \`1.5s\`, \`250ms\`, \`1h30m\`.`;

function section(kind: Kind, shared: Map<string, Shape>): string {
  const { group, versions } = KINDS[kind];
  const { prose, example } = ABOUT[kind];
  const schema = SPEC_SCHEMAS[kind];
  const shape: Shape = z.toJSONSchema(schema, {
    io: "input",
    unrepresentable: "any",
    reused: "inline",
  }) as Shape;
  const shown = example === undefined ? "" : ` Example: [${example}](examples/${example}).`;
  const served = versions.map((v) => `\`${group}/${v}\``).join(", ");
  return [`## ${kind}`, `${served}. ${prose}${shown}`, sheetText(read(shape, shared))].join("\n\n");
}

function sharedShapes(shared: Map<string, Shape>): string[] {
  const texts: string[] = [];
  // Reading one may find more: a Map is walked in the order of insertion, additions included.
  for (const [name, shape] of shared) texts.push(`### ${name}`, sheetText(read(shape, shared)));
  return texts;
}

function read(shape: Shape, shared: Map<string, Shape>): Sheet {
  const sheet: Sheet = { rows: [], refused: [] };
  readFields(shape, "", shared, sheet);
  return sheet;
}

function readFields(shape: Shape, prefix: string, shared: Map<string, Shape>, sheet: Sheet): void {
  for (const [name, field] of Object.entries(shape.properties ?? {})) {
    const isRequired = shape.required?.includes(name) ?? false;
    const { inner, suffix, text } = typeOf(field, shared);
    sheet.rows.push({
      path: `${prefix}${name}`,
      type: `${text}${isRequired ? ", required" : ""}`,
      prose: field.description ?? inner.description ?? "",
    });
    if (inner.named === undefined) readFields(inner, `${prefix}${name}${suffix}.`, shared, sheet);
  }
  for (const [name, instead] of Object.entries(shape.notYet ?? {}))
    sheet.refused.push(`\`${prefix}${name}\`${instead && ` (${instead})`}`);
}

function typeOf(
  field: Shape,
  shared: Map<string, Shape>,
): { inner: Shape; suffix: string; text: string } {
  const wrapped = (inside: Shape, mark: string, word: string) => {
    const found = typeOf(inside, shared);
    return { inner: found.inner, suffix: `${mark}${found.suffix}`, text: `${word} ${found.text}` };
  };
  if (field.items !== undefined) return wrapped(field.items, "[]", "list of");
  if (field.type === "object" && field.properties === undefined && field.additionalProperties)
    return wrapped(field.additionalProperties, ".NAME", "map of");
  if (field.named !== undefined) {
    if (!shared.has(field.named)) shared.set(field.named, field);
    return { inner: field, suffix: "", text: `[${field.named}](#${field.named.toLowerCase()})` };
  }
  return { inner: field, suffix: "", text: plainType(field) };
}

function plainType(field: Shape): string {
  if (field.enum !== undefined) return field.enum.map((v) => `\`${String(v)}\``).join(" or ");
  if (field.type === "string") return "text";
  if (field.type === "integer") return "whole number";
  return field.type ?? "any";
}

function sheetText({ rows, refused }: Sheet): string {
  const table = [
    "| field | type | what it does |",
    "| --- | --- | --- |",
    ...rows.map(({ path, type, prose }) => `| \`${path}\` | ${cell(type)} | ${cell(prose)} |`),
  ].join("\n");
  return refused.length === 0
    ? table
    : `${table}\n\nNot supported yet, refused by name: ${refused.join(", ")}.`;
}

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");
