/**
 * The client sessions of one shard: what makes a retried proposal apply once. Part of the replicated state, so what is
 * done here depends on the entries in their order and on nothing else: equal tables on all replicas at equal applied
 * index, order of use included, because it decides who is evicted. Saved in that order with every snapshot.
 *
 * A session begins with the index of its registration as the highest series answered, so its first proposal has the
 * next number. A registration that is delivered late, after its session was evicted, therefore opens one to which all
 * series used before are stale: nothing that was applied can be applied again. Each proposal raises the series by one
 * and takes an entry, so a series never outruns the log.
 *
 * Answers of an on-disk machine may be lost: what it holds from before a crash is not applied again. So there they are
 * no part of the replicated state: which series were applied is, what was answered is not, neither in the hash nor in
 * what decides about evictions. Above the bound of bytes the oldest answers are forgotten, as if lost.
 *
 * Invariants: a series of a session is applied at most once while the session lives, and never after it was answered;
 * the table holds at most `sessionsMax` sessions, each a bounded number of results, all together a bounded number of
 * bytes. Nothing throws on what an entry may contain. Used by Applier and Rsm, and as it is by the simulator.
 */
import type { EntrySession } from "../../shared/codec/block.js";
import { ByteReader, ByteWriter, MalformedError } from "../../shared/codec/bytes.js";
import { LIMITS } from "../../shared/limits.js";
import type { Index } from "../../shared/types/ids.js";
import { isClientId, SERIES_REGISTER, SERIES_UNREGISTER, type SessionRefusal } from "../../shared/types/session.js";
import { hash64 } from "./hash.js";
import type { Result } from "./state-machine.js";

/** What becomes of a session's entry: the machine applies it, it has its answer already, or it is refused. */
export type SessionVerdict =
  | { readonly kind: "apply" }
  | { readonly kind: "answered"; readonly result: Result }
  | { readonly kind: "refused"; readonly code: SessionRefusal };

/** One session, for those who look at the table. */
export interface SessionView {
  readonly clientId: string;
  readonly registeredAt: Index;
  readonly respondedTo: number;
  /** By series, in order of application; undefined: applied, but the answer is lost. */
  readonly results: ReadonlyMap<number, Result | undefined>;
}

export interface SessionLimits {
  readonly sessionsMax: number;
  readonly resultsMax: number;
  readonly bytesMax: number;
  /** Of an on-disk machine: answers are local. Default false. */
  readonly resultsMayBeLost: boolean;
}

interface Session extends SessionView {
  respondedTo: number;
  readonly results: Map<number, Result | undefined>;
}

const APPLY: SessionVerdict = { kind: "apply" };
const FLAG_NEGATIVE = 1;
const FLAG_DATA = 2;
const FLAG_LOST = 4;
/** Forgetting answers goes on down to this part of the bound, so that it is rarely begun. */
const KEPT_SHARE = 0.75;
/** Encoded, without results. */
const SESSION_BYTES = 28;
const NO_DATA = new Uint8Array(0);

export class SessionTable {
  readonly #limits: SessionLimits;
  /** Least recently used first. */
  #sessions = new Map<string, Session>();
  /** Bytes of result data kept. */
  #bytes = 0;

  constructor(limits: Partial<SessionLimits> = {}) {
    this.#limits = {
      sessionsMax: limits.sessionsMax ?? LIMITS.sessionsPerShardMax,
      resultsMax: limits.resultsMax ?? LIMITS.sessionResultsMax,
      bytesMax: limits.bytesMax ?? LIMITS.sessionResultBytesMax,
      resultsMayBeLost: limits.resultsMayBeLost ?? false,
    };
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** Least recently used first. */
  list(): IterableIterator<SessionView> {
    return this.#sessions.values();
  }

  /** Decides about the entry at `index`. After "apply" the machine's answer must be given to `record`. */
  begin(entry: EntrySession, index: Index): SessionVerdict {
    const { clientId, seriesId, respondedTo } = entry;
    if (seriesId === SERIES_REGISTER) return this.#register(clientId, index);
    const session = this.#sessions.get(clientId);
    if (session === undefined) return refused("DL_ERR_SESSION_NOT_FOUND");
    if (seriesId === SERIES_UNREGISTER) {
      this.#remove(session);
      return answered({ value: session.registeredAt });
    }
    this.#touch(session);
    this.#respond(session, respondedTo);
    if (seriesId <= session.respondedTo) return refused("DL_ERR_SESSION_STALE");
    if (!session.results.has(seriesId)) return APPLY;
    const known = session.results.get(seriesId);
    return known === undefined ? refused("DL_ERR_SESSION_RESULT_LOST") : answered(copyOf(known));
  }

  /**
   * The machine's answer to the entry that `begin` let through. Keeps a copy. Undefined: the machine had applied the
   * entry before it was opened, and nobody knows its answer.
   */
  record(entry: EntrySession, result: Result | undefined): void {
    const session = this.#sessions.get(entry.clientId);
    if (session === undefined) return;
    session.results.set(entry.seriesId, result === undefined ? undefined : copyOf(result));
    this.#bytes += result?.data?.length ?? 0;
    // A client that never says what it has seen: its oldest answer is taken as seen.
    if (session.results.size > this.#limits.resultsMax) this.#respond(session, Math.min(...session.results.keys()));
    this.#evict();
  }

  /** The whole table, least recently used session first (proto/FORMATS.md). No bytes when there is no session. */
  encode(): Uint8Array {
    return this.#encode(true);
  }

