/**
 * Plays golden traces (traces/*.txt) against the Raft core and compares what it does with what is written there.
 * Called by golden.test.ts and main.ts.
 */
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Player } from "./commands.js";
import { parseTrace, printTrace } from "./format.js";

/** Of the sources: the compiled files lie elsewhere. */
export const TRACES = join(dirname(createRequire(import.meta.url).resolve("drumline/package.json")), "test", "golden");

export interface Played {
  /** The file as it should be for what the core did. */
  readonly text: string;
  /** One block of lines per command whose output differs: place, command, − written, + played. */
  readonly differences: readonly string[];
}

/** File names, sorted. */
export function traceFiles(): string[] {
  return readdirSync(TRACES)
    .filter((name) => name.endsWith(".txt"))
    .sort();
}

export function readTrace(name: string): string {
  return readFileSync(join(TRACES, name), "utf8");
}

/** Throws, with the line, if a command cannot be played or an invariant breaks. */
export function playTrace(name: string, text: string): Played {
  const trace = parseTrace(text);
  const player = new Player();
  const outputs: (readonly string[])[] = [];
  const differences: string[] = [];
  for (const command of trace) {
    if (typeof command === "string") continue;
    const output = playLine(player, command.text, `${name}:${command.line}`);
    outputs.push(output);
    if (output.join("\n") === command.expected.join("\n")) continue;
    const lines = [`${name}:${command.line}: ${command.text}`];
    for (const line of command.expected) if (!output.includes(line)) lines.push(`  - ${line}`);
    for (const line of output) if (!command.expected.includes(line)) lines.push(`  + ${line}`);
    if (lines.length === 1) lines.push("  the same lines in another order");
    differences.push(lines.join("\n"));
  }
  return { text: printTrace(trace, outputs), differences };
}

function playLine(player: Player, text: string, place: string): readonly string[] {
  try {
    return player.play(text);
  } catch (error) {
    throw new Error(`${place}: ${text}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}
