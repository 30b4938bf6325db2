/**
 * R18: every request is answered exactly once, by its deadline, and truly: completed names the place where it was
 * applied, a read is released only when its point is applied here, what is said to have been dropped never is in the
 * log, a time-out does not come early. A replica that is stopped leaves nobody waiting; a crash answers nobody.
 */
import type { RequestResult, RequestState } from "../../../nodehost/engine/requests.js";
import type { Index, ReplicaId, RequestKey, TimeMs } from "../../../shared/types/ids.js";
import { keyNumber } from "../machine.js";
import { DESK_TICK_MS, type Invariant, type SimNode, Violation, type World } from "../model.js";

/** So many ended requests per node are looked at again: an answer must not change. */
const REMEMBERED = 64;
/** Clocks are rounded. */
const SLACK_MS = 2;

interface Asked {
  readonly request: RequestState;
  readonly first: RequestKey | undefined;
  /** Committed when it was asked. */
  readonly floor: Index;
  result: RequestResult | undefined;
}

interface Desk {
  readonly open: Set<Asked>;
  readonly ended: Asked[];
  /** Latest of all deadlines. */
  lastMs: TimeMs;
  /** Not later than the earliest open one. */
  earliestMs: TimeMs;
  /** The earliest one, once its deadline was seen passed, and the world time of that. */
  overdue: Asked | undefined;
  overdueSince: number;
}

export function requestsAreAnswered(world: World): Invariant {
  const desks = new Map<ReplicaId, Desk>();
  /** Keys of commands that were said to be in no log. */
  const never = new Set<number>();
  const ended = (node: SimNode, desk: Desk, asked: Asked, result: RequestResult): void => {
    asked.result = result;
    if (!desk.open.delete(asked)) return;
    desk.ended.push(asked);
    if (desk.ended.length > REMEMBERED) desk.ended.shift();
    mustBeTrue(world, node, asked, never);
  };
  return {
    id: "R18",
    text: "every request is answered once, truly, by its deadline",
    onStart(node) {
      desks.set(node.id, { open: new Set(), ended: [], lastMs: 0, earliestMs: 0, overdue: undefined, overdueSince: 0 });
    },
    onRequest(node, request, first) {
      const desk = desks.get(node.id);
      if (desk === undefined) throw new Violation("R18", `node ${node.id} takes a request before it runs`);
      const asked: Asked = { request, first, floor: world.ledger.commit, result: undefined };
      desk.open.add(asked);
      desk.lastMs = Math.max(desk.lastMs, request.deadlineMs);
      desk.earliestMs = Math.min(desk.earliestMs, request.deadlineMs);
      request.onSettled((result) => {
        try {
          ended(node, desk, asked, result);
        } catch (error) {
          world.fail(error);
        }
      });
    },
    afterInput(node) {
      const desk = desks.get(node.id);
      if (desk !== undefined && node.clock() >= desk.earliestMs) mustBeInTime(world, node, desk);
    },
    onApply(node, index, entry) {
      if (entry.keyNumber !== 0 && never.has(entry.keyNumber)) {
        throw new Violation("R18", `node ${node.id} applies ${index}, which was said to be in no log`);
      }
    },
    onDeadlines(node) {
      const desk = desks.get(node.id);
      if (desk !== undefined) mustAddUp(node, desk);
    },
    onDeskClosed(node) {
      const left = [...(desks.get(node.id)?.open ?? [])];
      if (left.length > 0) throw new Violation("R18", `stopped node ${node.id} leaves a ${left[0]?.request.kind} open`);
    },
  };
}

/** Whoever stood still may be late: what waited for it comes in any order, but before anything newer. */
function mustBeInTime(world: World, node: SimNode, desk: Desk): void {
  const now = node.clock();
  let earliest: Asked | undefined;
  for (const asked of desk.open) {
    if (asked.request.deadlineMs < (earliest?.request.deadlineMs ?? Number.POSITIVE_INFINITY)) earliest = asked;
  }
  desk.earliestMs = earliest?.request.deadlineMs ?? Number.POSITIVE_INFINITY;
  if (earliest === undefined || desk.earliestMs > now) return;
  if (desk.overdue !== earliest || node.frozenUntil > desk.overdueSince) {
    desk.overdue = earliest;
    desk.overdueSince = world.now;
  } else if (world.now > desk.overdueSince + DESK_TICK_MS + SLACK_MS) {
    const { kind, deadlineMs } = earliest.request;
    throw new Violation("R18", `node ${node.id} has not answered a ${kind} ${now - deadlineMs} ms after its deadline`);
  }
}

/** Answers stay what they were, and the books count right. */
function mustAddUp(node: SimNode, desk: Desk): void {
  for (const { request, result } of desk.ended) {
    if (request.outcome !== result) throw new Violation("R18", `node ${node.id} answers a ${request.kind} twice`);
  }
  let reads = 0;
  let commands = 0;
  for (const { request } of desk.open) {
    if (request.kind === "readIndex") reads += 1;
    else if (request.kind !== "transfer") commands += request.count;
  }
  const { openReads, openProposals } = node.desk;
  const over = node.clock() >= desk.lastMs;
  if (openReads < reads || openProposals < commands || (over && (openReads > reads || openProposals > commands))) {
    const what = `${openReads} reads and ${openProposals} commands, open are ${reads} and ${commands}`;
    throw new Violation("R18", `node ${node.id} counts ${what}`);
  }
}

function mustBeTrue(world: World, node: SimNode, { request, first, floor, result }: Asked, never: Set<number>): void {
  const who = `node ${node.id} answers a ${request.kind} "${result?.code}"`;
  if (result === undefined) return;
  if (result.code === "timeout" && request.deadlineMs > node.clock()) throw new Violation("R18", `${who} too early`);
  if (first !== undefined && (result.code === "dropped" || result.code === "aborted")) {
    for (let i = 0; i < request.count; i++) {
      if (world.ledger.keyIndex.has(keyNumber(first) + i)) throw new Violation("R18", `${who}, it is in the log`);
      never.add(keyNumber(first) + i);
    }
  }
  if (result.code !== "completed") return;
  if (request.kind === "readIndex" && (result.index < floor || result.index > node.applier.applied)) {
    const { applied } = node.applier;
    throw new Violation("R18", `${who} at ${result.index}, committed before it ${floor}, applied ${applied}`);
  }
  if (first === undefined) return;
  for (let i = 0; i < request.count; i++) {
    const index = world.ledger.keyIndex.get(keyNumber(first) + i) ?? 0;
    const last = i === request.count - 1;
    if (index <= floor || index > node.applier.applied || (last && index !== result.index)) {
      throw new Violation("R18", `${who} at ${result.index}, command ${i} of ${request.count} is at ${index}`);
    }
  }
}
