/**
 * A network of cores for the tests of this folder: messages in a list, a disk per replica that survives crashes, time
 * that moves only when told. After every input it checks the invariants of each core, one leader per term (R1), equal
 * applied entries (R2, R4), and that every claim in a message is on the sender's disk (R9, R10).
 */
import { assert } from "../../shared/assert.js";
import { BlockBuilder, type EntryBlock, EntryType, entriesOf, singleBody } from "../../shared/codec/block.js";
import { crc32 } from "../../shared/codec/crc32.js";
import { decodeConfigChange, encodeConfigChange } from "../../shared/codec/membership.js";
import type { Index, ReplicaId, Term } from "../../shared/types/ids.js";
import type { ConfigChangeKind, Membership } from "../../shared/types/membership.js";
import { type Message, MessageType, type SnapshotMeta, witnessSnapshot } from "../../shared/types/message.js";
import { checkInvariants, type Inspection } from "./invariants.js";
import { Raft } from "./raft.js";
import { bootstrapBlock, Disk, HEARTBEAT, membershipOf, randomOf, SHARD, T, withChange } from "./test-disk.js";
import type {
  Dropped,
  Output,
  PromotionEnd,
  RaftConfig,
  RaftUpdate,
  ReadState,
  SnapshotRequest,
  TransferResult,
} from "./types.js";

export { type Disk, HEARTBEAT, membershipOf, randomOf, SHARD, T };

export class TestNode {
  readonly id: ReplicaId;
  readonly disk: Disk;
  raft: Raft;
  alive = true;
  /** Writes wait for `flush`. */
  slowDisk = false;
  /** Committed entries wait for `apply`. */
  slowApply = false;
  unwritten: RaftUpdate[] = [];
  unapplied: EntryBlock[] = [];
  restores: SnapshotMeta[] = [];
  /** "index:term:text" of what was applied. */
  state: string[] = [];
  applied: Index = 0;
  membership: Membership;
  readStates: ReadState[] = [];
  dropped: Dropped[] = [];
  snapshotRequests: SnapshotRequest[] = [];
  removed: Output["removed"];
  leaders: string[] = [];
  transfers: TransferResult[] = [];
  promotions: PromotionEnd[] = [];
  inspection: Inspection | undefined;

  constructor(id: ReplicaId, disk: Disk, raft: Raft) {
    this.id = id;
    this.disk = disk;
    this.raft = raft;
    this.membership = disk.base;
  }
}

export interface NetOptions {
  readonly voters: readonly ReplicaId[];
  readonly config?: Partial<RaftConfig>;
  readonly configs?: Iterable<readonly [ReplicaId, Partial<RaftConfig>]>;
  readonly seed?: number;
  /** Chance of one replica; by default all draw from the one of `seed`. */
  readonly randomOf?: (id: ReplicaId) => () => number;
  /** Disks of the voters; by default they hold the initial members as committed entries. */
  readonly prepare?: (id: ReplicaId, disk: Disk) => void;
}

export class Net {
  readonly nodes = new Map<ReplicaId, TestNode>();
  readonly random: () => number;
  readonly #config: Partial<RaftConfig>;
  /** What single replicas are configured with instead, from their next start on. */
  readonly configs: Map<ReplicaId, Partial<RaftConfig>>;
  readonly #randomOf: (id: ReplicaId) => () => number;
  readonly #leaderOfTerm = new Map<Term, ReplicaId>();
  readonly #appliedAt = new Map<Index, string>();
  messages: Message[] = [];
  /** Everything ever sent. */
  sent: Message[] = [];
  /** Messages for which this says false are lost. */
  passes: (m: Message) => boolean = () => true;
  /** Called with every update that becomes durable. */
  onWrite: (node: TestNode, update: RaftUpdate) => void = () => {};
  nowMs = 0;
  #sequence = 0;

