/**
 * A snapshot that comes in: it is landed as a whole file, then handed to the core of its replica, which decides. Called
 * by the engine for each stream.
 *
 * Invariant: a stream of a leader that is deposed meanwhile is refused at its next chunk, and what came of it is
 * removed (P67); a file that landed and is not taken is removed with the next snapshot, or at the next start.
 */
import { OpError } from "../../shared/errors.js";
import type { ReplicaId } from "../../shared/types/ids.js";
import { isWitnessSnapshot, MessageType, type SnapshotMeta } from "../../shared/types/message.js";
import type { Hello, SnapshotHeader } from "../transport/port.js";
import type { ReplicaPorts } from "./ports.js";
import type { RateLimit } from "./rate-limit.js";
import type { Replica } from "./replica.js";

export interface IncomingSnapshot {
  readonly from: Hello;
  readonly header: SnapshotHeader;
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** Resolves when it is safely stored, or not needed. */
export async function takeSnapshot(
  replica: Replica | undefined,
  incoming: IncomingSnapshot,
  ports: ReplicaPorts,
  rate: RateLimit,
): Promise<void> {
  const { from, header, chunks } = incoming;
  const { shardId, to, term, lineage, snapshot } = header;
  if (replica?.serving !== true || replica.replicaId !== to) {
    throw new OpError("DL_ERR_SHARD_NOT_FOUND", `shard ${shardId} replica ${to}`);
  }
  refuseOld(replica, header);
  if (snapshot.index <= replica.raft.commit) return;
  const watched = watch(rate.paced(chunks), () => refuseOld(replica, header));
  const stored = replica.config.isWitness
    ? await takeNothing(to, snapshot, watched)
    : await ports.snapshots.receive({ replicaId: to, onDisk: replica.rsm.onDisk }, snapshot, watched);
  refuseOld(replica, header);
  ports.listeners.snapshotReceived?.(shardId, to, stored.index);
  const type = MessageType.InstallSnapshot;
  replica.deliver({ type, shardId, from: header.from, to, term, lineage, snapshot: stored }, from.hostId);
}

/** A witness is told where to go on, and keeps no file. A stream with state was meant for somebody else. */
async function takeNothing(
  replicaId: ReplicaId,
  meta: SnapshotMeta,
  chunks: AsyncIterable<Uint8Array>,
): Promise<SnapshotMeta> {
  const refusal = `snapshot ${meta.shardId}/${meta.index} holds state, replica ${replicaId} is a witness`;
  if (!isWitnessSnapshot(meta)) throw new OpError("DL_ERR_MALFORMED", refusal);
  for await (const chunk of chunks) if (chunk.length > 0) throw new OpError("DL_ERR_MALFORMED", refusal);
  return { ...meta, replicaId };
}

function refuseOld(replica: Replica, header: SnapshotHeader): void {
  if (!replica.working) throw replica.whyNotWorking();
  const { term } = replica.raft;
  if (header.term >= term) return;
  throw new OpError("DL_ERR_FENCED", `snapshot of a leader of term ${header.term}, replica ${header.to} is in ${term}`);
}

async function* watch(chunks: AsyncIterable<Uint8Array>, check: () => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    check();
    yield chunk;
  }
}
