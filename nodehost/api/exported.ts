/**
 * A snapshot outside of any host, to be kept and imported again: a directory with
 *   snapshot.dls   a snapshot file as hosts send it to each other
 *   export.json    what else is needed to start a replica from it, readable by people
 * Written by NodeHost.exportSnapshot, read by nodehost/tools/import.ts. Whole or not there: it gets its name last.
 */
import * as path from "node:path";
import { errorText, OpError } from "../../shared/errors.js";
import { type Files, readWhole } from "../../shared/files/port.js";
import { type Index, isSafeUint, type ShardId, type Term } from "../../shared/types/ids.js";
import type { MachineKind } from "../logdb/port.js";
import { writeDurably } from "./host-dir.js";

export const EXPORTED_SNAPSHOT = "snapshot.dls";
export const EXPORTED_DESCRIPTION = "export.json";
const VERSION = 1;
const KINDS: readonly string[] = ["memory", "concurrent", "onDisk"] satisfies readonly MachineKind[];

export interface ExportDescription {
  readonly version: 1;
  readonly deploymentId: number;
  readonly shardId: ShardId;
  /** "" for a machine started by code. */
  readonly app: string;
  readonly kind: MachineKind;
  readonly index: Index;
  readonly term: Term;
  /** Of snapshot.dls. */
  readonly sizeBytes: number;
  /** Replica configuration as JSON text. */
  readonly config: string;
  /** By the wall clock of the host. */
  readonly exportedAtMs: number;
}

/** Writes an export. DL_ERR_INVALID_ARGUMENT if `directory` is there already; DL_ERR_DISK_FULL. */
export async function writeExport(
  files: Files,
  directory: string,
  description: Omit<ExportDescription, "version" | "sizeBytes">,
  chunks: AsyncIterable<Uint8Array>,
): Promise<ExportDescription> {
  if (await files.exists(directory)) {
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `${directory} exists already; export into a new directory`);
  }
  const temporary = `${directory}.partial`;
  try {
    await files.remove(temporary);
    await files.makeDirectory(temporary);
    const sizeBytes = await writeChunks(files, path.join(temporary, EXPORTED_SNAPSHOT), chunks);
    const whole: ExportDescription = { version: VERSION, ...description, sizeBytes };
    const text = `${JSON.stringify(whole, null, 2)}\n`;
    await writeDurably(files, temporary, EXPORTED_DESCRIPTION, new TextEncoder().encode(text));
    await files.rename(temporary, directory);
    await files.syncDirectory(path.dirname(directory));
    return whole;
  } catch (error) {
    await files.remove(temporary).catch(() => {});
    throw translated(error, directory);
  }
}

async function writeChunks(files: Files, file: string, chunks: AsyncIterable<Uint8Array>): Promise<number> {
  const handle = await files.open(file, { create: true, exclusive: true });
  try {
    let sizeBytes = 0;
    for await (const chunk of chunks) {
      await handle.write(chunk, sizeBytes);
      sizeBytes += chunk.length;
    }
    await handle.sync();
    return sizeBytes;
  } finally {
    await handle.close();
  }
}

/** DL_ERR_INVALID_ARGUMENT if it is not an export, DL_ERR_LOGDB_CORRUPT, DL_ERR_VERSION. */
export async function readExport(files: Files, directory: string): Promise<ExportDescription> {
  const file = path.join(directory, EXPORTED_DESCRIPTION);
  if (!(await files.exists(file))) {
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `${directory} is not an export (it has no ${EXPORTED_DESCRIPTION})`);
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder().decode(await readWhole(files, file)));
  } catch (error) {
    throw new OpError("DL_ERR_LOGDB_CORRUPT", `${file} is not readable: ${errorText(error)}`, { cause: error });
  }
  return checked(parsed, file);
}

function checked(parsed: unknown, file: string): ExportDescription {
  const bad = (what: string): OpError => new OpError("DL_ERR_LOGDB_CORRUPT", `${file}: ${what}`);
  if (typeof parsed !== "object" || parsed === null) throw bad("not an object");
  const fields = new Map<string, unknown>(Object.entries(parsed));
  const version = fields.get("version");
  if (version !== VERSION) throw new OpError("DL_ERR_VERSION", `${file} has version ${String(version)}, expected 1`);
  const count = (name: string, min: number): number => {
    const value = fields.get(name);
    if (isSafeUint(value) && value >= min) return value;
    throw bad(`${name} is ${String(value)}, expected an integer from ${min} on`);
  };
  const text = (name: string): string => {
    const value = fields.get(name);
    if (typeof value === "string") return value;
    throw bad(`${name} is not a text`);
  };
  const kind = text("kind");
  if (!isKind(kind)) throw bad(`kind is ${kind}, expected one of ${KINDS.join(", ")}`);
  const config = text("config");
  if (!isJsonObject(config)) throw bad("config is not a JSON object");
  return {
    version: VERSION,
    deploymentId: count("deploymentId", 1),
    shardId: count("shardId", 1),
    app: text("app"),
    kind,
    index: count("index", 1),
    term: count("term", 1),
    sizeBytes: count("sizeBytes", 1),
    config,
    exportedAtMs: count("exportedAtMs", 0),
  };
}

function isJsonObject(text: string): boolean {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === "object" && parsed !== null;
  } catch {
    return false;
  }
}

function isKind(text: string): text is MachineKind {
  return KINDS.includes(text);
}

function translated(error: unknown, directory: string): unknown {
  if (error instanceof OpError || !(error instanceof Error) || !("code" in error)) return error;
  const full = error.code === "ENOSPC" || error.code === "EDQUOT";
  return new OpError(full ? "DL_ERR_DISK_FULL" : "DL_ERR_STORAGE_FAILED", `${directory}: ${error.message}`, {
    outcome: "rejected",
    cause: error,
  });
}
