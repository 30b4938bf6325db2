/**
 * The commands of golden traces. "1>2" names a link, "1>" and ">2" all links from or to a replica; a message type
 * (Vote, Replicate, …) may follow. Called by play.ts.
 *
 *   nodes 3 [preVote=off] [checkQuorum=off] [messages=N] [bytes=N]   voters 1 … N with an empty log, all followers
 *   given 2 term 3 vote 0 commit 1 log 1 1 2       before nodes: what disk 2 holds, as terms of its entries
 *   show peers                                     the leader's progress of peers is shown from here on
 *   campaign 1 · propose 1 "x" "y" · read 1 [count] · transfer 1 2 · stepdown 1
 *   change 1 addVoter|addNonVoting|remove 4 · join 4
 *   deliver [1>2] [Type]     what is under way, once · settle   until nothing is under way (messages not shown)
 *   drop, hold, copy [1>2] [Type]   lose · keep back until `release` · keep a copy back
 *   cut 1>2 …  cut 3  heal   links that lose everything from here on
 *   elapse 200               time passes for all · tick 1 [200]   and the timers of replica 1 go off if due
 *   run 200                  time passes in steps of 50 ms, all timers go off, all messages arrive (not shown)
 *   disk 2 slow|fast · persist 2 [1]   writes wait for persist, which makes all (or the first N) durable
 *   applier 2 slow|fast · apply 2      the same for applying
 *   crash 2 · restart 2      what was not durable is lost
 *   snapshot 1               at the applied index, and compacts the log
 *   stream 1 [lost|to 3]     the newest snapshot to all that want it · that fails · to 3, which did not ask
 *   force 1 1 2              the membership of replica 1 is rewritten to voters 1 and 2, its lineage rises
 *   status [1] · log 1       shows state, or the terms of the log
 */
import { describeStatus, type RaftConfig } from "../../nodehost/raft/index.js";
import type { InitialDisk } from "../../nodehost/raft/test-logs.js";
import type { ReplicaId, Term } from "../../shared/types/ids.js";
import type { ConfigChangeKind } from "../../shared/types/membership.js";
import { MessageType } from "../../shared/types/message.js";
import { wordsOf } from "./format.js";
import { GoldenWorld, type MessageFilter } from "./world.js";

type Run = (world: GoldenWorld, args: readonly string[]) => void;

const CHANGES: readonly ConfigChangeKind[] = ["addVoter", "addNonVoting", "addWitness", "remove"];

function number(word: string | undefined): number {
  const value = Number(word);
  if (word === undefined || !Number.isSafeInteger(value) || value < 0) throw new Error(`not a number: ${word}`);
  return value;
}

/** All other words must be used up. */
function only(args: readonly string[], count: number): void {
  if (args.length > count) throw new Error(`too many words: ${args.slice(count).join(" ")}`);
}

function linkOf(word: string): { from: ReplicaId | undefined; to: ReplicaId | undefined } {
  const match = /^(\d*)>(\d*)$/.exec(word);
  if (match === null) throw new Error(`not a link such as 1>2: ${word}`);
  const side = (text = "") => (text === "" ? undefined : Number(text));
  return { from: side(match[1]), to: side(match[2]) };
}

function filterOf(args: readonly string[]): MessageFilter {
  only(args, 2);
  const type = args.find((word) => !word.includes(">"));
  if (type !== undefined && !(type in MessageType)) throw new Error(`no message type: ${type}`);
  return { ...linkOf(args.find((word) => word.includes(">")) ?? ">"), type };
}

function cut(world: GoldenWorld, args: readonly string[]): void {
  const all = [...world.net.nodes.keys()];
  for (const word of args) {
    if (word.includes(">")) {
      const { from, to } = linkOf(word);
      for (const a of from === undefined ? all : [from]) for (const b of to === undefined ? all : [to]) world.cut(a, b);
      continue;
    }
    for (const other of all) {
      world.cut(number(word), other);
      world.cut(other, number(word));
    }
  }
}

function slowness(word: string | undefined): boolean {
  if (word !== "slow" && word !== "fast") throw new Error(`slow or fast, not ${word}`);
  return word === "slow";
}

function tick(world: GoldenWorld, [id, ms]: readonly string[]): void {
  const { net } = world;
  if (ms !== undefined) net.nowMs += number(ms);
  const { raft } = net.node(number(id));
  if (raft.deadlineMs > net.nowMs) world.say("no timer of it is due");
  raft.tick(net.nowMs);
}

function change(world: GoldenWorld, [at, kind, id]: readonly string[]): void {
  const known = CHANGES.find((name) => name === kind);
  if (known === undefined) throw new Error(`one of ${CHANGES.join(", ")}, not ${kind}`);
  world.net.change(number(at), known, number(id));
}

function persist(world: GoldenWorld, [id, count]: readonly string[]): void {
  const node = world.net.node(number(id));
  if (node.unwritten.length === 0) world.say("nothing waits for the disk");
  const later = count === undefined ? [] : node.unwritten.splice(number(count));
  world.net.flush(node.id);
  node.unwritten.push(...later);
}

