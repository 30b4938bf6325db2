/**
 * The payload of a stored snapshot on its way to a machine. Remembers an error of the file even if the machine
 * swallows it, and reads what the machine left unread, so that the checksums of the whole file are always looked at.
 * Used by Rsm.
 */
import type { SnapshotSource } from "./state-machine.js";

export class GuardedSource implements SnapshotSource {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #done = false;
  error: unknown;

  constructor(source: SnapshotSource) {
    this.#chunks = source[Symbol.asyncIterator]();
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return { next: () => this.#next() };
  }

  async finish(): Promise<void> {
    while (!this.#done) await this.#next();
    if (this.error !== undefined) throw this.error;
  }

  async #next(): Promise<IteratorResult<Uint8Array>> {
    if (this.#done) return { done: true, value: undefined };
    try {
      const step = await this.#chunks.next();
      if (step.done === true) this.#done = true;
      return step;
    } catch (error) {
      this.#done = true;
      this.error = error;
      throw error;
    }
  }
}
