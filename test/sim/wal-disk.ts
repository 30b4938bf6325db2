/**
 * The real log of a simulated node: openWalLogDb behind the engine's own append queue, above simulated files and a
 * simulated checkpoint store. What is inherited (DurableState) is the oracle: it takes over an append when, and only
 * when, that has settled. At a start the log is recovered, and W1 compares what was found with the oracle: nothing that
 * settled may be missing, and beyond it only the append that was in flight may be there, whole. The node goes on from
 * what was found, as the objects that it was written from.
 */
import { AsyncLogReader } from "../../nodehost/engine/log-reader.js";
import { WalQueue } from "../../nodehost/engine/wal-queue.js";
import type { LogUpdate, RecoveredReplica, ReplicaKey } from "../../nodehost/logdb/port.js";
import type { WalLogDb } from "../../nodehost/logdb/wal-logdb.js";
import { openWalLogDb } from "../../nodehost/logdb/wal-open.js";
import { FLOOR_ROW, readNumberRow } from "../../nodehost/logdb/wal-rows.js";
import type { LogReader } from "../../nodehost/raft/types.js";
import type { EntryBlock } from "../../shared/codec/block.js";
import type { Env } from "../../shared/env/env.js";
import { errorText, FatalStorageError, isOpError } from "../../shared/errors.js";
import type { Index } from "../../shared/types/ids.js";
import { emptyMembership } from "../../shared/types/membership.js";
import { type Damage, inflict, needsStop } from "./damage.js";
import { type DiskWrite, DurableState, type NodeDisk } from "./disk.js";
import { SimLog } from "./log.js";
import { SHARD_ID, type SimNode, Violation } from "./model.js";
import type { Prng } from "./prng.js";
import { EventKind } from "./queue.js";
import { differenceOf } from "./recovered.js";
import type { StorageDevice } from "./storage-device.js";
import type { WalSnapshots } from "./wal-snapshots.js";

const READ_BYTES = 1024 * 1024;

export interface StorageParts {
  readonly device: StorageDevice;
  readonly env: Env;
  readonly snapshots: WalSnapshots;
}

export class WalDisk extends DurableState implements NodeDisk {
  incarnation = 0;
  readonly #node: SimNode;
  readonly #device: StorageDevice;
  readonly #env: Env;
  readonly #snapshots: WalSnapshots;
  readonly #key: ReplicaKey;
  readonly #dataSetId: string;
  #db: WalLogDb | undefined;
  #queue: WalQueue | undefined;
  /** Entries of an initial member; undefined: it joins later. */
  #initial: EntryBlock | undefined;
  /** The record of the first start is durable. */
  #begun = false;
  /** Not yet given to the log, given to it in the append in flight, settled and not yet told. Oldest first. */
  #waiting: DiskWrite[] = [];
  #handed: DiskWrite[] = [];
  #settled: DiskWrite[] = [];
  /** What the crash may have left as well: the append that was in flight then. */
  #maybe: DurableState | undefined;
  /** Of the newest snapshot that replaced the log. */
  #installedIndex: Index = 0;
  /** The last sequence known to have settled before the last crash. */
  #settledSequence = 0;
  /** Set by an older image: what the log must hold then. */
  #stale: DurableState[] | undefined;
  damaged: string | undefined;
  /** When the log was opened, or the last append settled. */
  #lastActiveMs = 0;

  constructor(node: SimNode, parts: StorageParts) {
    super();
    this.#node = node;
    this.#device = parts.device;
    this.#env = parts.env;
    this.#snapshots = parts.snapshots;
    this.#key = { shardId: SHARD_ID, replicaId: node.id };
    this.#dataSetId = `set-${node.id}`;
  }

  bootstrap(block: EntryBlock): void {
    this.#initial = block;
  }

  open(ready: () => void): void {
    this.incarnation += 1;
    const { world } = this.#node;
    world.stirred = true;
    this.#device.begin();
    this.#open().then(
      () => world.after(0, EventKind.Disk, this.#node, ready),
      (error: unknown) => this.#failed("the log cannot be opened", error),
    );
  }

