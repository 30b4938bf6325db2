/**
 * R15: a series of a session is applied at most once, and its answer is the same from all replicas and at every
 * repetition, over snapshots, restarts and evictions. Checked twice: by counting applications, and against a table of
 * sessions that is a plain list and goes through the committed entries once (P36, P37).
 */
import type { SessionTable } from "../../../nodehost/rsm/sessions.js";
import type { EntrySession } from "../../../shared/codec/block.js";
import { SERIES_REGISTER, SERIES_UNREGISTER } from "../../../shared/types/session.js";
import { outcomeText, type SessionOutcome } from "../machine.js";
import { type Invariant, type SimNode, Violation, type World } from "../model.js";
import type { SimOptions } from "../options.js";

/** Every so many entries of sessions a node's whole table is compared. */
const TABLE_EVERY = 4;

interface ModelSession {
  readonly clientId: string;
  readonly registeredAt: number;
  respondedTo: number;
  answers: { readonly series: number; readonly text: string }[];
}

/** The rules once more, as plain as possible. Least recently used first. */
class Model {
  readonly #max: number;
  readonly #answersMax: number;
  #list: ModelSession[] = [];

  constructor({ sessionsMax, sessionResultsMax }: SimOptions) {
    this.#max = sessionsMax;
    this.#answersMax = sessionResultsMax;
  }

  /** What the entry must come to. `text` is what an application answers. */
  step(entry: EntrySession, index: number, text: string): string {
    const { clientId, seriesId, respondedTo } = entry;
    const found = this.#list.find((session) => session.clientId === clientId);
    if (found === undefined) {
      if (seriesId !== SERIES_REGISTER) return "DL_ERR_SESSION_NOT_FOUND";
      this.#list.push({ clientId, registeredAt: index, respondedTo: index, answers: [] });
      this.#list = this.#list.slice(-this.#max);
      return `answered ${index}:`;
    }
    this.#list = this.#list.filter((session) => session !== found);
    if (seriesId === SERIES_UNREGISTER) return `answered ${found.registeredAt}:`;
    this.#list.push(found);
    if (seriesId === SERIES_REGISTER) return `answered ${found.registeredAt}:`;
    found.respondedTo = Math.max(found.respondedTo, respondedTo);
    found.answers = found.answers.filter(({ series }) => series > found.respondedTo);
    if (seriesId <= found.respondedTo) return "DL_ERR_SESSION_STALE";
    const known = found.answers.find(({ series }) => series === seriesId);
    if (known !== undefined) return `answered ${known.text}`;
    found.answers.push({ series: seriesId, text });
    if (found.answers.length > this.#answersMax) {
      const [lowest] = found.answers.map(({ series }) => series).sort((a, b) => a - b);
      found.respondedTo = lowest ?? found.respondedTo;
      found.answers = found.answers.filter(({ series }) => series !== lowest);
    }
    return `applied ${text}`;
  }

  table(): string {
    return this.#list
      .map(({ clientId, registeredAt, respondedTo, answers }) => {
        return `${clientId} ${registeredAt} ${respondedTo} ${answers.map(({ series, text }) => `${series}=${text}`)}`;
      })
      .join("; ");
  }
}

function tableText(table: SessionTable): string {
  const lines: string[] = [];
  for (const { clientId, registeredAt, respondedTo, results } of table.list()) {
    const answers = [...results].map(([series, r]) => `${series}=${r?.value}:${r?.data?.join(",") ?? ""}`);
    lines.push(`${clientId} ${registeredAt} ${respondedTo} ${answers}`);
  }
  return lines.join("; ");
}

export function sessionsApplyOnce(world: World): Invariant {
  const { ledger } = world;
  const model = new Model(world.options);
  const expected = new Map<number, { readonly outcome: string; readonly table: string }>();
  const appliedAt = new Map<string, number>();
  /** Nodes whose table came from a snapshot and was not looked at since. */
  const restored = new Set<number>();
  let frontier = 0;

  const advance = (entry: EntrySession, index: number, outcome: SessionOutcome): void => {
    frontier = index;
    const { result } = outcome;
    const answer = result === undefined ? "" : outcomeText(outcome).slice(outcome.kind.length + 1);
    const text = model.step(entry, index, answer);
    expected.set(index, { outcome: text, table: model.table() });
    if (outcome.result === undefined) ledger.sessionRefusals += 1;
    else if (entry.seriesId === SERIES_REGISTER) ledger.sessions += 1;
    else if (outcome.kind === "answered" && entry.seriesId !== SERIES_UNREGISTER) ledger.sessionRepeats += 1;
  };

  const once = (node: SimNode, entry: EntrySession, index: number): void => {
    const name = `${entry.clientId}/${entry.seriesId}`;
    const known = appliedAt.get(name) ?? index;
    appliedAt.set(name, known);
    if (known === index) return;
    throw new Violation("R15", `node ${node.id} applies ${name} at ${index}, it was applied at ${known}`);
  };

  return {
    id: "R15",
    text: "a series of a session is applied once and answered alike by all",
    onStart(node) {
      restored.add(node.id);
    },
    onRestore(node) {
      restored.add(node.id);
    },
    onSession(node, index, entry, outcome) {
      const { session } = entry;
      if (session === undefined) return;
      if (index > frontier) advance(session, index, outcome);
      if (outcome.kind === "applied") once(node, session, index);
      const found = outcomeText(outcome);
      const wanted = expected.get(index);
      if (wanted === undefined) throw new Violation("R15", `no entry of a session was seen at ${index}`);
      if (found !== wanted.outcome) {
        const what = `${session.clientId}/${session.seriesId} at ${index}`;
        throw new Violation("R15", `node ${node.id}: ${what} came to ${found}, expected ${wanted.outcome}`);
      }
      if (index % TABLE_EVERY !== 0 && !restored.delete(node.id)) return;
      const table = tableText(node.applier.sessions);
      if (table === wanted.table) return;
      throw new Violation("R15", `node ${node.id} at ${index} has sessions ${table}, expected ${wanted.table}`);
    },
  };
}
