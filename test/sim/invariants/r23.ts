/**
 * R23: while a leader's own unapplied entries in memory, or those that a voter reported within an election timeout, are
 * above the configured bound, no entry of a client is appended.
 */
import { EntryType } from "../../../shared/codec/block.js";
import type { Index, ReplicaId, Term, TimeMs } from "../../../shared/types/ids.js";
import { MessageType } from "../../../shared/types/message.js";
import { type Invariant, type SimNode, Violation, type World } from "../model.js";

/** One leadership, as seen from outside. */
interface Leadership {
  readonly term: Term;
  last: Index;
  memoryBytes: number;
  /** Reports of its voters, as delivered to it; times on its clock. */
  readonly reports: Map<ReplicaId, { readonly bytes: number; readonly atMs: TimeMs }>;
  /** What was appended in spite of a full memory, and whose that was. */
  readonly suspects: Map<Index, string>;
}

export function memoryIsBounded(world: World): Invariant {
  const { maxInMemLogBytes: max, electionTimeoutMs } = world.options;
  const leaderships = new Map<ReplicaId, Leadership>();
  const full = (node: SimNode, now: Leadership): string | undefined => {
    if (now.memoryBytes > max) return `its own memory of ${now.memoryBytes} bytes`;
    for (const [id, { bytes, atMs }] of now.reports) {
      const counts = bytes > max && node.clock() - atMs <= electionTimeoutMs;
      if (counts && node.core?.membership.voters.has(id)) return `${id} reporting ${bytes} bytes`;
    }
    return undefined;
  };
  const invariant: Invariant = {
    id: "R23",
    text: "no client's entry is appended while the leader's or a voter's memory is above its bound",
  };
  if (max === 0) return invariant;
  return {
    ...invariant,
    onStart(node) {
      leaderships.delete(node.id);
    },
    onDeliver(node, message) {
      if (message.type !== MessageType.MemoryReport || message.term !== node.core?.term) return;
      leaderships.get(node.id)?.reports.set(message.from, { bytes: message.bytes, atMs: node.clock() });
    },
    afterInput(node) {
      const { core } = node;
      if (core?.role !== "leader") {
        leaderships.delete(node.id);
        return;
      }
      const { term, last, memoryBytes } = core;
      const known = leaderships.get(node.id);
      if (known?.term !== term) {
        leaderships.set(node.id, { term, last, memoryBytes, reports: new Map(), suspects: new Map() });
        return;
      }
      const why = last > known.last ? full(node, known) : undefined;
      for (let index = known.last + 1; why !== undefined && index <= last; index++) known.suspects.set(index, why);
      known.last = last;
      known.memoryBytes = memoryBytes;
    },
    beforeAppend(node, update) {
      const known = leaderships.get(node.id);
      if (known === undefined || known.suspects.size === 0) return;
      for (const block of update.blocks) {
        const entries = world.decoder.decode(block);
        for (let index = block.first; index <= block.last; index++) {
          const why = known.suspects.get(index);
          if (why === undefined || entries[index - block.baseIndex]?.type !== EntryType.Application) continue;
          throw new Violation("R23", `leader ${node.id} appends ${index} in spite of ${why}, at most ${max}`);
        }
      }
      known.suspects.clear();
    },
  };
}
