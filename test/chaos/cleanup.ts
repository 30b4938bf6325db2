/**
 * What a test leaves behind in the machine (processes, namespaces, mounts) is undone in reverse order: when the test
 * ends, and also when its own process is told to end early. Only what was registered is touched.
 */
import { spawnSync } from "node:child_process";
import type { TestContext } from "node:test";

export class Cleanup {
  readonly #steps: (() => void)[] = [];

  constructor(t: TestContext) {
    const onExit = (): void => this.#run();
    const onSignal = (): void => process.exit(143);
    process.on("exit", onExit);
    process.on("SIGTERM", onSignal);
    t.after(() => {
      process.off("exit", onExit);
      process.off("SIGTERM", onSignal);
      this.#run();
    });
  }

  /** `step` must be synchronous; what it throws does not keep the others from running. */
  add(step: () => void): void {
    this.#steps.push(step);
  }

  #run(): void {
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        step();
      } catch (error) {
        process.stderr.write(`cleaning up: ${String(error)}\n`);
      }
    }
  }
}

/** Runs a command of the system to its end; throws with what it said if it failed. */
export function command(name: string, ...args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(name, args, { encoding: "utf8", timeout: 10_000 });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${name} ${args.join(" ")}: exit code ${status}: ${stderr.trim()}`);
  return stdout;
}
