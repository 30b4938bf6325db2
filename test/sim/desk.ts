/**
 * Where clients of a simulated node ask and are answered: the engine's own books (nodehost/engine/pending.ts,
 * proposal-queue.ts, transfer-book.ts), used as its Replica uses them. Requests have deadlines on the node's clock, are
 * cancelled now and then, and wait for the node's next step. R18 watches what they are answered.
 *
 * A crash answers nobody: the next start has new books.
 */
import { ProposalBook, ReadBook } from "../../nodehost/engine/pending.js";
import { ProposalQueue } from "../../nodehost/engine/proposal-queue.js";
import { dropError, type RequestKind, RequestState, timeoutError } from "../../nodehost/engine/requests.js";
import { TransferBook } from "../../nodehost/engine/transfer-book.js";
import type { Dropped, ReadState, TransferResult } from "../../nodehost/raft/types.js";
import { BlockBuilder, type EntrySession, EntryType } from "../../shared/codec/block.js";
import { OpError } from "../../shared/errors.js";
import type { Index, ReplicaId, RequestKey } from "../../shared/types/ids.js";
import { keyNumber, type SessionOutcome } from "./machine.js";
import { DESK_TICK_MS, type DeskPort, SHARD_ID, type SimNode } from "./model.js";
import type { Prng } from "./prng.js";
import { EventKind } from "./queue.js";

export class Desk implements DeskPort {
  readonly #node: SimNode;
  readonly #random: Prng;
  readonly #builder = new BlockBuilder();
  #proposals = new ProposalBook();
  #reads: ReadBook;
  #transfers = new TransferBook();
  #queue = new ProposalQueue(this.#builder);
  /** Sequences of proposals below this were handed out by this start. */
  #nextSequence = 1;
  #lastRead: RequestKey | undefined;
  #transfer: { readonly request: RequestState; readonly target: ReplicaId } | undefined;
  #stepPending = false;
  #tickAt = 0;

  constructor(node: SimNode) {
    this.#node = node;
    this.#reads = this.#newReads();
    this.#random = node.world.stream(300 + node.id);
  }

  #newReads(): ReadBook {
    return new ReadBook(this.#node.world.options.electionTimeoutMs);
  }

  get openProposals(): number {
    return this.#proposals.size;
  }

  get openReads(): number {
    return this.#reads.size;
  }

  /** The node begins to run. */
  open(): void {
    this.#proposals = new ProposalBook();
    this.#reads = this.#newReads();
    this.#transfers = new TransferBook();
    this.#queue = new ProposalQueue(this.#builder);
    this.#nextSequence = 1;
    this.#lastRead = undefined;
    this.#transfer = undefined;
    this.#stepPending = false;
    this.#tickAt = 0;
  }

  /** The replica is stopped in good order: everyone is answered. */
  close(): void {
    const error = new OpError("DL_ERR_SHARD_CLOSED", undefined, { outcome: "unknown" });
    this.#queue.clear();
    this.#proposals.failAll("terminated", error);
    this.#reads.failAll("terminated", error);
    this.#transfers.failAll("terminated", error);
    this.#node.world.checks.deskClosed(this.#node);
  }

