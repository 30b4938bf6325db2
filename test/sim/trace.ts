/**
 * Rolling hash of a run (same seed ⇒ same hash, in every process), and the stream of events for whoever looks at one
 * run: --trace prints it, recorder.ts keeps the end of it. Without a sink nothing is kept, which is what a run over
 * many seeds wants; a failed seed is run again with one (report.ts).
 */
import { type Message, MessageType } from "../../shared/types/message.js";
import { mix } from "./prng.js";
import { EVENT_NAMES, EventKind } from "./queue.js";

const MESSAGE_NAMES = new Map<number, string>(Object.entries(MessageType).map(([name, type]) => [type, name]));

export interface TraceLine {
  readonly time: number;
  readonly kind: EventKind;
  /** 0 = the world. */
  readonly nodeId: number;
  /** Delivered now, or lost now. */
  readonly message: Message | undefined;
  /** Crash, partition, state of a node; why a message was lost. */
  readonly text: string | undefined;
}

export type TraceSink = (line: TraceLine) => void;

export class Trace {
  #hash = 0x1234567;
  readonly #sink: TraceSink | undefined;

  constructor(sink: TraceSink | undefined) {
    this.#sink = sink;
  }

  get hash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, "0");
  }

  word(value: number): void {
    this.#hash = mix(this.#hash, value | 0);
  }

  event(time: number, kind: EventKind, nodeId: number, message: Message | undefined): void {
    let h = mix(this.#hash, time | 0);
    h = mix(h, kind * 256 + nodeId);
    if (message !== undefined) {
      h = mix(h, message.type * 65536 + message.from * 256 + message.to);
      h = mix(h, message.term);
    }
    this.#hash = h;
    this.#sink?.({ time, kind, nodeId, message, text: undefined });
  }

  /** A line that explains something. No part of the hash. */
  note(time: number, nodeId: number, kind: EventKind, text: string): void {
    this.#sink?.({ time, kind, nodeId, message: undefined, text });
  }

  /** A message that nobody gets. No part of the hash. */
  lost(time: number, message: Message, why: string): void {
    this.#sink?.({ time, kind: EventKind.Message, nodeId: message.from, message, text: why });
  }
}

/** One line of text for --trace. */
export function formatLine(line: TraceLine): string {
  const where = line.nodeId === 0 ? "   -" : `  n${line.nodeId}`;
  const head = `${String(line.time).padStart(8)} ms ${where} ${(EVENT_NAMES[line.kind] ?? "?").padEnd(8)}`;
  const text = line.text ?? "";
  if (line.message === undefined) return `${head} ${text}`.trimEnd();
  return `${head} ${formatMessage(line.message)}${text === "" ? "" : ` LOST (${text})`}`;
}

export function formatMessage(m: Message): string {
  const name = MESSAGE_NAMES.get(m.type) ?? "?";
  const head = `${m.from}→${m.to} ${name} t${m.term}`;
  switch (m.type) {
    case MessageType.PreVote:
    case MessageType.Vote:
      return `${head} last ${m.lastIndex}@${m.lastTerm}${"transfer" in m && m.transfer ? " transfer" : ""}`;
    case MessageType.LogAhead:
      return `${head} last ${m.lastIndex}@${m.lastTerm}`;
    case MessageType.PreVoteResp:
    case MessageType.VoteResp:
      return `${head} ${m.granted ? "granted" : "refused"}`;
    case MessageType.Replicate: {
      const first = m.blocks[0]?.first ?? m.prevIndex + 1;
      const last = m.blocks.at(-1)?.last ?? m.prevIndex;
      const terms = m.blocks.map((b) => b.term).join(",");
      return `${head} prev ${m.prevIndex}@${m.prevTerm} entries ${first}..${last} (terms ${terms}) commit ${m.commit}`;
    }
    case MessageType.ReplicateResp:
      return m.rejected
        ? `${head} rejected ${m.index} hint ${m.hintIndex}@${m.hintTerm}`
        : `${head} accepted ${m.index}`;
    case MessageType.Heartbeat:
      return `${head} commit ${m.commit} round ${m.round}`;
    case MessageType.MemoryReport:
      return `${head} ${m.bytes} bytes`;
    case MessageType.HeartbeatResp:
      return `${head} round ${m.round}`;
    case MessageType.InstallSnapshot:
      return `${head} ${m.snapshot.index}@${m.snapshot.term}`;
    case MessageType.ReadIndex:
      return `${head} seq ${m.key.sequence}`;
    case MessageType.ReadIndexResp:
      return `${head} seq ${m.key.sequence} index ${m.index}`;
    case MessageType.Propose:
      return `${head} of ${m.body.firstKey.replicaId} seq ${m.body.firstKey.sequence} count ${m.body.count}`;
    case MessageType.ProposeDropped:
    case MessageType.ProposeRefused:
      return `${head} seq ${m.firstSequence} count ${m.count}`;
    default:
      return head;
  }
}

/** The same in a few characters, without sender and receiver: a label of an arrow. */
export function shortMessage(m: Message): string {
  const name = MESSAGE_NAMES.get(m.type) ?? "?";
  switch (m.type) {
    case MessageType.PreVote:
    case MessageType.Vote:
      return `${name} t${m.term} ${m.lastIndex}@${m.lastTerm}`;
    case MessageType.PreVoteResp:
    case MessageType.VoteResp:
      return `${m.granted ? "yes" : "no"} ${name} t${m.term}`;
    case MessageType.Replicate: {
      const { blocks } = m;
      const first = blocks[0]?.first;
      if (first === undefined) return `Rep -@${m.prevIndex} t${m.term} c${m.commit}`;
      return `Rep ${first}..${blocks.at(-1)?.last ?? first} t${m.term} c${m.commit}`;
    }
    case MessageType.ReplicateResp:
      return m.rejected ? `no ${m.index} hint ${m.hintIndex}` : `ok ${m.index} t${m.term}`;
    case MessageType.Heartbeat:
      return `Hb t${m.term} c${m.commit} r${m.round}`;
    case MessageType.HeartbeatResp:
      return `hb t${m.term} r${m.round}`;
    case MessageType.InstallSnapshot:
      return `Snap ${m.snapshot.index}@${m.snapshot.term} t${m.term}`;
    default:
      return `${name} t${m.term}`;
  }
}
