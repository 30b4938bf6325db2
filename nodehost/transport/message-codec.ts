/**
 * Bytes of every Message inside a frame of kind Messages. A message is a compact row, little-endian:
 *
 *   u8 type, u8 flags, u16 widths, then up to 8 integers, then what only some types have
 *
 * `widths` holds two bits per integer, lowest bits first: 0 = the integer is 0 and takes no bytes, 1 = u16, 2 = u32,
 * 3 = u64. Integers 0–4 are shardId, from, to, term, lineage; 5–7 depend on the type:
 *
 *   PreVote, Vote       lastIndex, lastTerm                       flag 1 of Vote: transfer
 *   PreVoteResp, VoteResp                                         flag 1: granted
 *   Replicate           prevIndex, prevTerm, commit; then u32 blocks, each {u32 entries skipped at the front,
 *                       u32 entries that count, u32 length, the whole block}
 *   ReplicateResp       index, hintIndex, hintTerm                flag 1: rejected
 *   Heartbeat           commit, round
 *   HeartbeatResp       round
 *   InstallSnapshot     then the snapshot record (shared/codec/membership.ts)
 *   ReadIndex           key replicaId, key incarnation, key sequence
 *   ReadIndexResp       the same; then u64 index
 *   Propose             then u32 length, body
 *   ProposeDropped      incarnation, firstSequence, count
 *   ProposeRefused      the same; then u8 reason                  wire version 2
 *   MemoryReport        bytes                                     wire version 2
 *   Quiesce             index                                     wire version 2
 *   LogAhead            lastIndex, lastTerm                       wire version 2
 *   Recall              nonce                                     wire version 2
 *   RecallResp          nonce; then u8 verdict                    wire version 2
 *
 * Blocks pass through as they are and are checked, CRC included, when they arrive; they are copied out of the frame
 * so that a long-lived block does not keep a socket chunk alive. The decoder throws only MalformedError.
 */
