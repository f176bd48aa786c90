// What is said about a member, and which of two sayings stands (SWIM, Das, Gupta, Motivala 2002, 4.2). Only the member itself
// raises its incarnation, so only it can take an accusation back.

/** `left`: it said so itself, or somebody claims it did. */
export type Status = "alive" | "suspect" | "dead" | "left";
export const STATUSES: readonly Status[] = ["alive", "suspect", "dead", "left"];

export interface Claim {
  readonly name: string;
  readonly status: Status;
  readonly incarnation: number;
  /** Who says so: distinct accusers make a suspicion short (Lifeguard). */
  readonly by: string;
}

/** More than a member that refutes once a second needs in its life. */
export const INCARNATION_MAX = 2 ** 32 - 1;

const RANK: Record<Status, number> = { alive: 0, suspect: 1, dead: 2, left: 2 };

/** Whether the claim stands against what is known; nothing is known of a member that was never heard of. */
export function overrides(
  claim: Pick<Claim, "status" | "incarnation">,
  known: { readonly status: Status; readonly incarnation: number } | undefined,
): boolean {
  if (known === undefined) return true;
  if (claim.incarnation !== known.incarnation) return claim.incarnation > known.incarnation;
  return RANK[claim.status] > RANK[known.status];
}
