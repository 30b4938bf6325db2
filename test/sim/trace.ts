/**
 * Rolling hash of a run (same seed ⇒ same hash, in every process) and the last events for the report of a failure.
 * Events are kept as they are and turned into text only when somebody must read them.
 */
import { type Message, MessageType } from "../../shared/types/message.js";
import { mix } from "./prng.js";
import { EVENT_NAMES, type EventKind } from "./queue.js";

const KEPT = 80;
const MESSAGE_NAMES = new Map<number, string>(Object.entries(MessageType).map(([name, type]) => [type, name]));

interface TraceLine {
  readonly time: number;
  readonly kind: EventKind;
  readonly nodeId: number;
  readonly message: Message | undefined;
  readonly state: string | undefined;
}

export class Trace {
  #hash = 0x1234567;
  readonly #ring: TraceLine[] = [];
  #next = 0;
  /** Everything is kept as text, for looking at one seed. */
  readonly #sink: ((line: string) => void) | undefined;

  constructor(sink: ((line: string) => void) | undefined) {
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
    this.#keep({ time, kind, nodeId, message, state: undefined });
  }

  /** A line that explains something: crash, partition, state of a node. */
  note(time: number, nodeId: number, kind: EventKind, state: string): void {
    this.#keep({ time, kind, nodeId, message: undefined, state });
  }

  lines(): string[] {
    const ordered = [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)];
    return ordered.map(format);
  }

  #keep(line: TraceLine): void {
    this.#ring[this.#next] = line;
    this.#next = (this.#next + 1) % KEPT;
    this.#sink?.(format(line));
  }
}

function format(line: TraceLine): string {
  const where = line.nodeId === 0 ? "   -" : `  n${line.nodeId}`;
  const head = `${String(line.time).padStart(8)} ms ${where} ${(EVENT_NAMES[line.kind] ?? "?").padEnd(8)}`;
  if (line.message !== undefined) return `${head} ${formatMessage(line.message)}`;
  return line.state === undefined ? head : `${head} ${line.state}`;
}

export function formatMessage(m: Message): string {
  const name = MESSAGE_NAMES.get(m.type) ?? "?";
  const head = `${m.from}→${m.to} ${name} t${m.term}`;
  switch (m.type) {
    case MessageType.PreVote:
    case MessageType.Vote:
      return `${head} last ${m.lastIndex}@${m.lastTerm}${"transfer" in m && m.transfer ? " transfer" : ""}`;
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
