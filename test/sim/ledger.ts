/**
 * What is true in a run, beyond any node: which entries are committed, the state hash at each index, which snapshots
 * exist, what was asked and answered. Nodes can crash and forget; the ledger never does.
 */
import type { PromotionEnd } from "../../nodehost/raft/types.js";
import type { Index, ReplicaId, Term } from "../../shared/types/ids.js";
import { emptyMembership, type Membership } from "../../shared/types/membership.js";
import { FaultCounts } from "./fault-counts.js";
import type { MachineState } from "./machine.js";

export class Ledger {
  /** Highest index any leader ever committed. */
  commit: Index = 0;
  /** Term of each committed entry; slot = index. */
  readonly terms: number[] = [0];
  /** Term of the leader that committed it first; slot = index. Never decreases. */
  readonly committedIn: number[] = [0];
  /** State hash after each applied index; slot = index. */
  readonly hashes: number[] = [0];
  /** Application entries that changed the machine up to each applied index; slot = index. */
  readonly updates: number[] = [0];
  /** Digest of a machine on disk after each entry that it was given. */
  readonly digests = new Map<Index, number>();
  /** Index of the entry that carries a request key. */
  readonly keyIndex = new Map<number, Index>();
  /** Highest index whose request was answered. */
  acked: Index = 0;
  ackedCount = 0;
  readCount = 0;
  /** Sessions opened; entries of sessions that were answered without the machine, and that were refused. */
  sessions = 0;
  sessionRepeats = 0;
  sessionRefusals = 0;
  crashes = 0;
  readonly faults = new FaultCounts();
  /** How often a leader went to rest. */
  rests = 0;
  /** Snapshots of other replicas restored. */
  installs = 0;
  /** Commits for which the voters alone were no quorum, and empty snapshots restored by witnesses. */
  witnessCommits = 0;
  witnessInstalls = 0;
  transfersDone = 0;
  transfersAborted = 0;
  /** Learners that became voters by policy, and that a leader gave up. */
  promoted = 0;
  promotionsGivenUp = 0;
  /** Runs that ended with the one voter that is left waiting for the vote of a removed one (liveness.ts). */
  stranded = 0;
  /** Newest membership applied anywhere. */
  membership: Membership = emptyMembership();
  /** Membership text at each config change index. */
  readonly membershipAt = new Map<Index, string>();
  readonly leaders = new Map<Term, ReplicaId>();
  /** Snapshots of own states begun. */
  snapshotCount = 0;
  /** Snapshot contents by directory name (model-disk.ts). */
  readonly snapshots = new Map<string, MachineState>();

  promotionsEnded(ends: readonly PromotionEnd[]): void {
    for (const { reason } of ends) {
      if (reason === undefined) this.promoted += 1;
      else this.promotionsGivenUp += 1;
    }
  }

  get applied(): Index {
    return this.hashes.length - 1;
  }

  /** Highest committed index that a leader of `term` must hold: committed by a leader of a lower term. */
  mustHold(term: Term): Index {
    let index = this.commit;
    while (index > 0 && (this.committedIn[index] ?? 0) >= term) index -= 1;
    return index;
  }
}
