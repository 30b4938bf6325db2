/**
 * The process that the crash sweep kills: opens a log on the real disk, makes the appends that its seed determines
 * (entries, truncations, snapshots, compactions, removals; small segments, so that they are made, used again and
 * removed), and prints "ack N" after each one that was acknowledged. Started by crash-sweep.ts under strace.
 *
 *   node wal-script.js <directory> <seed> <appends>
 */
import { writeSync } from "node:fs";
import { lmdbCheckpointFactory } from "../../nodehost/logdb/lmdb-checkpoint.js";
import type { LogUpdate } from "../../nodehost/logdb/port.js";
import { generator, LogModel, Workload } from "../../nodehost/logdb/test-support.js";
import type { WalLogDb } from "../../nodehost/logdb/wal-logdb.js";
import { openWalLogDb } from "../../nodehost/logdb/wal-open.js";
import { createRealEnv } from "../../shared/env/real-env.js";
import { createRealFiles } from "../../shared/files/real-files.js";

const COMMAND_BYTES_MAX = 3000;
/** Every so many appends the log is left alone long enough to seal its last frame. */
const IDLE_EVERY = 16;
const IDLE_MS = 25;

/** The log as the script opens it, and as the test opens it again. */
export function openScriptLog(directory: string): Promise<WalLogDb> {
  const env = createRealEnv();
  return openWalLogDb({
    files: createRealFiles(),
    walDir: `${directory}/wal`,
    dataDir: `${directory}/data`,
    dataSetId: "crash-sweep",
    env,
    checkpointStore: lmdbCheckpointFactory(env.crc32),
    onFatal: (error) => {
      throw error;
    },
    segmentSizes: { firstBytes: 64 * 1024, maxBytes: 128 * 1024 },
  });
}

/** The appends of a seed, and the model of what the log must hold after those taken so far. */
export function scriptOf(seed: number): { readonly model: LogModel; next(): readonly LogUpdate[] } {
  const model = new LogModel();
  const workload = new Workload(generator(seed), model, COMMAND_BYTES_MAX);
  return {
    model,
    next: () => {
      const updates = workload.next();
      model.apply(updates);
      return updates;
    },
  };
}

async function main(directory: string, seed: number, appends: number): Promise<void> {
  const db = await openScriptLog(directory);
  const script = scriptOf(seed);
  for (let step = 1; step <= appends; step++) {
    await db.append(script.next());
    writeSync(1, `ack ${step}\n`);
    if (step % IDLE_EVERY === 0) await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  }
  await db.close();
}

// Imported by the test for the functions above; a program when it has arguments.
const [directory, seed, appends] = process.argv.slice(2);
if (directory !== undefined && process.argv[1]?.endsWith("wal-script.js") === true) {
  await main(directory, Number(seed), Number(appends));
}
