/**
 * One simulated world: virtual time, the event queue, the nodes and what surrounds them. `simulate.ts` builds it and
 * runs it; everything in it draws only from the seed.
 */
import { type BlockBody, BlockBuilder, type EntryBlock, EntryType, sealBlock } from "../../shared/codec/block.js";
import { encodeConfigChange } from "../../shared/codec/membership.js";
import type { ReplicaId } from "../../shared/types/ids.js";
import { emptyMembership, type Membership } from "../../shared/types/membership.js";
import { Checks } from "./checks.js";
import { createInvariants } from "./invariants/index.js";
import { Ledger } from "./ledger.js";
import { BlockDecoder } from "./machine.js";
import { type CoreFactory, SHARD_ID, type SimNode, type World } from "./model.js";
import { Nemesis } from "./nemesis.js";
import { Network } from "./network.js";
import { ReplicaNode } from "./node.js";
import type { SimOptions } from "./options.js";
import { Prng } from "./prng.js";
import { EventKind, EventQueue, type SimEvent } from "./queue.js";
import { Repair } from "./repair.js";
import { StorageNemesis } from "./storage-nemesis.js";
import { Trace, type TraceSink } from "./trace.js";
import { Workload } from "./workload.js";

export interface WorldDeps {
  readonly options: SimOptions;
  readonly createCore: CoreFactory;
  /** Looks at the run from outside: gets every event. */
  readonly observe?: ((world: World) => TraceSink) | undefined;
}

export class SimulatedWorld implements World {
  readonly options: SimOptions;
  readonly createCore: CoreFactory;
  readonly queue = new EventQueue();
  readonly ledger = new Ledger();
  readonly decoder = new BlockDecoder();
  readonly trace: Trace;
  readonly network: Network;
  readonly nemesis: Nemesis;
  readonly storageNemesis: StorageNemesis;
  readonly repair: Repair;
  readonly workload: Workload;
  readonly checks: Checks;
  readonly nodes = new Map<ReplicaId, SimNode>();
  /** Entries 1 … n that write the initial members into every new log. */
  readonly bootstrapBlock: EntryBlock;
  readonly initialMembership: Membership;
  now = 0;
  steps = 0;
  /** False in the liveness phase. */
  faults = true;
  stirred = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(deps: WorldDeps) {
    const { options } = deps;
    this.options = options;
    this.createCore = deps.createCore;
    this.trace = new Trace(deps.observe?.(this));
    this.checks = new Checks(this, createInvariants(this));
    this.network = new Network(this, this.stream(10));
    this.nemesis = new Nemesis(this, this.stream(11));
    this.storageNemesis = new StorageNemesis(this, this.stream(15));
    this.repair = new Repair(this, this.stream(16));
    this.workload = new Workload(this, this.stream(12));
    this.initialMembership = initialMembers(options);
    this.bootstrapBlock = sealBlock(bootstrapBody(this.initialMembership), {
      shardId: SHARD_ID,
      firstIndex: 1,
      term: 1,
    });
  }

  stream(number: number): Prng {
    return new Prng(this.options.seed, number);
  }

  node(id: ReplicaId): SimNode | undefined {
    return this.nodes.get(id);
  }

  /** The node that leads in the highest term, if any. */
  leader(): SimNode | undefined {
    let best: SimNode | undefined;
    for (const node of this.nodes.values()) {
      if (node.core?.role === "leader" && node.core.term > (best?.core?.term ?? -1)) best = node;
    }
    return best;
  }

  running(): SimNode[] {
    return [...this.nodes.values()].filter((node) => node.core !== undefined);
  }

  /** Calls later. With an epoch the call is dropped if the node crashed meanwhile. */
  after(delayMs: number, kind: EventKind, node: SimNode | undefined, call: () => void): void {
    const epoch = node?.epoch ?? 0;
    this.queue.push({ time: this.now + delayMs, kind, nodeId: node?.id ?? 0, epoch, message: undefined, call });
  }

