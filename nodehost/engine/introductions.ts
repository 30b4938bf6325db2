/**
 * A replica that starts introduces itself to every other member, which answers whether it knew the replica on another
 * data directory (Recall, see Origins), until each has answered. Two kinds of starts wait for answers before the
 * replica takes part in Raft, that is before it votes, campaigns or acknowledges anything:
 *
 * - **Unproven**: started as an initial member on a directory that holds nothing of it. It may have been here before
 *   and voted, on a disk that is lost (P49). It waits, over restarts too, until n − q + 1 of the other initial members
 *   (n voters, quorum q) never knew it. Any quorum it was part of has another member among those, which is then active;
 *   if one that answered is active, all others must have answered: the one that counted its vote or acknowledgement is
 *   among them, and remembers. A sole member needs nobody. A fenced CREATE of the master, or `assumeNew`, replaces the
 *   answers.
 * - **Again**: its data is here. It waits until every member was asked and has answered or could not be reached, for an
 *   election timeout at most: whoever knows that this directory is an old copy refuses the connection meanwhile, and
 *   then the whole directory is refused (Engine.refuseDirectory).
 *
 * "known" ends the replica with DL_ERR_DATA_LOST, whenever it comes. Nothing here runs once all have answered.
 */
import type { ErrorCode } from "../../shared/errors.js";
import type { ReplicaId, ShardId, Target, TimeMs } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import { HostMessageType, type RecallRespMessage, type WireMessage } from "../../shared/types/message.js";
import type { Hello } from "../transport/port.js";
import type { ReplicaPorts } from "./ports.js";

const RETRY_MS = 200;
const RETRY_MAX_MS = 10_000;
/** While a member's host is down, thousands of replicas may have it to ask. */
const LOOK_INTERVAL_MS = 50;
/** A wait longer than this is logged. */
const LONG_WAIT_MS = 5_000;
const NONCE_BOUND = 2 ** 48;
/** Wire version that knows Recall. */
const RECALL_VERSION = 2;

/** A replica as seen from here. */
export interface Newcomer {
  readonly shardId: ShardId;
  readonly replicaId: ReplicaId;
  readonly working: boolean;
  readonly electionTimeoutMs: number;
  readonly raft: { readonly membership: Membership };
  /** Not empty: it takes no part yet, and why. */
  hold: string;
  admit(nowMs: TimeMs): void;
  fence(why: string, code: ErrorCode): void;
}

export type IntroductionKind = "unproven" | "again" | "free";

interface Introduction {
  readonly replica: Newcomer;
  /** Why it is held. "free": it takes part already. */
  kind: IntroductionKind;
  readonly nonce: number;
  readonly sinceMs: TimeMs;
  /** Members that have not answered. */
  readonly waiting: Map<ReplicaId, Target>;
  /** Of `waiting`, those of which nothing was heard at all. */
  readonly untried: Set<ReplicaId>;
  /** Of an unproven one: answers that are enough. */
  needed: number;
  answers: number;
  retryAtMs: TimeMs;
  tries: number;
  told: boolean;
}

export interface IntroductionsOptions {
  readonly ports: Pick<ReplicaPorts, "env" | "logger" | "peers" | "send">;
  readonly replica: (shardId: ShardId) => Newcomer | undefined;
  readonly flush: () => void;
}

export class Introductions {
  readonly #options: IntroductionsOptions;
  readonly #open = new Map<ShardId, Introduction>();
  #dueMs: TimeMs = Number.POSITIVE_INFINITY;
  /** Held ones that were here before. */
  #asking = 0;
  readonly #askedWaiters: (() => void)[] = [];
  #lookedMs: TimeMs = Number.NEGATIVE_INFINITY;

  constructor(options: IntroductionsOptions) {
    this.#options = options;
  }

  /** The replica is about to run. `members` are all members as far as it knows. */
  begin(replica: Newcomer, members: ReadonlyMap<ReplicaId, Target>, kind: IntroductionKind): void {
    const others = new Map(members);
    others.delete(replica.replicaId);
    if (others.size === 0) {
      if (kind === "unproven") this.#prove(replica);
      return;
    }
    const introduction = this.#add(replica, others, kind);
    const quorum = Math.floor(members.size / 2) + 1;
    introduction.needed = Math.min(others.size, members.size - quorum + 1);
    if (kind !== "free") this.#hold(introduction);
    this.#ask(introduction);
  }

