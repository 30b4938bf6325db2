/**
 * Jobs of one replica that take long (save, restore), each abortable from outside and inside, and the holds by which
 * they keep the machine from being updated meanwhile. Used by Rsm alone.
 *
 * Invariant: `held()` is a promise as long as a hold is out, and resolves (never rejects) when the last one is
 * released; a job's end is always observed, so that close can wait for it.
 */

export interface Job {
  readonly signal: AbortSignal;
  /** Asks the job to stop and waits until it has; its outcome is for who started it. */
  abort(): Promise<void>;
}

export class Jobs {
  readonly #running = new Set<Job>();
  #holds = 0;
  #free: PromiseWithRelease | undefined;

  /** Runs `work` with a signal that fires when the caller's does or when the job is aborted. */
  async run<T>(signal: AbortSignal, work: (job: Job) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    const forward = (): void => controller.abort(signal.reason);
    if (signal.aborted) forward();
    signal.addEventListener("abort", forward, { once: true });
    const ended = promiseWithRelease();
    const job: Job = {
      signal: controller.signal,
      abort: () => {
        controller.abort();
        return ended.promise;
      },
    };
    this.#running.add(job);
    try {
      return await work(job);
    } finally {
      signal.removeEventListener("abort", forward);
      this.#running.delete(job);
      ended.release();
    }
  }

  async abortAll(): Promise<void> {
    await Promise.all([...this.#running].map((job) => job.abort()));
  }

  /** Takes a hold; the returned function gives it back (once; later calls do nothing). */
  hold(): () => void {
    this.#holds += 1;
    this.#free ??= promiseWithRelease();
    let out = true;
    return () => {
      if (!out) return;
      out = false;
      this.#holds -= 1;
      if (this.#holds > 0) return;
      this.#free?.release();
      this.#free = undefined;
    };
  }

  held(): Promise<void> | undefined {
    return this.#free?.promise;
  }
}

interface PromiseWithRelease {
  readonly promise: Promise<void>;
  release(): void;
}

function promiseWithRelease(): PromiseWithRelease {
  let release = (): void => {};
  const promise = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { promise, release: () => release() };
}
