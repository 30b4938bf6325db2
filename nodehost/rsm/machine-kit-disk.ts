/**
 * The part of the conformance check for machines that keep their state on disk: is the index they answer when opened
 * the index of the state they have, is what was synced still there after a restart and after a crash, is a recovery
 * that a crash cut short either done or to be done again. Used by machine-kit.ts.
 *
 * Every state that is found is compared with that of a machine which applied the same entries one by one, and then goes
 * through the rest of the commands: results and hash must come out as there.
 */
import { errorText } from "../../shared/errors.js";
import type { Driven } from "./machine-driver.js";
import type { MachinePlace } from "./state-machine.js";

/** Where the machines under test have their files. */
export interface KitDisk {
  /** A new, empty place. */
  place(): Promise<MachinePlace>;
  /**
   * A copy of a place as a crash at this moment would leave it: without what was not synced, or at least without what
   * is in the memory of the process. The machine there stays open and has nothing under way.
   */
  crash(place: MachinePlace): Promise<MachinePlace>;
}

export interface DiskCheckParts {
  readonly disk: KitDisk;
  readonly commands: readonly Uint8Array[];
  /** Makes a machine and opens it; throws unless it answers an index within the range. */
  readonly open: (
    place: MachinePlace,
    indexes: readonly [number, number],
  ) => Promise<{ readonly machine: Driven; readonly index: number }>;
  readonly report: (check: "restart" | "crash", message: string) => void;
}

type CheckName = Parameters<DiskCheckParts["report"]>[0];

export class DiskCheck {
  readonly #parts: DiskCheckParts;
  /** Of a machine that applied the commands one by one: result of each, state hash after so many. */
  readonly #results: string[] = [];
  readonly #hashes: (string | undefined)[] = [];

  constructor(parts: DiskCheckParts) {
    this.#parts = parts;
  }

  async run(): Promise<void> {
    const { disk, open, commands } = this.#parts;
    const { machine } = await open(await disk.place(), [0, 0]);
    this.#hashes.push(machine.hash());
    for (let at = 0; at < commands.length; at++) {
      this.#results.push(...(await machine.apply(at, at + 1, 1)));
      this.#hashes.push(machine.hash());
    }
    await machine.close();
    await this.#restart();
    await this.#crash();
    await this.#crashInRecovery();
  }

  async #restart(): Promise<void> {
    const half = Math.floor(this.#parts.commands.length / 2);
    for (const synced of [true, false]) {
      await this.#guard("restart", `closed ${synced ? "after sync" : "without sync"}`, async (where) => {
        const place = await this.#parts.disk.place();
        const { machine } = await this.#parts.open(place, [0, 0]);
        await machine.apply(0, half, 2);
        if (synced) await machine.sync();
        await machine.close();
        await this.#goOn("restart", { where, place, range: [synced ? half : 0, half] });
      });
    }
  }

  /** Crashes with more and more updates since the last sync. */
  async #crash(): Promise<void> {
    const { disk, commands } = this.#parts;
    const place = await disk.place();
    const { machine } = await this.#parts.open(place, [0, 0]);
    let synced = 0;
    let at = 0;
    for (let size = 1; at < commands.length; size = (size % 4) + 1) {
      const to = Math.min(commands.length, at + size);
      await machine.apply(at, to, size);
      at = to;
      await this.#guard("crash", `crash at ${at}, synced at ${synced}`, async (where) => {
        await this.#goOn("crash", { where, place: await disk.crash(place), range: [synced, at] });
      });
      if (size < 3) continue;
      await machine.sync();
      synced = at;
      await this.#guard("crash", `crash after sync at ${at}`, async (where) => {
        await this.#goOn("crash", { where, place: await disk.crash(place), range: [at, at] });
      });
    }
    await machine.close();
  }

  async #crashInRecovery(): Promise<void> {
    const { disk, open, commands } = this.#parts;
    const half = Math.floor(commands.length / 2);
    const few = Math.min(3, half);
    const source = await open(await disk.place(), [0, 0]);
    await source.machine.apply(0, half, 1);
    const saved = await source.machine.save();
    await source.machine.close();
    const place = await disk.place();
    const { machine } = await open(place, [0, 0]);
    // Another state than the snapshot's is there, and all of it must go.
    await machine.apply(0, few, 1);
    await machine.sync();
    await machine.recover(saved, 64);
    const image = await disk.crash(place);
    await machine.sync();
    const done = await disk.crash(place);
    await machine.close();
    await this.#guard("crash", "crash after recovery and sync", async (where) => {
      await this.#goOn("crash", { where, place: done, range: [half, half] });
    });
    await this.#guard("crash", "crash after recovery, before sync", async (where) => {
      const again = await open(image, [0, half]);
      if (again.index === half) this.#compare("crash", `${where}: opened`, { machine: again.machine, at: half });
      else {
        await again.machine.recover(saved, 1000);
        await again.machine.sync();
        this.#compare("crash", `${where}: recovered again`, { machine: again.machine, at: half });
      }
      await again.machine.close();
    });
  }

  /** Opens what is at `place`, compares it with the state of the index it answers, and applies the rest. */
  async #goOn(
    check: CheckName,
    found: { readonly where: string; readonly place: MachinePlace; readonly range: readonly [number, number] },
  ): Promise<void> {
    const { where, place, range } = found;
    const { machine, index } = await this.#parts.open(place, range);
    this.#compare(check, where, { machine, at: index });
    const { commands, report } = this.#parts;
    const results = await machine.apply(index, commands.length, 3);
    const wrong = results.findIndex((text, i) => text !== this.#results[index + i]);
    if (wrong >= 0) {
      const expected = this.#results[index + wrong];
      report(check, `${where}: result of entry ${index + wrong + 1} is ${results[wrong]}, expected ${expected}`);
    }
    this.#compare(check, `${where}, and further updates`, { machine, at: commands.length });
    await machine.close();
  }

  #compare(check: CheckName, where: string, found: { readonly machine: Driven; readonly at: number }): void {
    const hash = found.machine.hash();
    const expected = this.#hashes[found.at];
    if (hash === expected) return;
    this.#parts.report(check, `${where}: state hash at index ${found.at} is ${hash}, expected ${expected}`);
  }

  async #guard(check: CheckName, where: string, call: (where: string) => Promise<void>): Promise<void> {
    try {
      await call(where);
    } catch (error) {
      this.#parts.report(check, `${where}: ${errorText(error)}`);
    }
  }
}
