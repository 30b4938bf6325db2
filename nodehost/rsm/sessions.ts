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
  /** By series, in order of application. */
  readonly results: ReadonlyMap<number, Result>;
}

export interface SessionLimits {
  readonly sessionsMax: number;
  readonly resultsMax: number;
  readonly bytesMax: number;
}

interface Session extends SessionView {
  respondedTo: number;
  readonly results: Map<number, Result>;
}

const APPLY: SessionVerdict = { kind: "apply" };
const FLAG_NEGATIVE = 1;
const FLAG_DATA = 2;
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
    const known = session.results.get(seriesId);
    return known === undefined ? APPLY : answered(copyOf(known));
  }

  /** The machine's answer to the entry that `begin` let through. Keeps a copy. */
  record(entry: EntrySession, result: Result): void {
    const session = this.#sessions.get(entry.clientId);
    if (session === undefined) return;
    session.results.set(entry.seriesId, copyOf(result));
    this.#bytes += result.data?.length ?? 0;
    // A client that never says what it has seen: its oldest answer is taken as seen.
    if (session.results.size > this.#limits.resultsMax) this.#respond(session, Math.min(...session.results.keys()));
    this.#evict();
  }

  /** The whole table, least recently used session first (proto/FORMATS.md). No bytes when there is no session. */
  encode(): Uint8Array {
    if (this.#sessions.size === 0) return NO_DATA;
    const w = new ByteWriter(4 + this.#sessions.size * (SESSION_BYTES + 24) + this.#bytes);
    w.u32(this.#sessions.size);
    for (const { clientId, registeredAt, respondedTo, results } of this.#sessions.values()) {
      w.bytes(hexBytes(clientId)).u64(registeredAt).u64(respondedTo).u32(results.size);
      for (const [series, { value, data }] of results) {
        w.u64(series).u8((value < 0 ? FLAG_NEGATIVE : 0) | (data === undefined ? 0 : FLAG_DATA));
        w.u64(Math.abs(value));
        if (data !== undefined) w.blob(data);
      }
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
        const session = readSession(r);
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
    return hash64(this.encode());
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
    for (const [known, { data }] of session.results) {
      if (known > series) continue;
      this.#bytes -= data?.length ?? 0;
      session.results.delete(known);
    }
  }

  #evict(): void {
    const { sessionsMax, bytesMax } = this.#limits;
    for (const session of this.#sessions.values()) {
      if (this.#sessions.size <= sessionsMax && this.#bytes <= bytesMax) return;
      this.#remove(session);
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
  for (const { data } of session.results.values()) bytes += data?.length ?? 0;
  return bytes;
}

function readSession(r: ByteReader): Session {
  const clientId = hexText(r.bytes(8));
  if (!isClientId(clientId)) throw new MalformedError("a session without client id");
  const session: Session = { clientId, registeredAt: r.u64(), respondedTo: r.u64(), results: new Map() };
  const count = r.u32();
  for (let i = 0; i < count; i++) {
    const series = r.u64();
    if (series <= session.respondedTo || session.results.has(series)) {
      throw new MalformedError(`session ${clientId}: result of series ${series} cannot be`);
    }
    session.results.set(series, readResult(r));
  }
  return session;
}

function readResult(r: ByteReader): Result {
  const flags = r.u8();
  if (flags > (FLAG_NEGATIVE | FLAG_DATA)) throw new MalformedError(`a session's result has flags ${flags}`);
  const size = r.u64();
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
