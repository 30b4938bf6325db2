/**
 * `drumline demo`: a whole deployment on this machine, each part its own process, that loses a NodeHost and its master
 * leader while clients write, repairs itself, and is then checked write by write. This file: the frame around it —
 * directory, signals, total limit, output, exit code. The story is demo-story.ts. Called by the CLI.
 *
 * Invariants: no child outlives this process, however it ends; the exit code depends only on lost, double and
 * acknowledged writes, shards at strength and equal replicas.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { DOWN_AFTER_MIN_MS, durationText } from "../../shared/config/index.js";
import { errorText, isOpError, OpError } from "../../shared/errors.js";
import { DemoCluster } from "./demo-cluster.js";
import { verdictOf } from "./demo-report.js";
import { DemoStory } from "./demo-story.js";
import { createDemoView, type DemoView } from "./demo-view.js";
import { DemoFailure, Limit } from "./demo-wait.js";

export interface DemoOptions {
  /** NodeHosts; at least one more than `voters`, or nothing could be repaired. */
  readonly hosts: number;
  readonly shards: number;
  readonly voters: number;
  /** Ends after the check instead of staying up. */
  readonly once: boolean;
  /** The last line on stdout is the report as one JSON object; progress goes to stderr. */
  readonly json: boolean;
  /** Silence after which a host's replicas are replaced, in milliseconds; passed on to hosts and masters. */
  readonly downAfterMs: number;
  /** Directory for data and logs that stays; default: a temporary one, removed unless something went wrong. */
  readonly keep?: string | undefined;
}

/** Everything up to the report happens within this, or the demo says which phase did not. */
const TOTAL_LIMIT_MS = 170_000;
/** Longer, and detection alone would not fit into the limit. */
const DOWN_AFTER_DEMO_MAX_MS = 30_000;

/** Resolves to the exit code. DL_ERR_INVALID_ARGUMENT for numbers that cannot work. */
export async function runDemo(options: DemoOptions): Promise<number> {
  check(options);
  const directory = directoryOf(options);
  const view = createDemoView(options);
  const cluster = new DemoCluster({ directory, downAfterMs: options.downAfterMs });
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    // Impatience is safe: children end with this process.
    if (stop.signal.aborted) process.exit(exitCodeOf(stop.signal));
    stop.abort(signal);
    void cluster.stop();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  let code = 1;
  try {
    code = await runIn(cluster, options, { view, stop: stop.signal });
  } finally {
    view.phase("stopping all processes");
    await cluster.stop();
    const keeps = options.keep !== undefined || (code !== 0 && !stop.signal.aborted);
    if (keeps) view.note(`data and logs are in ${directory}`);
    else rmSync(directory, { recursive: true, force: true });
    view.end();
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
  return code;
}

interface Frame {
  readonly view: DemoView;
  readonly stop: AbortSignal;
}

async function runIn(cluster: DemoCluster, options: DemoOptions, { view, stop }: Frame): Promise<number> {
  const limit = new Limit(TOTAL_LIMIT_MS, stop);
  const story = new DemoStory({ cluster, options, view, limit });
  try {
    const report = await story.run();
    const verdict = verdictOf(report);
    view.report(report, verdict);
    if (!options.once && !stop.aborted) {
      view.stayUp(cluster.hints());
      await new Promise<void>((done) => stop.addEventListener("abort", () => done(), { once: true }));
    }
    return verdict.ok ? 0 : 1;
  } catch (error) {
    if (stop.aborted) return exitCodeOf(stop);
    const isExpected = error instanceof DemoFailure || isOpError(error);
    view.problem(isExpected || !(error instanceof Error) ? errorText(error) : (error.stack ?? error.message));
    return 1;
  } finally {
    story.close();
  }
}

function check({ hosts, voters, downAfterMs }: DemoOptions): void {
  if (hosts <= voters) {
    const what = `${hosts} hosts for ${voters} voters, expected at least one host more: it replaces the one killed`;
    throw new OpError("DL_ERR_INVALID_ARGUMENT", what);
  }
  if (downAfterMs < DOWN_AFTER_MIN_MS || downAfterMs > DOWN_AFTER_DEMO_MAX_MS) {
    const [min, max] = [durationText(DOWN_AFTER_MIN_MS), durationText(DOWN_AFTER_DEMO_MAX_MS)];
    throw new OpError(
      "DL_ERR_INVALID_ARGUMENT",
      `down-after is ${durationText(downAfterMs)}, expected ${min} to ${max}`,
    );
  }
}

/** As a shell would see a process that ends by this signal. */
function exitCodeOf(stop: AbortSignal): number {
  return stop.reason === "SIGTERM" ? 143 : 130;
}

function directoryOf(options: DemoOptions): string {
  if (options.keep === undefined) return mkdtempSync(join(tmpdir(), "drumline-demo-"));
  const directory = resolve(options.keep);
  mkdirSync(directory, { recursive: true });
  return directory;
}
