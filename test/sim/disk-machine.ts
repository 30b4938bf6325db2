/**
 * The on-disk machine of a simulated node: a digest over the entries it was given, and the index of the last one. It
 * makes states durable behind the back of whoever drives it: at a crash it keeps any state it had since the last sync,
 * whole, so it is often ahead of the snapshot beside it. Survives crashes because the disk does.
 */
import type { Index } from "../../shared/types/ids.js";
import { mix, type Prng } from "./prng.js";

/** State of a machine; immutable. */
export interface MachineContent {
  readonly index: Index;
  readonly digest: number;
}

/** Above it the oldest states are as good as synced. */
const STATES_MAX = 512;

export class ModelMachine {
  #now: MachineContent = { index: 0, digest: 0 };
  /** What a crash may leave, oldest first; the first one is what the last sync made certain. */
  #possible: MachineContent[] = [this.#now];

  get content(): MachineContent {
    return this.#now;
  }

  update(index: Index, fingerprint: number): void {
    this.#become({ index, digest: mix(mix(this.#now.digest, index), fingerprint) });
  }

  /** Takes over another state; not durable yet. */
  recover(content: MachineContent): void {
    this.#become(content);
  }

  /** A sync that began when it was in this state has ended. */
  synced(content: MachineContent): void {
    const at = this.#possible.lastIndexOf(content);
    if (at > 0) this.#possible = this.#possible.slice(at);
  }

  crash(random: Prng): void {
    // As often the very newest or the oldest as anything between.
    const among = random.chance(0.5) ? this.#possible : [this.#possible[0], this.#possible.at(-1)];
    this.#now = random.pick(among) ?? this.#now;
    this.#possible = [this.#now];
  }

  #become(content: MachineContent): void {
    this.#now = content;
    this.#possible.push(content);
    if (this.#possible.length > STATES_MAX) this.#possible.splice(0, STATES_MAX / 2);
  }
}
