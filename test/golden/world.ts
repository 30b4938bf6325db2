/**
 * The small world of a golden trace: cores with their disks, messages that wait until they are delivered, a clock that
 * moves when told. After each command every replica touched is stepped until it rests, and what changed becomes text.
 * The network beneath (nodehost/raft/test-net.ts) checks its invariants all the while. Called by commands.ts.
 */
import { describeMessage } from "../../nodehost/raft/index.js";
import { fillDisk, type InitialDisk } from "../../nodehost/raft/test-logs.js";
import { type Disk, membershipOf, Net, type TestNode } from "../../nodehost/raft/test-net.js";
import type { RaftConfig } from "../../nodehost/raft/types.js";
import type { ReplicaId } from "../../shared/types/ids.js";
import type { Message } from "../../shared/types/message.js";
import { type Before, before, changes, type Happened, messageText, updateText } from "./view.js";

export interface WorldOptions {
  readonly voters: readonly ReplicaId[];
  readonly config: Partial<RaftConfig>;
  readonly disks: ReadonlyMap<ReplicaId, InitialDisk>;
}

/** Which of the messages under way a command means. */
export interface MessageFilter {
  readonly from: ReplicaId | undefined;
  readonly to: ReplicaId | undefined;
  readonly type: string | undefined;
}

const ROUNDS_MAX = 200;

export class GoldenWorld {
  readonly net: Net;
  /** Show the leader's progress of peers. */
  showPeers = false;
  /** Messages and writes are not shown. */
  #brief = false;
  #held: Message[] = [];
  readonly #cut = new Set<string>();
  #output: string[] = [];
  #before = new Map<ReplicaId, Before>();
  #happened = new Map<ReplicaId, { writes: string[]; messages: string[] }>();

  constructor(options: WorldOptions) {
    const { voters, config, disks } = options;
    // Election timeouts that differ and can be told in advance: T for the first voter, then a tenth of T more each.
    const randomOf = (id: ReplicaId) => () => ((id - 1) % 10) / 10;
    const initial = disks.size === 0 ? {} : { prepare: (id: ReplicaId, disk: Disk) => fill(disk, disks.get(id)) };
    this.net = new Net({ voters, config, randomOf, ...initial });
    this.net.passes = (m) => !this.#cut.has(`${m.from}>${m.to}`);
    this.net.onWrite = (node, update) => this.#of(node.id).writes.push(`writes ${updateText(update)}`);
  }

  /** Runs one command and returns its output. */
  run(command: () => void, brief: boolean): readonly string[] {
    this.#output = [];
    this.#happened = new Map();
    this.#before = new Map([...this.net.nodes.values()].map((node) => [node.id, before(node)]));
    this.#brief = brief;
    command();
    this.stepAll();
    for (const node of this.net.nodes.values()) this.#show(node);
    return this.#output;
  }

  say(line: string): void {
    this.#output.push(line);
  }

  #of(id: ReplicaId): { writes: string[]; messages: string[] } {
    const known = this.#happened.get(id);
    if (known !== undefined) return known;
    const fresh = { writes: [], messages: [] };
    this.#happened.set(id, fresh);
    return fresh;
  }

  #show(node: TestNode): void {
    const old = this.#before.get(node.id);
    if (!node.alive || old === undefined) return;
    const none: Happened = { writes: [], messages: [] };
    this.#output.push(...changes(old, node, this.#brief ? none : this.#of(node.id), this.showPeers));
  }

  stepAll(): void {
    for (const node of this.net.nodes.values()) {
      for (let i = 0; this.#step(node); i++) if (i > ROUNDS_MAX) throw new Error(`${node.id} never rests`);
    }
  }

  #step(node: TestNode): boolean {
    const { net } = this;
    const sent = net.sent.length;
    const waiting = node.unwritten.length;
    const slow = node.slowDisk;
    if (!net.step(node)) return false;
    for (const m of net.sent.slice(sent)) {
      this.#of(node.id).messages.push(messageText(m, !net.passes(m)));
    }
    if (slow) {
      for (const update of node.unwritten.slice(waiting)) {
        this.#of(node.id).writes.push(`hands over ${updateText(update)}`);
      }
    }
    return true;
  }

  /** Takes the messages meant out of those under way; says so if there are none. */
  take(filter: MessageFilter): Message[] {
    const taken = this.net.messages.filter((m) => matches(m, filter));
    this.net.messages = this.net.messages.filter((m) => !taken.includes(m));
    if (taken.length === 0) this.say("no such message is under way");
    return taken;
  }

  put(messages: readonly Message[]): void {
    this.net.messages.push(...messages);
  }

  deliver(messages: readonly Message[]): void {
    for (const m of messages) {
      if (this.net.nodes.get(m.to)?.alive === true) this.net.deliver(m);
      else this.say(`${describeMessage(m)} finds nobody`);
    }
  }

  /** Delivers until nothing is under way. */
  settle(): void {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      this.stepAll();
      const batch = this.net.messages;
      if (batch.length === 0) return;
      this.net.messages = [];
      for (const m of batch) this.net.deliver(m);
    }
    throw new Error("the world never comes to rest");
  }

  hold(filter: MessageFilter): void {
    this.#held.push(...this.take(filter));
  }

  copy(filter: MessageFilter): void {
    const taken = this.take(filter);
    this.put(taken);
    this.#held.push(...taken);
  }

  /** What was held back comes now. */
  release(): void {
    if (this.#held.length === 0) this.say("nothing is held back");
    this.put(this.#held.splice(0));
  }

  cut(from: ReplicaId, to: ReplicaId): void {
    this.#cut.add(`${from}>${to}`);
    this.net.messages = this.net.messages.filter((m) => m.from !== from || m.to !== to);
  }

  heal(): void {
    this.#cut.clear();
  }

  /** A replica that knows nothing yet and waits to hear from a leader. */
  join(id: ReplicaId): void {
    this.#watch(this.net.add(id, membershipOf([])));
  }

  restart(id: ReplicaId): void {
    this.#watch(this.net.restart(id));
  }

  #watch(node: TestNode): void {
    this.#before.set(node.id, before(node));
  }

  /** Forces the membership of one replica to these voters, as after a loss of quorum: the lineage rises. */
  force(id: ReplicaId, voters: readonly ReplicaId[]): void {
    const meta = this.net.snapshot(id);
    const { lineage, configChangeIndex } = meta.membership;
    const membership = { ...membershipOf(voters), lineage: lineage + 1, configChangeIndex };
    this.net.node(id).disk.snapshot = { ...meta, membership };
    this.restart(id);
  }
}

function matches(m: Message, { from, to, type }: MessageFilter): boolean {
  if (from !== undefined && m.from !== from) return false;
  if (to !== undefined && m.to !== to) return false;
  return type === undefined || describeMessage(m).split(" ")[1] === type;
}

function fill(disk: Disk, initial: InitialDisk | undefined): void {
  if (initial === undefined) throw new Error("with `given`, every replica needs one");
  fillDisk(disk, initial);
}
