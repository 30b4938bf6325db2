/**
 * Keeps the last events of one run together with what each of them changed, for the report of a failed seed
 * (report.ts). An event's effect is what differs when the next one is announced.
 */
import type { SimNode, World } from "./model.js";
import { EventKind } from "./queue.js";
import type { TraceLine, TraceSink } from "./trace.js";

const KEPT = 2000;

export type Life = "up" | "down" | "frozen";

/** One event and its effects. */
export interface Recorded {
  readonly line: TraceLine;
  /** What it changed, by node, as text. */
  readonly changes: ReadonlyMap<number, string>;
  /** Nodes that exist after it. */
  readonly lives: ReadonlyMap<number, Life>;
}

interface Snapshot {
  readonly up: boolean;
  readonly role: string;
  readonly term: number;
  readonly leaderId: number;
  readonly last: number;
  readonly durable: number;
  readonly commit: number;
  readonly applied: number;
}

export class Recorder {
  readonly #world: World;
  readonly #seen = new Map<number, Snapshot>();
  readonly #events: Recorded[] = [];
  #open: TraceLine | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  readonly sink: TraceSink = (line) => {
    this.#close();
    this.#open = line;
  };

  /** Everything kept so far, the last event with its effects. */
  events(): readonly Recorded[] {
    this.#close();
    return this.#events.slice(-KEPT);
  }

  #close(): void {
    const line = this.#open;
    if (line === undefined) return;
    this.#open = undefined;
    const changes = new Map<number, string>();
    const lives = new Map<number, Life>();
    for (const node of this.#world.nodes.values()) {
      const before = this.#seen.get(node.id);
      const now = look(node);
      this.#seen.set(node.id, now);
      lives.set(node.id, !now.up ? "down" : node.frozenUntil > line.time ? "frozen" : "up");
      const text = before === undefined ? "" : difference(before, now);
      if (text !== "") changes.set(node.id, text);
    }
    this.#events.push({ line, changes, lives });
    if (this.#events.length > 2 * KEPT) this.#events.splice(0, KEPT);
  }
}

function look(node: SimNode): Snapshot {
  const { core, disk, applier } = node;
  return {
    up: core !== undefined,
    role: core?.role ?? "down",
    term: core?.term ?? disk.hardState.term,
    leaderId: core?.leaderId ?? 0,
    last: core?.last ?? disk.log.last,
    durable: disk.log.last,
    commit: core?.commit ?? 0,
    applied: applier.applied,
  };
}

function difference(a: Snapshot, b: Snapshot): string {
  if (!b.up) return "";
  const words: string[] = [];
  if (a.role !== b.role || a.term !== b.term)
    words.push(b.role === "leader" ? `LEADS t${b.term}` : `${b.role} t${b.term}`);
  else if (a.leaderId !== b.leaderId) words.push(b.leaderId === 0 ? "no leader" : `follows ${b.leaderId}`);
  if (a.last !== b.last) words.push(`last ${b.last}`);
  if (a.durable !== b.durable) words.push(`dur ${b.durable}`);
  if (a.commit !== b.commit) words.push(`com ${b.commit}`);
  // By itself of no interest: everybody applies all the time.
  if (a.applied !== b.applied && words.length > 0) words.push(`app ${b.applied}`);
  return words.join(" ");
}

/** True if a diagram says more with it: an effect, an explanation, or a message that is no idle heartbeat. */
export function isTelling({ line, changes }: Recorded, idle: ReadonlySet<number>): boolean {
  if (changes.size > 0) return true;
  if (line.message !== undefined) return !idle.has(line.message.type);
  return line.text !== undefined && line.kind !== EventKind.Turn;
}
