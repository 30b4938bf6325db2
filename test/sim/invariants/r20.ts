/**
 * R20: a witness votes and acknowledges, and that is all. It never campaigns or leads, applies no application entry,
 * answers no read, and no data reaches it: not in a message to it, not in its log in memory or on disk, not in a
 * snapshot; nor is anybody else given metadata for data. What it holds, a leader's disk held. Nobody becomes a witness,
 * and no witness anything else. Beside one, the log of a leader that leaves the shard stands still.
 */
import { type EntryBlock, EntryType } from "../../../shared/codec/block.js";
import type { Index, ReplicaId } from "../../../shared/types/ids.js";
import { roleOf } from "../../../shared/types/membership.js";
import {
  isWitnessSnapshot,
  type Message,
  MessageType,
  type ReplicateMessage,
  type SnapshotMeta,
} from "../../../shared/types/message.js";
import { type Invariant, type SimNode, Violation, type World } from "../model.js";

export function witnessesHoldNothing(world: World): Invariant {
  /** True for each id that ever was a witness, false for all other members. */
  const kinds = new Map<ReplicaId, boolean>();
  /** Applied a change since their last output. */
  const changed = new Set<ReplicaId>();
  const head = { id: "R20", text: "a witness never leads, campaigns, applies or holds application entries" };
  // It looks at every entry sent and written: only where there is something to find.
  if (world.options.witnesses === 0 && world.options.witnessEveryMs === 0) return head;
  return {
    ...head,
    onStart(node) {
      if (node.disk.snapshot !== undefined) mustFitSnapshot(node, node.disk.snapshot, "on the disk of");
      if (!node.witness) return;
      const { view } = node;
      for (let index = view.first; index <= view.last; ) {
        const block = view.blockAt(index);
        if (block === undefined) break;
        mustFit(world, node, block, "on the disk of");
        index = block.last + 1;
      }
    },
    onLeader(node) {
      if (node.witness) throw new Violation("R20", `witness ${node.id} leads`);
    },
    afterInput(node) {
      if (node.witness && node.core !== undefined && node.core.role !== "follower") {
        throw new Violation("R20", `witness ${node.id} is ${node.core.role}`);
      }
    },
    onSend: (node, message) => mustHoldNothing(world, node, message),
    afterOutput(node) {
      changed.delete(node.id);
    },
    beforeAppend(node, update) {
      if (!changed.has(node.id)) mustStandStill(world, node, update.blocks);
      for (const block of update.blocks) mustFit(world, node, block, "in the log of");
      if (update.snapshot !== undefined) mustFitSnapshot(node, update.snapshot.meta, "in the log of");
    },
    beforeDurable(node, update) {
      for (const block of update.blocks) mustFit(world, node, block, "on the disk of");
    },
    onApply(node, index, entry) {
      if (!node.witness || entry.type === EntryType.ConfigChange || entry.type === EntryType.Metadata) return;
      throw new Violation("R20", `witness ${node.id} applies entry ${index} of type ${entry.type}`);
    },
    onReadState(node) {
      if (node.witness) throw new Violation("R20", `witness ${node.id} answers a read`);
    },
    onChange(node) {
      changed.add(node.id);
      const { voters, nonVotings, witnesses } = node.membership;
      for (const id of [...voters.keys(), ...nonVotings.keys(), ...witnesses.keys()]) {
        const isWitness = roleOf(node.membership, id) === "witness";
        const known = kinds.get(id);
        if (known === undefined) kinds.set(id, isWitness);
        else if (known !== isWitness)
          throw new Violation("R20", `replica ${id} became ${isWitness ? "a" : "no"} witness`);
      }
    },
  };
}

function mustFit(world: World, node: SimNode, block: EntryBlock, where: string): void {
  const entries = world.decoder.decode(block);
  for (let index = block.first; index <= block.last; index++) {
    const type = entries[index - block.baseIndex]?.type;
    if (type === EntryType.ConfigChange || (type === EntryType.Metadata) === node.witness) continue;
    throw new Violation("R20", `${where} ${nameOf(node)} entry ${index} is of type ${type}`);
  }
}

function mustFitSnapshot(node: SimNode, meta: SnapshotMeta, where: string): void {
  if (isWitnessSnapshot(meta) === node.witness) return;
  throw new Violation("R20", `${where} ${nameOf(node)} snapshot ${meta.index} has ${meta.sizeBytes} bytes`);
}

function mustBeDurable(leader: SimNode, { to, blocks }: ReplicateMessage): void {
  const last = blocks.at(-1);
  if (last === undefined || leader.disk.log.last >= last.last) return;
  const durable = leader.disk.log.last;
  throw new Violation("R20", `witness ${to} is sent ${last.last} by ${leader.id}, where ${durable} is durable`);
}

function mustHoldNothing(world: World, node: SimNode, message: Message): void {
  const to = world.node(message.to);
  if (to === undefined) return;
  if (message.type === MessageType.InstallSnapshot) mustFitSnapshot(to, message.snapshot, "in a message to");
  if (message.type !== MessageType.Replicate) return;
  for (const block of message.blocks) mustFit(world, to, block, "in a message to");
  if (to.witness) mustBeDurable(node, message);
}

function removes(world: World, node: SimNode, block: EntryBlock, index: Index): boolean {
  if (!block.hasConfigChange) return false;
  const change = world.decoder.decode(block)[index - block.baseIndex]?.change;
  return change?.kind === "remove" && change.replicaId === node.id;
}

/** With its own removal in the log and not applied, a leader appends but the entry that begins its term. */
function mustStandStill(world: World, node: SimNode, blocks: readonly EntryBlock[]): void {
  const { core, view } = node;
  if (core?.role !== "leader" || core.membership.witnesses.size === 0) return;
  if (core.membership.voters.size < 2) return;
  let leaves = 0;
  for (let index = node.applier.applied + 1; index <= view.last; index++) {
    const block = view.blockAt(index);
    if (block !== undefined && removes(world, node, block, index)) leaves = index;
  }
  for (const block of blocks) {
    const begins = world.decoder.decode(block)[0]?.type === EntryType.Noop;
    if (leaves > 0 && block.term === core.term && !begins) {
      throw new Violation("R20", `leader ${node.id} leaves by ${leaves}, beside a witness, and appends ${block.first}`);
    }
    if (removes(world, node, block, block.first)) leaves = block.first;
  }
}

function nameOf(node: SimNode): string {
  return `${node.witness ? "witness" : "node"} ${node.id}:`;
}
