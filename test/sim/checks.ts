/**
 * Where invariants hook in. Each invariant is a value with the hooks it needs; the lists per hook are made once, so an
 * event pays only for the invariants that look at it. This file also turns "the node was touched" into "its commit
 * advanced", "it became leader", and keeps the ledger.
 */
import type { RequestState } from "../../nodehost/engine/requests.js";
import type { Dropped, RaftUpdate, ReadState, TransferResult } from "../../nodehost/raft/types.js";
import type { Index, ReplicaId, RequestKey } from "../../shared/types/ids.js";
import type { Message, SnapshotMeta } from "../../shared/types/message.js";
import type { DecodedEntry, MachineState, SessionOutcome } from "./machine.js";
import type { ChecksPort, Invariant, SimNode, World } from "./model.js";

type Hook = Exclude<keyof Invariant, "id" | "text">;
type With<H extends Hook> = Invariant & Required<Pick<Invariant, H>>;

function having<H extends Hook>(all: readonly Invariant[], hook: H): With<H>[] {
  return all.filter((invariant): invariant is With<H> => invariant[hook] !== undefined);
}

export class Checks implements ChecksPort {
  readonly #world: World;
  readonly #lists;

  constructor(world: World, all: readonly Invariant[]) {
    this.#world = world;
    this.#lists = {
      start: having(all, "onStart"),
      input: having(all, "afterInput"),
      tick: having(all, "afterTick"),
      output: having(all, "afterOutput"),
      leader: having(all, "onLeader"),
      firstCommit: having(all, "onFirstCommit"),
      append: having(all, "beforeAppend"),
      durable: having(all, "beforeDurable"),
      send: having(all, "onSend"),
      deliver: having(all, "onDeliver"),
      apply: having(all, "onApply"),
      change: having(all, "onChange"),
      restore: having(all, "onRestore"),
      session: having(all, "onSession"),
      answer: having(all, "onAnswer"),
      reads: having(all, "onRead"),
      dropped: having(all, "onDropped"),
      transfer: having(all, "onTransfer"),
      transferred: having(all, "onTransferred"),
      read: having(all, "onReadState"),
      removed: having(all, "onRemoved"),
      request: having(all, "onRequest"),
      deadlines: having(all, "onDeadlines"),
      deskClosed: having(all, "onDeskClosed"),
    };
  }

  started(node: SimNode): void {
    for (const invariant of this.#lists.start) invariant.onStart(node);
  }

  afterInput(node: SimNode): void {
    const { core, seen } = node;
    if (core === undefined) return;
    if (core.role === "leader" && seen.leaderTerm !== core.term) {
      seen.leaderTerm = core.term;
      for (const invariant of this.#lists.leader) invariant.onLeader(node);
      this.#world.nemesis.becameLeader(node);
    }
    for (const invariant of this.#lists.input) invariant.afterInput(node);
    if (core.commit > this.#world.ledger.commit) {
      for (const invariant of this.#lists.firstCommit) invariant.onFirstCommit(node);
      this.#extendLedger(node, core.commit, core.term);
    }
    if (core.commit > seen.commit) this.#world.nemesis.committed(node);
    seen.commit = core.commit;
    seen.term = core.term;
    seen.applied = core.applied;
  }

  #extendLedger(node: SimNode, commit: Index, term: number): void {
    const { ledger } = this.#world;
    for (let i = ledger.commit + 1; i <= commit; i++) {
      ledger.terms[i] = node.view.term(i) ?? 0;
      ledger.committedIn[i] = term;
    }
    ledger.commit = commit;
  }

  ticked(node: SimNode): void {
    for (const invariant of this.#lists.tick) invariant.afterTick(node);
  }

  afterOutput(node: SimNode): void {
    for (const invariant of this.#lists.output) invariant.afterOutput(node);
  }

  beforeAppend(node: SimNode, update: RaftUpdate): void {
    for (const invariant of this.#lists.append) invariant.beforeAppend(node, update);
  }

  beforeDurable(node: SimNode, update: RaftUpdate): void {
    for (const invariant of this.#lists.durable) invariant.beforeDurable(node, update);
  }

  sent(node: SimNode, message: Message): void {
    for (const invariant of this.#lists.send) invariant.onSend(node, message);
  }

  delivered(node: SimNode, message: Message): void {
    for (const invariant of this.#lists.deliver) invariant.onDeliver(node, message);
  }

  applied(node: SimNode, index: Index, entry: DecodedEntry): void {
    for (const invariant of this.#lists.apply) invariant.onApply(node, index, entry);
  }

  session(node: SimNode, index: Index, entry: DecodedEntry, outcome: SessionOutcome): void {
    for (const invariant of this.#lists.session) invariant.onSession(node, index, entry, outcome);
  }

  changed(node: SimNode, index: Index): void {
    for (const invariant of this.#lists.change) invariant.onChange(node, index);
  }

  restored(node: SimNode, meta: SnapshotMeta, state: MachineState): void {
    for (const invariant of this.#lists.restore) invariant.onRestore(node, meta, state);
  }

  answered(node: SimNode, key: RequestKey, index: Index): void {
    for (const invariant of this.#lists.answer) invariant.onAnswer(node, key, index);
  }

  reads(node: SimNode, key: RequestKey): void {
    for (const invariant of this.#lists.reads) invariant.onRead(node, key);
  }

  dropped(node: SimNode, dropped: Dropped): void {
    for (const invariant of this.#lists.dropped) invariant.onDropped(node, dropped);
  }

  transferBegan(node: SimNode, target: ReplicaId): void {
    for (const invariant of this.#lists.transfer) invariant.onTransfer(node, target);
  }

  transferred(node: SimNode, result: TransferResult): void {
    const { ledger } = this.#world;
    if (result.outcome === "done") ledger.transfersDone += 1;
    else ledger.transfersAborted += 1;
    for (const invariant of this.#lists.transferred) invariant.onTransferred(node, result);
  }

  readState(node: SimNode, read: ReadState): void {
    for (const invariant of this.#lists.read) invariant.onReadState(node, read);
  }

  removed(node: SimNode, why: string): void {
    for (const invariant of this.#lists.removed) invariant.onRemoved(node, why);
  }

  requested(node: SimNode, request: RequestState, first: RequestKey | undefined): void {
    for (const invariant of this.#lists.request) invariant.onRequest(node, request, first);
  }

  deadlines(node: SimNode): void {
    for (const invariant of this.#lists.deadlines) invariant.onDeadlines(node);
  }

  deskClosed(node: SimNode): void {
    for (const invariant of this.#lists.deskClosed) invariant.onDeskClosed(node);
  }
}
