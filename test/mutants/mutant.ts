/** A planted bug. The bank is the test of the tests: each of them must be caught. */
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
  /**
   * Test files (sources, from the root) that must fail if no simulation does. Needed for what no simulation can see:
   * a system call left out, an answer nobody waits for.
   */
  readonly tests?: readonly string[];
  /** Why no simulation can see it, although one runs the file: only `tests` hunt it then. */
  readonly unseen?: string;
}
