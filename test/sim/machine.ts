/**
 * The small replicated state machine of a simulated node: a hash per index and a count of updates; membership and
 * client sessions follow nodehost/rsm/members.ts and sessions.ts themselves. Entries are decoded once per block for all
 * nodes, which keeps applying cheap.
 */
import type { Result } from "../../nodehost/rsm/state-machine.js";
import { EntryBlock, type EntrySession, EntryType, entriesOf } from "../../shared/codec/block.js";
import { decodeConfigChange } from "../../shared/codec/membership.js";
import type { Index, ReplicaId, RequestKey } from "../../shared/types/ids.js";
import type { ConfigChange, Membership } from "../../shared/types/membership.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import type { SessionRefusal } from "../../shared/types/session.js";
import type { MachineContent } from "./disk-machine.js";
import { mix } from "./prng.js";

export interface DecodedEntry {
  readonly type: EntryType;
  readonly key: RequestKey;
  /** One number for the key; 0 for entries that nobody asked for. */
  readonly keyNumber: number;
  readonly fingerprint: number;
  readonly change: ConfigChange | undefined;
  /** Of an application entry. */
  readonly session: EntrySession | undefined;
}

/** What an entry of a session came to. */
export interface SessionOutcome {
  readonly kind: "applied" | "answered" | SessionRefusal;
  /** Unless it was refused. */
  readonly result: Result | undefined;
}

/** Equal outcomes have equal texts. */
export function outcomeText({ kind, result }: SessionOutcome): string {
  return result === undefined ? kind : `${kind} ${result.value}:${result.data?.join(",") ?? ""}`;
}

/** A request key as one safe integer. Ids < 256, incarnations < 8192 in a simulation. */
export function keyNumber(key: RequestKey): number {
  return (key.replicaId * 8192 + key.incarnation) * 4294967296 + key.sequence;
}

/** Decodes blocks, each only once for all nodes. */
export class BlockDecoder {
  readonly #known = new WeakMap<Uint8Array, readonly DecodedEntry[]>();

  /** All entries of the whole bytes; entry of index i is at i − baseIndex. */
  decode(block: EntryBlock): readonly DecodedEntry[] {
    const known = this.#known.get(block.bytes);
    if (known !== undefined) return known;
    const whole = block.baseIndex + block.baseCount - 1;
    const base = { index: block.baseIndex, count: block.baseCount };
    const clip = { first: block.baseIndex, last: whole };
    const all =
      block.count === block.baseCount
        ? block
        : new EntryBlock(block.bytes, block.term, block.hasConfigChange, base, clip);
    const entries: DecodedEntry[] = [];
    for (const { type, key, cmd, term, session } of entriesOf(all)) {
      let print = mix(mix(type, term), key.sequence);
      print = mix(print, key.replicaId * 8192 + key.incarnation);
      for (const byte of cmd) print = mix(print, byte);
      if (session !== undefined) print = mix(mix(print, session.seriesId), session.respondedTo);
      const change = type === EntryType.ConfigChange ? decodeConfigChange(cmd) : undefined;
      const asked = type === EntryType.Application || (change !== undefined && !change.bootstrap);
      entries.push({ type, key, keyNumber: asked ? keyNumber(key) : 0, fingerprint: print, change, session });
    }
    this.#known.set(block.bytes, entries);
    return entries;
  }
}

/** State as of one index; immutable, so that a snapshot is a reference. */
export interface MachineState {
  readonly applied: Index;
  readonly hash: number;
  readonly membership: Membership;
  /** Application entries that changed the machine. */
  readonly updates: number;
  /** As in a snapshot file. */
  readonly sessions: Uint8Array;
  /** Of a machine on disk. */
  readonly disk?: DiskState;
}

export interface DiskState {
  /** Last entry that was given to the machine. */
  readonly machineIndex: Index;
  /** Only while it is on its way to another node, and there until that has taken it over. */
  readonly content: MachineContent | undefined;
}

/** All that a witness has: where it is, and the membership. */
export function witnessState(meta: SnapshotMeta): MachineState {
  return { applied: meta.index, hash: 0, membership: meta.membership, updates: 0, sessions: new Uint8Array(0) };
}

/** Canonical text of a membership, for comparing replicas. */
export function membershipText(m: Membership): string {
  const ids = (group: { keys(): Iterable<ReplicaId> }): string => [...group.keys()].sort((a, b) => a - b).join(",");
  return `${m.configChangeIndex} v=${ids(m.voters)} n=${ids(m.nonVotings)} w=${ids(m.witnesses)} r=${ids(m.removed)}`;
}
