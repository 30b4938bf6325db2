/**
 * Conformance check of a state machine: what every machine must do for replication to be right, tried on the real
 * thing with the given commands. For tests of ours and of applications (exported as part of the test kit).
 *
 * It looks for: results or hashes that differ between two replicas, clock or randomness in `update`, kept views of
 * command bytes, batches that matter, snapshots that lose or mix state, chunk boundaries that matter in recovery, and
 * snapshots that include updates made after `prepareSnapshot`. Of on-disk machines also what machine-kit-disk.ts looks
 * for. Hashes are compared only if the machine has getHash.
 */
import { errorText, OpError } from "../../shared/errors.js";
import { createMachine } from "./create-machine.js";
import { concat, Driven, NEVER } from "./machine-driver.js";
import { DiskCheck, type KitDisk } from "./machine-kit-disk.js";
import type { App, MachinePlace } from "./state-machine.js";

export interface MachineProblem {
  readonly check: "results" | "determinism" | "snapshot" | "recovery" | "point-in-time" | "restart" | "crash";
  readonly message: string;
}

const NOWHERE: KitDisk = {
  place: async () => ({ dataDir: "" }),
  crash: async (place) => place,
};

/**
 * What is wrong with the app's machine; [] if nothing was found. `commands` should touch every kind of command.
 * Machines on disk need a `disk` for their files (DL_ERR_INVALID_ARGUMENT).
 */
export async function checkStateMachine(
  app: App,
  commands: readonly Uint8Array[],
  disk?: KitDisk,
): Promise<MachineProblem[]> {
  if (app.kind === "onDisk" && disk === undefined) {
    throw new OpError("DL_ERR_INVALID_ARGUMENT", "an on-disk machine is checked on a disk: give one");
  }
  const check = new Check(app, commands, disk ?? NOWHERE);
  await check.run();
  return check.problems;
}

class Check {
  readonly problems: MachineProblem[] = [];
  readonly #app: App;
  readonly #commands: readonly Uint8Array[];
  readonly #disk: KitDisk;

  constructor(app: App, commands: readonly Uint8Array[], disk: KitDisk) {
    this.#app = app;
    this.#commands = commands;
    this.#disk = disk;
  }

