/**
 * Files and directories of SimDisk, with what is durable and what is not kept apart. Used by sim-files.ts only.
 *
 * A block (4 KiB) has its durable content and every version written since; a crash leaves any of them, or a mixture of
 * their 512-byte sectors. A directory has its durable names; changes since are kept as whole operations (a rename is
 * one), of which a crash keeps any subset.
 */
export const SIM_BLOCK_BYTES = 4096;
const SECTOR_BYTES = 512;
const ZERO_BLOCK = new Uint8Array(SIM_BLOCK_BYTES);

/** What a power loss took. */
export interface SimLosses {
  /** Blocks with older content than the last written, and with a mixture of several. */
  lostBlocks: number;
  tornBlocks: number;
  /** Created, renamed or removed names of which nothing is left. */
  lostNames: number;
}

interface Block {
  durable: Uint8Array;
  /** Contents written since, oldest first; the last one is what a read sees. */
  unsynced: { readonly mark: number; readonly bytes: Uint8Array }[];
}

export class SimFile {
  size = 0;
  #durableSize = 0;
  readonly #blocks = new Map<number, Block>();
  readonly #dirty = new Set<number>();

  get blockCount(): number {
    return this.#blocks.size;
  }

  /** Blocks that a write to [position, position + length) would add. */
  newBlocks(position: number, length: number): number {
    let count = 0;
    for (let b = Math.floor(position / SIM_BLOCK_BYTES); b * SIM_BLOCK_BYTES < position + length; b++) {
      if (!this.#blocks.has(b)) count += 1;
    }
    return count;
  }

  read(target: Uint8Array, position: number): number {
    const end = Math.min(this.size, position + target.length);
    for (let at = position; at < end; ) {
      const number = Math.floor(at / SIM_BLOCK_BYTES);
      const within = at - number * SIM_BLOCK_BYTES;
      const count = Math.min(SIM_BLOCK_BYTES - within, end - at);
      target.set(this.#current(number).subarray(within, within + count), at - position);
      at += count;
    }
    return Math.max(0, end - position);
  }

  /** Changes what reads see. Durable later, by `makeDurable` with a mark not lower than this one. */
  write(bytes: Uint8Array, position: number, mark: number): void {
    for (let at = 0; at < bytes.length; ) {
      const number = Math.floor((position + at) / SIM_BLOCK_BYTES);
      const within = position + at - number * SIM_BLOCK_BYTES;
      const count = Math.min(SIM_BLOCK_BYTES - within, bytes.length - at);
      this.#put(number, within, bytes.subarray(at, at + count), mark);
      at += count;
    }
    this.size = Math.max(this.size, position + bytes.length);
  }

  truncate(size: number, mark: number): void {
    for (const number of this.#blocks.keys()) {
      const begin = number * SIM_BLOCK_BYTES;
      const within = Math.max(0, size - begin);
      if (within < SIM_BLOCK_BYTES) this.#put(number, within, ZERO_BLOCK.subarray(within), mark);
    }
    this.size = size;
  }

  /** All writes up to `mark` (all of them, or those in the range) are durable, and so is the size. */
  makeDurable(mark: number, range?: { readonly position: number; readonly length: number }): void {
    for (const number of [...this.#dirty]) {
      const begin = number * SIM_BLOCK_BYTES;
      if (range !== undefined) {
        if (begin >= range.position + range.length || begin + SIM_BLOCK_BYTES <= range.position) continue;
      }
      const block = this.#blocks.get(number);
      if (block === undefined) continue;
      for (const version of block.unsynced) if (version.mark <= mark) block.durable = version.bytes;
      block.unsynced = block.unsynced.filter((version) => version.mark > mark);
      if (block.unsynced.length === 0) this.#dirty.delete(number);
    }
    this.#durableSize = this.size;
  }

  /** What a power loss leaves. */
  crash(random: () => number, losses: SimLosses): void {
    for (const number of this.#dirty) {
      const block = this.#blocks.get(number);
      if (block === undefined) continue;
      const contents = [block.durable, ...block.unsynced.map((v) => v.bytes)];
      block.durable = survivor(contents, random);
      if (!contents.includes(block.durable)) losses.tornBlocks += 1;
      else if (block.durable !== contents.at(-1)) losses.lostBlocks += 1;
      block.unsynced = [];
    }
    this.#dirty.clear();
    if (random() < 0.5) this.size = this.#durableSize;
    this.#durableSize = this.size;
    for (const number of [...this.#blocks.keys()]) {
      if (number * SIM_BLOCK_BYTES >= this.size) this.#blocks.delete(number);
    }
  }

  /** Shorter than it was, for good. */
  cut(size: number): void {
    this.size = Math.min(this.size, size);
    this.#durableSize = this.size;
    for (const number of [...this.#blocks.keys()]) {
      if (number * SIM_BLOCK_BYTES >= this.size) this.#blocks.delete(number);
    }
  }

  /** The same content, all of it durable. */
  copy(): SimFile {
    const other = new SimFile();
    other.size = this.size;
    other.#durableSize = this.size;
    for (const number of this.#blocks.keys()) {
      other.#blocks.set(number, { durable: this.#current(number), unsynced: [] });
    }
    return other;
  }

  /** Rot: changes bytes on the medium and in what reads see. */
  damage(position: number, change: (byte: number) => number): void {
    const block = this.#blocks.get(Math.floor(position / SIM_BLOCK_BYTES));
    if (block === undefined) return;
    const bytes = this.#current(Math.floor(position / SIM_BLOCK_BYTES)).slice();
    bytes[position % SIM_BLOCK_BYTES] = change(bytes[position % SIM_BLOCK_BYTES] ?? 0);
    block.durable = bytes;
    block.unsynced = [];
  }

  #current(number: number): Uint8Array {
    const block = this.#blocks.get(number);
    return block?.unsynced.at(-1)?.bytes ?? block?.durable ?? ZERO_BLOCK;
  }

  #put(number: number, within: number, part: Uint8Array, mark: number): void {
    let bytes = ZERO_BLOCK;
    if (part.length < SIM_BLOCK_BYTES || !isZero(part)) {
      bytes = this.#current(number).slice();
      bytes.set(part, within);
    }
    let block = this.#blocks.get(number);
    if (block === undefined) {
      block = { durable: ZERO_BLOCK, unsynced: [] };
      this.#blocks.set(number, block);
    }
    block.unsynced.push({ mark, bytes });
    this.#dirty.add(number);
  }
}

/** One of the contents, or sectors of several. */
function survivor(contents: readonly Uint8Array[], random: () => number): Uint8Array {
  const pick = () => contents[Math.floor(random() * contents.length)] ?? ZERO_BLOCK;
  if (random() < 0.6) return pick();
  const torn = new Uint8Array(SIM_BLOCK_BYTES);
  for (let at = 0; at < SIM_BLOCK_BYTES; at += SECTOR_BYTES) {
    torn.set(pick().subarray(at, at + SECTOR_BYTES), at);
  }
  return torn;
}

function isZero(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}

export type SimEntry = SimFile | SimDirectory;

export class SimDirectory {
  readonly names = new Map<string, SimEntry>();
  readonly durable = new Map<string, SimEntry>();

  /** The same names, all of them durable. */
  copy(): SimDirectory {
    const other = new SimDirectory();
    for (const [name, entry] of this.names) {
      const same = entry.copy();
      other.names.set(name, same);
      other.durable.set(name, same);
    }
    return other;
  }

  /** Of all files in it and below. */
  blockCount(): number {
    let count = 0;
    for (const entry of this.names.values()) {
      count += entry instanceof SimDirectory ? entry.blockCount() : entry.blockCount;
    }
    return count;
  }
}

/** One change of names, kept or lost as a whole. */
export interface NameChange {
  /** Its sync makes the change durable. */
  readonly home: SimDirectory;
  readonly mark: number;
  readonly parts: readonly {
    readonly directory: SimDirectory;
    readonly name: string;
    readonly entry: SimEntry | undefined;
  }[];
}

export function applyNames(change: NameChange, which: "names" | "durable"): void {
  for (const { directory, name, entry } of change.parts) {
    if (entry === undefined) directory[which].delete(name);
    else directory[which].set(name, entry);
  }
}
