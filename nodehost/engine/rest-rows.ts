/**
 * Shards at rest that two hosts share, with a digest that costs nothing to keep: hashes of the rows are added when a
 * shard goes to rest and taken away when it wakes. Two sets are equal if their sums are, but for one chance in 2^64 per
 * group. Used by HostWatch; the hashes are part of the wire (proto/FORMATS.md).
 */
import { mix32 } from "../../shared/codec/mix.js";
import type { ShardId } from "../../shared/types/ids.js";
import { PULSE_GROUPS, type RestRow } from "../../shared/types/pulse.js";

const FIRST_SEED = 0x9e3779b1;
const SECOND_SEED = 0x7feb352d;

/** A safe integer in 32 bits. */
function fold(value: number): number {
  return (value ^ (value / 0x100000000)) | 0;
}

export function groupOf(shardId: ShardId): number {
  return mix32(fold(shardId)) & (PULSE_GROUPS - 1);
}

function hashOf(row: RestRow, seed: number): number {
  let h = mix32(seed ^ fold(row.shardId));
  h = mix32(h + fold(row.term));
  h = mix32(h + fold(row.leaderId));
  return mix32(h + fold(row.memberId));
}

function sameRow(a: RestRow, b: RestRow): boolean {
  return a.term === b.term && a.leaderId === b.leaderId && a.memberId === b.memberId;
}

/** One row, for whom it stands, and since which digest it is told. */
interface Held<T> {
  readonly row: RestRow;
  readonly owner: T;
  readonly since: number;
}

export class RestRows<T> {
  /** As in a digest. */
  readonly sums = new Uint32Array(2 * PULSE_GROUPS);
  readonly #held = new Map<ShardId, Held<T>>();

  get count(): number {
    return this.#held.size;
  }

  /** `since`: the first digest that contains it. */
  add(row: RestRow, owner: T, since: number): void {
    this.delete(row.shardId);
    this.#held.set(row.shardId, { row, owner, since });
    this.#sum(row, 1);
  }

  delete(shardId: ShardId): void {
    const held = this.#held.get(shardId);
    if (held === undefined) return;
    this.#held.delete(shardId);
    this.#sum(held.row, -1);
  }

  #sum(row: RestRow, sign: 1 | -1): void {
    const { sums } = this;
    const group = groupOf(row.shardId);
    sums[group] = ((sums[group] ?? 0) + sign * hashOf(row, FIRST_SEED)) | 0;
    const second = group + PULSE_GROUPS;
    sums[second] = ((sums[second] ?? 0) + sign * hashOf(row, SECOND_SEED)) | 0;
  }

  owners(): T[] {
    return [...this.#held.values()].map((held) => held.owner);
  }

  /** Bit n is set if group n differs from what the digest says. */
  differs(sums: Uint32Array): number {
    let groups = 0;
    for (let group = 0; group < PULSE_GROUPS; group++) {
      const second = group + PULSE_GROUPS;
      if (this.sums[group] !== sums[group] || this.sums[second] !== sums[second]) groups |= 1 << group;
    }
    return groups;
  }

  rowsIn(groups: number): RestRow[] {
    const rows: RestRow[] = [];
    for (const { row } of this.#held.values()) if ((groups & (1 << groupOf(row.shardId))) !== 0) rows.push(row);
    return rows;
  }

  /** Whose row this is, if it is here as it is. */
  ownerOf(row: RestRow): T | undefined {
    const held = this.#held.get(row.shardId);
    return held !== undefined && sameRow(held.row, row) ? held.owner : undefined;
  }

  /** Owners of the rows in `groups` that are in no row of `rows` and were told by digest `sequence`. */
  missingFrom(rows: readonly RestRow[], groups: number, sequence: number): T[] {
    const theirs = new Map(rows.map((row) => [row.shardId, row]));
    const missing: T[] = [];
    for (const { row, owner, since } of this.#held.values()) {
      if (since > sequence || (groups & (1 << groupOf(row.shardId))) === 0) continue;
      const other = theirs.get(row.shardId);
      if (other === undefined || !sameRow(row, other)) missing.push(owner);
    }
    return missing;
  }
}
