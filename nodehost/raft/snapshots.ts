/** The leader's side of snapshots, and compaction. Receiving one is in follower.ts, restoring it in membership.ts. */
import type { Index, ReplicaId } from "../../shared/types/ids.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import type { RaftState } from "./state.js";

/** A snapshot of ours is recorded: it serves slow peers from now on, and the log may forget entries ≤ `compactTo`. */
export function snapshotCreated(s: RaftState, meta: SnapshotMeta, compactTo: Index): void {
  if (s.snapshot === undefined || s.snapshot.index < meta.index) s.snapshot = meta;
  if (s.restoring !== undefined) return;
  const index = Math.min(compactTo, meta.index, s.log.applied);
  if (index < s.log.first) return;
  const term = s.termAt(index) ?? (index === meta.index ? meta.term : undefined);
  if (term !== undefined) s.log.compact(index, term);
}

/**
 * The stream to `to` ended. If it arrived, the peer is probed after its next heartbeat answer from there on; if not,
 * another attempt waits for an election timeout.
 */
export function snapshotSent(s: RaftState, to: ReplicaId, index: Index, ok: boolean): void {
  const peer = s.peers.get(to);
  if (peer === undefined || peer.state !== "snapshot") return;
  peer.becomeProbe(ok ? Math.min(index, s.log.last) + 1 : peer.match + 1);
  peer.paused = true;
  if (!ok) peer.snapshotNotBeforeMs = s.nowMs + s.config.electionTimeoutMs;
}
