/**
 * Which data directory each replica of a peer lives on. What a replica votes and acknowledges is worth something only
 * as long as it keeps the directory it did it on, so:
 * - the first message of a replica counts when its origin is durable here (it waits so long);
 * - messages of a known replica from another directory are dropped, and it is told why (P49, P58);
 * - who asks (Recall) is remembered like who speaks, so that every member knows it, not only the leader.
 * The way of every message: one look-up, no allocation, once its sender is known. Used by Engine.
 */
import { errorText, OpError } from "../../shared/errors.js";
import { LIMITS } from "../../shared/limits.js";
import type { ReplicaId, ShardId, Target, TimeMs } from "../../shared/types/ids.js";
import type { Membership } from "../../shared/types/membership.js";
import {
  HostMessageType,
  type Message,
  type RecallMessage,
  type RecallVerdict,
  type WireMessage,
} from "../../shared/types/message.js";
import type { LogDb, RecoveredReplica } from "../logdb/port.js";
import type { Hello, SnapshotHeader } from "../transport/port.js";
import type { ReplicaPorts } from "./ports.js";

/** Told again after this time. */
const NOTICE_INTERVAL_MS = 1_000;
const NOTICES_MAX = 4_096;

/** A replica of this host as seen from here. */
export interface Resident {
  readonly replicaId: ReplicaId;
  readonly raft: { readonly membership: Pick<Membership, "lineage" | "removed"> };
}

export interface OriginsOptions {
  readonly ports: Pick<ReplicaPorts, "env" | "logger" | "logDb" | "peers" | "send">;
  readonly replica: (shardId: ShardId) => Resident | undefined;
  /** For messages that had to wait. */
  readonly deliver: (from: Hello, message: Message) => void;
  /** Sends what was handed to `ports.send` outside of a turn. */
  readonly flush: () => void;
}

export class Origins {
  readonly #options: OriginsOptions;
  /** Messages of replicas whose origin is being made durable. */
  readonly #held = new Map<string, Message[]>();
  readonly #noticedAtMs = new Map<string, TimeMs>();
  /** Shards that have, or once had, data here. */
  readonly #shardsSeen: Set<ShardId>;
  readonly #refused: { add(value?: number): void };

