/**
 * What the transport tests share: sample messages of every type, a recording handler that tests wait on, and an Env on
 * virtual time that advances by itself. For tests only.
 */
import { BlockBuilder, type EntryBlock, EntryType, sealBlock } from "../../shared/codec/block.js";
import { crc32 } from "../../shared/codec/crc32.js";
import { type Env, noMetrics, silentLogger, type TimerHandle, type Timers } from "../../shared/env/env.js";
import { seededRandom } from "../../shared/env/testing/seeded-random.js";
import { isOpError, type OpError } from "../../shared/errors.js";
import type { Target } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import { HostMessageType, MessageType, type SnapshotMeta, type WireMessage } from "../../shared/types/message.js";
import { type HostPulse, PULSE_GROUPS } from "../../shared/types/pulse.js";
import type { AddressBook, Hello, SnapshotHeader, TransportHandler } from "./port.js";

export interface BlockSpec {
  readonly shardId: number;
  readonly firstIndex: number;
  readonly term: number;
  readonly count: number;
  readonly cmdBytes: number;
}

/** A sealed block of application entries with commands of equal length. */
export function sampleBlock(spec: BlockSpec): EntryBlock {
  const builder = new BlockBuilder();
  for (let i = 0; i < spec.count; i++) {
    const cmd = new Uint8Array(spec.cmdBytes).fill(i & 0xff);
    builder.add(EntryType.Application, { replicaId: 1, incarnation: 2, sequence: 100 + i }, cmd);
  }
  return sealBlock(builder.finish(), spec);
}

export const sampleMembership: Membership = {
  lineage: 1,
  configChangeIndex: 7,
  voters: new Map([
    [1, "127.0.0.1:7500"],
    [2, "127.0.0.1:7501"],
  ]),
  nonVotings: new Map([[3, "127.0.0.1:7502"]]),
  witnesses: new Map(),
  removed: new Set([4]),
};

export const sampleSnapshot: SnapshotMeta = {
  shardId: 5,
  replicaId: 1,
  index: 1000,
  term: 3,
  membership: sampleMembership,
  sizeBytes: 123_456,
  directory: "snapshot-1000",
};

export const sampleHeader: SnapshotHeader = {
  shardId: 5,
  from: 1,
  to: 2,
  term: 3,
  lineage: 1,
  snapshot: sampleSnapshot,
};

/** One message of each type, in the order of their numbers. */
export function sampleMessages(): WireMessage[] {
  const head = { shardId: 5, from: 1, to: 2, term: 3, lineage: 0 };
  const key = { replicaId: 2, incarnation: 9, sequence: 70_000 };
  const body = new BlockBuilder();
  body.add(EntryType.Application, key, new Uint8Array([1, 2, 3]));
  const first = sampleBlock({ shardId: 5, firstIndex: 8, term: 2, count: 4, cmdBytes: 3 }).clip(10, 11);
  const second = sampleBlock({ shardId: 5, firstIndex: 12, term: 3, count: 1, cmdBytes: 0 });
  return [
    { ...head, type: MessageType.PreVote, lastIndex: 9, lastTerm: 2 },
    { ...head, type: MessageType.PreVoteResp, granted: true },
    { ...head, type: MessageType.Vote, lastIndex: 9, lastTerm: 2, transfer: true },
    { ...head, type: MessageType.VoteResp, granted: false },
    { ...head, type: MessageType.Replicate, prevIndex: 9, prevTerm: 2, commit: 9, blocks: [first, second] },
    { ...head, type: MessageType.ReplicateResp, index: 12, rejected: true, hintIndex: 5, hintTerm: 1 },
    { ...head, type: MessageType.Heartbeat, commit: 70_000, round: 4_294_967_296 },
    { ...head, type: MessageType.HeartbeatResp, round: 6 },
    { ...head, type: MessageType.InstallSnapshot, snapshot: sampleSnapshot },
    { ...head, type: MessageType.ReadIndex, key },
    { ...head, type: MessageType.ReadIndexResp, key, index: 12 },
    { ...head, type: MessageType.Propose, body: body.finish() },
    { ...head, type: MessageType.ProposeDropped, incarnation: 9, firstSequence: 70_000, count: 3 },
    { ...head, type: MessageType.TimeoutNow },
    { ...head, type: MessageType.RemovedNotice },
    { ...head, type: MessageType.Superseded },
    { ...head, type: MessageType.Quiesce, index: 12 },
    { ...head, type: MessageType.ProposeRefused, incarnation: 9, firstSequence: 7, count: 3, reason: "notCaughtUp" },
    { ...head, type: MessageType.MemoryReport, bytes: 70_000 },
    { ...head, type: MessageType.LogAhead, lastIndex: 90_000, lastTerm: 2 },
    { ...head, type: HostMessageType.Recall, nonce: 4_294_967_297 },
    { ...head, type: HostMessageType.RecallResp, nonce: 7, verdict: "known" },
  ];
}

/** One pulse of each form. */
export function samplePulses(): HostPulse[] {
  const sums = Uint32Array.from({ length: 2 * PULSE_GROUPS }, (_, i) => i * 0x01000193);
  const row = { shardId: 5, term: 3, leaderId: 1, memberId: 2 };
  const big = { shardId: 2 ** 52, term: 70_000, leaderId: 9, memberId: 4_294_967_296 };
  return [
    { kind: "digest", sequence: 70_000, count: 3_333, sums },
    { kind: "held", sequence: 69_999, groups: 0x8001, rows: [row, big] },
    { kind: "stale", rows: [row] },
  ];
}