  #encode(withResults: boolean): Uint8Array {
    if (this.#sessions.size === 0) return NO_DATA;
    const w = new ByteWriter(4 + this.#sessions.size * (SESSION_BYTES + 24) + this.#bytes);
    w.u32(this.#sessions.size);
    for (const { clientId, registeredAt, respondedTo, results } of this.#sessions.values()) {
      w.bytes(hexBytes(clientId)).u64(registeredAt).u64(respondedTo).u32(results.size);
      for (const [series, result] of results) writeResult(w.u64(series), withResults ? result : undefined);
    }
    return w.finish();
  }

  /** Replaces the whole table by an encoded one. Throws MalformedError and then leaves the table as it was. */
  restore(encoded: Uint8Array): void {
    const sessions = new Map<string, Session>();
    if (encoded.length > 0) {
      const r = new ByteReader(encoded);
      const count = r.u32();
      if (count === 0 || count * SESSION_BYTES > r.remaining) throw new MalformedError(`${count} sessions do not fit`);
      for (let i = 0; i < count; i++) {
        const session = readSession(r, this.#limits.resultsMayBeLost);
        if (sessions.has(session.clientId)) throw new MalformedError(`session ${session.clientId} is there twice`);
        sessions.set(session.clientId, session);
      }
      r.end();
    }
    this.#sessions = sessions;
    this.#bytes = 0;
    for (const session of sessions.values()) this.#bytes += dataBytes(session);
  }

  /** Equal on two replicas exactly when their tables are, order of use included. */
  hash(): string {
    return hash64(this.#encode(!this.#limits.resultsMayBeLost));
  }

  /** Registering again is a use like any other: it answers the same and changes nothing. */
  #register(clientId: string, index: Index): SessionVerdict {
    if (!isClientId(clientId)) return refused("DL_ERR_INVALID_SESSION");
    let session = this.#sessions.get(clientId);
    if (session === undefined) {
      session = { clientId, registeredAt: index, respondedTo: index, results: new Map() };
      this.#sessions.set(clientId, session);
      this.#evict();
    } else {
      this.#touch(session);
    }
    return answered({ value: session.registeredAt });
  }

  #touch(session: Session): void {
    this.#sessions.delete(session.clientId);
    this.#sessions.set(session.clientId, session);
  }

  /** The client has the answers up to `series`: they are not needed any more. */
  #respond(session: Session, series: number): void {
    if (series <= session.respondedTo) return;
    session.respondedTo = series;
    for (const [known, result] of session.results) {
      if (known > series) continue;
      this.#bytes -= result?.data?.length ?? 0;
      session.results.delete(known);
    }
  }

  #evict(): void {
    const { sessionsMax, bytesMax, resultsMayBeLost } = this.#limits;
    if (resultsMayBeLost && this.#bytes > bytesMax) this.#forget(bytesMax * KEPT_SHARE);
    for (const session of this.#sessions.values()) {
      if (this.#sessions.size <= sessionsMax && this.#bytes <= bytesMax) return;
      this.#remove(session);
    }
  }

  /** Loses answers, of the sessions used longest ago first, until no more than `bytesMax` are kept. */
  #forget(bytesMax: number): void {
    for (const { results } of this.#sessions.values()) {
      for (const [series, result] of results) {
        if (this.#bytes <= bytesMax) return;
        if (result?.data === undefined) continue;
        this.#bytes -= result.data.length;
        results.set(series, undefined);
      }
    }
  }

  #remove(session: Session): void {
    this.#sessions.delete(session.clientId);
    this.#bytes -= dataBytes(session);
  }
}

function answered(result: Result): SessionVerdict {
  return { kind: "answered", result };
}

function refused(code: SessionRefusal): SessionVerdict {
  return { kind: "refused", code };
}

/** Of its own memory: the machine's bytes may be a view that it uses again, and callers may write into theirs. */
function copyOf({ value, data }: Result): Result {
  return data === undefined ? { value } : { value, data: data.slice() };
}

function dataBytes(session: SessionView): number {
  let bytes = 0;
  for (const result of session.results.values()) bytes += result?.data?.length ?? 0;
  return bytes;
}

function readSession(r: ByteReader, mayBeLost: boolean): Session {
  const clientId = hexText(r.bytes(8));
  if (!isClientId(clientId)) throw new MalformedError("a session without client id");
  const session: Session = { clientId, registeredAt: r.u64(), respondedTo: r.u64(), results: new Map() };
  const count = r.u32();
  for (let i = 0; i < count; i++) {
    const series = r.u64();
    if (series <= session.respondedTo || session.results.has(series)) {
      throw new MalformedError(`session ${clientId}: result of series ${series} cannot be`);
    }
    const result = readResult(r);
    if (result === undefined && !mayBeLost) throw new MalformedError(`session ${clientId}: a result is lost`);
    session.results.set(series, result);
  }
  return session;
}

function writeResult(w: ByteWriter, result: Result | undefined): void {
  if (result === undefined) {
    w.u8(FLAG_LOST).u64(0);
    return;
  }
  const { value, data } = result;
  w.u8((value < 0 ? FLAG_NEGATIVE : 0) | (data === undefined ? 0 : FLAG_DATA));
  w.u64(Math.abs(value));
  if (data !== undefined) w.blob(data);
}

function readResult(r: ByteReader): Result | undefined {
  const flags = r.u8();
  if (flags > FLAG_LOST) throw new MalformedError(`a session's result has flags ${flags}`);
  const size = r.u64();
  if (flags === FLAG_LOST) return undefined;
  const value = flags & FLAG_NEGATIVE ? -size : size;
  return flags & FLAG_DATA ? { value, data: r.blob().slice() } : { value };
}

function hexBytes(hex: string): Uint8Array {
  return Uint8Array.from({ length: 8 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

function hexText(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}