function stream(world: GoldenWorld, [id, how, to]: readonly string[]): void {
  const { net } = world;
  const node = net.node(number(id));
  if (how === "to") {
    const witness = node.membership.witnesses.has(number(to));
    node.snapshotRequests.push({ to: number(to), term: node.raft.term, witness });
  }
  if (node.snapshotRequests.length === 0) world.say("nobody wants a snapshot");
  if (how === undefined || how === "to") {
    net.stream(node.id);
    return;
  }
  if (how !== "lost") throw new Error(`lost, to N or nothing, not ${how}`);
  for (const { to } of node.snapshotRequests.splice(0)) {
    node.raft.snapshotSent(to, node.disk.snapshot?.index ?? 0, false);
  }
}

function status(world: GoldenWorld, [id]: readonly string[]): void {
  for (const node of world.net.nodes.values()) {
    if (id !== undefined && node.id !== number(id)) continue;
    world.say(node.alive ? describeStatus(node.raft.status()) : `${node.id} is down`);
  }
}

function log(world: GoldenWorld, [id]: readonly string[]): void {
  const node = world.net.node(number(id));
  const { first, last } = node.raft.inspect();
  const terms: string[] = [];
  for (let index = first; index <= last; index++) {
    const unwritten = node.unwritten.flatMap((u) => u.blocks).filter((b) => b.first <= index && index <= b.last);
    terms.push(`${index}/t${unwritten.at(-1)?.term ?? node.disk.term(index) ?? "?"}`);
  }
  world.say(terms.join(" "));
}

const COMMANDS: Readonly<Record<string, Run>> = {
  show: (w, [what]) => {
    if (what !== "peers") throw new Error(`peers, not ${what}`);
    w.showPeers = true;
  },
  campaign: (w, [id]) => w.net.node(number(id)).raft.campaign(w.net.nowMs),
  stepdown: (w, [id]) => w.net.node(number(id)).raft.stepDown(w.net.nowMs),
  propose: (w, [id, ...texts]) => w.net.propose(number(id), ...texts),
  read: (w, [id, count = "1"]) => {
    for (let i = 0; i < number(count); i++) w.net.read(number(id));
  },
  transfer: (w, [id, target]) => {
    const refusal = w.net.node(number(id)).raft.transferLeadership(number(target), w.net.nowMs);
    if (refusal !== undefined) w.say(`refused: ${refusal}`);
  },
  change,
  join: (w, [id]) => w.join(number(id)),
  deliver: (w, args) => w.deliver(w.take(filterOf(args))),
  settle: (w) => w.settle(),
  drop: (w, args) => {
    w.take(filterOf(args));
  },
  hold: (w, args) => w.hold(filterOf(args)),
  copy: (w, args) => w.copy(filterOf(args)),
  release: (w) => w.release(),
  cut,
  heal: (w) => w.heal(),
  elapse: (w, [ms]) => {
    w.net.nowMs += number(ms);
  },
  tick,
  run: (w, [ms]) => w.net.elapse(number(ms), 50),
  disk: (w, [id, how]) => {
    w.net.node(number(id)).slowDisk = slowness(how);
  },
  persist,
  applier: (w, [id, how]) => {
    w.net.node(number(id)).slowApply = slowness(how);
  },
  apply: (w, [id]) => w.net.apply(number(id)),
  crash: (w, [id]) => {
    w.net.crash(number(id));
  },
  restart: (w, [id]) => w.restart(number(id)),
  snapshot: (w, [id]) => {
    w.net.snapshot(number(id));
  },
  stream,
  force: (w, [id, ...voters]) => w.force(number(id), voters.map(number)),
  status,
  log,
};

/** Plays the commands of one trace, one after the other. */
export class Player {
  readonly #disks = new Map<ReplicaId, InitialDisk>();
  #world: GoldenWorld | undefined;

  /** Runs one line and returns its output. Throws on a line that cannot be understood and on a broken invariant. */
  play(text: string): readonly string[] {
    const [name = "", ...args] = wordsOf(text);
    if (name === "given" || name === "nodes") {
      if (this.#world !== undefined) throw new Error(`${name} comes first`);
      if (name === "given") this.#given(args);
      else this.#world = this.#nodes(args);
      return [];
    }
    const run = COMMANDS[name];
    const world = this.#world;
    if (run === undefined || world === undefined) throw new Error(`no such command here: ${name}`);
    return world.run(() => run(world, args), name === "settle" || name === "run");
  }

  #given([id, ...rest]: readonly string[]): void {
    const match = /^term (\d+) vote (\d+) commit (\d+) log ([\d ]*)$/.exec(rest.join(" "));
    if (match === null) throw new Error("expected: given ID term T vote V commit C log T T T …");
    const [term, vote, commit] = match.slice(1, 4).map(Number);
    const terms: Term[] = (match[4] ?? "").split(" ").filter(Boolean).map(Number);
    this.#disks.set(number(id), { term: term ?? 0, vote: vote ?? 0, commit: commit ?? 0, terms });
  }

  #nodes([count, ...settings]: readonly string[]): GoldenWorld {
    const config: { -readonly [K in keyof RaftConfig]?: RaftConfig[K] } = {};
    for (const setting of settings) {
      const [name, value] = setting.split("=");
      if (name === "preVote" || name === "checkQuorum") config[name] = value !== "off";
      else if (name === "messages") config.inflightMessagesMax = number(value);
      else if (name === "bytes") config.replicateBytesMax = number(value);
      else if (name === "cache") config.cacheBytesMax = number(value);
      else throw new Error(`no such setting: ${setting}`);
    }
    const voters = Array.from({ length: number(count) }, (_, i) => i + 1);
    return new GoldenWorld({ voters, config, disks: this.#disks });
  }
}
