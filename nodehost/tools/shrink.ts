/**
 * After a loss of quorum: makes one surviving replica the only voter of its shard, so that it can lead again and others
 * can be added. By hand, on the data directory of its stopped host; never by the masters.
 *
 * What it does: everything in the survivor's log counts as committed, and behind it goes a config change that removes
 * all other members for ever and raises the lineage by one (the config change index stays). Members that come back
 * later hear that they are superseded and fence themselves; those that never meet the survivor cannot be prevented from
 * going on among themselves: see to it that they stay off.
 *
 * What may be lost: writes acknowledged by a quorum that this survivor is not part of. Take the survivor with the
 * highest (last term, last index): `inspectData` shows them. What may appear: entries that were never acknowledged.
 */
import { BlockBuilder, EntryType, sealBlock } from "../../shared/codec/block.js";
import { encodeConfigChange } from "../../shared/codec/membership.js";
import { OpError } from "../../shared/errors.js";
import type { HostId, Index, ReplicaId, ShardId, Target, Term } from "../../shared/types/ids.js";
import { type Membership, quorumSize, roleOf } from "../../shared/types/membership.js";
import { applyConfigChange } from "../rsm/index.js";
import { membershipAtLast } from "./membership-of.js";
import { type DataOptions, replicaHere, withData } from "./open-data.js";

export interface ShrinkOptions extends DataOptions {
  readonly shardId: ShardId;
  /** Needed only if several replicas of the shard have data here. */
  readonly replicaId?: ReplicaId;
  /** Where the survivor is reached from now on; default: as before. */
  readonly target?: Target;
  /** Changes nothing. */
  readonly dryRun?: boolean;
}

export interface ShrinkReport {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  readonly hostId: HostId;
  readonly before: Membership;
  readonly after: Membership;
  readonly commit: Index;
  readonly lastIndex: Index;
  readonly lastTerm: Term;
  /** Entries of which this replica does not know that they were committed; they will count. */
  readonly uncommittedEntries: number;
  readonly done: boolean;
}

/**
 * DL_ERR_DIRECTORY_LOCKED (the host still runs), DL_ERR_SHARD_NOT_FOUND, DL_ERR_LOGDB_CORRUPT (this replica cannot be
 * trusted: take another one, or a backup), DL_ERR_REJECTED (a witness, a replica that was removed, or nothing to do).
 */
export function shrinkToSurvivors(options: ShrinkOptions): Promise<ShrinkReport> {
  return withData(options, async (data) => {
    const { logDb, env, hostId } = data;
    const { shardId, replicaId, hardState, last } = replicaHere(data, options.shardId, options.replicaId);
    const key = { shardId, replicaId };
    const before = await membershipAtLast(logDb, replicaHere(data, shardId, replicaId));
    checkSurvivor(before, replicaId);
    const expected = before.configChangeIndex;
    const target = options.target ?? "";
    const change = {
      kind: "shrink",
      replicaId,
      target,
      expectedConfigChangeIndex: expected,
      bootstrap: false,
    } as const;
    const index = last + 1;
    const { membership: after, refusal } = applyConfigChange(before, change, index);
    if (refusal !== undefined) throw new OpError("DL_ERR_REJECTED", refusal);
    const report = {
      ...key,
      hostId,
      before,
      after,
      commit: hardState.commit,
      lastIndex: last,
      lastTerm: logDb.term(key, last) ?? 0,
      uncommittedEntries: last - hardState.commit,
    };
    if (options.dryRun === true) return { ...report, done: false };
    // A term of its own: no other leader ever had an entry there.
    const term = hardState.term + 1;
    const builder = new BlockBuilder();
    builder.add(EntryType.ConfigChange, { replicaId: 0, incarnation: 0, sequence: 1 }, encodeConfigChange(change));
    const block = sealBlock(builder.finish(), { shardId, firstIndex: index, term }, env.crc32);
    await logDb.append([{ ...key, blocks: [block], hardState: { term, vote: 0, commit: index } }]);
    return { ...report, done: true };
  });
}

function checkSurvivor(membership: Membership, replicaId: ReplicaId): void {
  if (membership.removed.has(replicaId)) {
    throw new OpError("DL_ERR_REJECTED", `replica ${replicaId} was removed from its shard: it must not come back`);
  }
  const alone = membership.voters.size === 1 && quorumSize(membership) === 1 && membership.nonVotings.size === 0;
  if (alone && roleOf(membership, replicaId) === "voter") {
    throw new OpError("DL_ERR_REJECTED", `replica ${replicaId} is the only member already`);
  }
}