  issued(key: RequestKey): boolean {
    const { id, incarnation } = this.#node;
    return key.replicaId === id && (key.incarnation < incarnation || key.sequence < this.#nextSequence);
  }

  // Clients.

  /** `repeats`: an earlier attempt of the series may have been applied. Returns its first key unless refused. */
  propose(
    type: EntryType,
    commands: readonly Uint8Array[],
    session?: EntrySession,
    repeats = false,
  ): RequestKey | undefined {
    const kind = type === EntryType.ConfigChange ? "configChange" : commands.length === 1 ? "propose" : "proposeBatch";
    const request = this.#request(kind, commands.length);
    request.repeats = repeats;
    if (this.#node.disk.full) {
      this.#node.world.ledger.faults.add("fullDiskRefusals");
      this.#node.world.checks.requested(this.#node, request, undefined);
      request.fail("rejected", new OpError("DL_ERR_DISK_FULL"));
      return undefined;
    }
    const firstSequence = this.#proposals.add(request);
    this.#nextSequence = firstSequence + commands.length;
    const key = this.#key(firstSequence);
    this.#node.world.checks.requested(this.#node, request, key);
    this.#queue.add({ request, type, firstSequence, commands, session });
    this.#asked(request);
    return key;
  }

  read(): void {
    const { world } = this.#node;
    const request = this.#request("readIndex", 1);
    request.onSettled(({ code }) => {
      if (code === "completed") world.ledger.readCount += 1;
    });
    this.#reads.add(request);
    world.checks.requested(this.#node, request, undefined);
    this.#asked(request);
  }

  /** The newest ReadIndex once more under its key, as a network could deliver it. */
  repeatRead(): void {
    if (this.#lastRead !== undefined) this.#node.readIndex(this.#lastRead);
  }

  transfer(target: ReplicaId): void {
    const request = this.#request("transfer", 1);
    this.#node.world.checks.requested(this.#node, request, undefined);
    const refusal = this.#transfers.add(request, target);
    if (refusal === undefined) this.#transfer = { request, target };
    else request.fail("rejected", refusal);
    this.#asked(request);
  }

  #request(kind: RequestKind, count: number): RequestState {
    const timeoutMs = 1 + this.#random.int(2 * this.#node.world.options.requestTimeoutMs);
    return new RequestState(kind, SHARD_ID, this.#node.clock() + timeoutMs, count);
  }

  #asked(request: RequestState): void {
    const { world } = this.#node;
    const { requestCancel, stepDelayMs } = world.options;
    if (world.faults && this.#random.chance(requestCancel)) {
      const inMs = this.#random.int(request.deadlineMs - this.#node.clock());
      world.after(inMs, EventKind.Client, this.#node, () => cancel(request));
    }
    if (stepDelayMs === 0 || !world.faults) this.#step();
    else if (!this.#stepPending) {
      this.#stepPending = true;
      world.after(this.#random.int(stepDelayMs + 1), EventKind.Turn, this.#node, () => this.#step());
    }
    this.#armTick();
  }

  /** What waits goes to the core, in the order of Replica.step. */
  #step(): void {
    this.#stepPending = false;
    this.#queue.pack(
      (sequence) => this.#key(sequence),
      (body) => this.#node.propose(body),
    );
    this.#askReads();
    this.#beginTransfer();
    this.#armTick();
  }

  #beginTransfer(): void {
    const { core, world } = this.#node;
    if (this.#transfer === undefined || this.#transfer.request.handedOver || core === undefined) return;
    const { request, target } = this.#transfer;
    this.#transfers.begin(core, this.#node.clock());
    if (request.handedOver) world.checks.transferBegan(this.#node, target);
    else this.#transfer = undefined;
    this.#node.touched();
  }

  #askReads(): void {
    const sequence = this.#reads.takeBatch(this.#node.clock());
    if (sequence === 0) return;
    const key = this.#key(sequence);
    this.#lastRead = key;
    this.#node.world.workload.readBegins(keyNumber(key));
    this.#node.readIndex(key);
  }

  #key(sequence: number): RequestKey {
    return { replicaId: this.#node.id, incarnation: this.#node.incarnation, sequence };
  }

  // Answers.

  /** A proposal of this start was applied, or refused by its session or as a membership change. */
  applied(sequence: number, index: Index, outcome: SessionOutcome | undefined, refusal: string | undefined): void {
    if (refusal !== undefined) this.#proposals.fail(sequence, "rejected", new OpError("DL_ERR_REJECTED", refusal));
    else if (outcome === undefined) this.#proposals.arrive(sequence, index, { value: index });
    else if (outcome.kind === "applied" || outcome.kind === "answered") {
      this.#proposals.arrive(sequence, index, outcome.result ?? { value: index });
    } else this.#proposals.refuse(sequence, outcome.kind);
  }

  confirmed(read: ReadState, applied: Index): void {
    this.#reads.confirm(read.key.sequence, read.index);
    this.#reads.release(applied);
  }

  appliedTo(index: Index): void {
    this.#reads.release(index);
  }

  dropped({ kind, firstKey, count, reason }: Dropped): void {
    if (firstKey.replicaId !== this.#node.id || firstKey.incarnation !== this.#node.incarnation) return;
    const error = dropError(reason);
    if (kind === "readIndex") this.#reads.drop(firstKey.sequence, error);
    else this.#proposals.drop(firstKey.sequence, count, error);
  }

  transferred(result: TransferResult): void {
    this.#transfers.ended(result);
  }

  // Time.

  /** A tick that was put off comes now. */
  thawed(): void {
    this.#tickAt = 0;
    this.#armTick();
  }

  /** The node's owner comes back when the books ask for it, and not before. */
  #armTick(): void {
    const { world } = this.#node;
    const deadlineMs = Math.min(
      this.#proposals.deadlineMs,
      this.#reads.deadlineMs,
      this.#transfer?.request.deadlineMs ?? Number.POSITIVE_INFINITY,
    );
    if (!Number.isFinite(deadlineMs)) return;
    const due = Math.ceil(this.#node.timeOf(deadlineMs) / DESK_TICK_MS) * DESK_TICK_MS;
    if (this.#tickAt >= world.now && this.#tickAt <= due) return;
    this.#tickAt = due;
    world.after(due - world.now, EventKind.Turn, this.#node, () => this.#tick(due));
  }

  /** Looks at deadlines, and asks again what nobody answered. */
  #tick(due: number): void {
    if (due !== this.#tickAt) return;
    this.#tickAt = 0;
    const node = this.#node;
    const now = node.clock();
    this.#proposals.expire(now);
    const again = this.#reads.expire(now);
    const { request } = this.#transfer ?? {};
    if (request !== undefined && request.deadlineMs <= now) {
      request.fail("timeout", timeoutError(request.kind, request.shardId));
      this.#transfer = undefined;
    }
    node.world.checks.deadlines(node);
    if (again) this.#askReads();
    this.#armTick();
  }
}

/** As a client's AbortSignal does it. */
function cancel(request: RequestState): void {
  if (request.handedOver) request.fail("terminated", new OpError("DL_ERR_CANCELED"));
  else request.fail("aborted", new OpError("DL_ERR_ABORTED"));
}
