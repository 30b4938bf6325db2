/**
 * The membership that a stopped replica would have after its whole log: that of its snapshot (or its first members),
 * and every config change behind it, committed or not. Used by the tools that force a membership.
 */
import { EntryType, entriesOf } from "../../shared/codec/block.js";
import { decodeConfigChange } from "../../shared/codec/membership.js";
import type { Membership } from "../../shared/types/membership.js";
import type { LogDb, RecoveredReplica } from "../logdb/port.js";
import { applyConfigChange } from "../rsm/index.js";

const READ_BYTES = 4 * 1024 * 1024;

export async function membershipAtLast(logDb: LogDb, replica: RecoveredReplica): Promise<Membership> {
  let membership = replica.snapshot?.membership ?? replica.bootstrap.initial;
  let next = Math.max(replica.first, (replica.snapshot?.index ?? 0) + 1);
  while (next <= replica.last) {
    for (const block of await logDb.read(replica, next, replica.last, READ_BYTES)) {
      for (const entry of entriesOf(block)) {
        next = entry.index + 1;
        if (entry.type !== EntryType.ConfigChange) continue;
        membership = applyConfigChange(membership, decodeConfigChange(entry.cmd), entry.index).membership;
      }
    }
  }
  return membership;
}
