// For bugs of ours. What throws here closes its connection, counts in ironmesh_bugs_total and fails every test.

export class Bug extends Error {
  override readonly name = "Bug";
}

export function assert(holds: unknown, claim: string): asserts holds {
  if (!holds) throw new Bug(claim);
}

/** Ends an exhaustive switch: compiles only when every case was taken. */
export function unreachable(value: never): never {
  throw new Bug(`unreachable: ${JSON.stringify(value)}`);
}