/** A small message that carries a number. */
export function numbered(round: number): WireMessage {
  return { type: MessageType.HeartbeatResp, shardId: 5, from: 1, to: 2, term: 3, lineage: 0, round };
}

export function numberOf(message: WireMessage): number {
  return message.type === MessageType.HeartbeatResp ? message.round : -1;
}

export interface Received {
  readonly from: Hello;
  readonly message: WireMessage;
  readonly durableSequence: number;
}

type Store = TransportHandler["onSnapshot"];

/** A handler that notes what it is told; `until` waits for a condition on its notes. */
export class Recorder implements TransportHandler {
  readonly received: Received[] = [];
  readonly hellos: Hello[] = [];
  /** `after`: so many messages came before it. */
  readonly pulses: { readonly from: Hello; readonly pulse: HostPulse; readonly after: number }[] = [];
  readonly unreachable: Target[] = [];
  readonly connected: { readonly target: Target; readonly peer: Hello }[] = [];
  /** Of frames without messages. */
  readonly beats: { readonly from: Hello; readonly durableSequence: number }[] = [];
  readonly refused: { readonly peer: Target; readonly code: string; readonly byPeer: boolean }[] = [];
  /** Throws to refuse. */
  judge: (hello: Hello) => void = () => {};
  store: Store = async (_from, _header, chunks) => {
    for await (const _ of chunks);
  };
  afterMessages: () => void = () => {};
  #waiting: { readonly met: () => boolean; readonly resolve: () => void }[] = [];

  get numbers(): number[] {
    return this.received.map((r) => numberOf(r.message));
  }

  until(met: () => boolean): Promise<void> {
    if (met()) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push({ met, resolve });
    });
  }

  #changed(): void {
    const waiting = this.#waiting;
    this.#waiting = waiting.filter((w) => !w.met());
    for (const w of waiting) if (!this.#waiting.includes(w)) w.resolve();
  }

  onMessages(from: Hello, messages: readonly WireMessage[], durableSequence: number): void {
    for (const message of messages) this.received.push({ from, message, durableSequence });
    if (messages.length === 0) this.beats.push({ from, durableSequence });
    this.afterMessages();
    this.#changed();
  }

  onPulse(from: Hello, pulse: HostPulse): void {
    this.pulses.push({ from, pulse, after: this.received.length });
    this.#changed();
  }

  onHello(hello: Hello): void {
    this.judge(hello);
    this.hellos.push(hello);
    this.#changed();
  }

  onConnected(target: Target, peer: Hello): void {
    this.connected.push({ target, peer });
    this.#changed();
  }

  onUnreachable(target: Target): void {
    this.unreachable.push(target);
    this.#changed();
  }

  onRefused(peer: Target, error: OpError, byPeer: boolean): void {
    this.refused.push({ peer, code: error.code, byPeer });
    this.#changed();
  }

  onSnapshot(from: Hello, header: SnapshotHeader, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    return this.store(from, header, chunks);
  }
}

/** An address book in memory. */
export class MemoryBook implements AddressBook {
  readonly addresses = new Map<Target, string>();

  resolve(target: Target): string | undefined {
    return this.addresses.get(target);
  }

  learn(hostId: Target, raftAddress: string): void {
    this.addresses.set(hostId, raftAddress);
  }
}

interface Pending {
  readonly at: number;
  readonly order: number;
  readonly call: () => void;
}

/** Virtual time that moves on to the next timer whenever the event loop is otherwise idle. */
export class AutoClock implements Timers {
  #now = 0;
  #order = 0;
  #pending: Pending[] = [];
  #running = false;

  now(): number {
    return this.#now;
  }

  after(delayMs: number, call: () => void): TimerHandle {
    this.#order += 1;
    const item = { at: this.#now + delayMs, order: this.#order, call };
    this.#pending.push(item);
    this.#pending.sort((a, b) => a.at - b.at || a.order - b.order);
    this.#run();
    return {
      cancel: () => {
        this.#pending = this.#pending.filter((p) => p !== item);
      },
    };
  }

  every(intervalMs: number, call: () => void): TimerHandle {
    let handle = this.after(intervalMs, again.bind(this));
    function again(this: AutoClock): void {
      handle = this.after(intervalMs, again.bind(this));
      call();
    }
    return { cancel: () => handle.cancel() };
  }

  soon(call: () => void): TimerHandle {
    return this.after(0, call);
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    setImmediate(() => {
      this.#running = false;
      const next = this.#pending.shift();
      if (next === undefined) return;
      this.#now = Math.max(this.#now, next.at);
      next.call();
      if (this.#pending.length > 0) this.#run();
    });
  }
}

/** For assert.rejects. */
export function codeIs(code: string): (error: unknown) => boolean {
  return (error) => isOpError(error) && error.code === code;
}

/** An Env on virtual time with a seeded random source. */
export function virtualEnv(seed: number, timers: Timers & { now(): number } = new AutoClock()): Env {
  return {
    now: () => timers.now(),
    wallClockMs: () => 0,
    timers,
    random: seededRandom(seed),
    logger: silentLogger,
    metrics: noMetrics,
    crc32,
  };
}
