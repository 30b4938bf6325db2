/**
 * What the frames say, replayed into replicas: the second half of recovery (the first, wal-scan.ts, finds the frames).
 * Decides per replica whether its log is proven whole.
 *
 * Each record names the frame of its replica's previous record. A replica is broken when that is not the one replayed;
 * unproven when frames are missing of which it is not known whether they held records of it, until a later record or
 * checkpoint shows that they did not. A checkpoint frame of a later segment heals what lies wholly behind it.
 */
import { MalformedError } from "../../shared/codec/bytes.js";
import type { ReplicaKey } from "./port.js";
import { FrameKind, type TocEntry } from "./wal-format.js";
import {
  type CheckpointRow,
  type DecodedUpdate,
  decodeBootstrap,
  decodeSnapshot,
  decodeUpdate,
  readCheckpointRow,
} from "./wal-record.js";
import { type RemovedSet, ReplicaTable, type Segment, WalReplica } from "./wal-replica.js";

/** A frame that passed its checksums. */
export interface GoodFrame {
  readonly kind: FrameKind;
  readonly sequence: number;
  readonly segment: Segment;
  /** All of the segment, and where in it the body begins. */
  readonly bytes: Uint8Array;
  readonly bodyAt: number;
  readonly toc: readonly TocEntry[];
}

/** Frames that could not be read although they once were durable. */
export interface LostFrames {
  readonly what: string;
  /** Tables of contents that could still be read. */
  readonly named: readonly { readonly kind: FrameKind; readonly toc: readonly TocEntry[] }[];
  /** Some of the lost frames are not even named. */
  readonly unknown: boolean;
}

interface Doubt {
  broken: string | undefined;
  unproven: string | undefined;
}

export class Merge {
  readonly table = new ReplicaTable();
  /** Removed for ever: rows of the checkpoint store, and what the frames add. */
  readonly removed: RemovedSet;
  /** Removed by frames and not yet a row. */
  readonly removedNow: ReplicaKey[] = [];
  /** Set while frames are lost that may have held the only record of a replica: it is not even known by name. */
  incomplete: string | undefined;
  readonly #doubts = new Map<WalReplica, Doubt>();

  constructor(removed: RemovedSet) {
    this.removed = removed;
  }

  frame(frame: GoodFrame): void {
    if (frame.kind === FrameKind.Data) for (const entry of frame.toc) this.#record(frame, entry);
    if (frame.kind === FrameKind.Checkpoint) this.#checkpoint(frame);
  }

  lost(lost: LostFrames): void {
    for (const { kind, toc } of lost.named) {
      for (const key of toc) {
        // A lost checkpoint takes nothing from a replica whose state is known without it.
        if (this.removed.has(key) || (kind === FrameKind.Checkpoint && this.table.get(key) !== undefined)) continue;
        this.#doubt(this.#replica(key)).broken = `its record is lost in ${lost.what}`;
      }
    }
    if (!lost.unknown) return;
    this.incomplete = lost.what;
    for (const replica of this.table.values()) {
      this.#doubt(replica).unproven = `a record of it may be lost in ${lost.what}`;
    }
  }

  /** Judges every replica. Damaged ones let go of their entries, so that they pin no segment. */
  finish(): void {
    for (const replica of [...this.table.values()]) {
      if (this.removed.has(replica)) {
        this.table.remove(replica);
        continue;
      }
      const damage = replica.damage ?? this.#judge(replica);
      if (damage === undefined) continue;
      replica.damage = damage;
      const { first, last, precedingTerm } = replica.log;
      replica.log.adopt(first, last, precedingTerm);
    }
  }