  constructor(options: NetOptions) {
    this.random = randomOf(options.seed ?? 1);
    this.#config = options.config ?? {};
    this.configs = new Map(options.configs ?? []);
    this.#randomOf = options.randomOf ?? (() => this.random);
    const bootstrap = (_id: ReplicaId, disk: Disk) => {
      disk.blocks = [bootstrapBlock(options.voters)];
      disk.hardState = { term: 1, vote: 0, commit: options.voters.length };
    };
    const prepare = options.prepare ?? bootstrap;
    for (const id of options.voters) this.add(id, membershipOf(options.voters), (disk) => prepare(id, disk));
    this.run();
  }

  add(id: ReplicaId, base: Membership, prepare?: (disk: Disk) => void): TestNode {
    const disk = new Disk(base);
    prepare?.(disk);
    const node = new TestNode(id, disk, this.#make(id, disk));
    this.nodes.set(id, node);
    return node;
  }

  #make(id: ReplicaId, disk: Disk): Raft {
    const config: RaftConfig = {
      shardId: SHARD,
      replicaId: id,
      electionTimeoutMs: T,
      heartbeatIntervalMs: HEARTBEAT,
      witness: disk.witness,
      preVote: true,
      checkQuorum: true,
      quiesceAfterMs: 0,
      inflightBytesMax: 1 << 20,
      inflightMessagesMax: 8,
      replicateBytesMax: 1 << 16,
      cacheBytesMax: 1 << 20,
      maxInMemLogBytes: 0,
      promotionLagEntriesMax: 1000,
      autoPromote: undefined,
      ...this.#config,
      ...this.configs.get(id),
    };
    const applied = disk.snapshot?.index ?? 0;
    const from = Math.max(disk.first, applied + 1);
    const start = {
      hardState: disk.hardState,
      membership: disk.snapshot?.membership ?? disk.base,
      applied,
      first: disk.first,
      precedingTerm: disk.precedingTerm,
      blocks: disk.blocks.filter((b) => b.last >= from).map((b) => b.clip(from, b.last)),
      last: disk.last,
      snapshot: disk.snapshot,
    };
    return new Raft({ config, start, reader: disk, random: this.#randomOf(id), crc32, nowMs: this.nowMs });
  }

  node(id: ReplicaId): TestNode {
    const node = this.nodes.get(id);
    assert(node !== undefined, `no node ${id}`);
    return node;
  }

  /** Loses everything that was not written. */
  crash(id: ReplicaId): TestNode {
    const node = this.node(id);
    node.alive = false;
    node.unwritten = [];
    node.unapplied = [];
    node.restores = [];
    return node;
  }

  restart(id: ReplicaId): TestNode {
    const node = this.crash(id);
    node.raft = this.#make(id, node.disk);
    node.alive = true;
    node.inspection = undefined;
    node.applied = node.disk.snapshot?.index ?? 0;
    node.state = [...node.disk.snapshotState];
    node.membership = node.disk.snapshot?.membership ?? node.disk.base;
    return node;
  }

  /** Takes one output of the node, as the engine would. True if there was one. */
  step(node: TestNode): boolean {
    if (!node.alive || !node.raft.hasOutput) return false;
    const out = node.raft.takeOutput();
    if (out.update !== undefined) node.unwritten.push(out.update);
    for (const m of out.messages) {
      this.#checkClaims(node, m);
      this.sent.push(m);
      if (this.passes(m)) this.messages.push(m);
    }
    node.unapplied.push(...out.committed);
    for (const b of out.committed) assert(b.last <= node.disk.last, `R9: ${node.id} hands out what is not durable`);
    node.readStates.push(...out.readStates);
    node.dropped.push(...out.dropped);
    node.snapshotRequests.push(...out.snapshotRequests);
    if (out.removed !== undefined) node.removed = out.removed;
    if (out.leader !== undefined) node.leaders.push(`${out.leader.leaderId}@${out.leader.term}`);
    if (out.transfer !== undefined) node.transfers.push(out.transfer);
    node.promotions.push(...out.promotions);
    if (out.restore !== undefined) node.restores.push(out.restore);
    if (!node.slowDisk) this.flush(node.id);
    if (!node.slowApply) this.apply(node.id);
    this.check(node);
    return true;
  }

  /** Makes everything handed out durable. */
  flush(id: ReplicaId): void {
    const node = this.node(id);
    for (const update of node.unwritten.splice(0)) {
      node.disk.write(update);
      this.onWrite(node, update);
      node.raft.persisted(update.sequence);
      this.check(node);
    }
  }

  apply(id: ReplicaId): void {
    const node = this.node(id);
    for (const meta of node.restores.splice(0)) {
      node.state = [...node.disk.snapshotState];
      node.applied = meta.index;
      node.membership = meta.membership;
      node.unapplied = node.unapplied.filter((b) => b.first > meta.index);
      node.raft.restored(meta);
      this.check(node);
    }
    for (const block of node.unapplied.splice(0)) this.#applyBlock(node, block);
  }

  #applyBlock(node: TestNode, block: EntryBlock): void {
    for (const entry of entriesOf(block)) {
      assert(entry.index === node.applied + 1, `R4: ${node.id} applies ${entry.index} after ${node.applied}`);
      const line = `${entry.index}:${entry.term}:${new TextDecoder().decode(entry.cmd)}`;
      const known = this.#appliedAt.get(entry.index);
      if (entry.type !== EntryType.Metadata) {
        assert(known === undefined || known === line, `R4: index ${entry.index} is ${known} and ${line}`);
        this.#appliedAt.set(entry.index, line);
      }
      node.applied = entry.index;
      node.state.push(line);
      if (entry.type !== EntryType.ConfigChange) continue;
      node.membership = withChange(node.membership, decodeConfigChange(entry.cmd), entry.index);
      node.raft.configChangeApplied(entry.index, node.membership);
    }
    node.raft.appliedTo(block.last);
    this.check(node);
  }

  check(node: TestNode): void {
    node.inspection = checkInvariants(node.raft, node.inspection);
    if (node.raft.role !== "leader") return;
    const known = this.#leaderOfTerm.get(node.raft.term);
    assert(known === undefined || known === node.id, `R1: ${known} and ${node.id} lead term ${node.raft.term}`);
    this.#leaderOfTerm.set(node.raft.term, node.id);
  }

  #checkClaims(node: TestNode, m: Message): void {
    const { hardState } = node.disk;
    const claimsTerm = m.type !== MessageType.PreVote && !(m.type === MessageType.PreVoteResp && m.granted);
    if (claimsTerm) assert(hardState.term >= m.term, `R9: ${node.id} says term ${m.term}, durable ${hardState.term}`);
    if (m.type === MessageType.Vote)
      assert(hardState.vote === node.id, "R10: asks for votes before its own is durable");
    if (m.type === MessageType.VoteResp && m.granted) {
      assert(hardState.term === m.term && hardState.vote === m.to, "R10: answers a vote that is not durable");
    }
    if (m.type === MessageType.ReplicateResp && !m.rejected) {
      assert(m.index <= node.disk.last, `R9: ${node.id} acks ${m.index}, durable ${node.disk.last}`);
    }
  }