  async run(): Promise<void> {
    const half = Math.floor(this.#commands.length / 2);
    const reference = await this.#replica("determinism", 1);
    if (reference === undefined) return;
    const firstResults = await reference.apply(0, half, 1);
    const halfHash = reference.hash();
    const saved = await this.#try("snapshot", () => reference.save());
    const lastResults = await reference.apply(half, this.#commands.length, 1);
    const all = [...firstResults, ...lastResults];
    for (const problem of reference.found) this.#report("results", problem);
    await this.#twin(all, reference.hash());
    if (saved !== undefined) {
      for (const chunkBytes of [1, 7, 65_536]) {
        await this.#recovered(saved, chunkBytes, { half, halfHash, lastResults, hash: reference.hash() });
      }
    }
    await this.#pointInTime(half, halfHash);
    await reference.close();
    if (this.#app.kind === "onDisk") await this.#onDisk();
  }

  async #onDisk(): Promise<void> {
    const check = new DiskCheck({
      disk: this.#disk,
      commands: this.#commands,
      open: async (place, indexes) => {
        const machine = await this.#machine(9, place);
        return { machine, index: await openAt(machine, indexes) };
      },
      report: (name, message) => this.#report(name, message),
    });
    await this.#try("restart", () => check.run());
  }

  /** A second replica, with other batches and another clock, must answer the same. */
  async #twin(results: readonly string[], hash: string | undefined): Promise<void> {
    const twin = await this.#replica("determinism", 2);
    if (twin === undefined) return;
    const answers = await twin.apply(0, this.#commands.length, 5);
    this.#same("determinism", answers, results);
    if (twin.hash() !== hash)
      this.#report("determinism", `state hash is ${twin.hash()} on one replica, ${hash} on another`);
    await twin.close();
  }

  async #recovered(
    bytes: Uint8Array,
    chunkBytes: number,
    expected: { half: number; halfHash: string | undefined; lastResults: readonly string[]; hash: string | undefined },
  ): Promise<void> {
    const replica = await this.#replica("recovery", 3);
    if (replica === undefined) return;
    // A machine that is restored may hold a state already; all of it must go.
    await replica.apply(0, Math.min(3, expected.half), 1);
    const done = await this.#try("recovery", async () => {
      await replica.recover(bytes, chunkBytes);
      return true;
    });
    if (done === true) {
      const where = `after recovery in chunks of ${chunkBytes} bytes`;
      if (replica.hash() !== expected.halfHash) {
        this.#report("recovery", `state hash ${where} is ${replica.hash()}, expected ${expected.halfHash}`);
      }
      this.#same("recovery", await replica.apply(expected.half, this.#commands.length, 1), expected.lastResults);
      if (replica.hash() !== expected.hash) {
        this.#report(
          "recovery",
          `state hash ${where} and further updates is ${replica.hash()}, expected ${expected.hash}`,
        );
      }
    }
    await replica.close();
  }

  /** What is saved after further updates must be the state as prepared. */
  async #pointInTime(half: number, halfHash: string | undefined): Promise<void> {
    const writer = await this.#replica("point-in-time", 4);
    const reader = await this.#replica("point-in-time", 5);
    if (writer === undefined || reader === undefined || writer.machine.kind === "memory") return;
    const { machine } = writer.machine;
    await writer.apply(0, half, 1);
    const prepared = machine.prepareSnapshot();
    const chunks: Uint8Array[] = [];
    let next = half;
    const sink = {
      write: async (bytes: Uint8Array) => {
        chunks.push(new Uint8Array(bytes));
        const upTo = Math.min(this.#commands.length, next + 3);
        await writer.apply(next, upTo, 1);
        next = upTo;
      },
    };
    await writer.apply(next, Math.min(this.#commands.length, next + 3), 2);
    next = Math.min(this.#commands.length, next + 3);
    const done = await this.#try("point-in-time", async () => {
      await machine.saveSnapshot(prepared, sink, NEVER);
      await reader.recover(concat(chunks), 4096);
      return true;
    });
    if (done === true && reader.hash() !== halfHash) {
      this.#report("point-in-time", `the snapshot holds ${reader.hash()}, prepared was ${halfHash}`);
    }
    await writer.close();
    await reader.close();
  }

  async #replica(check: MachineProblem["check"], replicaId: number): Promise<Driven | undefined> {
    return this.#try(check, async () => {
      const driven = await this.#machine(replicaId, await this.#disk.place());
      await openAt(driven, [0, 0]);
      return driven;
    });
  }

  async #machine(replicaId: number, place: MachinePlace): Promise<Driven> {
    return new Driven(createMachine(this.#app, { shardId: 1, replicaId }, place), this.#commands);
  }

  #same(check: MachineProblem["check"], found: readonly string[], expected: readonly string[]): void {
    const at = expected.findIndex((text, i) => text !== found[i]);
    if (at >= 0) this.#report(check, `result ${at} is ${found[at]} on one replica, ${expected[at]} on another`);
  }

  async #try<T>(check: MachineProblem["check"], call: () => Promise<T>): Promise<T | undefined> {
    try {
      return await call();
    } catch (error) {
      this.#report(check, errorText(error));
      return undefined;
    }
  }

  #report(check: MachineProblem["check"], message: string): void {
    this.problems.push({ check, message });
  }
}

/** Opens a machine on disk; throws unless the index it answers is one of [from, to]. 0 for others. */
async function openAt({ machine: { kind, machine } }: Driven, [from, to]: readonly [number, number]): Promise<number> {
  if (kind !== "onDisk") return 0;
  const index = await machine.open(NEVER);
  if (Number.isSafeInteger(index) && index >= from && index <= to) return index;
  throw new Error(`open answered ${index}, expected ${from === to ? from : `${from} to ${to}`}`);
}
