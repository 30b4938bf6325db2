/**
 * Directories of on-disk state machines: <dataDir>/machines/<shardId>-<replicaId>, one per replica. The engine asks for
 * one before such a machine is made, and to remove it after the replica's log is removed.
 *
 * Invariant: a directory is removed only of a replica that the log knows as removed for ever; what a crash left of such
 * a removal goes at the next start.
 */
import * as path from "node:path";
import type { Files } from "../../shared/files/port.js";
import type { ReplicaKey } from "../logdb/port.js";
import { type MachinePlace, replicaDirectoryName } from "../rsm/index.js";

export class MachineDirectories {
  readonly #files: Files;
  readonly #directory: string;

  constructor(files: Files, dataDir: string) {
    this.#files = files;
    this.#directory = path.join(dataDir, "machines");
  }

  /** The replica's directory, which exists when this resolves. */
  async prepare(key: ReplicaKey): Promise<MachinePlace> {
    const dataDir = this.#pathOf(key);
    await this.#files.makeDirectory(dataDir);
    return { dataDir };
  }

  async remove(key: ReplicaKey): Promise<void> {
    const dataDir = this.#pathOf(key);
    if (!(await this.#files.exists(dataDir))) return;
    await this.#files.remove(dataDir);
    await this.#files.syncDirectory(this.#directory);
  }

  /** At start: what is left of replicas that were removed. */
  async removeOrphans(removed: readonly ReplicaKey[]): Promise<void> {
    const names = new Set(await this.#files.list(this.#directory));
    if (names.size === 0) return;
    for (const key of removed) if (names.has(nameOf(key))) await this.remove(key);
  }

  #pathOf(key: ReplicaKey): string {
    return path.join(this.#directory, nameOf(key));
  }
}

function nameOf({ shardId, replicaId }: ReplicaKey): string {
  return replicaDirectoryName(shardId, replicaId);
}
