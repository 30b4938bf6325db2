/**
 * Is this disk good enough to hold the log? Writes as the log does (one durable write at a time, 8 KiB and 64 KiB, into
 * a zero-written file) for a few seconds, and says in words what to expect. For `drumline data checkdisk`.
 */
import { createHistogram } from "node:perf_hooks";
import type { Env } from "../../shared/env/env.js";
import { createRealEnv } from "../../shared/env/real-env.js";
import { OpError } from "../../shared/errors.js";
import type { FileHandle, Files } from "../../shared/files/port.js";
import { createRealFiles } from "../../shared/files/real-files.js";

/** The smallest frame of the log, and one of a host under load. */
const SIZES_BYTES = [8 * 1024, 64 * 1024] as const;
const FILE_BYTES = 16 * 1024 * 1024;
const ZERO_CHUNK_BYTES = 1024 * 1024;
/** Below it a write has certainly not reached a medium of any kind that survives a loss of power. */
const IMPLAUSIBLE_MS = 0.02;

export interface CheckDiskOptions {
  /** Where the log would lie. Must exist; a file is made in it and removed. */
  readonly directory: string;
  /** Of all measurements together; default 4,000, at least 200. */
  readonly forMs?: number;
  /** Called with the part that is done, 0 to 1. */
  readonly progress?: (part: number) => void;
  readonly files?: Files;
  readonly env?: Env;
}

export interface DiskMeasurement {
  readonly writeBytes: number;
  readonly writes: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly writesPerSecond: number;
  readonly bytesPerSecond: number;
}

export type DiskVerdict = "good" | "usable" | "slow" | "unsuitable" | "implausible";

export interface CheckDiskReport {
  readonly directory: string;
  readonly measurements: readonly DiskMeasurement[];
  readonly verdict: DiskVerdict;
  /** What follows from it. */
  readonly advice: string;
}

/** DL_ERR_INVALID_ARGUMENT if the directory is not there, DL_ERR_DISK_FULL, DL_ERR_STORAGE_FAILED. */
export async function checkDisk(options: CheckDiskOptions): Promise<CheckDiskReport> {
  const { directory, forMs = 4_000, progress = () => {} } = options;
  if (!(forMs >= 200)) throw new OpError("DL_ERR_INVALID_ARGUMENT", `forMs is ${forMs}, expected at least 200`);
  const files = options.files ?? createRealFiles();
  const env = options.env ?? createRealEnv();
  if (!(await files.exists(directory))) throw new OpError("DL_ERR_INVALID_ARGUMENT", `${directory} does not exist`);
  const path = `${directory}/checkdisk-${process.pid}.tmp`;
  try {
    const handle = await files.open(path, { create: true, exclusive: true, durable: true });
    try {
      await zeroWrite(handle);
      const measurements: DiskMeasurement[] = [];
      for (const [i, writeBytes] of SIZES_BYTES.entries()) {
        const share = 1 / SIZES_BYTES.length;
        const told = (part: number): void => progress((i + part) * share);
        measurements.push(await measure(handle, env, { writeBytes, forMs: forMs * share, told }));
      }
      return { directory, measurements, ...judge(measurements) };
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw translated(error, path);
  } finally {
    await files.remove(path).catch(() => {});
  }
}

async function zeroWrite(handle: FileHandle): Promise<void> {
  const zeros = new Uint8Array(ZERO_CHUNK_BYTES);
  for (let at = 0; at < FILE_BYTES; at += zeros.length) await handle.write(zeros, at);
  await handle.sync();
}

interface Task {
  readonly writeBytes: number;
  readonly forMs: number;
  readonly told: (part: number) => void;
}

async function measure(handle: FileHandle, env: Env, { writeBytes, forMs, told }: Task): Promise<DiskMeasurement> {
  const bytes = new Uint8Array(writeBytes).fill(0x5a);
  const histogram = createHistogram();
  const startMs = env.now();
  let nowMs = startMs;
  let writes = 0;
  while (nowMs - startMs < forMs || writes === 0) {
    await handle.write(bytes, (writes * writeBytes) % FILE_BYTES);
    const endMs = env.now();
    histogram.record(Math.max(1, Math.round((endMs - nowMs) * 1e6)));
    nowMs = endMs;
    writes += 1;
    if (writes % 64 === 0) told(Math.min(1, (nowMs - startMs) / forMs));
  }
  const seconds = (nowMs - startMs) / 1000;
  const ms = (nanoseconds: number): number => Math.round(nanoseconds / 1e3) / 1e3;
  return {
    writeBytes,
    writes,
    p50Ms: ms(histogram.percentile(50)),
    p99Ms: ms(histogram.percentile(99)),
    maxMs: ms(histogram.max),
    writesPerSecond: Math.round(writes / seconds),
    bytesPerSecond: Math.round((writes * writeBytes) / seconds),
  };
}

/** Exported for its test. */
export function judge(measurements: readonly DiskMeasurement[]): Pick<CheckDiskReport, "verdict" | "advice"> {
  const p50Ms = Math.max(...measurements.map((m) => m.p50Ms));
  const p99Ms = Math.max(...measurements.map((m) => m.p99Ms));
  const fastestMs = Math.min(...measurements.map((m) => m.p50Ms));
  if (fastestMs < IMPLAUSIBLE_MS) {
    const advice = `a durable write takes ${fastestMs} ms: nothing is written through (a cache that loses power?)`;
    return { verdict: "implausible", advice };
  }
  if (p99Ms <= 5) return { verdict: "good", advice: "group commit hides it; the default timing fits" };
  if (p99Ms <= 25) {
    return { verdict: "usable", advice: `about ${p50Ms} ms per write of one client; the default timing fits` };
  }
  const late = `one write in a hundred takes ${p99Ms} ms`;
  if (p99Ms > 125) {
    return {
      verdict: "unsuitable",
      advice: `${late}: leaders would lose their shards; put the log (walDir) elsewhere`,
    };
  }
  // A host gives its leaderships away when a write is older than half an election timeout, ten ticks.
  const rttMs = Math.ceil((p99Ms * 4) / 50) * 50;
  return { verdict: "slow", advice: `${late}: set rttMs to ${rttMs} or more, or put the log (wal-dir) elsewhere` };
}

function translated(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || !("code" in error) || error instanceof OpError) return error;
  const full = error.code === "ENOSPC" || error.code === "EDQUOT";
  return new OpError(full ? "DL_ERR_DISK_FULL" : "DL_ERR_STORAGE_FAILED", path, { cause: error });
}
