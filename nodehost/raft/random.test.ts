/**
 * Seeded random runs over the test network: loss, duplication, reordering, late replay, crashes with lost writes,
 * slow disks and slow apply, membership changes, snapshots, reads. The network checks R1, R2, R4, R6–R10, R14 after
 * every input; here: reads see everything acknowledged before (R16), nothing is applied twice or after it was reported
 * as dropped, and after healing the shard works again. The big simulator is in test/sim; this one is for quick answers.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { describeMessage, describeStatus } from "./describe.js";
import { membershipOf, Net, randomOf, T, type TestNode } from "./test-net.js";

class Chaos {
  readonly net: Net;
  readonly #random: () => number;
  readonly #replay: Net["messages"] = [];
  /** Sequence of a read → lowest index it may answer. */
  readonly #floors = new Map<number, number>();
  readonly #texts = new Map<number, string>();
  readonly #rates: readonly number[];
  #proposals = 0;
  #nextId = 0;
  #highestApplied = 0;

  constructor(seed: number) {
    this.#random = randomOf(seed * 7919);
    const n = [1, 2, 3, 3, 4, 5][this.#int(6)] ?? 3;
    const config = {
      preVote: this.#int(4) > 0,
      checkQuorum: this.#int(4) > 0,
      inflightMessagesMax: 1 + this.#int(4),
      replicateBytesMax: this.#int(2) === 0 ? 1 : 4096,
      cacheBytesMax: this.#int(2) === 0 ? 0 : 4096,
    };
    const voters = Array.from({ length: n }, (_, i) => i + 1);
    this.net = new Net({ voters, seed, config });
    this.#nextId = n + 1;
    this.#rates = Array.from({ length: 12 }, () => (this.#int(3) === 0 ? 0 : this.#random()));
  }

  #int(bound: number): number {
    return Math.floor(this.#random() * bound);
  }

  #pick<V>(values: readonly V[]): V | undefined {
    return values[this.#int(values.length)];
  }

  #chance(fault: number, scale: number): boolean {
    return this.#random() < (this.#rates[fault] ?? 0) * scale;
  }

  run(steps: number): void {
    for (let i = 0; i < steps; i++) this.#step();
    this.#heal();
  }

  #step(): void {
    const { net } = this;
    const alive = [...net.nodes.values()].filter((n) => n.alive);
    const node = this.#pick(alive);
    if (node !== undefined) this.#act(node);
    this.#traffic();
    if (this.#chance(3, 0.02)) {
      const victim = this.#pick([...net.nodes.values()]);
      if (victim !== undefined) this.#restart(victim);
    }
    if (this.#int(3) === 0) net.nowMs += this.#int(T / 10);
    if (this.#chance(4, 0.02)) net.nowMs += this.#int(3 * T);
  }

  #restart(victim: TestNode): void {
    this.#collect(victim);
    if (this.#int(2) === 0) this.#flushSome(victim);
    this.net.restart(victim.id);
  }

  #flushSome(node: TestNode): void {
    const count = this.#int(node.unwritten.length + 1);
    const written = node.unwritten.splice(0, count);
    for (const update of written) node.disk.write(update);
    const last = written.at(-1);
    if (last !== undefined) node.raft.persisted(last.sequence);
    this.net.check(node);
  }

  #act(node: TestNode): void {
    const { net } = this;
    node.slowDisk = this.#chance(5, 1);
    node.slowApply = this.#chance(6, 1);
    if (node.raft.deadlineMs <= net.nowMs) node.raft.tick(net.nowMs);
    if (this.#int(4) === 0) this.#propose(node);
    if (this.#chance(7, 0.1)) this.#floors.set(net.read(node.id), this.#highestApplied);
    if (this.#chance(8, 0.05)) this.#changeMembers(node);
    if (this.#chance(9, 0.05) && node.applied > (node.disk.snapshot?.index ?? 0)) net.snapshot(node.id);
    if (this.#chance(10, 0.05)) node.raft.unreachable(1 + this.#int(this.#nextId));
    if (this.#chance(11, 0.01)) node.raft.stepDown(net.nowMs);
    net.check(node);
    if (this.#int(2) === 0) net.step(node);
    if (this.#int(2) === 0) this.#flushSome(node);
    if (this.#int(3) === 0) net.apply(node.id);
    if (node.raft.role === "leader" && node.snapshotRequests.length > 0 && this.#int(3) === 0) net.stream(node.id);
    this.#highestApplied = Math.max(this.#highestApplied, node.applied);
    this.#collect(node);
  }

  #propose(node: TestNode): void {
    const texts = Array.from({ length: 1 + this.#int(3) }, () => {
      this.#proposals += 1;
      return `p${this.#proposals}`;
    });
    const body = this.net.body(node.id, ...texts);
    for (const [i, text] of texts.entries()) this.#texts.set(body.firstKey.sequence + i, text);
    node.raft.propose(body, this.net.nowMs);
  }

  #changeMembers(node: TestNode): void {
    const { net } = this;
    const m = node.membership;
    if (this.#int(2) === 0 && net.nodes.size < 8) {
      const id = this.#nextId;
      this.#nextId += 1;
      net.add(id, membershipOf([]));
      net.change(node.id, this.#int(2) === 0 ? "addNonVoting" : "addVoter", id);
      return;
    }
    const id = this.#pick([...m.voters.keys(), ...m.nonVotings.keys()]);
    if (id === undefined) return;
    if (m.nonVotings.has(id)) net.change(node.id, "addVoter", id);
    else if (m.voters.size > 2) net.change(node.id, "remove", id);
  }

  #traffic(): void {
    const { net } = this;
    const count = this.#int(4);
    for (let i = 0; i < count && net.messages.length > 0; i++) {
      const at = this.#chance(0, 1) ? this.#int(net.messages.length) : 0;
      const [m] = net.messages.splice(at, 1);
      if (m === undefined) break;
      if (this.#chance(1, 0.3)) continue;
      if (this.#chance(2, 0.2)) this.#replay.push(m);
      net.deliver(m);
    }
    if (this.#replay.length > 0 && this.#chance(2, 0.2)) {
      const m = this.#pick(this.#replay);
      if (m !== undefined) net.deliver(m);
    }
    if (net.messages.length > 400) net.messages.splice(0, 200);
  }

  /** What the owner was told: read points and certain failures. */
  #collect(node: TestNode): void {
    for (const { key, index } of node.readStates.splice(0)) {
      const floor = this.#floors.get(key.sequence) ?? 0;
      assert.ok(index >= floor, `R16: read ${key.sequence} at ${index}, ${floor} was applied before it was asked`);
    }
  }

  #heal(): void {
    const { net } = this;
    for (const node of net.nodes.values()) {
      node.slowDisk = false;
      node.slowApply = false;
      if (!node.alive) net.restart(node.id);
      net.flush(node.id);
      net.apply(node.id);
    }
    for (let i = 0; i < 40; i++) {
      net.elapse(T / 2, 50);
      for (const node of net.nodes.values()) if (node.raft.role === "leader") net.stream(node.id);
    }
    const leader = net.leader();
    const picture = () => [...net.nodes.values()].map((n) => describeStatus(n.raft.status())).join("\n");
    assert.ok(leader !== undefined, `no leader\n${picture()}`);
    const before = leader.applied;
    this.#floors.set(net.read(leader.id), before);
    this.#propose(leader);
    net.elapse(T, 50);
    assert.ok(
      leader.applied > before,
      `no progress\n${picture()}\n${net.sent.slice(-9).map(describeMessage).join("\n")}`,
    );
    assert.ok(leader.readStates.length > 0, `no read\n${picture()}`);
    for (const { replicaId: id } of leader.raft.status().peers) {
      const peer = net.node(id);
      assert.equal(peer.applied, leader.applied, `${id} lags\n${picture()}`);
    }
    this.#checkHistory(leader);
  }

  #checkHistory(leader: TestNode): void {
    const texts = leader.state.map((line) => line.split(":")[2] ?? "").filter((text) => text.startsWith("p"));
    assert.equal(new Set(texts).size, texts.length, "an entry was applied twice");
    const applied = new Set(texts);
    for (const node of this.net.nodes.values()) {
      for (const d of node.dropped) {
        for (let i = 0; d.kind === "propose" && i < d.count; i++) {
          const text = this.#texts.get(d.firstKey.sequence + i) ?? "";
          assert.ok(!applied.has(text), `${text} was reported as dropped (${d.reason}) and applied`);
        }
      }
    }
  }
}

const SEEDS = 150;
const FIRST = Number(process.env["RAFT_SEED"] ?? 1);
const COUNT = Number(process.env["RAFT_SEEDS"] ?? SEEDS);

test(`${COUNT} random runs keep the invariants and heal`, () => {
  for (let seed = FIRST; seed < FIRST + COUNT; seed++) {
    try {
      new Chaos(seed).run(1500);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
});
