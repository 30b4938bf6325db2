/**
 * R15: a series of a session is applied at most once, and its answer is the same from all replicas and at every
 * repetition, over snapshots, restarts and evictions. Checked twice: by counting applications, and against a table of
 * sessions that is a plain list and goes through the committed entries once (P36, P37).
 * With machines on disk a replica may say that an answer is lost, but only of what it did not answer itself since it
 * was started or restored.
 */
import type { SessionTable } from "../../../nodehost/rsm/sessions.js";
import type { Result } from "../../../nodehost/rsm/state-machine.js";
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

  /** `local`: answers are not part of it. */
  table(local: boolean): string {
    return this.#list
      .map(({ clientId, registeredAt, respondedTo, answers }) => {
        const texts = answers.map(({ series, text }) => (local ? series : `${series}=${text}`));
        return `${clientId} ${registeredAt} ${respondedTo} ${texts}`;
      })
      .join("; ");
  }
}

function tableText(table: SessionTable, local: boolean): string {
  const lines: string[] = [];
  for (const { clientId, registeredAt, respondedTo, results } of table.list()) {
    const answer = (r: Result | undefined): string => `${r?.value}:${r?.data?.join(",") ?? ""}`;
    const texts = [...results].map(([series, r]) => (local ? series : `${series}=${answer(r)}`));
    lines.push(`${clientId} ${registeredAt} ${respondedTo} ${texts}`);
  }
  return lines.join("; ");
}

export function sessionsApplyOnce(world: World): Invariant {
  const { ledger } = world;
  const model = new Model(world.options);
  const expected = new Map<number, { readonly outcome: string; readonly table: string }>();
  const appliedAt = new Map<string, number>();
  const { onDisk } = world.options;
  /** What nodes answered themselves since they were started or restored: they have those answers. */
  const answeredHere = new Map<number, Set<string>>();
  /** Nodes whose table came from a snapshot and was not looked at since. */
  const restored = new Set<number>();
  let frontier = 0;

  const advance = (entry: EntrySession, index: number, outcome: SessionOutcome): void => {
    frontier = index;
    const { result } = outcome;
    const answer = result === undefined ? "" : outcomeText(outcome).slice(outcome.kind.length + 1);
    const text = model.step(entry, index, answer);
    expected.set(index, { outcome: text, table: model.table(onDisk) });
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

  /** What an entry came to, as it must be where nothing is lost. Throws if it says lost and cannot be. */
  const withoutLoss = (node: SimNode, name: string, outcome: SessionOutcome, wanted: string): string => {
    const here = answeredHere.get(node.id) ?? new Set();
    answeredHere.set(node.id, here);
    const lost = outcome.kind === "DL_ERR_SESSION_RESULT_LOST";
    if (lost && here.has(name)) throw new Violation("R15", `node ${node.id} has lost its own answer to ${name}`);
    if (outcome.kind === "applied" && outcome.result !== undefined) here.add(name);
    if (lost) ledger.faults.add("resultsLost");
    if (lost && wanted.startsWith("answered ")) return wanted;
    // Held by the machine already: it is not asked again.
    if (outcome.kind === "applied" && outcome.result === undefined && wanted.startsWith("applied ")) return wanted;
    return outcomeText(outcome);
  };

  const newTable = (node: SimNode): void => {
    restored.add(node.id);
    answeredHere.delete(node.id);
  };

  return {
    id: "R15",
    text: "a series of a session is applied once and answered alike by all",
    onStart: newTable,
    onRestore: newTable,
    onSession(node, index, entry, outcome) {
      const { session } = entry;
      if (session === undefined) return;
      if (index > frontier) advance(session, index, outcome);
      if (outcome.kind === "applied") once(node, session, index);
      const wanted = expected.get(index);
      if (wanted === undefined) throw new Violation("R15", `no entry of a session was seen at ${index}`);
      const name = `${session.clientId}/${session.seriesId}`;
      const found = onDisk ? withoutLoss(node, name, outcome, wanted.outcome) : outcomeText(outcome);
      if (found !== wanted.outcome) {
        throw new Violation("R15", `node ${node.id}: ${name} at ${index} came to ${found}, expected ${wanted.outcome}`);
      }
      if (index % TABLE_EVERY !== 0 && !restored.delete(node.id)) return;
      const table = tableText(node.applier.sessions, onDisk);
      if (table === wanted.table) return;
      throw new Violation("R15", `node ${node.id} at ${index} has sessions ${table}, expected ${wanted.table}`);
    },
  };
}