  constructor(options: OriginsOptions) {
    this.#options = options;
    const { logDb, env } = options.ports;
    this.#shardsSeen = shardsOf(logDb);
    this.#refused = env.metrics.counter(
      "drumline_messages_of_lost_replicas_total",
      "Messages dropped because their replica is known on another data directory",
    );
  }

  /** A replica of the shard is started here. */
  started(shardId: ShardId): void {
    this.#shardsSeen.add(shardId);
  }

  /** True: the message counts now. False: it was dropped, or comes back through `deliver`. */
  admits(from: Hello, message: Message): boolean {
    const { shardId, from: replicaId } = message;
    const { peers } = this.#options.ports;
    const origin = peers.originOf(shardId, replicaId);
    if (origin !== undefined && origin.dataSetId === from.dataSetId && origin.saved) return true;
    if (origin !== undefined && origin.dataSetId !== from.dataSetId && message.lineage <= origin.lineage) {
      this.#refuse(from, message);
      return false;
    }
    this.#hold(from, message);
    return false;
  }

  /** Resolves when the sender of a snapshot counts. DL_ERR_DATA_LOST when it never will. */
  async admitStream(from: Hello, { shardId, from: replicaId, lineage }: SnapshotHeader): Promise<void> {
    const { peers } = this.#options.ports;
    const origin = peers.originOf(shardId, replicaId);
    const isOther = origin !== undefined && origin.dataSetId !== from.dataSetId;
    if (isOther && lineage <= origin.lineage) {
      throw new OpError("DL_ERR_DATA_LOST", `shard ${shardId} replica ${replicaId} is known on another directory`);
    }
    if (origin?.saved !== true || isOther) await peers.setOrigin(shardId, replicaId, from.dataSetId, lineage);
  }

  /** Answers when what was learned from the question is durable. */
  answer(from: Hello, recall: RecallMessage): void {
    const { shardId, from: replicaId, to, nonce, lineage } = recall;
    const { peers, logger } = this.#options.ports;
    const reply = (verdict: RecallVerdict): void => this.#reply(from, recall, nonce, verdict);
    const origin = peers.originOf(shardId, replicaId);
    const isOther = origin !== undefined && origin.dataSetId !== from.dataSetId;
    if (isOther && lineage <= origin.lineage) {
      this.#note(from, recall);
      reply("known");
      return;
    }
    if (this.#options.replica(shardId)?.raft.membership.removed.has(replicaId) === true) {
      reply("removed");
      return;
    }
    const active = this.#isActive(shardId, to);
    const verdict = active ? "unknownButActive" : "unknown";
    if (origin?.saved === true && !isOther && lineage <= origin.lineage) reply(verdict);
    else {
      peers.setOrigin(shardId, replicaId, from.dataSetId, lineage).then(
        () => reply(verdict),
        (error: unknown) => logger.warn({ shardId, replicaId, error: errorText(error) }, "a recall is not answered"),
      );
    }
  }

  /** Whether the member asked, or any replica of the shard here, ever voted or acknowledged anything. */
  #isActive(shardId: ShardId, replicaId: ReplicaId): boolean {
    if (!this.#shardsSeen.has(shardId)) return false;
    const running = this.#options.replica(shardId);
    const found = this.#options.ports.logDb.state({ shardId, replicaId: running?.replicaId ?? replicaId });
    return found === undefined || !isPristine(found);
  }

  #hold(from: Hello, message: Message): void {
    const { shardId, from: replicaId, lineage } = message;
    const { peers, logger } = this.#options.ports;
    const key = `${shardId}.${replicaId}`;
    const waiting = this.#held.get(key);
    if (waiting !== undefined) {
      if (waiting.length < LIMITS.heldMessagesMax) waiting.push(message);
      return;
    }
    const held = [message];
    this.#held.set(key, held);
    peers.setOrigin(shardId, replicaId, from.dataSetId, lineage).then(
      () => {
        this.#held.delete(key);
        for (const each of held) this.#options.deliver(from, each);
      },
      (error: unknown) => {
        // As if they were lost on the way: peers repeat what matters.
        this.#held.delete(key);
        logger.warn({ shardId, replicaId, error: errorText(error) }, "messages of a new peer dropped");
      },
    );
  }

  #refuse(from: Hello, message: Message): void {
    this.#refused.add();
    const key = `${message.shardId}.${message.from}`;
    const { env } = this.#options.ports;
    const nowMs = env.now();
    if (nowMs - (this.#noticedAtMs.get(key) ?? Number.NEGATIVE_INFINITY) < NOTICE_INTERVAL_MS) return;
    if (this.#noticedAtMs.size >= NOTICES_MAX) this.#noticedAtMs.clear();
    this.#noticedAtMs.set(key, nowMs);
    this.#note(from, message);
    this.#reply(from, message, 0, "known");
  }

  #note(from: Hello, { shardId, from: replicaId }: WireMessage): void {
    const what = { shardId, replicaId, hostId: from.hostId, raftAddress: from.raftAddress, dataSetId: from.dataSetId };
    this.#options.ports.logger.warn(what, "a replica that lost its data directory is refused");
  }

  #reply(from: Hello, { shardId, from: to, to: own }: WireMessage, nonce: number, verdict: RecallVerdict): void {
    const target: Target = from.hostId;
    const lineage = this.#options.replica(shardId)?.raft.membership.lineage ?? 0;
    this.#options.ports.send(target, {
      type: HostMessageType.RecallResp,
      shardId,
      from: own,
      to,
      term: 0,
      lineage,
      nonce,
      verdict,
    });
    this.#options.flush();
  }
}

function shardsOf(logDb: LogDb): Set<ShardId> {
  const { present, removed } = logDb.list();
  return new Set([...present, ...removed].map((key) => key.shardId));
}

/** As its first start as an initial member left it: no vote, no term of its own, no entry beyond the members. */
function isPristine({ bootstrap, hardState, snapshot, last }: RecoveredReplica): boolean {
  const { term, vote } = hardState;
  return !bootstrap.join && term <= 1 && vote === 0 && snapshot === undefined && last <= bootstrap.initial.voters.size;
}
