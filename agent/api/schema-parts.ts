// The bricks that every resource schema is built from: objects that refuse unknown and not yet supported fields by name,
// and the scalar types of Istio's API. Reasons are predicates ("must be ...", "is not ..."), read after the field's path.
import { RE2JS } from "re2js";
import * as z from "zod";
import { parseDuration } from "./duration.ts";
import { suggest } from "./suggest.ts";

/** Longest regex a resource may hold; Istio's proxies bound the compiled program instead. */
export const REGEX_LENGTH_MAX = 1024;
export const LIST_LENGTH_MAX = 4096;

export type Strict<S extends z.ZodRawShape> = z.ZodObject<S, z.core.$strict>;

export interface AboutFields {
  /** Name of the shape in docs/resources.md, where it is used in several places. */
  readonly named?: string;
  /** Fields Istio has and we do not, each with what to do instead (may be empty). */
  readonly notYet?: Readonly<Record<string, string>>;
}

/** An object of known fields. Others are refused: with "not supported yet" if Istio has them, else with a did-you-mean. */
export function fields<S extends z.ZodRawShape>(
  shape: S,
  { notYet = {}, named }: AboutFields = {},
): Strict<S> {
  const known = Object.keys(shape);
  const refusal = z.unknown().refine(() => false, {
    error: (issue) => unknownField(String(issue.path?.at(-1)), known, notYet),
  });
  // The catch-all instead of strictObject: one problem per field, with its own path, and rules of the object still run.
  const object = z.object(shape).catchall(refusal).meta({ notYet, named });
  return object as unknown as Strict<S>;
}

function unknownField(
  name: string,
  known: readonly string[],
  notYet: Readonly<Record<string, string>>,
): string {
  if (Object.hasOwn(notYet, name)) {
    const instead = notYet[name];
    return instead ? `is not supported yet: ${instead}` : "is not supported yet";
  }
  const near = suggest(name, [...known, ...Object.keys(notYet)]);
  if (near !== undefined) return `is not a field here; did you mean \`${near}\`?`;
  return `is not a field here; known are ${known.join(", ")}`;
}

type Rule<T> = (value: T) => string | undefined;

/** A reason, or undefined if all is well. */
const must =
  <T>(rule: Rule<T>) =>
  (context: z.core.ParsePayload<T>): void => {
    const reason = rule(context.value);
    if (reason !== undefined)
      context.issues.push({
        code: "custom",
        message: reason,
        input: context.value,
        continue: true,
      });
  };

/** Text that keeps a rule. */
const text = (rule: Rule<string>) => z.string().check(must(rule));

/** Reports reasons at paths below the value: for rules between fields. */
export type Report = (reason: string, ...path: (string | number)[]) => void;
export const across =
  <T>(rule: (value: T, report: Report) => void) =>
  (context: z.core.ParsePayload<T>): void =>
    rule(context.value, (message, ...path) => {
      context.issues.push({ code: "custom", message, path, input: context.value, continue: true });
    });

const LABEL = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/i;
const DOMAIN = (name: string): boolean =>
  name.length <= 253 &&
  name
    .replace(/\.$/, "")
    .split(".")
    .every((label) => LABEL.test(label));
const IPV4 = z.ipv4();
const IPV6 = z.ipv6();
const CIDRS = z.union([z.cidrv4(), z.cidrv6(), IPV4, IPV6]);
export const isAddress = (name: string): boolean =>
  IPV4.safeParse(name).success || IPV6.safeParse(name).success;
export const isDomain = (name: string): boolean => DOMAIN(name);

export const nonEmpty = text((v) => (v === "" ? "must not be empty" : undefined));

/** RFC 1123 label, lower case: what can be one part of a DNS name. */
export const dnsLabel = text((v) =>
  LABEL.test(v) && v === v.toLowerCase()
    ? undefined
    : "must be a DNS label: at most 63 of a-z, 0-9 and -, not first or last",
);

/** A host that is called: no wildcard. Short names are looked up in the resource's namespace. */
export const destinationHost = text((v) =>
  DOMAIN(v) ? undefined : "must be a host name such as `reviews` or `reviews.default.mesh`",
);

/** A host, or `*.rest`, or `*`. */
export const wildcardHost = text((v) =>
  v === "*" || DOMAIN(v.startsWith("*.") ? v.slice(2) : v) || isAddress(v)
    ? undefined
    : "must be a host name, perhaps with a first label `*`",
);

export const subsetName = text((v) =>
  LABEL.test(v) ? undefined : "must be a subset name: at most 63 letters, digits and -",
);

export const cidr = text((v) =>
  CIDRS.safeParse(v).success ? undefined : "must be an IP address or a block such as 10.0.0.0/8",
);

export const port = z
  .int()
  .check(
    must((v: number) => (v >= 1 && v <= 65535 ? undefined : "must be a port from 1 to 65535")),
  );

export const atLeast = (min: number) =>
  z
    .int()
    .check(
      must((v: number) =>
        v >= min && v < 2 ** 31 ? undefined : `must be a whole number from ${min} to 2147483647`,
      ),
    );

export const percentValue = z
  .number()
  .check(must((v: number) => (v >= 0 && v <= 100 ? undefined : "must be from 0 to 100")));

export const wholePercent = z
  .int()
  .check(must((v: number) => (v >= 0 && v <= 100 ? undefined : "must be from 0 to 100")));

/** As protobuf's JSON writes it; at least 1 ms, as Istio wants it. */
export const duration = text((v) => {
  const parsed = parseDuration(v);
  if (!parsed.ok) return parsed.error;
  return parsed.value >= 1 ? undefined : "must be at least 1ms";
});

/** RE2: linear time whatever the input; backreferences and look-around do not exist in it. */
export const regex = text(regexReason);
export function regexReason(pattern: string): string | undefined {
  if (pattern === "") return "must not be empty";
  if (pattern.length > REGEX_LENGTH_MAX)
    return `must be at most ${REGEX_LENGTH_MAX} characters of regex`;
  try {
    RE2JS.compile(pattern);
    return undefined;
  } catch (error) {
    return `must be a regex of RE2: ${error instanceof Error ? error.message : "it does not compile"}`;
  }
}

const LABEL_VALUE = /^(?:[a-z0-9](?:[-a-z0-9_.]{0,61}[a-z0-9])?)?$/i;
const LABEL_KEY =
  /^(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?\/)?[a-z0-9](?:[-a-z0-9_.]{0,61}[a-z0-9])?$/i;

/** Labels that select or describe: exact names and values, no wildcards. */
export const labels = z.record(z.string(), z.string()).check(
  across((given, report) => {
    for (const [name, value] of Object.entries(given)) {
      if (!LABEL_KEY.test(name)) report("is not a label name", name);
      if (!LABEL_VALUE.test(value))
        report("must be a label value: at most 63 letters, digits, -, _ and .; no wildcards", name);
    }
  }),
);

export const list = <T extends z.ZodType>(item: T) => z.array(item).max(LIST_LENGTH_MAX);
/** A list that, if it is there, holds something: an empty one would mean the opposite of what its writer thinks. */
export const filledList = <T extends z.ZodType>(item: T) =>
  z
    .array(item)
    .max(LIST_LENGTH_MAX)
    .check(
      must((v) => (v.length === 0 ? "must not be empty: name something or remove it" : undefined)),
    );

/** Only the whole mesh: what is written elsewhere would hold in fewer namespaces than we can yet ensure. */
export const exportTo = list(
  text((v) => (v === "*" ? undefined : `${JSON.stringify(v)} is not supported yet; only "*"`)),
);
