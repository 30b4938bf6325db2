/**
 * Snapshots on their way between nodes that keep real files: the sender's file is read, cut into chunks, and landed by
 * the receiver's store; only then is its core told, as in the engine. What a connection does not do (a byte changed, a
 * chunk lost, doubled or moved) is done here as well: the store must not land such a file.
 */
import type { SnapshotRequest } from "../../nodehost/raft/types.js";
import { type InstallSnapshotMessage, MessageType, type SnapshotMeta } from "../../shared/types/message.js";
import { SHARD_ID, type SimNode, type World } from "./model.js";
import type { Prng } from "./prng.js";
import { EventKind } from "./queue.js";

export class SnapshotStreams {
  readonly #world: World;
  readonly #random: Prng;

  constructor(world: World, random: Prng) {
    this.#world = world;
    this.#random = random;
  }

  /** The connection stands. Both ends may crash at any time. */
  send(node: SimNode, request: SnapshotRequest, meta: SnapshotMeta): void {
    const world = this.#world;
    const target = world.node(request.to);
    const epoch = node.epoch;
    let ended = false;
    const sent = (ok: boolean): void => {
      if (!ended && node.epoch === epoch) node.snapshotSent(request.to, meta.index, ok);
      ended = true;
    };
    // A receiver that crashes does not answer: the connection breaks.
    world.after(4 * world.options.electionTimeoutMs, EventKind.Snapshot, node, () => sent(false));
    node.snapshots.read(meta, (file) => {
      if (file === undefined || target?.core === undefined) return sent(false);
      // As the engine answers a snapshot that tells it nothing new.
      if (meta.index <= target.core.commit) return sent(true);
      target.snapshots.land(meta, this.#chunks(file), (landed) => {
        if (landed !== undefined) this.#told(node, request, landed);
        else if (node.epoch === epoch && node.alive) node.snapshots.verify(meta);
        sent(landed !== undefined);
      });
    });
  }

  #told(from: SimNode, { to, term }: SnapshotRequest, snapshot: SnapshotMeta): void {
    const { queue, now } = this.#world;
    const { lineage } = snapshot.membership;
    const type = MessageType.InstallSnapshot;
    const message: InstallSnapshotMessage = { type, shardId: SHARD_ID, from: from.id, to, term, lineage, snapshot };
    queue.push({ time: now, kind: EventKind.Message, nodeId: to, epoch: 0, message, call: undefined });
  }

  #chunks(file: Uint8Array): Uint8Array[] {
    const size = 1 + this.#random.int(file.length);
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < file.length; at += size) chunks.push(file.subarray(at, at + size));
    return chunks;
  }
}
