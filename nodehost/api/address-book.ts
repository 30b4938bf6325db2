/**
 * Where hosts are. Learned from handshakes and from the registry; durable, so that a restart without any master still
 * finds its peers; a higher incarnation wins, so an address may change.
 */
import * as path from "node:path";
import type { Logger } from "../../shared/env/env.js";
import { errorText } from "../../shared/errors.js";
import { type Files, readWhole } from "../../shared/files/port.js";
import type { HostId, Target } from "../../shared/types/ids.js";
import type { AddressBook } from "../transport/port.js";
import { isHostId, writeDurably } from "./host-dir.js";

interface Place {
  readonly raftAddress: string;
  readonly incarnation: number;
}

const FILE = "addresses.json";

export class DurableAddressBook implements AddressBook {
  readonly #files: Files;
  readonly #directory: string;
  readonly #logger: Logger;
  readonly #places = new Map<HostId, Place>();
  #writing: Promise<void> | undefined;
  #dirty = false;

  constructor(files: Files, directory: string, logger: Logger) {
    this.#files = files;
    this.#directory = directory;
    this.#logger = logger;
  }

  /** Reads what was known at the last stop. A damaged file is only a lost memory: it is learned again. */
  async open(): Promise<void> {
    const file = path.join(this.#directory, FILE);
    if (!(await this.#files.exists(file))) return;
    try {
      const parsed: unknown = JSON.parse(Buffer.from(await readWhole(this.#files, file)).toString("utf8"));
      if (typeof parsed !== "object" || parsed === null) return;
      for (const [hostId, place] of Object.entries(parsed)) this.#take(hostId, place);
    } catch (error) {
      this.#logger.warn({ file, error: errorText(error) }, "address book not readable: it is learned again");
    }
  }

  resolve(target: Target): string | undefined {
    if (isHostId(target)) return this.#places.get(target)?.raftAddress;
    return target;
  }

  learn(hostId: HostId, raftAddress: string, incarnation: number): void {
    const known = this.#places.get(hostId);
    if (known !== undefined && known.incarnation > incarnation) return;
    if (known?.raftAddress === raftAddress && known.incarnation === incarnation) return;
    this.#places.set(hostId, { raftAddress, incarnation });
    if (known?.raftAddress !== raftAddress) this.#save();
  }

  /** Waits for the write in flight. */
  async close(): Promise<void> {
    await this.#writing;
  }

  #take(hostId: string, place: unknown): void {
    if (!isHostId(hostId) || typeof place !== "object" || place === null) return;
    const fields = new Map<string, unknown>(Object.entries(place));
    const raftAddress = fields.get("raftAddress");
    const incarnation = fields.get("incarnation");
    if (typeof raftAddress !== "string" || typeof incarnation !== "number") return;
    this.#places.set(hostId, { raftAddress, incarnation });
  }

  #save(): void {
    this.#dirty = true;
    this.#writing ??= this.#write();
  }

  /** Until nothing new is left. A failed write is made good by the next change. */
  async #write(): Promise<void> {
    try {
      while (this.#dirty) {
        this.#dirty = false;
        const text = `${JSON.stringify(Object.fromEntries(this.#places), null, 2)}\n`;
        await writeDurably(this.#files, this.#directory, FILE, Buffer.from(text));
      }
    } catch (error) {
      this.#logger.warn({ error: errorText(error) }, "address book not written");
    } finally {
      // At once when the loop has ended: a change from now on starts another write.
      this.#writing = undefined;
    }
  }
}
