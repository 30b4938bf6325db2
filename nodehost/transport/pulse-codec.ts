/**
 * Bodies of frames of kind Pulse, of wire version 2: u8 form, then
 *
 *   1 digest   u64 sequence, u32 count, 2 × 16 u32 sums: first hash of groups 0 … 15, then the second one
 *   2 held     u64 sequence, u16 groups, rows
 *   3 stale    rows
 *
 * rows: u32 count, each u64 shardId, u64 term, u64 leaderId, u64 memberId. What they mean is in shared/types/pulse.ts.
 */
import { type ByteReader, type ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import { type HostPulse, PULSE_GROUPS, type RestRow } from "../../shared/types/pulse.js";

const FORMS = ["digest", "held", "stale"] as const;
const ROW_BYTES = 32;

export function writePulse(w: ByteWriter, pulse: HostPulse): void {
  w.u8(FORMS.indexOf(pulse.kind) + 1);
  switch (pulse.kind) {
    case "digest":
      w.u64(pulse.sequence).u32(pulse.count);
      for (const sum of pulse.sums) w.u32(sum);
      return;
    case "held":
      w.u64(pulse.sequence).u16(pulse.groups);
      writeRows(w, pulse.rows);
      return;
    default:
      writeRows(w, pulse.rows);
  }
}

function writeRows(w: ByteWriter, rows: readonly RestRow[]): void {
  w.u32(rows.length);
  for (const { shardId, term, leaderId, memberId } of rows) w.u64(shardId).u64(term).u64(leaderId).u64(memberId);
}

/** Throws MalformedError. Memory is bounded by the bytes that are there. */
export function readPulse(r: ByteReader): HostPulse {
  const form = r.u8();
  const pulse = readForm(r, FORMS[form - 1], form);
  r.end();
  return pulse;
}

function readForm(r: ByteReader, kind: HostPulse["kind"] | undefined, form: number): HostPulse {
  switch (kind) {
    case "digest": {
      const sequence = r.u64();
      const count = r.u32();
      const sums = new Uint32Array(2 * PULSE_GROUPS);
      for (let i = 0; i < sums.length; i++) sums[i] = r.u32();
      return { kind, sequence, count, sums };
    }
    case "held": {
      const sequence = r.u64();
      const groups = r.u16();
      return { kind, sequence, groups, rows: readRows(r) };
    }
    case "stale":
      return { kind, rows: readRows(r) };
    default:
      throw new MalformedError(`unknown form of pulse ${form}`);
  }
}

function readRows(r: ByteReader): RestRow[] {
  const count = r.u32();
  if (count * ROW_BYTES !== r.remaining) throw new MalformedError(`${count} rows in ${r.remaining} bytes`);
  const rows: RestRow[] = [];
  for (let i = 0; i < count; i++) {
    const row = { shardId: r.u64(), term: r.u64(), leaderId: r.u64(), memberId: r.u64() };
    if (row.leaderId === 0 || row.memberId === 0) throw new MalformedError("row without leader or member");
    rows.push(row);
  }
  return rows;
}
