/**
 * All states of a small world: breadth first over every order of elections, proposals, reads, membership changes,
 * deliveries, writes and crashes within bounds. A message, once sent, may arrive any number of times at any time, or
 * never: loss, doubling, delay and reordering are all covered by keeping every message for ever. Time is only long: no
 * lease holds, no timer but the leader's heartbeat goes off by itself. States that cannot be told apart are visited
 * once; a failure names the shortest way to it.
 *
 * Checked in every state, besides what the network of cores checks (R1, R4, R6–R10, R14): R2 log matching, R3 a new
 * leader holds every committed entry, R5 what is committed is durable on a quorum and of the leader's term, R16 reads.
 */

import { describeMessage, quorumOf } from "../../nodehost/raft/index.js";
import { type InitialDisk, netOfDisks } from "../../nodehost/raft/test-logs.js";
import { membershipOf, type Net, T, type TestNode } from "../../nodehost/raft/test-net.js";
import type { RaftConfig, RaftRole } from "../../nodehost/raft/types.js";
import { assert } from "../../shared/assert.js";
import type { Index, ReplicaId, Term } from "../../shared/types/ids.js";
import type { ConfigChangeKind, Membership } from "../../shared/types/membership.js";
import { type Message, MessageType } from "../../shared/types/message.js";

export interface WorldBounds {
  readonly disks: readonly InitialDisk[];
  readonly config?: Partial<RaftConfig>;
  /** Replicas that join later: they know who was there at the beginning, and their disk is empty. */
  readonly joining?: readonly ReplicaId[];
  /** Nobody campaigns beyond this term. */
  readonly termMax: Term;
  readonly proposals?: number;
  readonly reads?: number;
  readonly crashes?: number;
  /** Rounds of heartbeats of leaders, all together; what was lost is sent again after one. */
  readonly heartbeats?: number;
  /** Each at most once, in any order, by any leader. */
  readonly changes?: readonly (readonly [ConfigChangeKind, ReplicaId])[];
  /** Leaders may hand over to anybody once. */
  readonly transfers?: number;
  /** Writes become durable by an event of their own, at any time later. */
  readonly slowDisks?: boolean;
  /** Only these may campaign; all by default. */
  readonly candidates?: readonly ReplicaId[];
  /** States at most; a run that reaches it was not exhaustive. */
  readonly statesMax: number;
}

export interface Explored {
  readonly states: number;
  readonly transitions: number;
  readonly depth: number;
  readonly complete: boolean;
}

/** The actions that led to a state, newest first. */
interface Way {
  readonly action: string;
  readonly before: Way | undefined;
  /** Messages that change nothing in this state; they go on doing so until their receiver is touched. */
  readonly idle: Set<string>;
}

/** Roles in which an answer may still be of use. (A heartbeat's is also given to a leader of a lower term.) */
const USEFUL_TO: Readonly<Partial<Record<MessageType, readonly RaftRole[]>>> = {
  [MessageType.VoteResp]: ["candidate"],
  [MessageType.ReplicateResp]: ["candidate", "leader"],
  [MessageType.HeartbeatResp]: ["candidate", "leader"],
};

class World {
  readonly net: Net;
  readonly #bounds: WorldBounds;
  readonly #messages = new Map<string, Message>();
  /** Terms of committed entries by index, ever. */
  readonly #committed: Term[] = [];
  /** In which term the entry at an index was committed first. */
  readonly #committedIn: Term[] = [];
  readonly #commits = new Map<ReplicaId, Index>();
  readonly #leaders = new Map<Term, ReplicaId>();
  /** Of the last event: what it applies may be the end of a leadership and of a membership. */
  #before = new Map<ReplicaId, { readonly leads: boolean; readonly membership: Membership }>();
  /** Sequence of a read → lowest index it may be answered with. */
  readonly #floors = new Map<number, Index>();
  readonly #used = { proposals: 0, reads: 0, crashes: 0, heartbeats: 0, transfers: 0, changes: 0 };

  constructor(bounds: WorldBounds) {
    this.#bounds = bounds;
    this.net = netOfDisks(bounds.disks, { preVote: false, checkQuorum: false, ...bounds.config });
    const voters = bounds.disks.map((_, i) => i + 1);
    for (const id of bounds.joining ?? []) this.net.add(id, membershipOf(voters));
    for (const node of this.net.nodes.values()) {
      node.slowDisk = bounds.slowDisks === true;
      for (let index = 1; index <= node.raft.commit; index++) this.#committed[index] = node.disk.term(index) ?? 0;
      this.#commits.set(node.id, node.raft.commit);
    }
    this.#settle();
  }