import { assertNever } from "../../shared/assert.js";
import { BLOCK_BYTES_MAX, type BlockBody, type EntryBlock, openBlock, openBody } from "../../shared/codec/block.js";
import { ByteReader, ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import type { Crc32 } from "../../shared/codec/crc32.js";
import { readSnapshotMeta, writeSnapshotMeta } from "../../shared/codec/membership.js";
import {
  HostMessageType,
  MessageType,
  RECALL_VERDICTS,
  REFUSAL_REASONS,
  type WireMessage,
} from "../../shared/types/message.js";

const FLAG = 1;
/** Blocks in one Replicate are refused above this. */
const BLOCKS_MAX = 65_536;
/** Blocks up to this size share slabs; bigger ones get a buffer of their own. */
const SLAB_BLOCK_BYTES_MAX = 2048;
const SLAB_BYTES = 16_384;

/** Per type: how many integers it has, and which flags. Index 0 is no type. */
const INTEGERS: readonly number[] = [0, 7, 5, 7, 5, 8, 8, 7, 6, 5, 8, 8, 5, 8, 5, 5, 5, 6, 8, 6, 0, 0, 0, 0, 6, 6, 7];
const FLAGS: readonly number[] = INTEGERS.map((_, type) => ([2, 3, 4, 6].includes(type) ? FLAG : 0));

/** Appends messages to a writer. Holds a scratch row, so that encoding a message allocates nothing. */
export class MessageEncoder {
  readonly #row = new Float64Array(8);

  write(w: ByteWriter, m: WireMessage): void {
    const row = this.#row;
    row[0] = m.shardId;
    row[1] = m.from;
    row[2] = m.to;
    row[3] = m.term;
    row[4] = m.lineage;
    switch (m.type) {
      case MessageType.Heartbeat:
        this.#put(w, m.type, this.#extra(m.commit, m.round, 0));
        return;
      case MessageType.HeartbeatResp:
        this.#put(w, m.type, this.#extra(m.round, 0, 0));
        return;
      case MessageType.ReplicateResp:
        this.#put(w, m.type, this.#extra(m.index, m.hintIndex, m.hintTerm) | flag(m.rejected));
        return;
      case MessageType.Replicate:
        this.#put(w, m.type, this.#extra(m.prevIndex, m.prevTerm, m.commit));
        writeBlocks(w, m.blocks);
        return;
      default:
        this.#writeRare(w, m);
        return;
    }
  }

  #writeRare(w: ByteWriter, m: RareMessage): void {
    switch (m.type) {
      case MessageType.PreVote:
      case MessageType.LogAhead:
        this.#put(w, m.type, this.#extra(m.lastIndex, m.lastTerm, 0));
        return;
      case MessageType.Vote:
        this.#put(w, m.type, this.#extra(m.lastIndex, m.lastTerm, 0) | flag(m.transfer));
        return;
      case MessageType.PreVoteResp:
      case MessageType.VoteResp:
        this.#put(w, m.type, this.#extra(0, 0, 0) | flag(m.granted));
        return;
      case MessageType.InstallSnapshot: {
        // Encoded apart first: a name that is too long must not leave half a message behind.
        const meta = new ByteWriter(512);
        writeSnapshotMeta(meta, m.snapshot);
        this.#put(w, m.type, this.#extra(0, 0, 0));
        w.bytes(meta.view());
        return;
      }
      case MessageType.ReadIndex:
        this.#put(w, m.type, this.#extra(m.key.replicaId, m.key.incarnation, m.key.sequence));
        return;
      case MessageType.ReadIndexResp:
        this.#put(w, m.type, this.#extra(m.key.replicaId, m.key.incarnation, m.key.sequence));
        w.u64(m.index);
        return;
      case MessageType.Propose:
        this.#put(w, m.type, this.#extra(0, 0, 0));
        w.blob(m.body.bytes);
        return;
      case MessageType.Quiesce:
        this.#put(w, m.type, this.#extra(m.index, 0, 0));
        return;
      case MessageType.ProposeDropped:
        this.#put(w, m.type, this.#extra(m.incarnation, m.firstSequence, m.count));
        return;
      case MessageType.MemoryReport:
        this.#put(w, m.type, this.#extra(m.bytes, 0, 0));
        return;
      case MessageType.ProposeRefused:
        this.#put(w, m.type, this.#extra(m.incarnation, m.firstSequence, m.count));
        w.u8(REFUSAL_REASONS.indexOf(m.reason));
        return;
      case HostMessageType.Recall:
        this.#put(w, m.type, this.#extra(m.nonce, 0, 0));
        return;
      case HostMessageType.RecallResp:
        this.#put(w, m.type, this.#extra(m.nonce, 0, 0));
        w.u8(RECALL_VERDICTS.indexOf(m.verdict));
        return;
      case MessageType.TimeoutNow:
      case MessageType.RemovedNotice:
      case MessageType.Superseded:
        this.#put(w, m.type, this.#extra(0, 0, 0));
        return;
      default:
        assertNever(m);
    }
  }

  /** Sets integers 5–7 of the row. Returns no flags. */
  #extra(a: number, b: number, c: number): number {
    const row = this.#row;
    row[5] = a;
    row[6] = b;
    row[7] = c;
    return 0;
  }

  #put(w: ByteWriter, type: WireMessage["type"], flags: number): void {
    const row = this.#row;
    let widths = 0;
    for (let i = 0; i < 8; i++) widths |= widthOf(row[i] as number) << (2 * i);
    w.u32((type | (flags << 8) | (widths << 16)) >>> 0);
    for (let i = 0; i < 8; i++) {
      const width = (widths >>> (2 * i)) & 3;
      if (width === 0) continue;
      const value = row[i] as number;
      if (width === 1) w.u16(value);
      else if (width === 2) w.u32(value);
      else w.u64(value);
    }
  }
}

type HotType = typeof MessageType.Heartbeat | typeof MessageType.HeartbeatResp | typeof MessageType.Replicate;
type RareMessage = Exclude<WireMessage, { readonly type: HotType | typeof MessageType.ReplicateResp }>;

function flag(value: boolean): number {
  return value ? FLAG : 0;
}

function widthOf(value: number): number {
  if (value < 0x10000) return value === 0 ? 0 : 1;
  return value < 0x100000000 ? 2 : 3;
}

