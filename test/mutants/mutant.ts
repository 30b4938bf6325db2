/** A planted bug. The bank is the test of the simulator: each of them must be caught. */
export interface Mutant {
  readonly id: string;
  /** Source file, from the repository root. */
  readonly file: string;
  /** Text that occurs exactly once in it. */
  readonly find: string;
  readonly replace: string;
  /** What is broken, and what is expected to notice. */
  readonly invariant: string;
  /** One of those that every `npm test` must catch. */
  readonly quick: boolean;
}