  deliver(m: Message): void {
    const node = this.nodes.get(m.to);
    if (node === undefined || !node.alive) return;
    node.raft.receive(m, this.nowMs);
    this.check(node);
  }

  /** Until nothing moves. */
  run(): void {
    for (let round = 0; round < 10_000; round++) {
      let moved = false;
      for (const node of this.nodes.values()) if (this.step(node)) moved = true;
      const batch = this.messages;
      this.messages = [];
      for (const m of batch) this.deliver(m);
      if (!moved && batch.length === 0) return;
    }
    assert(false, "the network never comes to rest");
  }

  /** Lets time pass in small steps. */
  elapse(ms: number, stepMs = 10): void {
    const end = this.nowMs + ms;
    while (this.nowMs < end) {
      this.nowMs += stepMs;
      for (const node of this.nodes.values()) {
        if (node.alive && node.raft.deadlineMs <= this.nowMs) {
          node.raft.tick(this.nowMs);
          this.check(node);
        }
      }
      this.run();
    }
  }

  elect(id: ReplicaId): TestNode {
    this.run();
    this.node(id).raft.campaign(this.nowMs);
    this.run();
    assert(this.node(id).raft.role === "leader", `${id} was not elected`);
    return this.node(id);
  }

  leader(): TestNode | undefined {
    const leaders = [...this.nodes.values()].filter((n) => n.alive && n.raft.role === "leader");
    return leaders.sort((a, b) => b.raft.term - a.raft.term)[0];
  }

