/**
 * Golden traces from the command line.
 *   npm run golden [-- word…]        plays the traces whose name contains a word, shows what differs
 *   npm run golden:rewrite [-- word…]   writes what the core does now into them; review the diff before you commit it
 * Exit code 1 if something differs and nothing was to be rewritten.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { playTrace, readTrace, TRACES, traceFiles } from "./play.js";

const args = process.argv.slice(2);
const rewrite = args.includes("--rewrite");
const words = args.filter((word) => word !== "--rewrite");
let different = 0;
const names = traceFiles().filter((name) => words.length === 0 || words.some((word) => name.includes(word)));
for (const name of names) {
  const written = readTrace(name);
  const { text, differences } = playTrace(name, written);
  if (text === written) continue;
  different += 1;
  if (rewrite) writeFileSync(join(TRACES, name), text);
  process.stdout.write(rewrite ? `rewritten: ${name}\n` : `${differences.join("\n") || `${name}: form`}\n`);
}
process.stdout.write(`${names.length} traces, ${different} ${rewrite ? "rewritten" : "different"}\n`);
if (different > 0 && !rewrite) process.exitCode = 1;
