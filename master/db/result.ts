/** What applying a command answers, and its bytes in a state machine Result. Made by update.ts, read by proposers. */
import { ByteReader, ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import { type ErrorCode, isErrorCode } from "../../shared/errors.js";

export interface CommandResult {
  readonly code: "ok" | ErrorCode;
  /** Id of what was made or found: shard, operation; else 0. */
  readonly id: number;
  /** Why not; empty when ok. */
  readonly detail: string;
}

/** Structurally the Result of a NodeHost state machine. */
export interface MachineResult {
  readonly value: number;
  readonly data: Uint8Array;
}

export function ok(id = 0): CommandResult {
  return { code: "ok", id, detail: "" };
}

export function refused(code: ErrorCode, detail: string, id = 0): CommandResult {
  return { code, id, detail };
}

/** `value` is 1 for ok and 0 for refused. */
export function encodeResult(result: CommandResult): MachineResult {
  const data = new ByteWriter(64).u64(result.id).text(result.code).text(result.detail).finish();
  return { value: result.code === "ok" ? 1 : 0, data };
}

export function decodeResult(result: { readonly value: number; readonly data?: Uint8Array }): CommandResult {
  if (result.data === undefined) throw new MalformedError("result of a master command without data");
  const r = new ByteReader(result.data);
  const id = r.u64();
  const code = r.text();
  const detail = r.text();
  r.end();
  if (code === "ok" || isErrorCode(code)) return { code, id, detail };
  return { code: "DL_ERR_REJECTED", id, detail: `${code}: ${detail}` };
}