function writeBlocks(w: ByteWriter, blocks: readonly EntryBlock[]): void {
  w.u32(blocks.length);
  for (const block of blocks) {
    w.u32(block.first - block.baseIndex)
      .u32(block.last - block.first + 1)
      .blob(block.bytes);
  }
}

/** Reads the messages of a frame. One per transport: it owns the slab that small blocks are copied into. */
export class MessageDecoder {
  readonly #crc: Crc32;
  #slab = new Uint8Array(0);
  #slabUsed = 0;

  constructor(crc: Crc32) {
    this.#crc = crc;
  }

  /** All messages of [offset, bytes.length). Throws MalformedError: none of them may then be used. */
  decode(bytes: Uint8Array, offset: number): WireMessage[] {
    const r = new ByteReader(bytes, offset);
    const messages: WireMessage[] = [];
    while (r.remaining > 0) messages.push(this.#message(r));
    return messages;
  }

  #message(r: ByteReader): WireMessage {
    const prefix = r.u32();
    const type = (prefix & 0xff) as WireMessage["type"];
    const widths = prefix >>> 16;
    const integers = INTEGERS[type];
    if (integers === undefined || integers === 0) throw new MalformedError(`unknown message type ${type}`);
    if (widths >>> (2 * integers) !== 0) throw new MalformedError(`message type ${type} has too many integers`);
    const flags = (prefix >>> 8) & 0xff;
    if ((flags & ~(FLAGS[type] as number)) !== 0) throw new MalformedError(`message type ${type} has flags ${flags}`);
    const shardId = integer(r, widths);
    const from = integer(r, widths >>> 2);
    const to = integer(r, widths >>> 4);
    const term = integer(r, widths >>> 6);
    const lineage = integer(r, widths >>> 8);
    if (from === 0 || to === 0) throw new MalformedError("message without sender or receiver");
    const a = integer(r, widths >>> 10);
    const b = integer(r, widths >>> 12);
    const c = integer(r, widths >>> 14);
    switch (type) {
      case MessageType.Heartbeat:
        return { type, shardId, from, to, term, lineage, commit: a, round: b };
      case MessageType.HeartbeatResp:
        return { type, shardId, from, to, term, lineage, round: a };
      case MessageType.ReplicateResp: {
        const rejected = flags !== 0;
        return { type, shardId, from, to, term, lineage, index: a, rejected, hintIndex: b, hintTerm: c };
      }
      case MessageType.Replicate: {
        const blocks = this.#blocks(r, shardId, { prevIndex: a, prevTerm: b, term });
        return { type, shardId, from, to, term, lineage, prevIndex: a, prevTerm: b, commit: c, blocks };
      }
      default:
        return this.#rare(r, { type, shardId, from, to, term, lineage, a, b, c, set: flags !== 0 });
    }
  }

