/**
 * What must hold of the writes at the end, decided from the ledgers and from what every replica's host answered.
 * Pure; demo-verify.ts does the reading.
 */
import { keyOf, type ShardLedger } from "./demo-writer.js";

/** What one host answered for one shard: values by key, in order, repeats included. */
export interface HostRead {
  readonly address: string;
  readonly values: ReadonlyMap<string, readonly number[]>;
}

export interface WriteCheck {
  /** Acknowledged, and missing in an answer. */
  readonly lost: number;
  /** More than once in an answer, or there although certainly refused, or never written, or under another key. */
  readonly double: number;
  /** Of those with an unknown outcome: there after all. */
  readonly unknownApplied: number;
  /** Acknowledged writes that no other host than the acknowledging one was asked for. */
  readonly unwitnessed: number;
  /** One line per finding, the first few. */
  readonly findings: readonly string[];
}

const FINDINGS_MAX = 10;

export function checkShard(ledger: ShardLedger, reads: readonly HostRead[]): WriteCheck {
  const { shardId, fates } = ledger;
  const findings: string[] = [];
  const find = (value: number, what: string): void => {
    if (findings.length < FINDINGS_MAX) findings.push(`shard ${shardId}: value ${value} ${what}`);
  };
  const lost = new Set<number>();
  const double = new Set<number>();
  const unknownApplied = new Set<number>();
  for (const { address, values } of reads) {
    const seen = new Set<number>();
    for (const [key, list] of values) {
      for (const value of list) {
        const fate = fates[value];
        const isWrong = seen.has(value) || fate === undefined || fate.kind === "refused" || keyOf(value) !== key;
        seen.add(value);
        if (fate?.kind === "unknown") unknownApplied.add(value);
        if (!isWrong) continue;
        double.add(value);
        find(value, `is wrong in ${key} (${fate?.kind ?? "never written"}), read through ${address}`);
      }
    }
    for (const [value, fate] of fates.entries()) {
      if (fate?.kind !== "acked" || seen.has(value)) continue;
      lost.add(value);
      find(value, `acknowledged by ${fate.by} is missing, read through ${address}`);
    }
  }
  let unwitnessed = 0;
  for (const fate of fates) {
    if (fate?.kind === "acked" && !reads.some((read) => read.address !== fate.by)) unwitnessed += 1;
  }
  return { lost: lost.size, double: double.size, unknownApplied: unknownApplied.size, unwitnessed, findings };
}

export function sumChecks(checks: readonly WriteCheck[]): WriteCheck {
  const sum = (key: "lost" | "double" | "unknownApplied" | "unwitnessed"): number =>
    checks.reduce((n, check) => n + check[key], 0);
  return {
    lost: sum("lost"),
    double: sum("double"),
    unknownApplied: sum("unknownApplied"),
    unwitnessed: sum("unwitnessed"),
    findings: checks.flatMap((check) => check.findings).slice(0, FINDINGS_MAX),
  };
}

/** Values of one key as `append` left them: "3,67,131,". */
export function parseValues(text: string): number[] {
  return text
    .split(",")
    .filter((part) => part !== "")
    .map(Number);
}

/** What one host reports of its replica of one shard. */
export interface ReplicaHash {
  readonly hostId: string;
  /** "index:hash", as reported. */
  readonly stateHash: string;
}

/**
 * "equal", "different", or "waiting" while the replicas are not at one index yet. Different at one index is final:
 * no time heals it.
 */
export function compareHashes(replicas: readonly ReplicaHash[]): "equal" | "different" | "waiting" {
  const byIndex = new Map<string, Set<string>>();
  for (const { stateHash } of replicas) {
    const [index = "", hash = ""] = stateHash.split(":");
    if (index === "" || hash === "") return "waiting";
    const hashes = byIndex.get(index) ?? new Set<string>();
    hashes.add(hash);
    byIndex.set(index, hashes);
  }
  for (const hashes of byIndex.values()) if (hashes.size > 1) return "different";
  return byIndex.size === 1 ? "equal" : "waiting";
}
