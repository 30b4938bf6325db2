/**
 * What this host knows of others, durably: per data directory (data set) its newest start and the highest log sequence
 * it acknowledged, and per replica the data set under which it first spoke. With it a directory that was restored from
 * an older copy, is used by two processes, or replaced one that was lost is recognised: none of them may vote.
 *
 * Durable before it counts: the start of a peer, and the data set of a replica. The acknowledged sequence lags by up to
 * `LIMITS.peerSequenceLagMs` (RELIABILITY.md says what that leaves open). Rows of the file `peers` (row-file.ts):
 *   host <dataSetId>           JSON: hostId, counter, nonce, sequence
 *   replica <shard> <replica>  <dataSetId> <lineage>
 *   unproven <shard> <replica> a replica of ours that may not take part yet (engine/introductions.ts)
 *   refused                    JSON: code, detail: peers refused this directory, for ever
 */
import type { Env, TimerHandle } from "../../shared/env/env.js";
import { errorText, isErrorCode, OpError } from "../../shared/errors.js";
import { LIMITS } from "../../shared/limits.js";
import {
  type DataSetId,
  type HostId,
  isSafeUint,
  isUuid,
  type ReplicaId,
  type ShardId,
} from "../../shared/types/ids.js";
import type { DirectoryRefusal, PeerMemory } from "../engine/index.js";
import type { Hello } from "../transport/port.js";
import type { RowFile } from "./row-file.js";

export const PEERS_FILE = "peers";

/** One data set of a peer. */
interface Known {
  readonly hostId: HostId;
  counter: number;
  nonce: string;
  /** Nonce of the start before, as long as this process has seen both: tells a twin from an old copy. */
  earlierNonce: string;
  /** Highest durable log sequence that any start of it acknowledged. */
  sequence: number;
  /** Until counter and nonce are durable: their write, or undefined when it failed and is to be tried again. */
  saving: Promise<void> | undefined;
  saved: boolean;
}

interface Origin {
  readonly dataSetId: DataSetId;
  lineage: number;
  saved: boolean;
}

export interface RegisterSelf {
  readonly hostId: HostId;
  readonly dataSetId: DataSetId;
  readonly counter: number;
  readonly nonce: string;
  readonly deploymentId: number;
}

export class PeerRegister implements PeerMemory {
  readonly #self: RegisterSelf;
  readonly #rows: RowFile;
  readonly #env: Env;
  readonly #hosts = new Map<DataSetId, Known>();
  readonly #replicas = new Map<ShardId, Map<ReplicaId, Origin>>();
  readonly #unproven = new Set<string>();
  #replicaCount = 0;
  #refusal: DirectoryRefusal | undefined;
  /** Data sets whose sequence grew since it was last written. */
  readonly #grown = new Set<DataSetId>();
  readonly #ticker: TimerHandle;

  constructor(self: RegisterSelf, rows: RowFile, env: Env) {
    this.#self = self;
    this.#rows = rows;
    this.#env = env;
    for (const [key, value] of rows.rows) this.#load(key, value);
    this.#ticker = env.timers.every(LIMITS.peerSequenceLagMs, () => this.#saveSequences());
  }

  // Peers.

