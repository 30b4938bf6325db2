/**
 * What the user sees: phases with ticks, and in a terminal a live table below them; plain lines anywhere else. Goes to
 * stdout, or to stderr when stdout is for the JSON report. Used by demo.ts and demo-story.ts.
 */
import { stripVTControlCharacters } from "node:util";
import {
  type PhaseLine,
  painter,
  renderPhase,
  renderStatus,
  renderTotals,
  type StatusSnapshot,
  seconds,
} from "./demo-render.js";
import type { DemoReport, Verdict } from "./demo-report.js";

export interface DemoView {
  /** Ends the phase before, as done, and begins this one. */
  phase(text: string): void;
  /** Ends the open phase; with words that say more than those it began with. */
  done(text?: string): void;
  /** Ends the open phase as not finished. */
  failed(text: string): void;
  note(text: string): void;
  problem(text: string): void;
  status(status: StatusSnapshot): void;
  report(report: DemoReport, verdict: Verdict): void;
  stayUp(hints: readonly string[]): void;
  end(): void;
}

interface ViewOptions {
  readonly json: boolean;
}

/** Plain output repeats the totals this often. */
const PLAIN_STATUS_MS = 5_000;

export function createDemoView({ json }: ViewOptions): DemoView {
  return new TextView(json ? process.stderr : process.stdout, json);
}

class TextView implements DemoView {
  readonly #out: NodeJS.WriteStream;
  readonly #json: boolean;
  readonly #live: boolean;
  readonly #paint: ReturnType<typeof painter>;
  #open: { readonly text: string; readonly startMs: number } | undefined;
  #status: StatusSnapshot | undefined;
  #shownStatusMs = 0;
  #reported = false;
  /** Lines at the bottom that the next redraw replaces. */
  #liveLines = 0;

  constructor(out: NodeJS.WriteStream, json: boolean) {
    this.#out = out;
    this.#json = json;
    this.#live = out.isTTY === true && process.env["TERM"] !== "dumb";
    this.#paint = painter(this.#live && process.env["NO_COLOR"] === undefined);
  }

  phase(text: string): void {
    this.done();
    this.#open = { text, startMs: performance.now() };
    if (this.#live) this.#redraw();
  }

  done(text?: string): void {
    this.#close(text, false);
  }

  failed(text: string): void {
    this.#close(text, true);
  }

  note(text: string): void {
    this.#print(`  ${text}`);
  }

  problem(text: string): void {
    if (this.#open !== undefined) this.failed(this.#open.text);
    this.#print(`${this.#paint("red", "drumline:")} ${text}`);
  }

  status(status: StatusSnapshot): void {
    this.#status = status;
    if (this.#live) this.#redraw();
    else if (this.#isStatusDue(status)) {
      this.#shownStatusMs = performance.now();
      this.#print(`  ${renderTotals(status)}`);
    }
  }

  report(report: DemoReport, verdict: Verdict): void {
    this.done();
    this.#reported = true;
    for (const line of reportLines(report)) this.#print(line);
    for (const problem of verdict.problems) this.problem(problem);
    this.#print(verdict.ok ? this.#paint("green", "everything acknowledged is there") : this.#paint("red", "failed"));
    if (this.#json) process.stdout.write(`${JSON.stringify(report)}\n`);
  }

  stayUp(hints: readonly string[]): void {
    this.#print("");
    this.#print("It stays up until Ctrl-C. Try, in another terminal:");
    for (const hint of hints) this.#print(`  ${hint}`);
  }

  end(): void {
    this.#status = undefined;
    this.done();
    this.#erase();
  }

  #isStatusDue(status: StatusSnapshot): boolean {
    return status.acked > 0 && !this.#reported && performance.now() - this.#shownStatusMs >= PLAIN_STATUS_MS;
  }

  #close(text: string | undefined, failed: boolean): void {
    if (this.#open === undefined) return;
    const phase: PhaseLine = { text: text ?? this.#open.text, tookMs: performance.now() - this.#open.startMs, failed };
    this.#open = undefined;
    this.#print(renderPhase(phase, this.#paint));
  }

  #print(line: string): void {
    this.#erase();
    this.#out.write(`${line}\n`);
    if (this.#live) this.#redraw();
  }

  #redraw(): void {
    this.#erase();
    const lines: string[] = [];
    if (this.#open !== undefined) {
      const phase = { text: this.#open.text, tookMs: undefined, failed: false };
      const since = seconds(performance.now() - this.#open.startMs);
      lines.push(`${renderPhase(phase, this.#paint)} ${this.#paint("dim", since)}`);
    }
    if (this.#status !== undefined) lines.push(...renderStatus(this.#status, this.#paint, this.#out.columns));
    if (lines.length === 0) return;
    this.#out.write(`${lines.join("\n")}\n`);
    this.#liveLines = rowsOf(lines, this.#out.columns);
  }

  #erase(): void {
    if (this.#liveLines === 0) return;
    this.#out.moveCursor(0, -this.#liveLines);
    this.#out.cursorTo(0);
    this.#out.clearScreenDown();
    this.#liveLines = 0;
  }
}

/** Rows that these lines take on a terminal, which breaks those that are too long. */
function rowsOf(lines: readonly string[], columns: number): number {
  return lines.reduce((n, line) => n + Math.max(1, Math.ceil(stripVTControlCharacters(line).length / columns)), 0);
}

function reportLines(r: DemoReport): string[] {
  const goal = `election timeout ${r.electionTimeoutMs} ms, goal at most ${3 * r.electionTimeoutMs} ms`;
  const finished = `${r.operationsContinued} of ${r.operationsAtFailover} open operations finished`;
  const strength = `${r.shardsAtStrength} of ${r.shards}, replicas ${r.replicasEqual ? "equal" : "differ"}`;
  const writes = `${r.ackedWrites} acknowledged, ${r.unknownWrites} unknown, ${r.lostWrites} lost`;
  return [
    "",
    `  host death detected after    ${seconds(r.detectedMs)} (down-after ${seconds(r.downAfterMs)})`,
    `  all shards at strength after ${seconds(r.repairedMs)}`,
    `  master failover              ${seconds(r.masterFailoverMs)}, ${finished}`,
    `  largest gap between writes   ${r.maxWriteGapMs} ms, at the ${r.maxWriteGapDuring} (${goal})`,
    `  writes                       ${writes}, ${r.doubleWrites} double`,
    `  shards at strength           ${strength}`,
    "",
  ];
}
