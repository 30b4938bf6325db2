/**
 * Visits all states of the small worlds of worlds.ts, of those whose name contains one of the words if words are given.
 *   npm run worlds [-- --states N] [word…]      --states: give a world up after so many
 * Prints a line per world; exit code 1 if an invariant breaks, with the shortest way to it.
 */
import { parseArgs } from "node:util";
import { explore } from "./world.js";
import { WORLDS } from "./worlds.js";

const { values, positionals: words } = parseArgs({
  options: { states: { type: "string", default: "1000000" } },
  allowPositionals: true,
});
for (const { name, bounds, statesMin } of WORLDS) {
  if (words.length > 0 && !words.some((word) => name.includes(word))) continue;
  const startedMs = performance.now();
  try {
    const { states, transitions, depth, complete } = explore({ ...bounds, statesMax: Number(values.states) });
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    const verdict = complete ? "all" : "given up";
    if (complete && states < statesMin) throw new Error(`only ${states} states, at least ${statesMin} expected`);
    process.stdout.write(`${name}: ${states} states (${verdict}), ${transitions} ways, depth ${depth}, ${seconds} s\n`);
  } catch (error) {
    process.stdout.write(`${name}: ${error instanceof Error ? error.message : error}\n`);
    process.exitCode = 1;
  }
}