  /**
   * May this peer be talked to? Throws DL_ERR_DEPLOYMENT_MISMATCH, _HOST_MISMATCH, _HOST_CLONED, _DATA_STALE. A start
   * that is accepted is the newest one from now on; it counts when `settled` says so.
   */
  check(hello: Hello): void {
    const { hostId, incarnation, deploymentId, dataSetId } = hello;
    if (deploymentId !== this.#self.deploymentId) {
      const what = `deployment ${deploymentId}, expected ${this.#self.deploymentId}`;
      throw new OpError("DL_ERR_DEPLOYMENT_MISMATCH", what);
    }
    if (hostId === this.#self.hostId) {
      if (incarnation.nonce === this.#self.nonce) return;
      throw new OpError("DL_ERR_HOST_CLONED", `host ${hostId} at ${hello.raftAddress} is also this host`);
    }
    const known = this.#hosts.get(dataSetId);
    if (known?.nonce === incarnation.nonce && known.counter === incarnation.counter) return;
    if (known !== undefined) checkLater(hello, known);
    const next: Known = {
      hostId,
      counter: incarnation.counter,
      nonce: incarnation.nonce,
      earlierNonce: known?.nonce ?? "",
      sequence: Math.max(known?.sequence ?? 0, hello.recoveredWalSequence),
      saving: undefined,
      saved: false,
    };
    this.#hosts.delete(dataSetId);
    this.#hosts.set(dataSetId, next);
    this.#forgetOldest();
    void this.#saveStart(dataSetId, next);
  }

  /** Undefined when the peer's start is durable here, else the write to wait for. Messages count only then. */
  settled(from: Hello): Promise<void> | undefined {
    const known = this.#hosts.get(from.dataSetId);
    if (known === undefined || known.saved) return undefined;
    return known.saving ?? this.#saveStart(from.dataSetId, known);
  }

  /** The peer says that its log is durable up to here. False if a newer start of it was seen: it must not be heard. */
  acknowledge(from: Hello, sequence: number): boolean {
    const known = this.#hosts.get(from.dataSetId);
    if (known === undefined) return from.hostId === this.#self.hostId;
    if (known.nonce !== from.incarnation.nonce) return false;
    if (sequence > known.sequence) {
      known.sequence = sequence;
      this.#grown.add(from.dataSetId);
    }
    return true;
  }

  // Replicas (PeerMemory).

  originOf(shardId: ShardId, replicaId: ReplicaId): Origin | undefined {
    return this.#replicas.get(shardId)?.get(replicaId);
  }

  async setOrigin(shardId: ShardId, replicaId: ReplicaId, dataSetId: DataSetId, lineage: number): Promise<void> {
    const shard = this.#replicas.get(shardId) ?? new Map<ReplicaId, Origin>();
    if (!shard.has(replicaId)) {
      if (this.#replicaCount >= LIMITS.peerReplicasMax) {
        const what = `${this.#replicaCount} replicas of peers are remembered, at most ${LIMITS.peerReplicasMax}`;
        throw new OpError("DL_ERR_SYSTEM_BUSY", what);
      }
      this.#replicaCount += 1;
    }
    const origin: Origin = { dataSetId, lineage, saved: false };
    this.#replicas.set(shardId, shard);
    shard.set(replicaId, origin);
    await this.#rows.set(`replica ${shardId} ${replicaId}`, `${dataSetId} ${lineage}`);
    origin.saved = true;
  }

  isUnproven(shardId: ShardId, replicaId: ReplicaId): boolean {
    return this.#unproven.has(`unproven ${shardId} ${replicaId}`);
  }

  setUnproven(shardId: ShardId, replicaId: ReplicaId, unproven: boolean): Promise<void> {
    const key = `unproven ${shardId} ${replicaId}`;
    if (unproven === this.#unproven.has(key)) return Promise.resolve();
    if (unproven) this.#unproven.add(key);
    else this.#unproven.delete(key);
    return this.#rows.set(key, unproven ? "" : null);
  }

  // This directory.

  /** Set when peers refused this directory, in this start or an earlier one. */
  get refusal(): DirectoryRefusal | undefined {
    return this.#refusal;
  }

  /** For ever: a stale or copied directory does not become good by being started again. Resolves when durable. */
  setRefusal(refusal: DirectoryRefusal): Promise<void> {
    this.#refusal ??= refusal;
    return this.#rows.set("refused", JSON.stringify(this.#refusal));
  }

  /** Sequences not written yet are written now, and the file is closed. */
  async close(): Promise<void> {
    this.#ticker.cancel();
    this.#saveSequences();
    await this.#rows.close();
  }

  /** True for another process with the identity of this host. */
  isTwin(hello: Hello): boolean {
    return hello.hostId === this.#self.hostId && hello.incarnation.nonce !== this.#self.nonce;
  }

  /** True if `twin`, which has our identity, was there first: then this process is the copy. */
  startedAfter(twin: Hello): boolean {
    return twin.dataSetId === this.#self.dataSetId && twin.incarnation.counter < this.#self.counter;
  }

  #saveStart(dataSetId: DataSetId, known: Known): Promise<void> {
    const saving = this.#set(dataSetId, known).then(
      () => {
        known.saved = true;
        known.saving = undefined;
      },
      (error: unknown) => {
        known.saving = undefined;
        throw error;
      },
    );
    known.saving = saving;
    saving.catch((error: unknown) => this.#warn(error));
    return saving;
  }

  #saveSequences(): void {
    for (const dataSetId of this.#grown) {
      const known = this.#hosts.get(dataSetId);
      if (known !== undefined) this.#set(dataSetId, known).catch((error: unknown) => this.#warn(error));
    }
    this.#grown.clear();
  }

