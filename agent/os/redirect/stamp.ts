// Each rule carries a short hash of its own text as a comment, so that "is what the kernel has what we planned" needs no
// parsing of a firewall's output format, which differs from version to version.

const STAMP = /ironmesh:([0-9a-f]{8})/;

export const stampOf = (text: string): string =>
  // Loaded at the first rule, not at the agent's start.
  process
    .getBuiltinModule("node:crypto")
    .createHash("sha256")
    .update(text)
    .digest("hex")
    .slice(0, 8);

/** A comment for a rule, safe inside double quotes: nothing but letters, digits and plain punctuation. */
export const comment = (text: string, why: string): string =>
  `ironmesh:${stampOf(text)} ${why.replace(/[^A-Za-z0-9 .,:/_-]/g, "")}`.slice(0, 120);

/** The stamp in a listed rule; "foreign" for a rule in our chain that is not ours. */
export const readStamp = (line: string): string => STAMP.exec(line)?.[1] ?? "foreign";
