/**
 * The network between simulated nodes: delay with a heavy tail, loss, duplicates, replay of old messages, and links
 * that are cut in one or both directions.
 */

import type { SnapshotRequest } from "../../nodehost/raft/types.js";
import {
  type InstallSnapshotMessage,
  type Message,
  MessageType,
  type SnapshotMeta,
  witnessSnapshot,
} from "../../shared/types/message.js";
import { type NetworkPort, NODES_MAX, SHARD_ID, type SimNode, type World } from "./model.js";
import type { Prng } from "./prng.js";
import { EventKind } from "./queue.js";
import { SnapshotStreams } from "./snapshot-streams.js";

const OLD_MESSAGES = 128;
const SIDE = NODES_MAX + 1;

export class Network implements NetworkPort {
  readonly #world: World;
  readonly #random: Prng;
  readonly #cut = new Uint8Array(SIDE * SIDE);
  readonly #misrouting: Prng;
  readonly #old: Message[] = [];
  readonly #streams: SnapshotStreams;
  #sent = 0;

  constructor(world: World, random: Prng) {
    this.#world = world;
    this.#random = random;
    this.#streams = new SnapshotStreams(world, world.stream(14));
    this.#misrouting = world.stream(30);
  }

  send(message: Message): void {
    const { options, faults } = this.#world;
    if (this.#isCut(message.from, message.to)) {
      this.#lost(message, "cut");
      if (faults && this.#random.chance(options.unreachableChance)) this.#noticed(message);
      return;
    }
    if (!faults) {
      this.#push(message, 1 + this.#random.int(3));
      return;
    }
    const r = this.#random;
    if (message.type === MessageType.TimeoutNow && r.chance(options.transferLoss)) {
      this.#lost(message, "dropped");
      return;
    }
    this.#old[this.#sent++ % OLD_MESSAGES] = message;
    if (!r.chance(options.dropChance)) this.#push(message, this.#delay());
    else {
      this.#lost(message, "dropped");
      if (r.chance(options.unreachableChance)) this.#noticed(message);
    }
    if (r.chance(options.duplicateChance)) this.#push(message, this.#delay());
    if (r.chance(options.replayChance)) this.#push(r.pick(this.#old), this.#delay());
    if (options.misrouteChance > 0) this.#misroute(message);
  }

  /** What is for a witness reaches somebody who holds data, or the other way round. */
  #misroute(message: Message): void {
    const { nodes, options } = this.#world;
    const r = this.#misrouting;
    if (message.type !== MessageType.Replicate && message.type !== MessageType.InstallSnapshot) return;
    // Snapshots are rare, and seldom newer than what the wrong receiver has.
    const chance = message.type === MessageType.InstallSnapshot ? 0.5 : options.misrouteChance;
    if (!r.chance(chance)) return;
    const witness = nodes.get(message.to)?.witness;
    const others = [...nodes.values()].filter((node) => node.witness !== witness && node.id !== message.from);
    if (others.length > 0) this.#push({ ...message, to: r.pick(others).id }, 1 + r.int(20));
  }

  /** Hands a message to its node. False if it was lost. */
  deliver(message: Message): boolean {
    const { nodes, trace, now } = this.#world;
    const node = nodes.get(message.to);
    if (node === undefined || node.core === undefined || this.#isCut(message.from, message.to)) {
      this.#lost(message, node?.core === undefined ? "down" : "cut");
      return false;
    }
    trace.event(now, EventKind.Message, node.id, message);
    node.receive(fresh(message));
    return true;
  }

  /** Streams the newest recorded snapshot of `node`; the stream's end is reported to the sender. */
  sendSnapshot(node: SimNode, request: SnapshotRequest, meta: SnapshotMeta | undefined): void {
    const world = this.#world;
    const r = this.#random;
    const delay = world.faults ? this.#delay() + r.int(1 + world.options.electionTimeoutMs) : 2;
    world.after(delay, EventKind.Snapshot, node, () => {
      const reached =
        meta !== undefined && !this.#isCut(node.id, request.to) && world.node(request.to)?.core !== undefined;
      const ok = reached && !(world.faults && r.chance(world.options.dropChance));
      if (!ok || meta === undefined) node.snapshotSent(request.to, meta?.index ?? 0, false);
      else if (request.witness) this.#install(node, request, witnessSnapshot(meta));
      else if (world.options.onDisk) this.#stream(node, request);
      else if (world.options.wal) this.#streams.send(node, request, meta);
      else this.#install(node, request, meta);
    });
  }

  /** Of a machine on disk the state as it is now is sent: there is no file of it. */
  #stream(node: SimNode, request: SnapshotRequest): void {
    const state = node.applier.streamState();
    if (state === undefined) {
      node.snapshotSent(request.to, 0, false);
      return;
    }
    node.snapshots.stream(state, node.applier.appliedTerm, (meta, file) => {
      if (this.#world.options.wal) this.#streams.sendFile(node, request, { meta, file });
      else this.#install(node, request, meta);
    });
  }

  #install(node: SimNode, request: SnapshotRequest, meta: SnapshotMeta): void {
    const { term, to } = request;
    const { lineage } = meta.membership;
    const type = MessageType.InstallSnapshot;
    const message: InstallSnapshotMessage = {
      type,
      shardId: SHARD_ID,
      from: node.id,
      to,
      term,
      lineage,
      snapshot: meta,
    };
    this.#world.checks.sent(node, message);
    this.send(message);
    node.snapshotSent(to, meta.index, true);
  }

  /** The sender learns a little later that its connection is broken. */
  #noticed(message: Message): void {
    const node = this.#world.node(message.from);
    if (node === undefined) return;
    this.#world.after(this.#random.int(20), EventKind.Unreachable, node, () => node.unreachable(message.to));
  }

  #lost(message: Message, why: string): void {
    this.#world.trace.lost(this.#world.now, message, why);
  }

  carry(from: number, to: number, call: (receiver: SimNode) => void): void {
    const world = this.#world;
    const r = this.#random;
    const receiver = world.node(to);
    if (receiver === undefined || this.#isCut(from, to) || (world.faults && r.chance(world.options.dropChance))) return;
    // Without faults behind the messages that were sent before it, as on one connection.
    world.after(world.faults ? this.#delay() : 3, EventKind.Pulse, receiver, () => {
      if (!this.#isCut(from, to)) call(receiver);
    });
  }

  cut(from: number, to: number): void {
    this.#cut[from * SIDE + to] = 1;
  }

  heal(): void {
    this.#cut.fill(0);
  }

  #isCut(from: number, to: number): boolean {
    return this.#cut[from * SIDE + to] === 1;
  }

  #push(message: Message, delayMs: number): void {
    const { queue, now } = this.#world;
    queue.push({
      time: now + delayMs,
      kind: EventKind.Message,
      nodeId: message.to,
      epoch: 0,
      message,
      call: undefined,
    });
  }

  #delay(): number {
    const { options } = this.#world;
    const r = this.#random;
    let delay = options.latencyMs;
    if (options.jitterMs > 0) delay += r.exponential(options.jitterMs);
    if (r.chance(options.tailChance)) delay += r.int(8 * options.electionTimeoutMs);
    return delay;
  }
}

/** A forwarded body is taken over and written into by its receiver: every delivery gets bytes of its own. */
function fresh(message: Message): Message {
  if (message.type !== MessageType.Propose) return message;
  return { ...message, body: { ...message.body, bytes: message.body.bytes.slice() } };
}
