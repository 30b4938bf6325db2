/** Small checks of values inside commands. Used by the update files of this folder. */
import type { ShardSpec } from "./types.js";

/** Ids above are refused, so that one bad report cannot exhaust the counter. */
const REPLICA_ID_MAX = 2 ** 48;
const TEXT_MAX = 512;
const ID_TEXT_MAX = 256;
const VOTERS_MAX = 31;
const NON_VOTINGS_MAX = 64;

export function isReplicaId(id: number): boolean {
  return id >= 1 && id <= REPLICA_ID_MAX;
}

/** Free text, cut to a bound without splitting a surrogate pair. */
export function clip(text: string): string {
  if (text.length <= TEXT_MAX) return text;
  const last = text.charCodeAt(TEXT_MAX - 1);
  const splitsPair = last >= 0xd800 && last <= 0xdbff;
  return text.slice(0, splitsPair ? TEXT_MAX - 1 : TEXT_MAX);
}

export function isIdText(text: string): boolean {
  return text.length >= 1 && text.length <= ID_TEXT_MAX;
}

/** Why a spec cannot be, or undefined. */
export function specProblem(spec: ShardSpec): string | undefined {
  if (!isIdText(spec.app)) return "the app needs a name of 1 to 256 characters";
  if (spec.name.length > ID_TEXT_MAX) return `the name has ${spec.name.length} characters, at most ${ID_TEXT_MAX}`;
  if (spec.region.length > ID_TEXT_MAX) return "the region's name is too long";
  if (spec.voters < 1 || spec.voters > VOTERS_MAX) return `voters ${spec.voters}, expected 1 to ${VOTERS_MAX}`;
  if (spec.nonVotings > NON_VOTINGS_MAX) return `nonVotings ${spec.nonVotings}, at most ${NON_VOTINGS_MAX}`;
  return undefined;
}
