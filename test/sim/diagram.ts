/**
 * A run as a space-time diagram for a terminal: a column per node, rows in time. Messages are arrows from sender to
 * receiver in the row of their delivery (or loss, ✗); beside a node's line stands what the event changed there.
 *
 *   up │   frozen ┆   down ·      ──Rep 12..15 t4 c11──▶   entries 12 to 15 of a leader of term 4 whose commit is 11
 */
import { MessageType } from "../../shared/types/message.js";
import { isTelling, type Life, type Recorded } from "./recorder.js";
import { shortMessage } from "./trace.js";

export interface DiagramSize {
  /** Characters per line. */
  readonly width: number;
  /** Rows of events; the newest are kept. */
  readonly rows: number;
}

const GUTTER = 10;
const COLUMN_MIN = 14;
const COLUMN_MAX = 44;
const LINES: Readonly<Record<Life, string>> = { up: "│", frozen: "┆", down: "·" };
/** Left out unless they changed something. */
const IDLE: ReadonlySet<number> = new Set([MessageType.Heartbeat, MessageType.HeartbeatResp]);

export function drawDiagram(events: readonly Recorded[], { width, rows }: DiagramSize): string[] {
  const telling = events.filter((event) => isTelling(event, IDLE)).slice(-rows);
  const ids = shownNodes(telling);
  if (ids.length === 0) return [];
  const column = Math.min(COLUMN_MAX, Math.max(COLUMN_MIN, Math.floor((width - GUTTER) / ids.length)));
  const at = new Map(ids.map((id, i) => [id, GUTTER + i * column]));
  const row = new Row(at, column);
  const head = ids.reduce((line, id) => put(line, at.get(id) ?? 0, `n${id}`), "      ms");
  const drawn = [head];
  let time = -1;
  for (const event of telling) {
    drawn.push(...row.draw(event, event.line.time !== time));
    time = event.line.time;
  }
  return drawn.slice(0, 1).concat(drawn.slice(1).slice(-rows));
}

/** Nodes that were up at some time, or that a message was sent to or from. */
function shownNodes(events: readonly Recorded[]): number[] {
  const ids = new Set<number>();
  for (const { line, lives } of events) {
    for (const [id, life] of lives) if (life !== "down") ids.add(id);
    if (line.message !== undefined) ids.add(line.message.from).add(line.message.to);
  }
  return [...ids].sort((a, b) => a - b);
}

class Row {
  readonly #at: ReadonlyMap<number, number>;
  readonly #column: number;
  #cells: string[] = [];
  /** Left edges of the columns that hold an arrow or a text. */
  #taken = new Set<number>();

  constructor(at: ReadonlyMap<number, number>, column: number) {
    this.#at = at;
    this.#column = column;
  }

  draw({ line, changes, lives }: Recorded, withTime: boolean): string[] {
    this.#begin(lives, withTime ? String(line.time).padStart(8) : "");
    const { message, text, nodeId } = line;
    const texts = new Map(changes);
    if (message !== undefined) this.#arrow(message.from, message.to, shortMessage(message), text !== undefined);
    else if (nodeId === 0 && text !== undefined) this.#across(text);
    else if (nodeId !== 0) {
      const words = [text ?? "", changes.get(nodeId) ?? ""].filter((word) => word !== "");
      if (words.length > 0) texts.set(nodeId, words.join(": "));
    }
    const later: [number, string][] = [];
    // From the right, so that each has the room up to the next.
    for (const [id, words] of [...texts].sort((a, b) => b[0] - a[0])) {
      if (!this.#beside(id, words)) later.push([id, words]);
    }
    const drawn = [this.#cells.join("").trimEnd()];
    if (later.length === 0) return drawn;
    this.#begin(lives, "");
    for (const [id, words] of later) this.#beside(id, words);
    drawn.push(this.#cells.join("").trimEnd());
    return drawn;
  }

  #begin(lives: ReadonlyMap<number, Life>, gutter: string): void {
    this.#cells = [...gutter.padEnd(GUTTER)];
    this.#taken = new Set();
    for (const [id, x] of this.#at) {
      while (this.#cells.length < x) this.#cells.push(" ");
      const life = lives.get(id);
      this.#cells[x] = life === undefined ? " " : LINES[life];
    }
    const end = GUTTER + this.#at.size * this.#column;
    while (this.#cells.length < end) this.#cells.push(" ");
  }

  #arrow(from: number, to: number, label: string, lost: boolean): void {
    const start = this.#at.get(from);
    const end = this.#at.get(to);
    if (start === undefined || end === undefined || start === end) return;
    const [left, right] = start < end ? [start, end] : [end, start];
    for (let x = left; x < right; x += this.#column) this.#taken.add(x);
    for (let x = left + 1; x < right; x++) this.#cells[x] = this.#taken.has(x) ? "┼" : "─";
    const head = start < end ? right - 1 : left + 1;
    this.#cells[head] = lost ? "✗" : start < end ? "▶" : "◀";
    const room = right - left - 5;
    this.#write(left + 3, label.slice(0, room));
  }

  /** A text in the column of a node; false if the place is taken. */
  #beside(id: number, text: string): boolean {
    const x = this.#at.get(id);
    if (x === undefined || this.#taken.has(x)) return false;
    let end = x + this.#column;
    while (end < this.#cells.length && !this.#taken.has(end)) end += this.#column;
    this.#taken.add(x);
    this.#write(x + 2, text.slice(0, end - x - 3));
    return true;
  }

  #across(text: string): void {
    for (const x of this.#at.values()) this.#taken.add(x);
    const end = this.#cells.length;
    for (let x = GUTTER; x < end; x++) this.#cells[x] = "═";
    this.#write(GUTTER + 3, ` ${text} `);
  }

  #write(x: number, text: string): void {
    for (const [i, letter] of [...text].entries()) this.#cells[x + i] = letter;
  }
}

function put(line: string, x: number, text: string): string {
  return line.padEnd(x) + text;
}
