/**
 * What keeps this replica from leading or from following, as far as others said so. Changes nothing here: it is for
 * people, who otherwise see a shard that stands still without a reason. Called by election, dispatch, follower, roles.
 */
import type { Index, ReplicaId, Term } from "../../shared/types/ids.js";
import { isWitnessSnapshot, type LogAheadMessage, type Message, MessageType } from "../../shared/types/message.js";
import { send } from "./send.js";
import type { RaftState } from "./state.js";
import type { RaftStatus } from "./types.js";

export type Hindrance =
  /** That member refused its vote: its log ends there, after ours. Its entries may be committed. */
  | { readonly kind: "logAhead"; readonly by: ReplicaId; readonly lastIndex: Index; readonly lastTerm: Term }
  /** That leader takes this replica for a witness and it is none, or the other way round. */
  | { readonly kind: "wrongKind"; readonly by: ReplicaId };

/** Beside the refusal of a vote or pre-vote, which cannot say why. */
export function sendLogAhead(s: RaftState, to: ReplicaId): void {
  const { shardId, id: from, term, lineage } = s;
  const { last: lastIndex, lastTerm } = s.log;
  send(s, { type: MessageType.LogAhead, shardId, from, to, term, lineage, lastIndex, lastTerm });
}

/** Keeps what is furthest ahead, until a leader is known. */
export function handleLogAhead(s: RaftState, m: LogAheadMessage): void {
  const { lastIndex, lastTerm } = m;
  if (s.leaderId !== 0 || !s.voterIds.includes(m.from)) return;
  const known = s.hindrance?.kind === "logAhead" ? s.hindrance : { lastIndex: s.log.last, lastTerm: s.log.lastTerm };
  const isFurther = lastTerm > known.lastTerm || (lastTerm === known.lastTerm && lastIndex > known.lastIndex);
  if (isFurther) s.hindrance = { kind: "logAhead", by: m.from, lastIndex, lastTerm };
}

/** A refused message shows it if its entries or its snapshot are for the other kind of replica. */
export function noteWrongKind(s: RaftState, m: Message): void {
  if (m.to !== s.id || m.shardId !== s.shardId || m.from === s.id) return;
  const { witness } = s.config;
  const isWrong =
    (m.type === MessageType.Replicate && m.blocks.some((block) => block.isMetadata !== witness)) ||
    (m.type === MessageType.InstallSnapshot && isWitnessSnapshot(m.snapshot) !== witness);
  if (isWrong) s.hindrance = { kind: "wrongKind", by: m.from };
}

/** One sentence, empty if there is no hindrance. */
export function hindranceText(status: Pick<RaftStatus, "hindrance" | "last" | "lastTerm">): string {
  const { hindrance, last, lastTerm } = status;
  if (hindrance === undefined) return "";
  const { by } = hindrance;
  if (hindrance.kind === "wrongKind")
    return `leader ${by} takes this replica for a witness and it is none, or conversely`;
  const there = `its log ends at index ${hindrance.lastIndex} of term ${hindrance.lastTerm}`;
  const here = `this one at ${last} of term ${lastTerm}`;
  return `replica ${by} refuses its vote, ${there}, ${here}: a voter that holds those entries must return`;
}
