/** Entry of the `drumline` command: deploy/drumline.cjs imports it, deploy/bootstrap.mjs too for `npm start`. */
import { logVerbosity, setLogVerbosity } from "@grpc/grpc-js";
import { runCli } from "./program.js";

// What it would print, it also throws: told once, in our form.
setLogVerbosity(logVerbosity.NONE);

// Whoever reads our answer may stop reading, as `head` does: that is no failure of ours.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit();
  throw error;
});

runCli(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (bug: unknown) => {
    // Everything expected has become an exit code: this is a bug, and its stack is what is needed.
    process.stderr.write(`drumline: ${bug instanceof Error ? (bug.stack ?? bug.message) : String(bug)}\n`);
    process.exit(70);
  },
);
