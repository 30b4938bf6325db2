/**
 * Proposals of one replica that wait for its next step, and how they become blocks: in order, as large as allowed, a
 * membership change always alone. Used by Replica only.
 *
 * Invariant: the sequences of a block have no gap, because a dropped block is reported as (first sequence, count).
 */
import { type BlockBody, type BlockBuilder, type EntrySession, EntryType } from "../../shared/codec/block.js";
import { OpError } from "../../shared/errors.js";
import { LIMITS } from "../../shared/limits.js";
import type { RequestKey } from "../../shared/types/ids.js";
import { witnessError } from "../rsm/index.js";
import type { FullReplicaConfig } from "./config.js";
import type { RequestState } from "./requests.js";

export interface QueuedProposal {
  readonly request: RequestState;
  readonly type: EntryType;
  readonly firstSequence: number;
  readonly commands: readonly Uint8Array[];
  /** With one command only. */
  readonly session?: EntrySession | undefined;
}

/** A witness applies changes of the membership only: of anything else it would never hear the outcome. */
export function witnessRefusal(config: FullReplicaConfig, type: EntryType): OpError | undefined {
  const answers = !config.isWitness || type === EntryType.ConfigChange;
  return answers ? undefined : witnessError(config.shardId, config.replicaId);
}

/** What a replica holds already. */
export interface Room {
  /** Why the log takes nothing. */
  readonly log: OpError | undefined;
  /** Bytes of commands that wait for the next step. */
  readonly queuedBytes: number;
  /** Proposals not answered. */
  readonly open: number;
}

/** Why these commands are not taken, or undefined: every bound is kept before anything is queued. */
export function admissionError(
  request: RequestState,
  commands: readonly Uint8Array[],
  room: Room,
): OpError | undefined {
  for (const command of commands) {
    if (command.length <= LIMITS.commandBytesMax) continue;
    const what = `command of ${command.length} bytes, at most ${LIMITS.commandBytesMax}`;
    return new OpError("DL_ERR_PAYLOAD_TOO_BIG", what);
  }
  if (room.log !== undefined) return room.log;
  if (room.queuedBytes >= LIMITS.proposalQueueBytesMax) return new OpError("DL_ERR_SYSTEM_BUSY", "the queue is full");
  if (room.open + request.count > LIMITS.pendingRequestsMax) {
    return new OpError("DL_ERR_SYSTEM_BUSY", `${room.open} requests are open`);
  }
  return undefined;
}

export class ProposalQueue {
  /** Shared by all replicas of the host: empty before and after `pack`. */
  readonly #builder: BlockBuilder;
  #queue: QueuedProposal[] = [];
  #bytes = 0;

  constructor(builder: BlockBuilder) {
    this.#builder = builder;
  }

  /** Bytes of the commands that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  add(proposal: QueuedProposal): void {
    for (const command of proposal.commands) this.#bytes += command.length;
    this.#queue.push(proposal);
  }

  clear(): void {
    this.#queue = [];
    this.#bytes = 0;
  }

  /** Hands over everything that waits as blocks; requests settled meanwhile (aborted) are left out. */
  pack(keyOf: (sequence: number) => RequestKey, propose: (body: BlockBody) => void): void {
    if (this.#queue.length === 0) return;
    const queue = this.#queue;
    this.clear();
    const builder = this.#builder;
    const flush = (): void => {
      if (builder.count > 0) propose(builder.finish());
    };
    for (const { request, type, firstSequence, commands, session } of queue) {
      if (request.settled) {
        flush();
        continue;
      }
      request.handedOver = true;
      const alone = type === EntryType.ConfigChange;
      if (alone) flush();
      let sequence = firstSequence;
      for (const command of commands) {
        const full =
          builder.count >= LIMITS.blockEntriesMax || builder.byteLength + command.length > LIMITS.blockBytesMax;
        if (full) flush();
        builder.add(type, keyOf(sequence), command, session);
        sequence += 1;
      }
      if (alone) flush();
    }
    flush();
  }
}
