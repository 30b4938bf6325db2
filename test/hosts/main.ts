/**
 * Seeded runs of whole clusters by hand, and as a child of the soak and of the mutant runner:
 *   node dist/test/hosts/main.js [first seed] [count] [virtual ms] [--sessions N] [--stop] [--log] [--json]
 * --stop ends at the first failure, --json prints a line of JSON per seed. Exit code 1 if a seed failed.
 */
import { parseArgs } from "node:util";
import { seededRun } from "./seeded-run.js";

/** What --json prints. */
export interface HostSeed {
  readonly seed: number;
  readonly problems: readonly string[];
  readonly trace: string;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    sessions: { type: "string", default: "0" },
    stop: { type: "boolean", default: false },
    log: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const [first = "1", count = "1", forMs = "6000"] = positionals;
const sessionClients = Number(values.sessions);
let failed = 0;
for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
  const startedMs = performance.now();
  const { problems, trace, acknowledged, reads, log } = await seededRun({ seed, forMs: Number(forMs), sessionClients });
  const took = (performance.now() - startedMs).toFixed(0);
  const what = problems.length === 0 ? "ok" : `FAILED\n  ${problems.join("\n  ")}`;
  if (values.json) say(JSON.stringify({ seed, problems, trace } satisfies HostSeed));
  else say(`seed ${seed}: ${acknowledged} appends, ${reads} reads, trace ${trace}, ${took} ms: ${what}`);
  if (values.log) say(log.join("\n"));
  if (problems.length === 0) continue;
  failed += 1;
  if (values.stop) break;
}
process.exitCode = failed === 0 ? 0 : 1;

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
