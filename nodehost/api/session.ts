/** Client sessions make a retried proposal apply once. Only the no-op session (no such guarantee) exists so far. */
import type { ShardId } from "../../shared/types/ids.js";

export interface Session {
  readonly shardId: ShardId;
  /** 16 hexadecimal digits; zeros for a no-op session. */
  readonly clientId: string;
  /** 0 = no-op session: a retry after an unknown outcome may apply twice. */
  readonly seriesId: number;
  readonly respondedTo: number;
}

export function noOpSession(shardId: ShardId): Session {
  return { shardId, clientId: "0000000000000000", seriesId: 0, respondedTo: 0 };
}
