/** One line of text for a message or a replica: traces of the simulator, test failures. */
import { type Message, MessageType } from "../../shared/types/message.js";
import type { RaftStatus } from "./types.js";

const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(MessageType).map(([name, type]) => [type, name]));

export function describeMessage(m: Message): string {
  return `${m.from}→${m.to} ${NAMES.get(m.type) ?? "?"} t${m.term}${details(m)}`;
}

function details(m: Message): string {
  switch (m.type) {
    case MessageType.PreVote:
    case MessageType.Vote:
      return ` last ${m.lastIndex}/t${m.lastTerm}${m.type === MessageType.Vote && m.transfer ? " transfer" : ""}`;
    case MessageType.LogAhead:
      return ` last ${m.lastIndex}/t${m.lastTerm}`;
    case MessageType.PreVoteResp:
    case MessageType.VoteResp:
      return m.granted ? " granted" : " refused";
    case MessageType.Replicate: {
      const last = m.blocks.at(-1)?.last;
      const range = last === undefined ? "empty" : `${m.prevIndex + 1}…${last}`;
      return ` after ${m.prevIndex}/t${m.prevTerm} ${range} commit ${m.commit}`;
    }
    case MessageType.ReplicateResp:
      return m.rejected ? ` rejects ${m.index}, hint ${m.hintIndex}/t${m.hintTerm}` : ` has ${m.index}`;
    case MessageType.Heartbeat:
      return ` commit ${m.commit} round ${m.round}`;
    case MessageType.MemoryReport:
      return ` ${m.bytes} bytes`;
    case MessageType.HeartbeatResp:
      return ` round ${m.round}`;
    case MessageType.InstallSnapshot:
      return ` ${m.snapshot.index}/t${m.snapshot.term}`;
    case MessageType.Quiesce:
      return ` at ${m.index}`;
    case MessageType.ReadIndex:
      return ` #${m.key.sequence}`;
    case MessageType.ReadIndexResp:
      return ` #${m.key.sequence} at ${m.index}`;
    case MessageType.Propose:
      return ` #${m.body.firstKey.sequence} ×${m.body.count}`;
    case MessageType.ProposeDropped:
    case MessageType.ProposeRefused:
      return ` #${m.firstSequence} ×${m.count}`;
    default:
      return "";
  }
}

export function describeStatus(s: RaftStatus): string {
  const log = `log ${s.first}…${s.last} durable ${s.durable} commit ${s.commit} applied ${s.applied}`;
  const peers = s.peers.map((p) => `${p.replicaId}:${p.state} ${p.match}/${p.next}`).join(" ");
  const tail = peers === "" ? "" : ` | ${peers}`;
  return `${s.replicaId} ${s.role} t${s.term} vote ${s.vote} leader ${s.leaderId} ${log}${tail}`;
}
