/** Seeded runs of whole clusters by hand: node dist/test/hosts/main.js [first seed] [count] [virtual ms] [--log]. */
import { seededRun } from "./seeded-run.js";

const [first = "1", count = "1", forMs = "6000"] = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const wantsLog = process.argv.includes("--log");
let failed = 0;
for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
  const startedMs = performance.now();
  const { problems, trace, acknowledged, reads, log } = await seededRun({ seed, forMs: Number(forMs) });
  const took = (performance.now() - startedMs).toFixed(0);
  const what = problems.length === 0 ? "ok" : `FAILED\n  ${problems.join("\n  ")}`;
  console.log(`seed ${seed}: ${acknowledged} appends, ${reads} reads, trace ${trace}, ${took} ms: ${what}`);
  if (wantsLog) console.log(log.join("\n"));
  if (problems.length > 0) failed += 1;
}
process.exitCode = failed === 0 ? 0 : 1;