  #judge(replica: WalReplica): string | undefined {
    const doubt = this.#doubts.get(replica);
    if (doubt?.broken !== undefined) return doubt.broken;
    const { commit } = replica.hardState;
    if (commit > replica.log.last) return `commit ${commit} is above the last index ${replica.log.last}`;
    const hole = replica.log.hole();
    if (hole !== undefined) return `entry ${hole} is in no readable frame`;
    if (replica.bootstrapBytes.length === 0) return "its bootstrap record is in no readable frame";
    return doubt?.unproven;
  }

  #doubt(replica: WalReplica): Doubt {
    let doubt = this.#doubts.get(replica);
    if (doubt === undefined) {
      doubt = { broken: undefined, unproven: undefined };
      this.#doubts.set(replica, doubt);
    }
    return doubt;
  }

  #replica(key: ReplicaKey): WalReplica {
    const found = this.table.get(key);
    if (found !== undefined) return found;
    const replica = new WalReplica(key);
    this.table.add(replica);
    return replica;
  }

  #record(frame: GoodFrame, entry: TocEntry): void {
    if (this.removed.has(entry)) return;
    const replica = this.#replica(entry);
    const doubt = this.#doubts.get(replica);
    if (entry.previousSequence !== replica.lastSequence) {
      const expected = `after frame ${replica.lastSequence}, frame ${frame.sequence} follows`;
      this.#doubt(replica).broken ??= `${expected} on frame ${entry.previousSequence} in its chain`;
    } else if (doubt !== undefined) doubt.unproven = undefined;
    replica.lastSequence = frame.sequence;
    try {
      this.#apply(replica, decodeUpdate(frame.bytes, frame.bodyAt + entry.offset, entry.length), frame);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#doubt(replica).broken ??= `its record in frame ${frame.sequence} does not parse: ${error.message}`;
    }
  }

  #apply(replica: WalReplica, update: DecodedUpdate, { segment, sequence }: GoodFrame): void {
    if (update.remove) {
      this.#remove(replica);
      return;
    }
    if (update.relocated) {
      for (const { first, last, term, offset, length } of update.blocks) {
        if (replica.placeRange({ first, last, term, segment, offset, length })) continue;
        this.#doubt(replica).broken ??= `frame ${sequence} moves entries [${first}, ${last}], which it does not have`;
      }
      return;
    }
    if (update.bootstrap !== undefined) {
      replica.bootstrap = decodeBootstrap(update.bootstrap);
      replica.bootstrapBytes = update.bootstrap;
    }
    if (update.snapshot !== undefined) {
      const meta = decodeSnapshot(update.snapshot);
      replica.snapshot = meta;
      replica.snapshotBytes = update.snapshot;
      if (update.reset) replica.log.reset(meta.index, meta.term);
    }
    for (const { first, last, term, offset, length } of update.blocks) {
      replica.addRange({ first, last, term, segment, offset, length });
    }
    if (update.hardState !== undefined) replica.hardState = update.hardState;
    if (update.compactTo !== undefined) replica.log.compact(update.compactTo, update.compactTerm);
  }

  #remove(replica: WalReplica): void {
    this.removed.add(replica);
    this.removedNow.push({ shardId: replica.shardId, replicaId: replica.replicaId });
    this.table.remove(replica);
    this.#doubts.delete(replica);
  }

  #checkpoint(frame: GoodFrame): void {
    this.incomplete = undefined;
    const listed = new Set<WalReplica>();
    for (const entry of frame.toc) {
      if (this.removed.has(entry)) continue;
      const replica = this.#replica(entry);
      listed.add(replica);
      const row = readCheckpointRow(frame.bytes, frame.bodyAt + entry.offset, entry.length);
      const doubt = this.#doubts.get(replica);
      const same = replica.lastSequence === entry.previousSequence && doubt?.broken === undefined;
      if (same && agrees(replica, row)) {
        if (doubt !== undefined) doubt.unproven = undefined;
      } else this.#adopt(replica, row, entry.previousSequence);
      replica.damage = row.damage;
    }
    for (const replica of [...this.table.values()]) {
      if (listed.has(replica)) continue;
      // The one way out of the log is removal: a lost frame had it.
      if (this.#doubts.get(replica) !== undefined) this.#remove(replica);
      else this.#doubt(replica).broken = `the checkpoint in frame ${frame.sequence} does not know it`;
    }
  }

  /** What was replayed is not what was there: only what comes after this checkpoint counts. */
  #adopt(replica: WalReplica, row: CheckpointRow, lastSequence: number): void {
    if (row.bootstrap.length > 0) replica.bootstrap = decodeBootstrap(row.bootstrap);
    replica.bootstrapBytes = row.bootstrap;
    replica.hardState = row.hardState;
    replica.snapshot = row.snapshot.length === 0 ? undefined : decodeSnapshot(row.snapshot);
    replica.snapshotBytes = row.snapshot;
    replica.log.adopt(row.first, row.last, row.precedingTerm);
    replica.lastSequence = lastSequence;
    this.#doubts.delete(replica);
  }
}

function agrees(replica: WalReplica, row: CheckpointRow): boolean {
  const { log, hardState } = replica;
  return (
    log.first === row.first &&
    log.last === row.last &&
    log.precedingTerm === row.precedingTerm &&
    hardState.term === row.hardState.term &&
    hardState.vote === row.hardState.vote &&
    hardState.commit === row.hardState.commit
  );
}
