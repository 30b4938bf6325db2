/**
 * Chunks of one incoming snapshot between the connection and the handler that reads them: an async iterable for one
 * reader. It asks for more (`want`) only when the reader has taken everything, which is the backpressure.
 */
import { OpError } from "../../shared/errors.js";

interface Waiter {
  readonly resolve: (result: IteratorResult<Uint8Array>) => void;
  readonly reject: (error: OpError) => void;
}

export class SnapshotInbox implements AsyncIterable<Uint8Array> {
  readonly #want: () => void;
  #queue: Uint8Array[] = [];
  #ended = false;
  #error: OpError | undefined;
  #waiter: Waiter | undefined;

  /** `want` is called each time the reader waits and nothing is there. */
  constructor(want: () => void) {
    this.#want = want;
  }

  /** True while the reader waits for a chunk. */
  get waiting(): boolean {
    return this.#waiter !== undefined;
  }

  push(chunk: Uint8Array): void {
    if (this.#ended || this.#error !== undefined) return;
    const waiter = this.#waiter;
    if (waiter === undefined) {
      this.#queue.push(chunk);
      return;
    }
    this.#waiter = undefined;
    waiter.resolve({ done: false, value: chunk });
  }

  /** All chunks were pushed. */
  end(): void {
    if (this.#error !== undefined) return;
    this.#ended = true;
    this.#waiter?.resolve({ done: true, value: undefined });
    this.#waiter = undefined;
  }

  /** The stream broke: the reader gets the error instead of what is left. */
  fail(error: OpError): void {
    if (this.#error !== undefined || (this.#ended && this.#queue.length === 0)) return;
    this.#error = error;
    this.#queue = [];
    this.#waiter?.reject(error);
    this.#waiter = undefined;
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: () => this.#next(),
      return: () => {
        this.fail(new OpError("DL_ERR_CANCELED", "the reader stopped reading"));
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  #next(): Promise<IteratorResult<Uint8Array>> {
    const chunk = this.#queue.shift();
    if (chunk !== undefined) return Promise.resolve({ done: false, value: chunk });
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    if (this.#waiter !== undefined)
      return Promise.reject(new OpError("DL_ERR_INVALID_OPERATION", "one reader at a time"));
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
      this.#want();
    });
  }
}
