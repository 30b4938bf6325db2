/**
 * The text of a golden trace: what a reader reviews. Called by play.ts.
 *
 *   # a comment            says what happens and which rule it shows
 *   propose 1 "x"          a command at the start of a line (see commands.ts)
 *     1: last 4/t2         indented beneath it: what the core did, written by `npm run golden:rewrite`
 *
 * Rewriting keeps comments, blank lines and commands, and replaces what is indented.
 */

export interface Command {
  /** Line in the file, from 1. */
  readonly line: number;
  readonly text: string;
  readonly expected: readonly string[];
}

/** In order: commands, and lines that are kept as they are. */
export type Trace = readonly (Command | string)[];

const INDENT = "  ";

export function parseTrace(text: string): Trace {
  const trace: (Command | string)[] = [];
  let expected: string[] | undefined;
  for (const [index, line] of text.trimEnd().split("\n").entries()) {
    if (line.startsWith(INDENT)) {
      if (expected === undefined) throw new Error(`line ${index + 1}: output without a command: ${line}`);
      expected.push(line.slice(INDENT.length));
    } else if (line === "" || line.startsWith("#")) {
      expected = undefined;
      trace.push(line);
    } else {
      expected = [];
      trace.push({ line: index + 1, text: line, expected });
    }
  }
  return trace;
}

/** The file again, with the output of each command, in order of the commands. */
export function printTrace(trace: Trace, outputs: readonly (readonly string[])[]): string {
  let command = 0;
  const lines: string[] = [];
  for (const item of trace) {
    if (typeof item === "string") lines.push(item);
    else {
      lines.push(item.text, ...(outputs[command] ?? []).map((line) => INDENT + line));
      command += 1;
    }
  }
  return `${lines.join("\n")}\n`;
}

/** Words of a command; quoted ones may hold spaces. */
export function wordsOf(text: string): string[] {
  return [...text.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2] ?? "");
}
