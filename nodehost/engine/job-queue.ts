/**
 * Runs jobs in order, a few at a time. A job that fails makes room like one that ends. Used by Engine for snapshots.
 */
export class JobQueue {
  readonly #atOnce: number;
  readonly #waiting: (() => Promise<void>)[] = [];
  #running = 0;

  constructor(atOnce: number) {
    this.#atOnce = atOnce;
  }

  run(job: () => Promise<void>): void {
    this.#waiting.push(job);
    this.#next();
  }

  #next(): void {
    if (this.#running >= this.#atOnce) return;
    const job = this.#waiting.shift();
    if (job === undefined) return;
    this.#running += 1;
    job().finally(() => {
      this.#running -= 1;
      this.#next();
    });
  }
}