  async #open(): Promise<void> {
    const { options } = this.#node.world;
    const { files, checkpoints } = this.#device;
    const db = await openWalLogDb({
      files,
      walDir: "/wal",
      dataDir: "/data",
      dataSetId: this.#dataSetId,
      env: this.#env,
      checkpointStore: checkpoints.factory,
      onFatal: (error) => this.#failed("the log failed", error),
      segmentSizes: { firstBytes: options.segmentBytes, maxBytes: options.segmentBytes * options.segmentGrowth },
      writeDeadlineMs: options.writeDeadlineMs,
      sealAfterMs: options.sealAfterMs,
    });
    await this.#recover(db);
    await this.#snapshots.removeOrphans(this.snapshot);
    this.#db = db;
    this.#lastActiveMs = this.#node.world.now;
    this.#queue = new WalQueue({ append: (updates) => this.#append(db, updates) }, () => undefined);
  }

  /** Takes over what the log holds, if it is what it has to be. */
  async #recover(db: WalLogDb): Promise<void> {
    const found = db.state(this.#key);
    if (found?.damage !== undefined) this.#refuse(found.damage);
    if (found === undefined) {
      const { incomplete } = db.recovery();
      if (incomplete !== undefined) this.#refuse(incomplete);
      if (this.#begun && this.#stale === undefined)
        throw new Violation("W1", `node ${this.#node.id}: the log has forgotten the replica`);
      await db.append([this.#firstUpdate()]);
      this.#adopt(this.#firstState());
      return;
    }
    const log = await readLog(db, found);
    const possible = this.#stale ?? [this.#begun ? this : this.#firstState()];
    if (this.#stale === undefined && this.#maybe !== undefined) possible.push(this.#maybe);
    const differences: string[] = [];
    for (const state of possible) {
      const difference = differenceOf(found, log, state);
      if (difference === undefined) {
        if (this.#stale !== undefined) throw new Refused("an older copy of its disk");
        this.#adopt(state);
        return;
      }
      differences.push(difference);
    }
    throw new Violation("W1", `node ${this.#node.id} recovered ${differences.join("; or ")}`);
  }

  /** Damage must have been done where it is found. */
  #refuse(why: string): never {
    if (this.damaged === undefined) throw new Violation("W1", `node ${this.#node.id}, which is sound, finds ${why}`);
    throw new Refused(why);
  }

  #adopt(state: DurableState): void {
    this.#begun = true;
    this.#maybe = undefined;
    this.hardState = state.hardState;
    this.snapshot = state.snapshot;
    this.log = state.log;
    for (const [term, vote] of state.votes) this.votes.set(term, vote);
    this.#installedIndex = this.snapshot?.index ?? 0;
  }

  /** As nodehost/engine/start.ts writes it. */
  #firstUpdate(): LogUpdate {
    const initial = this.#node.world.initialMembership;
    const join = this.#initial === undefined;
    const bootstrap = {
      join,
      kind: "memory",
      app: "",
      initial: join ? emptyMembership() : initial,
      config: "{}",
    } as const;
    const { hardState, log } = this.#firstState();
    return { ...this.#key, bootstrap, hardState, blocks: log.slice(1, log.last, Number.POSITIVE_INFINITY) };
  }

  #firstState(): DurableState {
    const state = new DurableState();
    if (this.#initial === undefined) return state;
    state.hardState = { term: 1, vote: 0, commit: this.#initial.last };
    state.log.append([this.#initial]);
    return state;
  }

  reader(): LogReader {
    const { world } = this.#node;
    const db = this.#db;
    if (db === undefined) throw new RangeError("the log is not open");
    const fetched = (): void => world.after(0, EventKind.Fetch, this.#node, () => this.#node.entriesFetched());
    const reader = new AsyncLogReader(db, this.#key, fetched, (error) => this.#failed("entries cannot be read", error));
    return {
      slice: (first, last, maxBytes) => {
        world.stirred = true;
        return reader.slice(first, last, maxBytes);
      },
      term: (index) => reader.term(index),
    };
  }

  write(write: DiskWrite): void {
    const update = this.#updateOf(write);
    if (update === undefined) return;
    this.#node.world.stirred = true;
    this.#waiting.push(write);
    this.#queue?.add(update, () => this.#durable(write));
    this.#queue?.start();
  }

  /** Undefined: a snapshot of our own that the log has no place for, because it begins after a newer one meanwhile. */
  #updateOf({ update, ownSnapshot }: DiskWrite): LogUpdate | undefined {
    if (ownSnapshot !== undefined) {
      const { meta, compactTo } = ownSnapshot;
      if (meta.index <= this.#installedIndex) return undefined;
      return { ...this.#key, snapshot: { meta, reset: false }, compactTo };
    }
    if (update === undefined) return undefined;
    const { hardState, blocks, snapshot } = update;
    if (snapshot === undefined) return { ...this.#key, hardState, blocks };
    this.#installedIndex = Math.max(this.#installedIndex, snapshot.meta.index);
    return { ...this.#key, hardState, blocks, snapshot };
  }

  async #append(db: WalLogDb, updates: readonly LogUpdate[]): Promise<number> {
    this.#handed = this.#waiting;
    this.#waiting = [];
    try {
      return await db.append(updates);
    } catch (error) {
      if (isOpError(error)) {
        // Nothing of it was written, and the queue tries again.
        this.#waiting = [...this.#handed, ...this.#waiting];
        this.#handed = [];
        this.#retryLater();
      }
      throw error;
    }
  }

  /** As the host's tick does. */
  #retryLater(): void {
    const { world } = this.#node;
    world.after(world.options.heartbeatIntervalMs, EventKind.File, this.#node, () => {
      world.stirred = true;
      this.#queue?.retry();
    });
  }

  get full(): boolean {
    return this.#queue?.diskFull ?? false;
  }

  /** Called for the writes of an append, in order, when it has settled. */
  #durable(write: DiskWrite): void {
    const { world } = this.#node;
    try {
      if (this.#handed.shift() !== write) throw new Violation("W1", "an append settled before an earlier one");
      if (write.update !== undefined) world.checks.beforeDurable(this.#node, write.update);
      this.apply(write);
    } catch (error) {
      world.fail(error);
    }
    this.#lastActiveMs = world.now;
    this.#settled.push(write);
    if (this.#settled.length > 1) return;
    world.after(0, EventKind.Disk, this.#node, () => {
      const writes = this.#settled;
      this.#settled = [];
      for (const { done } of writes) done();
    });
  }

  fill(bytes: number, forMs: number): void {
    this.#device.fill(bytes, forMs);
  }

  heal(): void {
    this.#device.empty();
  }

  damage(kind: Damage, r: Prng): string | undefined {
    if (needsStop(kind) && this.#node.alive) return undefined;
    const settled = this.#coveredSequence();
    const { snapshot } = this;
    const snapshotPath = snapshot === undefined ? undefined : this.#snapshots.path(snapshot);
    const { crc32 } = this.#env;
    const target = { device: this.#device, dataSetId: this.#dataSetId, crc32, settled, snapshotPath };
    const what = inflict(kind, target, r);
    if (what !== undefined) this.damaged = what;
    return what;
  }

  /** Frames below it are followed by another one, or by a seal: their rot can be told from a torn write. */
  #coveredSequence(): number {
    const sequence = this.#db?.durableSequence();
    if (sequence === undefined) return this.#settledSequence;
    const { world, frozenUntil } = this.#node;
    const quietMs = Math.max(this.#lastActiveMs, this.#device.busyUntilMs);
    const sealed = world.now > quietMs + world.options.sealAfterMs + 2 && frozenUntil <= quietMs;
    return sealed && this.#handed.length === 0 ? sequence + 1 : sequence;
  }

  lose(): void {
    this.#device.files.lose("/wal");
    this.#device.files.lose("/data");
    this.#device.checkpoints.wipe();
  }

  image(): (what: "all" | "log") => void {
    const { files, checkpoints } = this.#device;
    const sequence = this.#db?.durableSequence() ?? 0;
    const image = files.image();
    const rows = new Map(checkpoints.rows);
    const states = [this.copy()];
    if (this.#handed.length > 0) {
      const more = this.copy();
      for (const write of this.#handed) more.apply(write);
      states.push(more);
    }
    return (what) => {
      this.damaged = `an older copy of ${what}`;
      if (what === "all") {
        files.restore(image);
        checkpoints.restore(rows);
        this.#stale = states;
        return;
      }
      files.restore(image, "wal");
      const floor = checkpoints.rows.get(FLOOR_ROW);
      // A log that ends below the floor is found out; from another one nobody here can tell.
      if (floor === undefined || readNumberRow(floor) <= sequence) this.#stale = states;
    };
  }

  proven(): void {
    if (this.damaged === undefined) return;
    this.damaged = undefined;
    this.#node.world.ledger.faults.add("damageHarmless");
  }

  crash(): void {
    if (this.#handed.length > 0) {
      this.#maybe = this.copy();
      for (const write of this.#handed) this.#maybe.apply(write);
    }
    this.#node.world.ledger.faults.add("segmentsReused", this.#device.reusedSegments());
    this.#settledSequence = this.#db?.durableSequence() ?? this.#settledSequence;
    this.#db = undefined;
    this.#queue = undefined;
    this.#waiting = [];
    this.#handed = [];
    this.#settled = [];
    this.#device.crash();
  }

  /** Fail-stop. A bug ends the run, anything else this node, until it is started again. */
  #failed(what: string, error: unknown): void {
    const { world } = this.#node;
    const why = `${what}: ${errorText(error)}`;
    if (error instanceof Refused || (this.#db === undefined && isDamage(error))) {
      if (this.damaged === undefined) world.fail(new Violation("W1", `node ${this.#node.id}, which is sound: ${why}`));
      world.ledger.faults.add("damageFound");
      world.after(0, EventKind.Nemesis, this.#node, () => this.#node.refuse(why));
    } else if (isOpError(error) || error instanceof FatalStorageError) {
      world.ledger.faults.add("failStops");
      world.after(0, EventKind.Nemesis, this.#node, () => world.nemesis.crash(this.#node, why));
    } else world.fail(error);
  }
}

/** The replica must not run on what is here. */
class Refused extends Error {}

function isDamage(error: unknown): boolean {
  return isOpError(error) && (error.code === "DL_ERR_LOGDB_CORRUPT" || error.code === "DL_ERR_DATA_LOST");
}

/** All entries there are, read from the files. */
async function readLog(db: WalLogDb, found: RecoveredReplica): Promise<SimLog> {
  const log = new SimLog();
  log.reset(found.first - 1, found.precedingTerm);
  while (log.last < found.last) log.append(await db.read(found, log.last + 1, found.last, READ_BYTES));
  return log;
}