  #rare(r: ByteReader, row: Row): WireMessage {
    const { shardId, from, to, term, lineage, a, b, c } = row;
    const type = row.type as RareMessage["type"];
    switch (type) {
      case MessageType.PreVote:
      case MessageType.LogAhead:
        return { type, shardId, from, to, term, lineage, lastIndex: a, lastTerm: b };
      case MessageType.Vote:
        return { type, shardId, from, to, term, lineage, lastIndex: a, lastTerm: b, transfer: row.set };
      case MessageType.PreVoteResp:
      case MessageType.VoteResp:
        return { type, shardId, from, to, term, lineage, granted: row.set };
      case MessageType.InstallSnapshot:
        return { type, shardId, from, to, term, lineage, snapshot: readSnapshotMeta(r) };
      case MessageType.ReadIndex: {
        const key = { replicaId: a, incarnation: incarnation(b), sequence: c };
        return { type, shardId, from, to, term, lineage, key };
      }
      case MessageType.ReadIndexResp: {
        const key = { replicaId: a, incarnation: incarnation(b), sequence: c };
        return { type, shardId, from, to, term, lineage, key, index: r.u64() };
      }
      case MessageType.Quiesce:
        return { type, shardId, from, to, term, lineage, index: a };
      case MessageType.Propose:
        return { type, shardId, from, to, term, lineage, body: this.#body(r) };
      case MessageType.ProposeDropped:
        return { type, shardId, from, to, term, lineage, incarnation: incarnation(a), firstSequence: b, count: c };
      case MessageType.MemoryReport:
        return { type, shardId, from, to, term, lineage, bytes: a };
      case MessageType.ProposeRefused: {
        const range = { incarnation: incarnation(a), firstSequence: b, count: c };
        // A reason of a later version: why does not matter to who may simply try again.
        return { type, shardId, from, to, term, lineage, ...range, reason: REFUSAL_REASONS[r.u8()] ?? "busy" };
      }
      case HostMessageType.Recall:
        return { type, shardId, from, to, term, lineage, nonce: a };
      case HostMessageType.RecallResp: {
        const verdict = RECALL_VERDICTS[r.u8()];
        if (verdict === undefined) throw new MalformedError("unknown verdict of a recall");
        return { type, shardId, from, to, term, lineage, nonce: a, verdict };
      }
      case MessageType.TimeoutNow:
      case MessageType.RemovedNotice:
      case MessageType.Superseded:
        return { type, shardId, from, to, term, lineage };
      default:
        throw new MalformedError(`unknown message type ${String(type)}`);
    }
  }

  /** Checks each block and that they follow each other from (prevIndex, prevTerm) within the sender's term. */
  #blocks(r: ByteReader, shardId: number, after: ReplicatePlace): EntryBlock[] {
    const count = r.u32();
    if (count > BLOCKS_MAX) throw new MalformedError(`${count} blocks, at most ${BLOCKS_MAX}`);
    const blocks: EntryBlock[] = [];
    let nextIndex = after.prevIndex + 1;
    let term = after.prevTerm;
    for (let i = 0; i < count; i++) {
      const skipped = r.u32();
      const entries = r.u32();
      const block = openBlock(this.#copy(r.blob(BLOCK_BYTES_MAX)), shardId, this.#crc);
      if (entries === 0 || skipped + entries > block.baseCount) {
        throw new MalformedError(`block ${i}: entries ${skipped} + ${entries} of ${block.baseCount}`);
      }
      const first = block.baseIndex + skipped;
      if (first !== nextIndex) throw new MalformedError(`block ${i} starts at ${first}, expected ${nextIndex}`);
      if (block.term < term || block.term > after.term) {
        throw new MalformedError(`block ${i} of term ${block.term}, expected ${term} to ${after.term}`);
      }
      nextIndex = first + entries;
      term = block.term;
      blocks.push(block.clip(first, nextIndex - 1));
    }
    return blocks;
  }

  #body(r: ByteReader): BlockBody {
    return openBody(this.#copy(r.blob(BLOCK_BYTES_MAX)));
  }

  #copy(bytes: Uint8Array): Uint8Array {
    const length = bytes.length;
    let copy: Uint8Array;
    if (length > SLAB_BLOCK_BYTES_MAX) {
      copy = new Uint8Array(length);
    } else {
      if (this.#slabUsed + length > this.#slab.length) {
        this.#slab = new Uint8Array(SLAB_BYTES);
        this.#slabUsed = 0;
      }
      copy = this.#slab.subarray(this.#slabUsed, this.#slabUsed + length);
      this.#slabUsed += length;
    }
    copy.set(bytes);
    return copy;
  }
}

interface ReplicatePlace {
  readonly prevIndex: number;
  readonly prevTerm: number;
  readonly term: number;
}

interface Row {
  readonly type: WireMessage["type"];
  readonly shardId: number;
  readonly from: number;
  readonly to: number;
  readonly term: number;
  readonly lineage: number;
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly set: boolean;
}

function integer(r: ByteReader, width: number): number {
  switch (width & 3) {
    case 0:
      return 0;
    case 1:
      return r.u16();
    case 2:
      return r.u32();
    default:
      return r.u64();
  }
}

function incarnation(value: number): number {
  if (value > 0xffffffff) throw new MalformedError(`incarnation ${value}, at most 4294967295`);
  return value;
}
