/** What the demo found: the one JSON object on its last line, and whether it is good. Pure. */
export interface DemoReport {
  readonly hosts: number;
  readonly shards: number;
  readonly voters: number;
  readonly killed: readonly string[];
  /** Kill of the host → a master shows it Down. */
  readonly detectedMs: number;
  /** Kill of the host → all shards at strength on the others. */
  readonly repairedMs: number;
  /** Kill of the leading master → another one plans. */
  readonly masterFailoverMs: number;
  /** Operations open when the master was killed, and how many of the same ids were done under the next one. */
  readonly operationsAtFailover: number;
  readonly operationsContinued: number;
  /** Restart of the killed host → nothing of its old replicas is left. */
  readonly cleanedMs: number;
  /** Largest time without an acknowledged write, over all shards; goal: at most 3 election timeouts. */
  readonly maxWriteGapMs: number;
  /** What was going on when it ended: "start", "host kill", "master kill", "repair", "return". */
  readonly maxWriteGapDuring: string;
  readonly electionTimeoutMs: number;
  readonly ackedWrites: number;
  readonly unknownWrites: number;
  /** Of the unknown ones: there after all. */
  readonly unknownApplied: number;
  readonly lostWrites: number;
  readonly doubleWrites: number;
  readonly shardsAtStrength: number;
  readonly replicasEqual: boolean;
  readonly downAfterMs: number;
  readonly totalMs: number;
}

export interface Verdict {
  readonly ok: boolean;
  /** One line each; empty when ok. */
  readonly problems: readonly string[];
}

const ACKED_MIN = 1_000;

/** Times are shown, not judged. */
export function verdictOf(report: DemoReport): Verdict {
  const problems: string[] = [];
  const need = (holds: boolean, problem: string): void => {
    if (!holds) problems.push(problem);
  };
  need(report.lostWrites === 0, `${report.lostWrites} acknowledged writes are lost`);
  need(report.doubleWrites === 0, `${report.doubleWrites} writes are there that must not be, or twice`);
  need(report.ackedWrites > ACKED_MIN, `only ${report.ackedWrites} writes were acknowledged, expected > ${ACKED_MIN}`);
  need(report.shardsAtStrength === report.shards, `${report.shardsAtStrength} of ${report.shards} shards at strength`);
  need(report.replicasEqual, "replicas of a shard differ");
  return { ok: problems.length === 0, problems };
}
