/**
 * Client sessions as callers hold them: with one, a proposal whose outcome is unknown can be proposed again, through
 * any host, until it is answered, and applies once. What a shard knows of its sessions is in nodehost/rsm/sessions.ts.
 *
 *   const session = await host.syncGetSession(shardId)
 *   const result = await host.syncPropose(session, command)   // on outcome "unknown": the same call again
 *   session.proposalCompleted()                               // the answer is here, the next proposal is another
 *   await host.syncCloseSession(session)
 *
 * Invariant: one proposal in flight per session; a series carries one command until it is answered or given up.
 */
import { OpError } from "../../shared/errors.js";
import { isSafeUint, type ShardId } from "../../shared/types/ids.js";
import {
  isClientId,
  NO_CLIENT,
  SERIES_MAX,
  SERIES_NONE,
  SERIES_REGISTER,
  SERIES_UNREGISTER,
  type SessionState,
} from "../../shared/types/session.js";

/** What a session is fit for. */
type Phase = "none" | "register" | "propose" | "unregister" | "closed";

export class Session implements SessionState {
  readonly shardId: ShardId;
  /** 16 hexadecimal digits; zeros for a no-op session. */
  readonly clientId: string;
  #phase: Phase;
  #seriesId = SERIES_NONE;
  #respondedTo = 0;
  #inFlight = false;
  /** The command of the series, as a checksum, from its first attempt until it is answered for certain. */
  #command: string | undefined;
  #answered = false;

  private constructor(shardId: ShardId, clientId: string, phase: Phase) {
    this.shardId = shardId;
    this.clientId = clientId;
    this.#phase = phase;
    if (phase === "register") this.#seriesId = SERIES_REGISTER;
  }

  /** No session: retried after an unknown outcome a proposal may apply twice. */
  static noOp(shardId: ShardId): Session {
    return new Session(shardId, NO_CLIENT, "none");
  }

  /** Not known to the shard yet: fit for `proposeSession`, which opens it. */
  static prepared(shardId: ShardId, clientId: string): Session {
    if (!isClientId(clientId)) throw invalid(`client id ${JSON.stringify(clientId)}`);
    return new Session(shardId, clientId, "register");
  }

  /** An open session that was used elsewhere before. DL_ERR_INVALID_SESSION. */
  static resume(state: SessionState): Session {
    const { shardId, clientId, seriesId, respondedTo } = state;
    if (!isClientId(clientId)) throw invalid(`client id ${JSON.stringify(clientId)}, expected 16 hexadecimal digits`);
    if (!isSafeUint(seriesId) || seriesId <= SERIES_NONE || seriesId > SERIES_MAX || respondedTo !== seriesId - 1) {
      throw invalid(`series ${seriesId} responded to ${respondedTo}, expected a series and the one before it`);
    }
    const session = new Session(shardId, clientId, "propose");
    session.#seriesId = seriesId;
    session.#respondedTo = respondedTo;
    return session;
  }

  /** Series of the next proposal (or of its retry); 0 of a no-op session. */
  get seriesId(): number {
    return this.#seriesId;
  }

  get respondedTo(): number {
    return this.#respondedTo;
  }

  get isNoOp(): boolean {
    return this.#phase === "none";
  }

  /**
   * The proposal of this series is done with: its answer is here, or no longer wanted. The next proposal is another
   * one. Given up while its outcome is unknown, it is applied at most once, and never after the next proposal.
   * DL_ERR_INVALID_SESSION while it is in flight.
   */
  proposalCompleted(): void {
    this.#mustBe("propose");
    if (this.#seriesId >= SERIES_MAX) throw invalid("it has no series left");
    this.#respondedTo = this.#seriesId;
    this.#seriesId += 1;
    this.#command = undefined;
    this.#answered = false;
  }

  /** Makes an open session fit for `proposeSession`, which closes it. `syncCloseSession` does both. */
  prepareForUnregister(): void {
    this.#mustBe("propose");
    this.#phase = "unregister";
    this.#seriesId = SERIES_UNREGISTER;
  }

  /** `prepareForUnregister` was called. */
  get isClosing(): boolean {
    return this.#phase === "unregister";
  }

  /** @internal Begins an attempt to propose. True if an earlier one of this series may have been applied. */
  beginProposal(command: string): boolean {
    this.#mustBe("propose");
    if (this.#answered) throw invalid(`series ${this.#seriesId} is answered: call proposalCompleted first`);
    const repeats = this.#command !== undefined;
    if (repeats && this.#command !== command) {
      throw invalid(`series ${this.#seriesId} has another command, of unknown outcome: call proposalCompleted first`);
    }
    this.#command = command;
    this.#inFlight = true;
    return repeats;
  }

  /** @internal `repeats` is what `beginProposal` answered. */
  endProposal(error: OpError | undefined, repeats: boolean): void {
    this.#inFlight = false;
    if (error === undefined || error.outcome === "applied") this.#answered = true;
    else if (error.outcome === "rejected" && !repeats) this.#command = undefined;
  }

  /** @internal Begins to open or close. */
  beginTransition(): void {
    if (this.#phase !== "register" && this.#phase !== "unregister") throw this.#misused("opened or closed");
    if (this.#inFlight) throw invalid("a request of it is in flight");
    this.#inFlight = true;
  }

  /** @internal `registeredAt` is the shard's answer; undefined if it was not done or is not known. */
  endTransition(registeredAt: number | undefined): void {
    this.#inFlight = false;
    if (registeredAt === undefined) return;
    if (this.#phase === "unregister") {
      this.#phase = "closed";
      return;
    }
    this.#phase = "propose";
    this.#respondedTo = registeredAt;
    this.#seriesId = registeredAt + 1;
  }

  #mustBe(phase: "propose"): void {
    if (this.#phase !== phase) throw this.#misused("proposed with");
    if (this.#inFlight) throw invalid(`its proposal of series ${this.#seriesId} is in flight`);
  }

  #misused(what: string): OpError {
    const is = { none: "no session", register: "not open yet", propose: "open", unregister: "being closed" };
    const phase = this.#phase === "closed" ? "closed" : is[this.#phase];
    return invalid(`it is ${phase}, it cannot be ${what}`);
  }
}

/** See `Session.noOp`. */
export function noOpSession(shardId: ShardId): Session {
  return Session.noOp(shardId);
}

function invalid(what: string): OpError {
  return new OpError("DL_ERR_INVALID_SESSION", what);
}
