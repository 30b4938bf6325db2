/**
 * What the parts of the simulator know of each other: the world, its nodes, and the services between them, as
 * interfaces. The classes are in world.ts, node.ts, …; everything that looks at a run (invariants, nemesis, workload)
 * depends only on this file.
 */
import type { RequestState } from "../../nodehost/engine/requests.js";
import type {
  Dropped,
  Output,
  RaftCore,
  RaftDeps,
  RaftUpdate,
  ReadState,
  SnapshotRequest,
  TransferResult,
} from "../../nodehost/raft/types.js";
import type { SessionTable } from "../../nodehost/rsm/sessions.js";
import type { BlockBody, EntryBlock, EntrySession, EntryType } from "../../shared/codec/block.js";
import type { Index, ReplicaId, RequestKey, Term, TimeMs } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import type { Message, SnapshotMeta } from "../../shared/types/message.js";
import type { NodeDisk, NodeSnapshots } from "./disk.js";
import type { ModelMachine } from "./disk-machine.js";
import type { DiskSide } from "./disk-side.js";
import type { Ledger } from "./ledger.js";
import type { SimLog } from "./log.js";
import type { BlockDecoder, DecodedEntry, MachineState, SessionOutcome } from "./machine.js";
import type { SimOptions } from "./options.js";
import type { Prng } from "./prng.js";
import type { PulseWatch } from "./pulse.js";
import type { EventKind, EventQueue } from "./queue.js";
import type { Trace } from "./trace.js";

export const SHARD_ID = 1;
/** Replica ids in a simulation are 1 … NODES_MAX. */
export const NODES_MAX = 15;

/** Requests are answered at most so long after their deadline. */
export const DESK_TICK_MS = 10;

/** An invariant does not hold. */
export class Violation extends Error {
  override readonly name = "Violation";
  readonly invariant: string;

  constructor(invariant: string, text: string) {
    super(`${invariant}: ${text}`);
    this.invariant = invariant;
  }
}

export type CoreFactory = (deps: RaftDeps) => RaftCore;

export type CrashPoint = "none" | "beforeWrite" | "beforeSend" | "afterSend";

export interface World {
  readonly options: SimOptions;
  readonly createCore: CoreFactory;
  readonly queue: EventQueue;
  readonly ledger: Ledger;
  readonly decoder: BlockDecoder;
  readonly trace: Trace;
  readonly network: NetworkPort;
  readonly nemesis: NemesisPort;
  readonly workload: WorkloadPort;
  readonly repair: RepairPort;
  readonly checks: ChecksPort;
  readonly nodes: ReadonlyMap<ReplicaId, SimNode>;
  /** Entries 1 … n that write the initial members into every new log. */
  readonly bootstrapBlock: EntryBlock;
  readonly initialMembership: Membership;
  now: number;
  steps: number;
  /** False in the liveness phase. */
  faults: boolean;
  stream(number: number): Prng;
  node(id: ReplicaId): SimNode | undefined;
  /** The node that leads in the highest term, if any. */
  leader(): SimNode | undefined;
  running(): SimNode[];
  /** Calls later; the call of a node is dropped if it crashed meanwhile. */
  after(delayMs: number, kind: EventKind, node: SimNode | undefined, call: () => void): void;
  /** A replica that joins by a membership change: empty log, empty membership. */
  ensureNode(id: ReplicaId, witness: boolean): void;
  /** Runs the next event. False when nothing is left to do. */
  step(): boolean;
  /** Promises may be able to go on: `settle` must be awaited before the next event. */
  stirred: boolean;
  /** Lets all promises go on as far as they can without an event. Throws what `fail` was given meanwhile. */
  settle(): Promise<void>;
  /** Ends the run: for what is found where a throw would be taken for a failure of the storage. */
  fail(error: unknown): void;
}

/** What the checks saw last of a node; volatile. */
export interface Seen {
  term: Term;
  commit: Index;
  applied: Index;
  leaderTerm: Term;
}

