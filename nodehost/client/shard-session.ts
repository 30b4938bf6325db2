/**
 * A session of a ShardClient: its proposals are tried again, through any host and under the same series, until they
 * are answered, and apply once. Proposals go one after the other.
 *
 * Invariant (P38): an attempt is repeated only under its series; once an attempt ended unknown, nothing later, not
 * even a certain refusal of a later attempt, makes the outcome of the proposal known but its answer.
 */
import { isOpError, OpError } from "../../shared/errors.js";
import type { SessionState } from "../../shared/types/session.js";
import type { ClientCallOptions, ProposeAnswer } from "./host-client.js";

type Again = (error: OpError) => boolean;
type Limit = ClientCallOptions | undefined;

/** The calls of one shard, each tried through one host after the other as long as `again` says so. */
export interface SessionCalls {
  open(limit: Limit, again: Again): Promise<SessionState>;
  propose(attempt: SessionProposal, limit: Limit, again: Again): Promise<ProposeAnswer>;
  close(session: SessionState, limit: Limit, again: Again): Promise<void>;
}

export interface SessionProposal {
  readonly session: SessionState;
  readonly command: Uint8Array;
}

export class ShardSession {
  readonly #calls: SessionCalls;
  /** With the series of the next proposal; undefined when another session must be opened first. */
  #session: SessionState | undefined;
  /** What ended unknown and is neither retried nor given up. */
  #pending: SessionProposal | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(calls: SessionCalls, session: SessionState) {
    this.#calls = calls;
    this.#session = session;
  }

  static async open(calls: SessionCalls, options: Limit): Promise<ShardSession> {
    return new ShardSession(calls, await calls.open(options, mayTryAgain));
  }

  /**
   * Resolves when the command is applied, to the answer of the one time that it was. `timeoutMs` counts from the end
   * of the proposals before it. Rejects with outcome `unknown` when the time ends first: `retry` goes on with it, the
   * next `propose` gives it up (then it is applied at most once, and never after what is proposed next).
   */
  propose(command: Uint8Array, options?: ClientCallOptions): Promise<ProposeAnswer> {
    return this.#inTurn(() => this.#fresh(command, options));
  }

  /** Goes on with the proposal that ended unknown. DL_ERR_INVALID_SESSION if there is none. */
  retry(options?: ClientCallOptions): Promise<ProposeAnswer> {
    return this.#inTurn(() => {
      const pending = this.#pending;
      if (pending === undefined) throw new OpError("DL_ERR_INVALID_SESSION", "no proposal of it ended unknown");
      return this.#attempt(pending, options, true);
    });
  }

  /** Closes the session after the proposals before it. Without it the session stays until others evict it. */
  close(options?: ClientCallOptions): Promise<void> {
    return this.#inTurn(async () => {
      this.#closed = true;
      const session = this.#session ?? this.#pending?.session;
      if (session === undefined) return;
      try {
        await this.#calls.close(session, options, mayTryAgain);
      } catch (error) {
        if (!isOpError(error) || error.code !== "DL_ERR_SESSION_NOT_FOUND") throw error;
      }
    });
  }

  #inTurn<T>(call: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(() => {
      if (this.#closed) throw new OpError("DL_ERR_INVALID_SESSION", "it is closed");
      return call();
    });
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #fresh(command: Uint8Array, options: Limit): Promise<ProposeAnswer> {
    if (this.#pending !== undefined) this.#session = next(this.#pending.session);
    this.#pending = undefined;
    const known = this.#session;
    const session = known ?? (await this.#calls.open(options, mayTryAgain));
    this.#session = session;
    try {
      return await this.#attempt({ session, command }, options, false);
    } catch (error) {
      // Evicted while it was idle: nothing of this series was ever applied, so another session is as good.
      const idle = known !== undefined && isOpError(error) && error.outcome === "rejected" && isLoss(error);
      if (!idle) throw error;
      return await this.#fresh(command, options);
    }
  }

  /** `uncertain`: an earlier attempt may have been applied. */
  async #attempt(proposal: SessionProposal, options: Limit, uncertain: boolean): Promise<ProposeAnswer> {
    const state = { uncertain };
    const again = (error: OpError): boolean => {
      if (error.outcome === "unknown") state.uncertain = true;
      return mayTryAgain(error);
    };
    try {
      const answer = await this.#calls.propose(proposal, options, again);
      this.#pending = undefined;
      this.#session = next(proposal.session);
      return answer;
    } catch (error) {
      throw this.#failed(proposal, error, state.uncertain || !isOpError(error));
    }
  }

  #failed(proposal: SessionProposal, error: unknown, uncertain: boolean): unknown {
    const lost = isOpError(error) && isLoss(error);
    const applied = isOpError(error) && error.outcome === "applied";
    this.#pending = uncertain && !lost && !applied ? proposal : undefined;
    if (lost) this.#session = undefined;
    else if (applied) this.#session = next(proposal.session);
    if (!uncertain || !isOpError(error) || error.outcome !== "rejected") return error;
    const what = `an earlier attempt may have been applied; the last one: ${error.message}`;
    return new OpError(error.code, what, { outcome: "unknown", cause: error });
  }
}

/** The shard no longer knows what this session did. */
function isLoss(error: OpError): boolean {
  return error.code === "DL_ERR_SESSION_NOT_FOUND" || error.code === "DL_ERR_SESSION_STALE";
}

const ELSEWHERE = ["DL_ERR_SHARD_NOT_FOUND", "DL_ERR_REPLICA_REMOVED", "DL_ERR_REPLICA_FENCED"];

/** Under a session an unknown outcome is no reason to stop: the same series cannot apply twice. */
function mayTryAgain(error: OpError): boolean {
  return error.outcome === "unknown" || error.retryable || ELSEWHERE.includes(error.code);
}

function next(session: SessionState): SessionState {
  return { ...session, seriesId: session.seriesId + 1, respondedTo: session.seriesId };
}
