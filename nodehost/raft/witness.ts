/**
 * What witnesses change for a leader. They count for quorums and hold no data, so a quorum alone does not say that
 * anybody could lead on. Two rules keep the shard able to, without which it would refuse for ever what it could serve:
 *   - A witness is sent only what is durable at the leader (`lastFor`): it never holds more than some voter's disk.
 *     Otherwise a crash of the leader could leave it ahead of all voters, and it would vote for none of them; and
 *     witnesses alone could commit what no voter holds.
 *   - A leader commits its own removal only when another voter holds its whole log (`commitBound`). Otherwise entries
 *     that only the leader and a witness hold would leave with it. The log stands still meanwhile, as in a transfer.
 * Also makes the blocks that witnesses are sent. Nothing here is on the path of shards without witnesses.
 */
import { type EntryBlock, EntryType, entriesOf, metadataBody, sealBlock } from "../../shared/codec/block.js";
import { decodeConfigChange } from "../../shared/codec/membership.js";
import type { Index } from "../../shared/types/ids.js";
import type { Progress } from "./progress.js";
import type { RaftState } from "./state.js";

/** Each block is reduced once, however many witnesses and sends there are, as long as it stays in memory. */
export class MetadataBlocks {
  readonly #reduced = new WeakMap<Uint8Array, EntryBlock>();

  of(s: RaftState, block: EntryBlock): EntryBlock {
    let reduced = this.#reduced.get(block.bytes);
    if (reduced === undefined) {
      const at = { shardId: s.shardId, firstIndex: block.baseIndex, term: block.term };
      reduced = sealBlock(metadataBody(block), at, s.crc32);
      this.#reduced.set(block.bytes, reduced);
    }
    return reduced.clip(block.first, block.last);
  }
}

/** Last index that the peer may be sent. */
export function lastFor(s: RaftState, peer: Progress): Index {
  return peer.witness ? s.log.durable : s.log.last;
}

/** Highest index that this leader may commit, as far as its own removal beside a witness is concerned. */
export function commitBound(s: RaftState): Index {
  if (!isLeaving(s)) return Number.POSITIVE_INFINITY;
  for (const peer of s.peers.values()) {
    if (s.membership.voters.has(peer.id) && peer.match === s.log.last) return Number.POSITIVE_INFINITY;
  }
  return ownRemovalAt(s) - 1;
}

/** True while this leader's own removal is in its log and not applied. */
export function isLeaving(s: RaftState): boolean {
  return s.membership.witnesses.size > 0 && ownRemovalAt(s) > 0;
}

/** Index of the change not applied yet that removes this replica; 0 if there is none, or it will be refused. */
function ownRemovalAt(s: RaftState): Index {
  const index = s.log.pendingConfigs.at(-1);
  if (index === undefined || s.membership.voters.size < 2) return 0;
  const blocks: EntryBlock[] = [];
  s.log.sliceInto(blocks, index, index, 1);
  for (const block of blocks) {
    for (const entry of entriesOf(block)) {
      if (entry.type !== EntryType.ConfigChange) continue;
      const change = decodeConfigChange(entry.cmd);
      if (change.kind === "remove" && change.replicaId === s.id) return index;
    }
  }
  return 0;
}