  #set(dataSetId: DataSetId, known: Known): Promise<void> {
    const { hostId, counter, nonce, sequence } = known;
    return this.#rows.set(`host ${dataSetId}`, JSON.stringify({ hostId, counter, nonce, sequence }));
  }

  #warn(error: unknown): void {
    this.#env.logger.warn({ error: errorText(error) }, "what is known of peers could not be written");
  }

  /** Bounded: of very many data sets those not seen for longest go. */
  #forgetOldest(): void {
    if (this.#hosts.size <= LIMITS.peerDataSetsMax) return;
    for (const oldest of this.#hosts.keys()) {
      this.#hosts.delete(oldest);
      this.#rows.set(`host ${oldest}`, null).catch((error: unknown) => this.#warn(error));
      return;
    }
  }

  /** The file is checked as a whole; a row of another form is of a later version and left alone. */
  #load(key: string, value: string): void {
    const [kind, first = "", second = ""] = key.split(" ");
    if (kind === "host" && isUuid(first)) {
      const known = readKnown(value);
      if (known !== undefined) this.#hosts.set(first, known);
    } else if (kind === "replica") {
      const origin = readOrigin(value);
      if (origin === undefined) return;
      const shard = this.#replicas.get(Number(first)) ?? new Map<ReplicaId, Origin>();
      shard.set(Number(second), origin);
      this.#replicas.set(Number(first), shard);
      this.#replicaCount += 1;
    } else if (kind === "unproven") {
      this.#unproven.add(key);
    } else if (kind === "refused") {
      this.#refusal = readRefusal(value);
    }
  }
}

/** Throws unless this can be a later start of what was known, on the same disk. */
function checkLater(hello: Hello, known: Known): void {
  const { hostId, incarnation, recoveredWalSequence } = hello;
  const { counter, nonce } = incarnation;
  const name = `host ${hostId}`;
  if (hostId !== known.hostId) {
    throw new OpError(
      "DL_ERR_HOST_MISMATCH",
      `data set ${hello.dataSetId} is of host ${known.hostId}, not of ${hostId}`,
    );
  }
  if (counter === known.counter) {
    const what = `${name} runs twice, or on an older copy: its start ${counter} was seen with another nonce`;
    throw new OpError("DL_ERR_HOST_CLONED", what);
  }
  if (counter < known.counter && nonce === known.earlierNonce) {
    throw new OpError("DL_ERR_HOST_CLONED", `${name} runs twice: starts ${counter} and ${known.counter} both speak`);
  }
  if (counter < known.counter) {
    throw new OpError("DL_ERR_DATA_STALE", `${name} counts start ${counter}, its start ${known.counter} was seen`);
  }
  if (recoveredWalSequence < known.sequence) {
    const what = `${name} recovered its log up to ${recoveredWalSequence}, it had acknowledged ${known.sequence}`;
    throw new OpError("DL_ERR_DATA_STALE", what);
  }
}

function fieldsOf(value: string): ReadonlyMap<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch {
    parsed = undefined;
  }
  return new Map<string, unknown>(typeof parsed === "object" && parsed !== null ? Object.entries(parsed) : []);
}

function readKnown(value: string): Known | undefined {
  const fields = fieldsOf(value);
  const hostId = fields.get("hostId");
  const counter = fields.get("counter");
  const nonce = fields.get("nonce");
  const sequence = fields.get("sequence");
  if (typeof hostId !== "string" || typeof nonce !== "string") return undefined;
  if (!isSafeUint(counter) || !isSafeUint(sequence)) return undefined;
  return { hostId, counter, nonce, sequence, earlierNonce: "", saving: undefined, saved: true };
}

function readOrigin(value: string): Origin | undefined {
  const [dataSetId = "", lineage = ""] = value.split(" ");
  if (!isUuid(dataSetId) || !isSafeUint(Number(lineage))) return undefined;
  return { dataSetId, lineage: Number(lineage), saved: true };
}

function readRefusal(value: string): DirectoryRefusal | undefined {
  const fields = fieldsOf(value);
  const code = fields.get("code");
  const detail = fields.get("detail");
  if (typeof code !== "string" || typeof detail !== "string") return undefined;
  return { code: isErrorCode(code) ? code : "DL_ERR_DATA_STALE", detail };
}
