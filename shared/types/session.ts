/**
 * Numbers that give the series of an entry's session their meaning. Written down in proto/FORMATS.md; used by whoever
 * makes sessions (nodehost/api) and by the replicated table that obeys them (nodehost/rsm).
 */
import type { ShardId } from "./ids.js";

/** No session: a retry after an unknown outcome may apply twice. */
export const SERIES_NONE = 0;
/** Highest series of a proposal. */
export const SERIES_MAX: number = Number.MAX_SAFE_INTEGER - 2;
/** Opens the session: the command is empty. 2^53 - 2. */
export const SERIES_REGISTER: number = Number.MAX_SAFE_INTEGER - 1;
/** Closes the session: the command is empty. 2^53 - 1. */
export const SERIES_UNREGISTER: number = Number.MAX_SAFE_INTEGER;

/** Client id of a session that is none. */
export const NO_CLIENT = "0000000000000000";

/** True for 16 hexadecimal digits in lower case, not all zero. */
export function isClientId(text: string): boolean {
  return /^[0-9a-f]{16}$/.test(text) && text !== NO_CLIENT;
}

/** An open session as it travels between a client and hosts. */
export interface SessionState {
  readonly shardId: ShardId;
  /** 16 hexadecimal digits. */
  readonly clientId: string;
  /** Of the proposal it is used for. */
  readonly seriesId: number;
  /** Highest series whose answer the client has: seriesId - 1. */
  readonly respondedTo: number;
}

/** Why a session's entry was not applied (again) and has no answer; codes of shared/errors.ts. */
export type SessionRefusal =
  | "DL_ERR_SESSION_NOT_FOUND"
  | "DL_ERR_SESSION_STALE"
  | "DL_ERR_INVALID_SESSION"
  | "DL_ERR_SESSION_RESULT_LOST";