  /** A replica that joins by a membership change: empty log, empty membership. */
  ensureNode(id: ReplicaId, witness: boolean): void {
    if (this.nodes.has(id)) return;
    const node = new ReplicaNode(this, id, witness);
    this.nodes.set(id, node);
    node.start();
  }

  fail(error: unknown): void {
    this.#failure ??= { error };
    this.stirred = true;
  }

  async settle(): Promise<void> {
    this.stirred = false;
    // The tick queue is looked at only when no promise can go on (documented order of Node).
    await new Promise<void>((resolve) => process.nextTick(resolve));
    this.stirred = false;
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Runs the next event. False when nothing is left to do. */
  step(): boolean {
    const event = this.queue.pop();
    if (event === undefined) return false;
    this.now = event.time;
    if (event.nodeId !== 0 && event.kind !== EventKind.Restart && this.#held(event)) return true;
    switch (event.kind) {
      case EventKind.Message:
        if (event.message !== undefined && this.network.deliver(event.message)) this.steps += 1;
        break;
      case EventKind.Timer:
        break;
      case EventKind.Disk:
      case EventKind.Client:
      case EventKind.Apply:
      case EventKind.Snapshot:
        this.trace.event(this.now, event.kind, event.nodeId, undefined);
        this.steps += 1;
        break;
      default:
        this.trace.event(this.now, event.kind, event.nodeId, undefined);
    }
    event.call?.();
    return true;
  }

  /** True if the event must not happen now: its node has crashed since, or stands still. */
  #held(event: SimEvent): boolean {
    const node = this.nodes.get(event.nodeId);
    if (node === undefined) return true;
    if (event.epoch !== 0 && (event.epoch !== node.epoch || !node.alive)) return true;
    if (node.frozenUntil <= this.now) return false;
    node.postponed(event.time);
    this.queue.postpone(event, node.frozenUntil);
    return true;
  }

  /** Starts the initial replicas, the clients and the nemesis. */
  begin(): void {
    const { voters, nonVotings, witnesses } = this.initialMembership;
    const { ledger } = this;
    for (let i = this.bootstrapBlock.first; i <= this.bootstrapBlock.last; i++) {
      ledger.terms[i] = 1;
      ledger.committedIn[i] = 0;
    }
    ledger.commit = this.bootstrapBlock.last;
    ledger.membership = this.initialMembership;
    for (const id of [...voters.keys(), ...nonVotings.keys()]) {
      const node = new ReplicaNode(this, id, false);
      node.bootstrap(this.bootstrapBlock);
      this.nodes.set(id, node);
    }
    for (const node of this.nodes.values()) node.start();
    // Witnesses join with nothing, as in the engine.
    for (const id of witnesses.keys()) this.ensureNode(id, true);
    this.nemesis.begin();
    this.storageNemesis.begin();
    this.workload.begin();
  }
}

function initialMembers(options: SimOptions): Membership {
  const voters = new Map<ReplicaId, string>();
  const nonVotings = new Map<ReplicaId, string>();
  const witnesses = new Map<ReplicaId, string>();
  const { voters: v, learners, witnesses: w } = options;
  for (let id = 1; id <= v + learners + w; id++) {
    const group = id <= v ? voters : id <= v + learners ? nonVotings : witnesses;
    group.set(id, `host-${id}`);
  }
  return { ...emptyMembership(), voters, nonVotings, witnesses };
}

function bootstrapBody(members: Membership): BlockBody {
  const builder = new BlockBuilder();
  const key = { replicaId: 0, incarnation: 0, sequence: 0 };
  for (const [kind, group] of [
    ["addVoter", members.voters],
    ["addNonVoting", members.nonVotings],
    ["addWitness", members.witnesses],
  ] as const) {
    for (const [replicaId, target] of group) {
      const change = { kind, replicaId, target, expectedConfigChangeIndex: 0, bootstrap: true };
      builder.add(EntryType.ConfigChange, key, encodeConfigChange(change));
    }
  }
  return builder.finish();
}
