/**
 * The way of every message: range check → notices → removed senders → lineage → term rule → table of role × message.
 * The table is total: the compiler refuses a role or message without an answer.
 */
import {
  type HeartbeatMessage,
  type HeartbeatRespMessage,
  type InstallSnapshotMessage,
  type LogAheadMessage,
  type MemoryReportMessage,
  type Message,
  MessageType,
  type PreVoteMessage,
  type PreVoteRespMessage,
  type ProposeDroppedMessage,
  type ProposeMessage,
  type ProposeRefusedMessage,
  type QuiesceMessage,
  type ReadIndexMessage,
  type ReadIndexRespMessage,
  type RemovedNoticeMessage,
  type ReplicateMessage,
  type ReplicateRespMessage,
  type SupersededMessage,
  type TimeoutNowMessage,
  type VoteMessage,
  type VoteRespMessage,
} from "../../shared/types/message.js";
import {
  handlePreVote,
  handlePreVoteResp,
  handleTimeoutNow,
  handleVote,
  handleVoteResp,
  inLease,
  refusePreVote,
  refuseVote,
} from "./election.js";
import { handleHeartbeat, handleInstallSnapshot, handleReplicate } from "./follower.js";
import { handleLogAhead, noteWrongKind } from "./hindrance.js";
import { handleNotice, isFromRemoved, isOutdatedLineage } from "./membership.js";
import { handleMemoryReport } from "./memory-limit.js";
import { handleLatePropose, handlePropose, handleProposeDropped } from "./proposals.js";
import { handleQuiesce, rouses, wake } from "./quiesce.js";
import { handleReadIndex, handleReadIndexResp } from "./readindex.js";
import { handleHeartbeatResp, handleReplicateResp } from "./replication.js";
import { becomeFollower } from "./roles.js";
import { sendHeartbeatResp } from "./send.js";
import type { RaftState } from "./state.js";
import type { RaftRole } from "./types.js";
import { isPlausible } from "./validate.js";

interface MessageByType {
  [MessageType.PreVote]: PreVoteMessage;
  [MessageType.PreVoteResp]: PreVoteRespMessage;
  [MessageType.Vote]: VoteMessage;
  [MessageType.VoteResp]: VoteRespMessage;
  [MessageType.Replicate]: ReplicateMessage;
  [MessageType.ReplicateResp]: ReplicateRespMessage;
  [MessageType.Heartbeat]: HeartbeatMessage;
  [MessageType.HeartbeatResp]: HeartbeatRespMessage;
  [MessageType.InstallSnapshot]: InstallSnapshotMessage;
  [MessageType.ReadIndex]: ReadIndexMessage;
  [MessageType.ReadIndexResp]: ReadIndexRespMessage;
  [MessageType.Propose]: ProposeMessage;
  [MessageType.ProposeDropped]: ProposeDroppedMessage;
  [MessageType.ProposeRefused]: ProposeRefusedMessage;
  [MessageType.MemoryReport]: MemoryReportMessage;
  [MessageType.LogAhead]: LogAheadMessage;
  [MessageType.Quiesce]: QuiesceMessage;
  [MessageType.TimeoutNow]: TimeoutNowMessage;
  [MessageType.RemovedNotice]: RemovedNoticeMessage;
  [MessageType.Superseded]: SupersededMessage;
}

type Handler<M> = (s: RaftState, m: M) => void;
type Cell<M> = Handler<M> | "ignore" | "impossible";
type Row = { readonly [T in MessageType]: Cell<MessageByType[T]> };

/** The same in every role. */
const ALL: Pick<Row, 1 | 3 | 13 | 15 | 16 | 18 | 26> = {
  [MessageType.PreVote]: handlePreVote,
  [MessageType.Vote]: handleVote,
  [MessageType.ProposeDropped]: handleProposeDropped,
  [MessageType.ProposeRefused]: handleProposeDropped,
  [MessageType.RemovedNotice]: handleNotice,
  [MessageType.Superseded]: handleNotice,
  [MessageType.LogAhead]: handleLogAhead,
};

const FOLLOWER: Row = {
  ...ALL,
  [MessageType.PreVoteResp]: "ignore",
  [MessageType.VoteResp]: "ignore",
  [MessageType.Replicate]: handleReplicate,
  [MessageType.ReplicateResp]: "ignore",
  [MessageType.Heartbeat]: handleHeartbeat,
  [MessageType.HeartbeatResp]: "ignore",
  [MessageType.InstallSnapshot]: handleInstallSnapshot,
  [MessageType.ReadIndex]: "ignore",
  [MessageType.ReadIndexResp]: handleReadIndexResp,
  [MessageType.Propose]: handleLatePropose,
  [MessageType.TimeoutNow]: handleTimeoutNow,
  [MessageType.MemoryReport]: "ignore",
  [MessageType.Quiesce]: handleQuiesce,
};