export interface SimNode {
  readonly id: ReplicaId;
  /** For life: as what it became a member. */
  readonly witness: boolean;
  readonly world: World;
  readonly disk: NodeDisk;
  readonly snapshots: NodeSnapshots;
  readonly applier: ApplierPort;
  /** Survives crashes; undefined if the machine is in memory. */
  readonly machine: ModelMachine | undefined;
  readonly desk: DeskPort;
  readonly random: Prng;
  /** Started, also while its disk is still being read. */
  readonly alive: boolean;
  /** Undefined while it is down or its disk is being read. */
  readonly core: RaftCore | undefined;
  /** The log as handed to the disk: durable and in flight. */
  readonly view: SimLog;
  /** Grows with every start. */
  readonly epoch: number;
  /** Removed from the shard: does not start again by itself. */
  retired: boolean;
  frozenUntil: number;
  /** Why it never runs again under its id: its storage is not what it was. */
  readonly refused: string | undefined;
  /** Set by the nemesis: crash when the current input is done. */
  crashSoon: boolean;
  readonly seen: Seen;
  /** Of this life. */
  readonly pulse: PulseWatch;
  readonly membership: Membership;
  readonly incarnation: number;
  /** Output is not collected yet: `view` is behind the core. */
  readonly behind: boolean;
  start(): void;
  crash(why: string): void;
  retire(): void;
  /** Ends it for good, as a host does that reports a replica with damaged data. */
  refuse(why: string): void;
  clock(): TimeMs;
  /** When in world time, after now, the node's clock shows so much. */
  timeOf(clockMs: TimeMs): number;
  receive(message: Message): void;
  propose(body: BlockBody): void;
  readIndex(key: RequestKey): void;
  snapshotSent(to: ReplicaId, index: Index, ok: boolean): void;
  entriesFetched(): void;
  unreachable(id: ReplicaId): void;
  recordSnapshot(meta: SnapshotMeta, compactTo: Index): void;
  touched(): void;
  /** Stands still no longer: what was put off for later may be late, its timers must not. */
  thaw(): void;
  postponed(time: number): void;
}

export interface ApplierPort {
  readonly applied: Index;
  readonly appliedTerm: Term;
  readonly hash: number;
  readonly membership: Membership;
  readonly sessions: SessionTable;
  readonly restoring: boolean;
  readonly updates: number;
  /** What a node that lacks entries is sent; undefined while there is nothing to send. */
  streamState(): MachineState | undefined;
  /** Of a machine on disk. */
  readonly disk: DiskSide | undefined;
}

/** Where clients ask. */
export interface DeskPort {
  /** As the engine counts them. */
  readonly openProposals: number;
  readonly openReads: number;
  /** `repeats`: an earlier attempt of the series may have been applied. Returns its first key unless refused. */
  propose(
    type: EntryType,
    commands: readonly Uint8Array[],
    session?: EntrySession,
    repeats?: boolean,
  ): RequestKey | undefined;
  read(): void;
  /** The newest ReadIndex once more. */
  repeatRead(): void;
  transfer(target: ReplicaId): void;
  /** True if the node handed out `key`. */
  issued(key: RequestKey): boolean;
  // From the node and its applier.
  applied(sequence: number, index: Index, outcome: SessionOutcome | undefined, refusal: string | undefined): void;
  appliedTo(index: Index): void;
  thawed(): void;
  confirmed(read: ReadState, applied: Index): void;
}

export interface NetworkPort {
  send(message: Message): void;
  deliver(message: Message): boolean;
  sendSnapshot(node: SimNode, request: SnapshotRequest, meta: SnapshotMeta | undefined): void;
  /** Something small from one node to another, outside of Raft. */
  carry(from: ReplicaId, to: ReplicaId, call: (receiver: SimNode) => void): void;
  cut(from: ReplicaId, to: ReplicaId): void;
  heal(): void;
}

export interface NemesisPort {
  crashPoint(node: SimNode, out: Output): CrashPoint;
  crash(node: SimNode, why: string): void;
  becameLeader(node: SimNode): void;
  committed(node: SimNode): void;
  changeApplied(node: SimNode): void;
}

export interface RepairPort {
  /** A member has lost what it had, or may find out that it has. */
  readonly needed: boolean;
  /** The voters that can still run are no quorum. */
  readonly hopeless: boolean;
  /** True if the shard could go on without this one. */
  canDoWithout(node: SimNode): boolean;
  /** Some replica was refused. */
  begin(): void;
}