  /** Everything that may happen next. */
  actions(): string[] {
    const b = this.#bounds;
    const actions: string[] = [];
    for (const { id, raft, unwritten } of this.net.nodes.values()) {
      const leads = raft.role === "leader";
      if (!leads && raft.term < b.termMax && (b.candidates ?? [id]).includes(id)) actions.push(`campaign ${id}`);
      if (unwritten.length > 0) actions.push(`persist ${id}`);
      if (this.#used.crashes < (b.crashes ?? 0)) actions.push(`crash ${id}`);
      if (!leads) continue;
      if (this.#used.heartbeats < (b.heartbeats ?? 0)) actions.push(`heartbeat ${id}`);
      if (this.#used.proposals < (b.proposals ?? 0)) actions.push(`propose ${id}`);
      if (this.#used.reads < (b.reads ?? 0)) actions.push(`read ${id}`);
      for (const [i] of (b.changes ?? []).entries()) {
        if ((this.#used.changes >> i) % 2 === 0) actions.push(`change ${id} ${i}`);
      }
      if (this.#used.transfers >= (b.transfers ?? 0)) continue;
      for (const to of this.net.nodes.keys()) if (to !== id) actions.push(`transfer ${id} ${to}`);
    }
    actions.push(...this.#messages.keys());
    return actions;
  }

  act(action: string): void {
    const { net } = this;
    // No lease and no round trip is as long as what passes between two events.
    net.nowMs += 10 * T;
    for (const { id, raft } of net.nodes.values()) {
      this.#before.set(id, { leads: raft.role === "leader", membership: raft.membership });
    }
    const message = this.#messages.get(action);
    if (message !== undefined) net.deliver(message);
    else this.#actOf(action);
    this.#settle();
  }

  #actOf(action: string): void {
    const { net } = this;
    const [name, who, what] = action.split(" ");
    const node = net.node(Number(who));
    const { raft } = node;
    if (name === "campaign") raft.campaign(net.nowMs);
    else if (name === "heartbeat") {
      this.#used.heartbeats += 1;
      raft.tick(net.nowMs);
    } else if (name === "persist") {
      const later = node.unwritten.splice(1);
      net.flush(node.id);
      node.unwritten.push(...later);
    } else if (name === "propose") {
      this.#used.proposals += 1;
      net.propose(node.id, `p${this.#used.proposals}`);
    } else if (name === "read") {
      this.#used.reads += 1;
      this.#floors.set(net.read(node.id), this.#committed.length - 1);
    } else if (name === "change") {
      const [kind, id] = this.#bounds.changes?.[Number(what)] ?? ["remove", 0];
      this.#used.changes += 1 << Number(what);
      net.change(node.id, kind, id);
    } else if (name === "transfer") {
      this.#used.transfers += 1;
      raft.transferLeadership(Number(what), net.nowMs);
    } else {
      assert(name === "crash", `no such action: ${action}`);
      this.#used.crashes += 1;
      net.restart(node.id);
      this.#commits.set(node.id, node.raft.commit);
    }
  }

  #settle(): void {
    const { net } = this;
    for (const node of net.nodes.values()) while (net.step(node));
    for (const m of net.messages.splice(0)) this.#messages.set(describeMessage(m), m);
    for (const [key, m] of this.#messages) if (this.#isDead(m)) this.#messages.delete(key);
    for (const node of net.nodes.values()) this.#checkNode(node);
    this.#checkLogs();
  }

  /** Never again of any effect: for a candidate or leader of a term in which its receiver will be neither. */
  #isDead(m: Message): boolean {
    const { raft, disk } = this.net.node(m.to);
    const roles = USEFUL_TO[m.type];
    if (roles === undefined || disk.hardState.term < m.term) return false;
    return disk.hardState.term > m.term || raft.term !== m.term || !roles.includes(raft.role);
  }

  #checkNode(node: TestNode): void {
    const { role, term, commit } = node.raft;
    for (let index = (this.#commits.get(node.id) ?? 0) + 1; index <= commit; index++) this.#checkCommit(node, index);
    this.#commits.set(node.id, commit);
    for (const { key, index } of node.readStates.splice(0)) {
      const floor = this.#floors.get(key.sequence) ?? 0;
      assert(index >= floor, `R16: ${node.id} answers a read with ${index}, committed before it was ${floor}`);
    }
    if (role !== "leader" || this.#leaders.get(term) === node.id) return;
    this.#leaders.set(term, node.id);
    for (let index = 1; index < this.#committed.length; index++) {
      if ((this.#committedIn[index] ?? 0) >= term) continue;
      const own = termIn(node, index);
      assert(own === this.#committed[index], `R3: ${node.id} leads term ${term} with ${own} at ${index}`);
    }
  }

  #checkCommit(node: TestNode, index: Index): void {
    const term = termIn(node, index);
    const known = this.#committed[index];
    if (known !== undefined) {
      assert(known === term, `R4: ${node.id} commits ${index}/t${term}, it was ${index}/t${known}`);
      return;
    }
    this.#committed[index] = term;
    this.#committedIn[index] = node.raft.term;
    const before = this.#before.get(node.id);
    const leads = before?.leads === true || node.raft.role === "leader";
    assert(leads, `R5: ${node.id}, a ${node.raft.role}, is the first to commit ${index}`);
    const last = node.raft.commit;
    assert(termIn(node, last) === node.raft.term, `R5: ${node.id} commits ${last}, of an older term, by counting`);
    const holds = (id: ReplicaId) => this.net.nodes.get(id)?.disk.term(index) === term;
    // A change is committed by the members before it.
    const enough = [before?.membership, node.raft.membership].some((members) => {
      const voters = [...(members?.voters.keys() ?? [])];
      return voters.length > 0 && voters.filter(holds).length >= quorumOf(voters.length);
    });
    assert(enough, `R5: ${node.id} commits ${index}, not durable on a quorum`);
  }

  /** R2: where two disks have the same term at an index, they are equal up to there. */
  #checkLogs(): void {
    const nodes = [...this.net.nodes.values()];
    for (const [i, a] of nodes.entries()) {
      for (const b of nodes.slice(i + 1)) {
        let same = false;
        for (let index = Math.min(a.disk.last, b.disk.last); index > 0; index--) {
          const equal = a.disk.term(index) === b.disk.term(index);
          assert(equal || !same, `R2: ${a.id} and ${b.id} agree above ${index} and not there`);
          same ||= equal;
        }
      }
    }
  }

  /** Equal for states from which the same things can happen. */
  fingerprint(): string {
    const parts: string[] = [];
    for (const { disk, raft, unwritten, membership } of this.net.nodes.values()) {
      const writes = unwritten.map((u) => `${u.hardState.term},${u.hardState.vote},${textOf(u.blocks)}`);
      const { term, vote, commit } = disk.hardState;
      parts.push(raft.fingerprint(), `${term},${vote},${commit}`, textOf(disk.blocks), writes.join("/"));
      parts.push(`${membership.configChangeIndex}`);
    }
    const history = [this.#committed, this.#committedIn, [...this.#leaders], [...this.#floors.values()], this.#used];
    return `${parts.join(";")}${JSON.stringify(history)}${[...this.#messages.keys()].sort().join()}`;
  }
}

function textOf(blocks: readonly { first: Index; last: Index; term: Term }[]): string {
  return blocks.map((b) => `${b.first}-${b.last}:${b.term}`).join(" ");
}

/** Term at `index` of the log as the replica sees it: what waits for the disk included. */
function termIn({ disk, unwritten }: TestNode, index: Index): Term {
  for (const update of unwritten.toReversed()) {
    const first = update.blocks[0]?.first;
    if (first === undefined || index < first) continue;
    return update.blocks.find((b) => b.first <= index && index <= b.last)?.term ?? 0;
  }
  return disk.term(index) ?? 0;
}

/** 53 bits of a string: two FNV hashes. */
function hashOf(text: string): number {
  let a = 0x811c9dc5;
  let b = 0x01000193;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code, 0x85ebca6b);
  }
  return (a >>> 0) * 2 ** 21 + (b >>> 11);
}

function actionsOf(way: Way): string[] {
  const actions: string[] = [];
  for (let at = way; at.before !== undefined; at = at.before) actions.push(at.action);
  return actions.reverse();
}

/** The replica that an action touches. */
function touchedBy(action: string): string {
  return /^\d+→(\d+) /.exec(action)?.[1] ?? action.split(" ")[1] ?? "";
}

/** Visits every state within the bounds. Throws with the shortest way to a state that breaks an invariant. */
export function explore(bounds: WorldBounds): Explored {
  const seen = new Set<number>([hashOf(new World(bounds).fingerprint())]);
  let level: Way[] = [{ action: "", before: undefined, idle: new Set() }];
  let transitions = 0;
  let depth = 0;
  while (level.length > 0) {
    const next: Way[] = [];
    for (const way of level) {
      const actions = actionsOf(way);
      const world = worldAt(bounds, actions);
      const own = hashOf(world.fingerprint());
      const touched = touchedBy(way.action);
      for (const action of way.before?.idle ?? []) if (touchedBy(action) !== touched) way.idle.add(action);
      for (const action of world.actions()) {
        if (way.idle.has(action)) continue;
        transitions += 1;
        const hash = hashOf(worldAt(bounds, [...actions, action]).fingerprint());
        if (hash === own) way.idle.add(action);
        if (seen.has(hash)) continue;
        if (seen.size >= bounds.statesMax) return { states: seen.size, transitions, depth, complete: false };
        seen.add(hash);
        next.push({ action, before: way, idle: new Set() });
      }
    }
    if (next.length > 0) depth += 1;
    level = next;
  }
  return { states: seen.size, transitions, depth, complete: true };
}

function worldAt(bounds: WorldBounds, actions: readonly string[]): World {
  const world = new World(bounds);
  for (const [i, action] of actions.entries()) {
    try {
      world.act(action);
    } catch (error) {
      const way = actions.slice(0, i + 1).join("\n  ");
      throw new Error(`${error instanceof Error ? error.message : error}\nafter:\n  ${way}`, { cause: error });
    }
  }
  return world;
}