/** Row per role. Exported for the test that looks at every cell. */
export const ROLE_TABLE: Readonly<Record<RaftRole, Row>> = {
  follower: FOLLOWER,
  preCandidate: {
    ...FOLLOWER,
    [MessageType.PreVoteResp]: handlePreVoteResp,
    [MessageType.TimeoutNow]: "ignore",
  },
  candidate: {
    ...FOLLOWER,
    [MessageType.VoteResp]: handleVoteResp,
    [MessageType.ReplicateResp]: "impossible",
    [MessageType.HeartbeatResp]: "impossible",
    [MessageType.ReadIndex]: "impossible",
    [MessageType.Propose]: "impossible",
    [MessageType.TimeoutNow]: "ignore",
    [MessageType.MemoryReport]: "impossible",
  },
  leader: {
    ...ALL,
    [MessageType.PreVoteResp]: "ignore",
    [MessageType.VoteResp]: "ignore",
    [MessageType.Replicate]: "impossible",
    [MessageType.ReplicateResp]: handleReplicateResp,
    [MessageType.Heartbeat]: "impossible",
    [MessageType.HeartbeatResp]: handleHeartbeatResp,
    [MessageType.InstallSnapshot]: "impossible",
    [MessageType.ReadIndex]: handleReadIndex,
    [MessageType.ReadIndexResp]: "ignore",
    [MessageType.Propose]: handlePropose,
    [MessageType.TimeoutNow]: "ignore",
    [MessageType.MemoryReport]: handleMemoryReport,
    [MessageType.Quiesce]: "impossible",
  },
};

export function receive(s: RaftState, m: Message): void {
  if (!isPlausible(s, m)) {
    s.counters.malformed += 1;
    noteWrongKind(s, m);
    return;
  }
  if (m.type === MessageType.RemovedNotice || m.type === MessageType.Superseded) {
    if (!s.membership.removed.has(m.from)) handleNotice(s, m);
    return;
  }
  if (isFromRemoved(s, m) || isOutdatedLineage(s, m)) return;
  if (s.quiesced && rouses(s, m)) wake(s);
  if (!passesTermRule(s, m)) return;
  call(s, ROLE_TABLE[s.role], m.type, m);
}

function call<T extends MessageType>(
  s: RaftState,
  row: { readonly [K in T]: Cell<MessageByType[K]> },
  type: T,
  m: MessageByType[T],
): void {
  const cell: Cell<MessageByType[T]> = row[type];
  if (cell === "ignore") return;
  if (cell === "impossible") s.counters.impossible += 1;
  else cell(s, m);
}

/** Takes over higher terms, answers or drops lower ones. True if the message is to be handled in its term. */
function passesTermRule(s: RaftState, m: Message): boolean {
  if ((m.type === MessageType.Vote && !m.transfer) || m.type === MessageType.PreVote) {
    if (m.term >= s.term && inLease(s, m.from)) return false;
  }
  if (m.term === s.term) return true;
  if (m.term < s.term) {
    s.counters.lowerTerm += 1;
    answerLowerTerm(s, m);
    return false;
  }
  if (m.type === MessageType.PreVote) return true;
  if (m.type === MessageType.PreVoteResp && m.granted) return true;
  becomeFollower(s, m.term, 0);
  return true;
}

/** Tells a stuck leader or candidate of the newer term, so that it rejoins (P16), and owners what they may retry. */
function answerLowerTerm(s: RaftState, m: Message): void {
  if (m.type === MessageType.PreVote) refusePreVote(s, m.from);
  else if (m.type === MessageType.Vote) refuseVote(s, m.from);
  else if (m.type === MessageType.Propose) handleLatePropose(s, m);
  // True for ever: a body is forwarded once, in one term. Its owner may campaign already, asked to by who refused it.
  else if (m.type === MessageType.ProposeDropped || m.type === MessageType.ProposeRefused) handleProposeDropped(s, m);
  else if (m.type === MessageType.Replicate || m.type === MessageType.Heartbeat || m.type === MessageType.Quiesce) {
    sendHeartbeatResp(s, m.from, 0);
  }
}