  /** The membership names a member that may not know this replica yet. */
  introduce(replica: Newcomer, replicaId: ReplicaId, target: Target): void {
    if (replicaId === replica.replicaId || !replica.working) return;
    const open = this.#open.get(replica.shardId);
    if (open?.replica !== replica) {
      this.#ask(this.#add(replica, new Map([[replicaId, target]]), "free"));
      return;
    }
    if (open.waiting.has(replicaId) || open.kind === "unproven") return;
    open.waiting.set(replicaId, target);
    open.retryAtMs = this.#now();
    this.#dueMs = Math.min(this.#dueMs, open.retryAtMs);
  }

  /** It stopped, or failed. */
  end(replica: Newcomer): void {
    const open = this.#open.get(replica.shardId);
    if (open?.replica !== replica) return;
    this.#open.delete(replica.shardId);
    this.#free(open);
  }

  onAnswer(from: Hello, answer: RecallRespMessage): void {
    const replica = this.#options.replica(answer.shardId);
    if (replica?.replicaId !== answer.to || !replica.working) return;
    const open = this.#open.get(answer.shardId);
    const isAsked = open?.replica === replica && open.nonce === answer.nonce && open.waiting.has(answer.from);
    if (answer.verdict === "known") {
      // Unasked too: a message of ours was refused. Only a peer that remembers another directory says so.
      if (isAsked || answer.nonce === 0) this.#refuse(replica, from, "knows it on another data directory");
      return;
    }
    if (!isAsked) return;
    if (answer.verdict === "removed" && open.kind === "unproven") {
      this.#refuse(replica, from, "knows that it was removed from the shard");
      return;
    }
    open.waiting.delete(answer.from);
    open.untried.delete(answer.from);
    open.answers += 1;
    if (answer.verdict === "unknownButActive") open.needed = Math.max(open.needed, open.answers + open.waiting.size);
    this.#look(open);
  }

