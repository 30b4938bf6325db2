/** The disk of a test replica, and the members, blocks and random numbers that the tests of this folder share. */
import { assert } from "../../shared/assert.js";
import { BlockBuilder, type EntryBlock, EntryType, sealBlock } from "../../shared/codec/block.js";
import { encodeConfigChange } from "../../shared/codec/membership.js";
import { seededRandom } from "../../shared/env/testing/seeded-random.js";
import type { Index, ReplicaId, Term } from "../../shared/types/ids.js";
import { type ConfigChange, emptyMembership, type Membership } from "../../shared/types/membership.js";
import type { HardState, SnapshotMeta } from "../../shared/types/message.js";
import type { LogReader, RaftUpdate } from "./types.js";

export const SHARD = 7;
export const T = 1000;
export const HEARTBEAT = 100;

export function members(ids: readonly ReplicaId[]): ReadonlyMap<ReplicaId, string> {
  return new Map(ids.map((id) => [id, `h${id}`]));
}

export function membershipOf(voters: readonly ReplicaId[], more: Partial<Membership> = {}): Membership {
  return { ...emptyMembership(), voters: members(voters), ...more };
}

/** The initial members as the first entries of the log, so that those who join later learn them. */
export function bootstrapBlock(ids: readonly ReplicaId[]): EntryBlock {
  const builder = new BlockBuilder();
  for (const id of ids) {
    const change = { kind: "addVoter", replicaId: id, target: `h${id}`, expectedConfigChangeIndex: 0 } as const;
    const key = { replicaId: 0, incarnation: 0, sequence: 0 };
    builder.add(EntryType.ConfigChange, key, encodeConfigChange({ ...change, bootstrap: true }));
  }
  return sealBlock(builder.finish(), { shardId: SHARD, firstIndex: 1, term: 1 });
}

export function withChange(m: Membership, change: ConfigChange, index: Index): Membership {
  const voters = new Map(m.voters);
  const nonVotings = new Map(m.nonVotings);
  const witnesses = new Map(m.witnesses);
  const removed = new Set(m.removed);
  const id = change.replicaId;
  // A shrink is not proposed by anybody here.
  if (change.kind === "shrink") return m;
  if (removed.has(id) || (change.kind === "remove" && voters.size === 1 && voters.has(id))) return m;
  for (const group of [voters, nonVotings, witnesses]) group.delete(id);
  if (change.kind === "remove") removed.add(id);
  else ({ addVoter: voters, addNonVoting: nonVotings, addWitness: witnesses })[change.kind].set(id, change.target);
  return { ...m, configChangeIndex: index, voters, nonVotings, witnesses, removed };
}

/** What survives a crash. */
export class Disk implements LogReader {
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  blocks: EntryBlock[] = [];
  first: Index = 1;
  precedingTerm: Term = 0;
  snapshot: SnapshotMeta | undefined;
  snapshotState: readonly string[] = [];
  base: Membership;
  /** Of a witness. */
  witness = false;
  /** Answer "pending" to the core until `fetch` is called. */
  cold = false;

  constructor(base: Membership) {
    this.base = base;
  }

  get last(): Index {
    return this.blocks.at(-1)?.last ?? this.first - 1;
  }

  write(update: RaftUpdate): void {
    this.hardState = update.hardState;
    if (update.snapshot !== undefined) {
      this.snapshot = update.snapshot.meta;
      this.blocks = [];
      this.first = update.snapshot.meta.index + 1;
      this.precedingTerm = update.snapshot.meta.term;
    }
    const from = update.blocks[0]?.first;
    if (from === undefined) return;
    assert(from <= this.last + 1, "an append leaves a gap on disk");
    this.blocks = this.blocks.filter((b) => b.first < from).map((b) => b.clip(b.first, from - 1));
    this.blocks.push(...update.blocks);
  }

  compact(to: Index): void {
    this.precedingTerm = this.term(to) ?? 0;
    this.blocks = this.blocks.filter((b) => b.last > to).map((b) => b.clip(to + 1, b.last));
    this.first = to + 1;
  }

  slice(first: Index, last: Index): readonly EntryBlock[] | "pending" | "compacted" {
    if (first < this.first) return "compacted";
    if (this.cold) return "pending";
    return this.blocks.filter((b) => b.last >= first && b.first <= last).map((b) => b.clip(first, last));
  }

  term(index: Index): Term | undefined {
    if (index === this.first - 1) return this.precedingTerm;
    return this.blocks.find((b) => b.first <= index && index <= b.last)?.term;
  }
}

export function randomOf(seed: number): () => number {
  return seededRandom(seed).next;
}
