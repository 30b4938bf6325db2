/**
 * Snapshots of one replica on their way to others: the newest file as it is, or, of an on-disk machine, a stream that
 * the machine writes while it is read. One stream per receiver at a time. Used by Snapshotter.
 *
 * Invariant: while a stream is under way, and until its receiver follows, the log keeps what comes after it (up to
 * PIN_ELECTION_TIMEOUTS after its end): otherwise the receiver would need another snapshot at once.
 */
import { errorText, OpError } from "../../shared/errors.js";
import type { Index, ReplicaId, TimeMs } from "../../shared/types/ids.js";
import { targetOf } from "../../shared/types/membership.js";
import { type SnapshotMeta, witnessSnapshot } from "../../shared/types/message.js";
import type { SnapshotRequest } from "../raft/types.js";
import type { SnapshotStream } from "../rsm/types.js";
import type { ReplicaPorts } from "./ports.js";
import type { Replica } from "./replica.js";

const PIN_ELECTION_TIMEOUTS = 20;

interface Pin {
  index: Index;
  /** Infinity while the stream is under way. */
  untilMs: TimeMs;
}

/** Where the newest snapshot is, and the membership there: all that a witness gets. */
function nothingOf(newest: SnapshotMeta): SnapshotStream {
  return { meta: witnessSnapshot(newest), chunks: noChunks(), close: async () => {} };
}

async function* noChunks(): AsyncGenerator<Uint8Array> {}

export class SnapshotOutbox {
  readonly #replica: Replica;
  readonly #ports: ReplicaPorts;
  readonly #signal: AbortSignal;
  readonly #sending = new Set<ReplicaId>();
  readonly #pins = new Map<ReplicaId, Pin>();

  constructor(replica: Replica, ports: ReplicaPorts, signal: AbortSignal) {
    this.#replica = replica;
    this.#ports = ports;
    this.#signal = signal;
  }

  /** `newest` is the recorded one; the core is told how the stream ended. */
  send(request: SnapshotRequest, newest: SnapshotMeta | undefined): void {
    const { to } = request;
    if (this.#sending.has(to)) return;
    if (newest === undefined) {
      this.#replica.raft.snapshotSent(to, 0, false);
      return;
    }
    this.#sending.add(to);
    const pin: Pin = { index: newest.index, untilMs: Number.POSITIVE_INFINITY };
    this.#pins.set(to, pin);
    this.#stream(request, newest, pin).then(
      () => {
        pin.untilMs = this.#ports.env.now() + this.#pinMs;
        this.#ended(to, pin.index, true);
      },
      (error: unknown) => {
        this.#pins.delete(to);
        this.#failed(to, pin.index, error);
      },
    );
  }

  /** The log may be compacted to `compactTo` only as far as no receiver needs what comes after its snapshot. */
  bound(compactTo: Index): Index {
    if (this.#pins.size === 0) return compactTo;
    const nowMs = this.#ports.env.now();
    const matches = new Map(this.#replica.raft.status().peers.map((peer) => [peer.replicaId, peer.match]));
    let bound = compactTo;
    for (const [to, { index, untilMs }] of [...this.#pins]) {
      const match = matches.get(to);
      const follows = !this.#sending.has(to) && (match === undefined || match >= index || nowMs > untilMs);
      if (follows) this.#pins.delete(to);
      else bound = Math.min(bound, index);
    }
    return bound;
  }

  get #pinMs(): number {
    return PIN_ELECTION_TIMEOUTS * this.#replica.config.electionTicks * this.#ports.rttMs;
  }

  async #stream(request: SnapshotRequest, newest: SnapshotMeta, pin: Pin): Promise<void> {
    const { shardId, replicaId, raft } = this.#replica;
    const { to, term } = request;
    const { listeners, transport, sendRate } = this.#ports;
    const target = targetOf(raft.membership, to);
    if (target === undefined) throw new OpError("DL_ERR_INVALID_TARGET", `replica ${to} is no member`);
    const source = request.witness ? nothingOf(newest) : await this.open(newest);
    try {
      const { meta, chunks } = source;
      pin.index = meta.index;
      const { lineage } = meta.membership;
      const header = { shardId, from: replicaId, to, term, lineage, snapshot: meta };
      listeners.snapshotSendStarted?.(shardId, replicaId, to, meta.index);
      await transport.sendSnapshot(target, header, sendRate.paced(chunks), this.#signal);
    } finally {
      await source.close();
    }
  }

  /** Bytes of a whole snapshot: of `newest`, or of the state of now if there is no file that holds it. */
  async open(newest: SnapshotMeta): Promise<SnapshotStream> {
    const { rsm } = this.#replica;
    if (rsm.onDisk) return rsm.streamSnapshot(this.#signal);
    return { meta: newest, chunks: this.#ports.snapshots.readFile(newest), close: async () => {} };
  }

  #failed(to: ReplicaId, index: Index, error: unknown): void {
    const { shardId, replicaId } = this.#replica;
    const why = errorText(error);
    this.#ports.logger.warn({ shardId, replicaId, to, error: why }, "sending a snapshot failed");
    this.#ended(to, index, false, why);
  }

  #ended(to: ReplicaId, index: Index, ok: boolean, why = ""): void {
    const { shardId, replicaId, working, raft } = this.#replica;
    const { listeners } = this.#ports;
    this.#sending.delete(to);
    if (ok) listeners.snapshotSendCompleted?.(shardId, replicaId, to, index);
    else listeners.snapshotSendAborted?.(shardId, replicaId, to, index, why);
    if (!working) return;
    raft.snapshotSent(to, index, ok);
    this.#ports.ready(this.#replica);
  }
}