  /** Messages to this target get through now. */
  onConnected(target: Target, peer: Hello): void {
    for (const open of [...this.#open.values()]) {
      for (const [replicaId, at] of [...open.waiting]) {
        if (at !== target) continue;
        if (peer.wireVersionMax >= RECALL_VERSION) this.#send(open, replicaId, at);
        else if (open.kind !== "unproven") {
          // It cannot answer, and knows nothing.
          open.waiting.delete(replicaId);
          open.untried.delete(replicaId);
          this.#look(open);
        }
      }
    }
    this.#options.flush();
  }

  onUnreachable(target: Target): void {
    for (const open of [...this.#open.values()]) {
      if (open.untried.size === 0) continue;
      for (const [replicaId, at] of open.waiting) if (at === target) open.untried.delete(replicaId);
      this.#look(open);
    }
  }

  /** Resolves when none that was here before ("again") is held any more. */
  whenAsked(): Promise<void> {
    if (this.#asking === 0) return Promise.resolve();
    return new Promise((resolve) => this.#askedWaiters.push(resolve));
  }

  /** It is not held any more, or ended. */
  #free(open: Introduction): void {
    if (open.kind === "again") this.#asking -= 1;
    open.kind = "free";
    if (this.#asking === 0) for (const resolve of this.#askedWaiters.splice(0)) resolve();
  }

  /** Asks again, and ends waits that are over. */
  tick(nowMs: TimeMs): void {
    if (nowMs < Math.max(this.#dueMs, this.#lookedMs + LOOK_INTERVAL_MS)) return;
    this.#lookedMs = nowMs;
    this.#dueMs = Number.POSITIVE_INFINITY;
    for (const open of [...this.#open.values()]) {
      if (!open.replica.working) {
        this.end(open.replica);
        continue;
      }
      if (open.kind === "again" && nowMs - open.sinceMs >= open.replica.electionTimeoutMs) this.#admit(open);
      if (open.kind !== "free" && !open.told && nowMs - open.sinceMs >= LONG_WAIT_MS) this.#tell(open);
      if (open.retryAtMs <= nowMs) this.#ask(open);
      else this.#plan(open);
    }
  }

  #add(replica: Newcomer, waiting: Map<ReplicaId, Target>, kind: IntroductionKind): Introduction {
    const nonce = 1 + Math.floor(this.#options.ports.env.random.next() * (NONCE_BOUND - 1));
    const untried = new Set(waiting.keys());
    const sinceMs = this.#now();
    const counts = { needed: 0, answers: 0, retryAtMs: sinceMs, tries: 0, told: false };
    const added: Introduction = { replica, kind, nonce, sinceMs, waiting, untried, ...counts };
    this.#open.set(replica.shardId, added);
    if (kind === "again") this.#asking += 1;
    return added;
  }

  #ask(open: Introduction): void {
    if (open.kind === "free") forgetRemoved(open);
    if (open.waiting.size === 0) {
      this.end(open.replica);
      return;
    }
    for (const [replicaId, target] of open.waiting) this.#send(open, replicaId, target);
    open.retryAtMs = this.#now() + Math.min(RETRY_MAX_MS, RETRY_MS * 2 ** Math.min(open.tries, 8));
    open.tries += 1;
    this.#plan(open);
    this.#options.flush();
  }

  #send({ replica, nonce }: Introduction, to: ReplicaId, target: Target): void {
    const { shardId, replicaId: from, raft } = replica;
    const { lineage } = raft.membership;
    const recall: WireMessage = { type: HostMessageType.Recall, shardId, from, to, term: 0, lineage, nonce };
    this.#options.ports.send(target, recall);
  }

  #plan(open: Introduction): void {
    let dueMs = open.retryAtMs;
    if (open.kind === "again") dueMs = Math.min(dueMs, open.sinceMs + open.replica.electionTimeoutMs);
    if (open.kind !== "free" && !open.told) dueMs = Math.min(dueMs, open.sinceMs + LONG_WAIT_MS);
    this.#dueMs = Math.min(this.#dueMs, dueMs);
  }

  /** After something was heard: may it take part, is there still something to ask? */
  #look(open: Introduction): void {
    if (open.kind === "unproven" && open.answers >= open.needed) this.#admit(open);
    if (open.kind === "again" && open.untried.size === 0) this.#admit(open);
    if (open.kind !== "free") this.#hold(open);
    if (open.waiting.size === 0) this.end(open.replica);
  }

  #hold(open: Introduction): void {
    const names = [...open.waiting].map(([id, target]) => `replica ${id} at ${target}`).join(", ");
    open.replica.hold =
      open.kind === "again"
        ? `asks ${names} whether this directory is the newest`
        : `waits for answers of ${names}: whether they knew it on another data directory`;
  }

  #admit(open: Introduction): void {
    const { replica, kind } = open;
    this.#free(open);
    if (kind === "unproven") this.#prove(replica);
    replica.admit(this.#now());
  }

  #prove(replica: Newcomer): void {
    const { peers, logger } = this.#options.ports;
    const { shardId, replicaId } = replica;
    // Until it is durable a restart asks again: that harms nobody.
    peers.setUnproven(shardId, replicaId, false).catch((error: unknown) => logger.warn({ error }, "not remembered"));
  }

  #refuse(replica: Newcomer, from: Hello, what: string): void {
    const who = `host ${from.hostId} at ${from.raftAddress}`;
    const todo = "remove this member from the shard and add one under a new replica id";
    replica.fence(`${who} ${what}, so what it voted and acknowledged is lost here; ${todo}`, "DL_ERR_DATA_LOST");
    this.end(replica);
  }

  #tell(open: Introduction): void {
    open.told = true;
    const { shardId, replicaId, hold } = open.replica;
    const todo = "start those hosts; only if this replica certainly never ran before, start it with assumeNew";
    this.#options.ports.logger.warn({ shardId, replicaId, hold, todo }, "a new replica may not take part yet");
  }

  #now(): TimeMs {
    return this.#options.ports.env.now();
  }
}

/** Who left the shard needs not know anybody. */
function forgetRemoved({ replica, waiting }: Introduction): void {
  const { removed } = replica.raft.membership;
  for (const replicaId of waiting.keys()) if (removed.has(replicaId)) waiting.delete(replicaId);
}
