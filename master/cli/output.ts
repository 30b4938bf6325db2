/**
 * What people and programs see: answers on stdout (tables, or one JSON object per line with --json), everything else
 * on stderr. Colours only on a terminal. Used by every verb.
 */
import { styleText } from "node:util";
import type { Logger } from "../../shared/env/env.js";
import { createPinoLogger, type LogLevel } from "../../shared/env/pino-logger.js";

export type Colour = "red" | "green" | "yellow" | "gray" | "bold";

export class Output {
  readonly json: boolean;
  readonly #colours: boolean;

  constructor(json: boolean) {
    this.json = json;
    this.#colours = process.stdout.isTTY === true && process.env["NO_COLOR"] === undefined;
  }

  /** One JSON line; only with --json. */
  object(value: object): void {
    process.stdout.write(`${JSON.stringify(value)}\n`);
  }

  line(text: string): void {
    process.stdout.write(`${text}\n`);
  }

  /** For people, beside the answer. */
  note(text: string): void {
    process.stderr.write(`${text}\n`);
  }

  paint(colour: Colour, text: string): string {
    return this.#colours ? styleText(colour, text) : text;
  }

  /** Columns as wide as needed; the last one is not padded. */
  table(headers: readonly string[], rows: readonly (readonly Cell[])[]): void {
    const cells = rows.map((row) => row.map((cell) => (typeof cell === "object" ? cell : { text: String(cell) })));
    const widths = headers.map((h, at) => Math.max(h.length, ...cells.map((row) => row[at]?.text.length ?? 0)));
    const last = headers.length - 1;
    const pad = (text: string, at: number): string => (at === last ? text : text.padEnd(widths[at] ?? 0));
    this.line(this.paint("bold", headers.map(pad).join("  ").trimEnd()));
    for (const row of cells) {
      const line = row.map(({ text, colour }, at) => {
        const padded = pad(text, at);
        return colour === undefined ? padded : this.paint(colour, padded);
      });
      this.line(line.join("  ").trimEnd());
    }
  }

  /** Of a process that runs on: JSON lines, or readable ones without --json. */
  logger(level: LogLevel): Logger {
    if (this.json) return createPinoLogger({ level });
    return createPinoLogger({ level, stream: { write: (line) => process.stderr.write(this.#readable(line)) } });
  }

  #readable(line: string): string {
    const { level, time, msg, ...fields } = parsed(line);
    const rest = Object.entries(fields).map(
      ([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`,
    );
    const word = String(level).toUpperCase().padEnd(5);
    const colour = level === "error" ? "red" : level === "warn" ? "yellow" : "gray";
    const clock = String(time).slice(11, 23);
    return `${clock} ${this.paint(colour, word)} ${msg}${rest.length === 0 ? "" : ` (${rest.join(", ")})`}\n`;
  }
}

/** A table cell; with a colour if its state deserves one. */
export type Cell = string | number | { readonly text: string; readonly colour?: Colour };

interface LogLine {
  readonly level?: unknown;
  readonly time?: unknown;
  readonly msg?: unknown;
  readonly [field: string]: unknown;
}

function parsed(line: string): LogLine {
  const value: unknown = JSON.parse(line);
  return typeof value === "object" && value !== null ? { ...value } : {};
}

const COLOURS: Readonly<Record<string, Colour>> = {
  healthy: "green",
  up: "green",
  running: "green",
  creating: "yellow",
  degraded: "yellow",
  suspect: "yellow",
  restarted: "yellow",
  stopping: "yellow",
  warmingUp: "yellow",
  observeOnly: "yellow",
  disconnected: "red",
  down: "red",
  wiped: "red",
  refused: "red",
  cloned: "yellow",
  unavailable: "red",
  failed: "red",
};

/** A state word in its colour. */
export function stateCell(state: string): Cell {
  const colour = COLOURS[state];
  return colour === undefined ? state : { text: state, colour };
}

/** Named fields of a decoded message, those at their default included, in the order given. */
export function pick<T extends object, K extends keyof T>(value: T, ...keys: readonly K[]): Pick<T, K> {
  const picked: Partial<Pick<T, K>> = {};
  for (const key of keys) picked[key] = value[key];
  return picked as Pick<T, K>;
}

/** 1500 → "1.5 s". */
export function ageText(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  return ms < 3_600_000 ? `${Math.round(ms / 60_000)} min` : `${(ms / 3_600_000).toFixed(1)} h`;
}
