/** W1: compares what recovery found with what a log may hold. Used by wal-disk.ts at every start. */
import type { RecoveredReplica } from "../../nodehost/logdb/port.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import type { DurableState } from "./disk.js";
import type { SimLog } from "./log.js";
import { membershipText } from "./machine.js";

/** How `found`, with the entries in `log`, differs from `state`; undefined if it does not. */
export function differenceOf(found: RecoveredReplica, log: SimLog, state: DurableState): string | undefined {
  const { hardState } = found;
  const wanted = state.hardState;
  if (hardState.term !== wanted.term || hardState.vote !== wanted.vote || hardState.commit !== wanted.commit) {
    return `hard state ${JSON.stringify(hardState)}, expected ${JSON.stringify(wanted)}`;
  }
  const [here, there] = [snapshotText(found.snapshot), snapshotText(state.snapshot)];
  if (here !== there) return `snapshot ${here}, expected ${there}`;
  return logDifference(log, state.log);
}

function logDifference(log: SimLog, wanted: SimLog): string | undefined {
  if (log.first !== wanted.first || log.last !== wanted.last || log.precedingTerm !== wanted.precedingTerm) {
    return `entries ${rangeText(log)}, expected ${rangeText(wanted)}`;
  }
  for (let index = log.first; index <= log.last; ) {
    const block = log.blockAt(index);
    const expected = wanted.blockAt(index);
    if (block === undefined || expected === undefined) return `no entry ${index}`;
    const same = block.term === expected.term && Buffer.compare(block.bytes, expected.bytes) === 0;
    if (!same) return `entry ${index} of term ${block.term}, expected another one of term ${expected.term}`;
    index = Math.min(block.last, expected.last) + 1;
  }
  return undefined;
}

function rangeText(log: SimLog): string {
  return `${log.first}..${log.last} after term ${log.precedingTerm}`;
}

function snapshotText(meta: SnapshotMeta | undefined): string {
  if (meta === undefined) return "none";
  const { index, term, membership, sizeBytes, directory, replicaId } = meta;
  return `${index}@${term} of ${replicaId}, ${sizeBytes} bytes in ${directory}, ${membershipText(membership)}`;
}
