/**
 * Quorum arithmetic: pure functions over one value per counting member (voters and witnesses; nobody else, R13).
 * Used by commit, ReadIndex, check-quorum and vote counting.
 */

/** Smallest number of members such that any two such sets intersect. */
export function quorumOf(members: number): number {
  return Math.floor(members / 2) + 1;
}

/** Largest value that a quorum has reached. Sorts `values` in place; −1 when there are no members. */
export function quorumValue(values: number[]): number {
  for (let i = 1; i < values.length; i++) {
    const value = values[i] ?? 0;
    let at = i - 1;
    while (at >= 0 && (values[at] ?? 0) < value) {
      values[at + 1] = values[at] ?? 0;
      at -= 1;
    }
    values[at + 1] = value;
  }
  return values[quorumOf(values.length) - 1] ?? -1;
}

export type VoteResult = "won" | "lost" | "open";

/** Outcome of an election among `members`, given who answered what. Answers of others do not count. */
export function voteResult(members: readonly number[], votes: ReadonlyMap<number, boolean>): VoteResult {
  let granted = 0;
  let refused = 0;
  for (const id of members) {
    const vote = votes.get(id);
    if (vote === true) granted += 1;
    else if (vote === false) refused += 1;
  }
  const quorum = quorumOf(members.length);
  if (members.length > 0 && granted >= quorum) return "won";
  return members.length - refused < quorum ? "lost" : "open";
}
