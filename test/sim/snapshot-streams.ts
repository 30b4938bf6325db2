/**
 * Snapshots on their way between nodes that keep real files: the sender's file is read, cut into chunks, and landed by
 * the receiver's store; only then is its core told, as in the engine. What a connection does not do (a byte changed, a
 * chunk lost, doubled or moved) is done here as well: the store must not land such a file.
 */
import type { SnapshotRequest } from "../../nodehost/raft/types.js";
import { type InstallSnapshotMessage, MessageType, type SnapshotMeta } from "../../shared/types/message.js";
import { SHARD_ID, type SimNode, Violation, type World } from "./model.js";
import type { Prng } from "./prng.js";
import { EventKind } from "./queue.js";

/**
 * The stream ends early; a bit changes; a chunk comes twice; a chunk comes last; the file comes twice at once; it comes
 * so late that newer ones may be there.
 */
const TRANSIT = [
  "snapshotCut",
  "snapshotFlipped",
  "snapshotDoubled",
  "snapshotMoved",
  "snapshotTwice",
  "snapshotLate",
] as const;
type Transit = (typeof TRANSIT)[number];

interface Landing {
  readonly from: SimNode;
  readonly to: SimNode;
  /** Start of the sender. */
  readonly epoch: number;
  readonly request: SnapshotRequest;
  readonly meta: SnapshotMeta;
}

interface Sending {
  readonly meta: SnapshotMeta;
  readonly file: Uint8Array;
  readonly sent: (ok: boolean) => void;
}

export class SnapshotStreams {
  readonly #world: World;
  readonly #random: Prng;

  constructor(world: World, random: Prng) {
    this.#world = world;
    this.#random = random;
  }

  /** The connection stands. Both ends may crash at any time. */
  send(node: SimNode, request: SnapshotRequest, meta: SnapshotMeta): void {
    const sent = this.#once(node, request, meta);
    node.snapshots.read(meta, (file) => {
      if (file === undefined) sent(false);
      else this.#carry(node, request, { meta, file, sent });
    });
  }

  /** The same for a file that is nowhere stored. */
  sendFile(node: SimNode, request: SnapshotRequest, what: { meta: SnapshotMeta; file: Uint8Array }): void {
    this.#carry(node, request, { ...what, sent: this.#once(node, request, what.meta) });
  }

  /** Tells the sender how it ended. */
  #once(node: SimNode, request: SnapshotRequest, meta: SnapshotMeta): (ok: boolean) => void {
    const world = this.#world;
    const epoch = node.epoch;
    let ended = false;
    const sent = (ok: boolean): void => {
      if (!ended && node.epoch === epoch) node.snapshotSent(request.to, meta.index, ok);
      ended = true;
    };
    // A receiver that crashes does not answer: the connection breaks.
    world.after(4 * world.options.electionTimeoutMs, EventKind.Snapshot, node, () => sent(false));
    return sent;
  }

  /** The file is on its way, and what may become of it. */
  #carry(node: SimNode, request: SnapshotRequest, { meta, file, sent }: Sending): void {
    const world = this.#world;
    const target = world.node(request.to);
    const commit = target?.core?.commit;
    if (target === undefined || commit === undefined || meta.index <= commit) {
      // As the engine answers a snapshot that tells it nothing new.
      sent(commit !== undefined);
      return;
    }
    const landing = { from: node, to: target, epoch: node.epoch, request, meta };
    const fault = this.#fault();
    if (fault === "snapshotLate") {
      const delayMs = this.#random.int(8 * world.options.electionTimeoutMs);
      world.after(delayMs, EventKind.Snapshot, target, () => this.#land(landing, file, undefined, sent));
      return;
    }
    if (fault === "snapshotTwice") this.#land(landing, file, undefined, sent);
    this.#land(landing, file, fault, sent);
  }

  #fault(): Transit | undefined {
    const { options, faults, ledger } = this.#world;
    if (!faults || !this.#random.chance(options.snapshotFault)) return undefined;
    const fault = this.#random.pick(TRANSIT);
    ledger.faults.add(fault);
    return fault;
  }

  #land(landing: Landing, file: Uint8Array, fault: Transit | undefined, sent: (ok: boolean) => void): void {
    const { from, to, epoch, request, meta } = landing;
    const chunks = this.#onTheWay(file, fault);
    to.snapshots.land(meta, chunks, (landed) => {
      if (landed === undefined) {
        const stored = meta.directory !== "";
        if (stored && from.epoch === epoch && from.alive) from.snapshots.verify(meta);
      } else if (Buffer.compare(Buffer.concat(chunks), file) !== 0) {
        throw new Violation("W2", `node ${to.id} lands snapshot ${meta.index}, which was changed on the way`);
      } else this.#told(from, request, landed);
      sent(landed !== undefined);
    });
  }

  #told(from: SimNode, { to, term }: SnapshotRequest, snapshot: SnapshotMeta): void {
    const { queue, now, checks } = this.#world;
    const { lineage } = snapshot.membership;
    const type = MessageType.InstallSnapshot;
    const message: InstallSnapshotMessage = { type, shardId: SHARD_ID, from: from.id, to, term, lineage, snapshot };
    checks.sent(from, message);
    queue.push({ time: now, kind: EventKind.Message, nodeId: to, epoch: 0, message, call: undefined });
  }

  /** The file in chunks, and what becomes of them. */
  #onTheWay(file: Uint8Array, fault: Transit | undefined): Uint8Array[] {
    const r = this.#random;
    const size = 1 + r.int(file.length);
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < file.length; at += size) chunks.push(file.subarray(at, at + size));
    const at = r.int(chunks.length);
    const chunk = chunks[at];
    if (chunk === undefined) return chunks;
    if (fault === "snapshotCut") chunks.length = at;
    else if (fault === "snapshotDoubled") chunks.splice(at, 0, chunk);
    else if (fault === "snapshotMoved") chunks.push(...chunks.splice(at, 1));
    else if (fault === "snapshotFlipped") {
      const changed = chunk.slice();
      const place = r.int(changed.length);
      changed[place] = (changed[place] ?? 0) ^ (1 << r.int(8));
      chunks[at] = changed;
    }
    return chunks;
  }
}