  body(id: ReplicaId, ...texts: string[]) {
    const builder = new BlockBuilder();
    for (const text of texts) {
      this.#sequence += 1;
      const key = { replicaId: id, incarnation: 1, sequence: this.#sequence };
      builder.add(EntryType.Application, key, new TextEncoder().encode(text));
    }
    return builder.finish();
  }

  propose(id: ReplicaId, ...texts: string[]): void {
    this.node(id).raft.propose(this.body(id, ...texts), this.nowMs);
  }

  change(id: ReplicaId, kind: ConfigChangeKind, replicaId: ReplicaId): void {
    this.#sequence += 1;
    const target = kind === "remove" ? "" : `h${replicaId}`;
    const cmd = encodeConfigChange({ kind, replicaId, target, expectedConfigChangeIndex: 0, bootstrap: false });
    const key = { replicaId: id, incarnation: 1, sequence: this.#sequence };
    this.node(id).raft.propose(singleBody(EntryType.ConfigChange, key, cmd), this.nowMs);
  }

  read(id: ReplicaId): number {
    this.#sequence += 1;
    this.node(id).raft.readIndex({ replicaId: id, incarnation: 1, sequence: this.#sequence }, this.nowMs);
    return this.#sequence;
  }

  /** Adds a witness by a change through `leader`, and starts it. */
  addWitness(leader: ReplicaId, id: ReplicaId): TestNode {
    const node = this.add(id, membershipOf([]), (disk) => {
      disk.witness = true;
    });
    this.change(leader, "addWitness", id);
    this.run();
    this.elapse(2 * HEARTBEAT);
    assert(node.membership.witnesses.has(id), `${id} did not become a witness`);
    return node;
  }

  /** Records a snapshot at the applied index and compacts the log up to it. */
  snapshot(id: ReplicaId): SnapshotMeta {
    const node = this.node(id);
    const { applied: index, membership } = node;
    const meta: SnapshotMeta = {
      shardId: SHARD,
      replicaId: id,
      index,
      term: node.disk.term(index) ?? 0,
      membership,
      sizeBytes: node.disk.witness ? 0 : 1,
      directory: `s${index}`,
    };
    node.disk.snapshot = meta;
    node.disk.snapshotState = [...node.state];
    node.disk.compact(index);
    node.raft.snapshotCreated(meta, index);
    this.check(node);
    return meta;
  }

  /** Streams the newest snapshot of `from` to everybody it was asked for. */
  stream(from: ReplicaId): void {
    const node = this.node(from);
    for (const { to, term, witness } of node.snapshotRequests.splice(0)) {
      const newest = node.disk.snapshot;
      const target = this.nodes.get(to);
      assert(newest !== undefined, "a snapshot is asked for and there is none");
      const snapshot = witness ? witnessSnapshot(newest) : newest;
      const arrives = target?.alive === true;
      if (arrives) {
        if (!witness) target.disk.snapshotState = node.disk.snapshotState;
        const lineage = node.membership.lineage;
        this.deliver({ type: MessageType.InstallSnapshot, shardId: SHARD, from, to, term, lineage, snapshot });
      }
      node.raft.snapshotSent(to, snapshot.index, arrives);
    }
  }

  /** Cuts one replica off, or heals everything. */
  isolate(id?: ReplicaId): void {
    this.passes = id === undefined ? () => true : (m) => m.from !== id && m.to !== id;
  }
}
