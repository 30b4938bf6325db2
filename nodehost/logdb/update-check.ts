/**
 * Whether an append may be done at all, checked before anything is written: an update that does not fit its replica is
 * a bug of the caller and is refused whole with DL_ERR_INVALID_ARGUMENT (DL_ERR_REPLICA_REMOVED for a removed id,
 * DL_ERR_LOGDB_CORRUPT for a damaged one). Used by every LogDb implementation, so that all refuse the same.
 *
 * A replica may occur several times in one append: `Plan` carries what the earlier updates of the append make of it.
 */
import type { EntryBlock } from "../../shared/codec/block.js";
import { OpError } from "../../shared/errors.js";
import type { Index, Term } from "../../shared/types/ids.js";
import type { LogUpdate, ReplicaKey } from "./port.js";

/** The numbers of a replica's log after the updates checked so far. */
export interface Plan {
  exists: boolean;
  removed: boolean;
  readonly damage: string | undefined;
  first: Index;
  last: Index;
}

/** Term as of before the append, undefined if unknown. */
export type TermLookup = (index: Index) => Term | undefined;

/** Throws OpError if `update` cannot follow on `plan`; otherwise advances `plan` and resolves what replay needs. */
export function checkUpdate(plan: Plan, update: LogUpdate, term: TermLookup): { readonly compactTerm: Term } {
  if (plan.removed) throw new OpError("DL_ERR_REPLICA_REMOVED", nameOf(update));
  if (update.remove === true) return checkRemove(plan, update);
  if (plan.damage !== undefined) throw new OpError("DL_ERR_LOGDB_CORRUPT", `${nameOf(update)}: ${plan.damage}`);
  if (!plan.exists && update.bootstrap === undefined) throw refuse(update, "has no bootstrap record");
  plan.exists = true;
  if (update.snapshot !== undefined) checkSnapshot(plan, update, term);
  if (update.blocks !== undefined && update.blocks.length > 0) checkBlocks(plan, update, update.blocks);
  return { compactTerm: update.compactTo === undefined ? 0 : checkCompact(plan, update, term) };
}

function checkRemove(plan: Plan, update: LogUpdate): { readonly compactTerm: Term } {
  const alone =
    update.bootstrap === undefined &&
    update.snapshot === undefined &&
    update.blocks === undefined &&
    update.hardState === undefined &&
    update.compactTo === undefined;
  if (!alone) throw refuse(update, "is removed together with other changes");
  plan.removed = true;
  return { compactTerm: 0 };
}

function checkSnapshot(plan: Plan, update: LogUpdate, term: TermLookup): void {
  if (update.snapshot === undefined) return;
  const { meta, reset } = update.snapshot;
  if (meta.shardId !== update.shardId) throw refuse(update, `gets a snapshot of shard ${meta.shardId}`);
  if (reset) {
    plan.first = meta.index + 1;
    plan.last = meta.index;
    return;
  }
  const held = termInUpdate(update, meta.index) ?? term(meta.index);
  // It only records the snapshot, so the entry it names may also be one of this very update.
  const last = Math.max(plan.last, update.blocks?.at(-1)?.last ?? 0);
  if (meta.index < plan.first - 1 || meta.index > last || (held !== undefined && held !== meta.term)) {
    const log = `the log holds [${plan.first}, ${plan.last}], term ${held ?? "unknown"} there`;
    throw refuse(update, `keeps its log after snapshot (${meta.index}, ${meta.term}), but ${log}`);
  }
}

function checkBlocks(plan: Plan, update: LogUpdate, blocks: readonly EntryBlock[]): void {
  if (update.hardState === undefined) throw refuse(update, "appends entries without a hard state");
  const begin = (blocks[0] as EntryBlock).first;
  if (begin < plan.first || begin > plan.last + 1) {
    throw refuse(update, `appends at ${begin}, its log holds [${plan.first}, ${plan.last}]`);
  }
  let next = begin;
  for (const block of blocks) {
    if (block.first !== next) throw refuse(update, `appends blocks with a gap at ${next}`);
    next = block.last + 1;
  }
  plan.last = next - 1;
}

function checkCompact(plan: Plan, update: LogUpdate, term: TermLookup): Term {
  const to = update.compactTo;
  if (to === undefined || to < plan.first) return 0;
  if (to > plan.last) throw refuse(update, `compacts to ${to}, its log ends at ${plan.last}`);
  const known = termInUpdate(update, to) ?? term(to);
  if (known === undefined) throw refuse(update, `compacts to ${to}, whose term is not known`);
  plan.first = to + 1;
  return known;
}

/** Entries appended by this very update come before what was there. */
function termInUpdate(update: LogUpdate, index: Index): Term | undefined {
  for (const block of update.blocks ?? []) if (block.first <= index && index <= block.last) return block.term;
  const { snapshot } = update;
  return snapshot?.reset === true && snapshot.meta.index === index ? snapshot.meta.term : undefined;
}

/** "replica 3 of shard 7", as every message of this folder names a replica. */
export function nameOf(key: ReplicaKey): string {
  return `replica ${key.replicaId} of shard ${key.shardId}`;
}

function refuse(key: ReplicaKey, what: string): OpError {
  return new OpError("DL_ERR_INVALID_ARGUMENT", `${nameOf(key)} ${what}`);
}