export interface WorkloadPort {
  /** Committed index when each read began. */
  readonly readFloor: ReadonlyMap<number, Index>;
  write(node: SimNode): void;
  read(node: SimNode): void;
  /** A ReadIndex is about to be asked for under this key. */
  readBegins(keyNumber: number): void;
  /** The node that was asked has the outcome. */
  sessionAnswered(keyNumber: number, outcome: SessionOutcome): void;
}

export interface ChecksPort {
  started(node: SimNode): void;
  afterInput(node: SimNode): void;
  ticked(node: SimNode): void;
  afterOutput(node: SimNode): void;
  beforeAppend(node: SimNode, update: RaftUpdate): void;
  beforeDurable(node: SimNode, update: RaftUpdate): void;
  sent(node: SimNode, message: Message): void;
  delivered(node: SimNode, message: Message): void;
  applied(node: SimNode, index: Index, entry: DecodedEntry): void;
  session(node: SimNode, index: Index, entry: DecodedEntry, outcome: SessionOutcome): void;
  changed(node: SimNode, index: Index): void;
  restored(node: SimNode, meta: SnapshotMeta, state: MachineState): void;
  answered(node: SimNode, key: RequestKey, index: Index): void;
  reads(node: SimNode, key: RequestKey): void;
  dropped(node: SimNode, dropped: Dropped): void;
  transferBegan(node: SimNode, target: ReplicaId): void;
  transferred(node: SimNode, result: TransferResult): void;
  readState(node: SimNode, read: ReadState): void;
  removed(node: SimNode, why: string): void;
  requested(node: SimNode, request: RequestState, first: RequestKey | undefined): void;
  deadlines(node: SimNode): void;
  deskClosed(node: SimNode): void;
}

export interface Invariant {
  readonly id: string;
  /** One line: what always holds. */
  readonly text: string;
  onStart?(node: SimNode): void;
  /** After every input, before the output is taken: role, term and commit are new, the log is not. */
  afterInput?(node: SimNode): void;
  /** After the core was told the time because something was due. */
  afterTick?(node: SimNode): void;
  /** After the output was taken and performed. */
  afterOutput?(node: SimNode): void;
  onLeader?(node: SimNode): void;
  /** A leader's commit rose above everything committed so far; the ledger still has the old value. */
  onFirstCommit?(node: SimNode): void;
  /** Before an update changes the log as handed to the disk. */
  beforeAppend?(node: SimNode, update: RaftUpdate): void;
  /** Before an update changes what is durable. */
  beforeDurable?(node: SimNode, update: RaftUpdate): void;
  onSend?(node: SimNode, message: Message): void;
  onDeliver?(node: SimNode, message: Message): void;
  onApply?(node: SimNode, index: Index, entry: DecodedEntry): void;
  /** An entry of a session went through; the node's table is as after it. */
  onSession?(node: SimNode, index: Index, entry: DecodedEntry, outcome: SessionOutcome): void;
  /** A config change entry was applied; `node.membership` is the result. */
  onChange?(node: SimNode, index: Index): void;
  onRestore?(node: SimNode, meta: SnapshotMeta, state: MachineState): void;
  /** The node answered a request of its own. */
  onAnswer?(node: SimNode, key: RequestKey, index: Index): void;
  /** The node's owner asks for a read. */
  onRead?(node: SimNode, key: RequestKey): void;
  onDropped?(node: SimNode, dropped: Dropped): void;
  /** The node took the order to hand leadership over. */
  onTransfer?(node: SimNode, target: ReplicaId): void;
  /** The node reported the end of a transfer. */
  onTransferred?(node: SimNode, result: TransferResult): void;
  onReadState?(node: SimNode, read: ReadState): void;
  onRemoved?(node: SimNode, why: string): void;
  /** A client asks. `first` is the key of the first command of a proposal. */
  onRequest?(node: SimNode, request: RequestState, first: RequestKey | undefined): void;
  /** The node looked at the deadlines of its requests. */
  onDeadlines?(node: SimNode): void;
  /** The replica was stopped in good order. */
  onDeskClosed?(node: SimNode): void;
}
