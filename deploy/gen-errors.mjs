/**
 * Writes docs/errors.md from the table of codes in shared/errors.ts, as compiled.
 *
 *   node deploy/gen-errors.mjs                     writes docs/errors.md from dist
 *   node deploy/gen-errors.mjs --print <errors.js> prints what it would write, from that module (the tidy test)
 *
 * Run after `npm run build`, whenever a code is added or its text changes. Uses node:* only.
 */
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = resolve(fileURLToPath(import.meta.url), "..", "..");

const HEAD = `# Error codes

Every failure that a caller, an operator or a peer can meet has one code. This table is generated from
\`shared/errors.ts\` by \`node deploy/gen-errors.mjs\` (after \`npm run build\`); a tidy test compares the two.

- **outcome** says what is known of the request. \`rejected\`: it certainly had no effect. \`unknown\`: it may have had
  one, or may still have one. \`applied\`: it had its effect, and its result is gone. A single error may carry another
  outcome than its code's usual one, which is listed here: \`error.outcome\` is what counts.
- **retry**: the same request may succeed later. After \`unknown\` a retry can apply a command twice.

The library throws \`OpError\` with \`code\`, \`outcome\`, \`retryable\`, \`message\` and \`hint\` (the column "try").
The \`drumline\` command prints \`drumline: <code>: <message>\` and \`try: <hint>\`. gRPC answers carry code and
outcome in a trailer.

| code | outcome | retry | what happened | try |
|---|---|---|---|---|
`;

function render(codes) {
  const rows = Object.entries(codes).map(([code, { outcome, retryable, text, try: hint }]) => {
    return `| \`${code}\` | ${outcome} | ${retryable ? "yes" : "no"} | ${text} | ${hint} |`;
  });
  return `${HEAD}${rows.join("\n")}\n`;
}

const [flag, from] = process.argv.slice(2);
const print = flag === "--print";
const { ERROR_CODES } = await import(pathToFileURL(print ? resolve(from) : join(root, "dist/shared/errors.js")).href);
const text = render(ERROR_CODES);
if (print) process.stdout.write(text);
else writeFileSync(join(root, "docs/errors.md"), text);
