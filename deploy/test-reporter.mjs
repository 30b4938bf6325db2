/**
 * Reporter of `npm test`: one line per finished file, every failure with what its file printed, every skip with its
 * reason. Counts go to the file named in DRUMLINE_TEST_SUMMARY, from which deploy/test-run.mjs makes the summary.
 */
import { writeFileSync } from "node:fs";
import { relative } from "node:path";
import { inspect } from "node:util";

/** Kept per file, to be shown only when something in it fails. */
const OUTPUT_CHARS_MAX = 32_768;

// biome-ignore lint/style/noDefaultExport: node:test takes a reporter's default export
export default async function* report(source) {
  const counts = { passed: 0, failed: 0, skipped: 0, failures: [], skips: [] };
  const output = new Map();
  for await (const { type, data } of source) {
    if (type === "test:stdout" || type === "test:stderr") {
      output.set(data.file, `${output.get(data.file) ?? ""}${data.message}`.slice(-OUTPUT_CHARS_MAX));
    } else if (type === "test:complete" && data.nesting === 0 && isFile(data)) {
      yield `done ${shown(data)} (${(data.details.duration_ms / 1000).toFixed(1)} s)\n`;
    } else if (type === "test:pass") yield* passed(data, counts);
    else if (type === "test:fail") yield* failed(data, counts, output);
  }
  const path = process.env.DRUMLINE_TEST_SUMMARY;
  if (path !== undefined) writeFileSync(path, JSON.stringify(counts));
}

function* passed(data, counts) {
  const reason = reasonOf(data.skip) ?? reasonOf(data.todo);
  if (reason !== undefined) {
    counts.skipped += 1;
    counts.skips.push(`${shown(data)}: ${data.name} (${reason})`);
    yield `skip ${shown(data)}: ${data.name} # ${reason}\n`;
  } else if (isFile(data)) {
    // A file is reported as a test of its own only when it holds none.
    counts.failed += 1;
    counts.failures.push(`${shown(data)}: no tests in it`);
    yield `FAIL ${shown(data)}: no tests in it\n`;
  } else if (data.details.type !== "suite") counts.passed += 1;
}

function* failed(data, counts, output) {
  const error = data.details.error;
  if (error?.failureType === "subtestsFailed") return; // the subtest was reported
  const title = `${shown(data)}: ${isFile(data) ? "the file itself" : data.name}`;
  counts.failed += 1;
  counts.failures.push(title);
  yield `FAIL ${title}\n${indent(inspect(error?.cause ?? error, { depth: 6 }))}\n`;
  const printed = output.get(data.file);
  if (printed === undefined) return;
  output.delete(data.file);
  yield `  it printed:\n${indent(printed.trimEnd())}\n`;
}

/** `skip` and `todo` are true, or a reason, when set. */
function reasonOf(mark) {
  if (mark === undefined || mark === false) return undefined;
  return typeof mark === "string" && mark !== "" ? mark : "no reason given";
}

function isFile(data) {
  return data.file !== undefined && data.name === data.file;
}

function shown(data) {
  return relative(process.cwd(), data.file ?? "").replace(/^dist\//, "");
}

function indent(text) {
  return text.replace(/^/gm, "    ");
}
