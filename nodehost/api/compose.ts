/**
 * The composition root of a NodeHost: the one place that picks the real disk, log, network and environment, and wires
 * them to the engine. Anything that fails closes what was opened.
 */
import type { Env } from "../../shared/env/env.js";
import { createRealEnv } from "../../shared/env/real-env.js";
import { OpError } from "../../shared/errors.js";
import type { Files } from "../../shared/files/port.js";
import { createRealFiles } from "../../shared/files/real-files.js";
import { LIMITS } from "../../shared/limits.js";
import type { SnapshotMeta } from "../../shared/types/message.js";
import { type DirectoryRefusal, Engine } from "../engine/index.js";
import { lmdbCheckpointFactory } from "../logdb/lmdb-checkpoint.js";
import type { LogDb } from "../logdb/port.js";
import { openWalLogDb } from "../logdb/wal-open.js";
import { createSnapshotStore, type SnapshotStore } from "../rsm/index.js";
import { type AddressBook, createTcpTransport, type Transport } from "../transport/index.js";
import { DurableAddressBook } from "./address-book.js";
import { dataPaths } from "./data-paths.js";
import { type DirectoryLock, type HostIdentity, lockDirectory, openIdentity, readIdentity } from "./host-dir.js";
import { LeaderHub } from "./leader-hub.js";
import { MachineDirectories } from "./machine-directories.js";
import { DEFAULT_RTT_MS, type LogDbFactory, type NodeHostOptions, type TransportFactory } from "./options.js";
import { PeerGate } from "./peer-gate.js";
import { PEERS_FILE, PeerRegister } from "./peer-register.js";
import { RowFile } from "./row-file.js";

/** Replace the log or the network, for tests and for other implementations. */
export interface PortFactories {
  readonly logDb?: LogDbFactory;
  readonly transport?: TransportFactory;
  /** Who holds the directory; needed when `files` is not the real disk. */
  readonly lock?: (dataDir: string) => Promise<DirectoryLock>;
}

export interface Parts {
  readonly env: Env;
  readonly files: Files;
  readonly identity: HostIdentity;
  readonly raftAddress: string;
  readonly logDb: LogDb;
  readonly transport: Transport;
  readonly addressBook: AddressBook;
  readonly engine: Engine;
  readonly leaders: LeaderHub;
  /** Nothing in this directory takes part any more. */
  readonly refuse: (refusal: DirectoryRefusal) => void;
  close(): Promise<void>;
}

/** Opens everything of one host, in order: directory, identity, log, snapshots, engine, network. */
export async function openParts(options: NodeHostOptions): Promise<Parts> {
  const env = options.env ?? createRealEnv(options.logger === undefined ? {} : { logger: options.logger });
  const files = options.files ?? createRealFiles();
  const undo: (() => Promise<unknown>)[] = [];
  try {
    const lock = await (options.factories?.lock ?? lockDirectory)(options.dataDir);
    undo.push(() => lock.release());
    if (options.factories?.logDb === undefined) await checkLogDirectory(files, options.dataDir);
    const wish = { hostId: options.hostId, deploymentId: options.deploymentId };
    const identity = await openIdentity(files, options.dataDir, wish, env);
    const fatal = new FatalRelay(options);
    const logDb = await openLogDb(options, { env, files, identity, fatal });
    undo.push(() => logDb.close());
    const snapshots = createSnapshotStore({
      files,
      directory: dataPaths(options).snapshots,
      crc32: env.crc32,
    });
    await snapshots.removeOrphans(recordedSnapshots(logDb));
    const machines = new MachineDirectories(files, options.dataDir);
    await machines.removeOrphans(logDb.recovery().removed);
    const addressBook = new DurableAddressBook(files, options.dataDir, env.logger);
    await addressBook.open();
    undo.push(() => addressBook.close());
    const peers = await openPeers(options, { env, files, identity, fatal });
    undo.push(() => peers.close());
    const leaders = new LeaderHub();
    const transport = makeTransport(options, { env, identity, logDb, addressBook });
    undo.push(() => transport.close());
    const parts = { env, identity, logDb, snapshots, machines, transport, leaders, fatal, peers };
    const engine = makeEngine(options, parts);
    undo.push(() => engine.close());
    const gate = new PeerGate({ env, engine, peers, addressBook });
    const { raftAddress } = await transport.start(gate);
    addressBook.learn(identity.hostId, raftAddress, identity.incarnation.counter);
    engine.start();
    const close = async (): Promise<void> => {
      leaders.close();
      await closeAll(undo);
    };
    const refuse = (refusal: DirectoryRefusal): void => gate.refuse(refusal);
    return { env, files, identity, raftAddress, logDb, transport, addressBook, engine, leaders, refuse, close };
  } catch (error) {
    await closeAll(undo);
    throw error;
  }
}

/**
 * The log's directory is made before the identity that counts starts: an identity without it means that the log was
 * taken away, and with it every vote this host gave (P49).
 */
async function checkLogDirectory(files: Files, dataDir: string): Promise<void> {
  const directory = dataPaths({ dataDir }).logDb;
  if ((await readIdentity(files, dataDir)) === undefined) {
    await files.makeDirectory(directory);
    return;
  }
  if (await files.exists(directory)) return;
  throw new OpError("DL_ERR_DATA_LOST", `${directory} is gone; start with an empty directory, as a new host`);
}

/** In reverse order of opening; one failure does not keep the rest open. */
async function closeAll(undo: readonly (() => Promise<unknown>)[]): Promise<void> {
  let failure: { readonly error: unknown } | undefined;
  for (const step of [...undo].reverse()) {
    try {
      await step();
    } catch (error) {
      failure ??= { error };
    }
  }
  if (failure !== undefined) throw failure.error;
}

/** The log may fail before the engine exists; the engine must hear of it afterwards. Calls onFatal once. */
class FatalRelay {
  readonly #onFatal: (error: unknown) => void;
  #engine: Engine | undefined;
  #told = false;

  constructor(options: NodeHostOptions) {
    this.#onFatal = options.onFatal ?? rethrowOutside;
  }

  attach(engine: Engine): void {
    this.#engine = engine;
  }

  /** From the log: the engine stops first, then the owner is told. */
  readonly fromLog = (error: unknown): void => {
    if (this.#engine === undefined) this.tell(error);
    else this.#engine.fatal(error);
  };

  readonly tell = (error: unknown): void => {
    if (this.#told) return;
    this.#told = true;
    this.#onFatal(error);
  };
}

function rethrowOutside(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}

interface LogContext {
  readonly env: Env;
  readonly files: Files;
  readonly identity: HostIdentity;
  readonly fatal: FatalRelay;
}

function openLogDb(options: NodeHostOptions, context: LogContext): Promise<LogDb> {
  const { env, files, identity, fatal } = context;
  const { dataSetId } = identity;
  const onFatal = fatal.fromLog;
  if (options.factories?.logDb !== undefined) return options.factories.logDb({ env, dataSetId, onFatal });
  const { logDb: dataDir, wal: walDir } = dataPaths(options);
  return openWalLogDb({
    files,
    walDir,
    dataDir,
    dataSetId,
    env,
    onFatal,
    checkpointStore: lmdbCheckpointFactory(env.crc32),
  });
}

interface TransportContext {
  readonly env: Env;
  readonly identity: HostIdentity;
  readonly logDb: LogDb;
  readonly addressBook: AddressBook;
}

function makeTransport(options: NodeHostOptions, context: TransportContext): Transport {
  const { env, identity, logDb, addressBook } = context;
  const make = options.factories?.transport ?? createTcpTransport;
  return make({
    env,
    hostId: identity.hostId,
    listenAddress: options.listenAddress ?? options.raftAddress,
    advertiseAddress: options.raftAddress,
    hello: () => ({
      deploymentId: identity.deploymentId,
      hostId: identity.hostId,
      dataSetId: identity.dataSetId,
      incarnation: identity.incarnation,
      recoveredWalSequence: logDb.recovery().walSequence,
    }),
    addressBook,
    durableSequence: () => logDb.durableSequence(),
  });
}

interface EngineContext extends Omit<TransportContext, "addressBook"> {
  readonly snapshots: SnapshotStore;
  readonly machines: MachineDirectories;
  readonly transport: Transport;
  readonly leaders: LeaderHub;
  readonly fatal: FatalRelay;
  readonly peers: PeerRegister;
}

function makeEngine(options: NodeHostOptions, context: EngineContext): Engine {
  const { env, identity, logDb, snapshots, machines, transport, leaders, fatal, peers } = context;
  const listeners = options.listeners ?? {};
  const engine = new Engine({
    env,
    logDb,
    transport,
    snapshots,
    machines,
    snapshotRates: {
      sendBytesPerSecond: options.limits?.snapshotSendBytesPerSecond ?? LIMITS.snapshotBytesPerSecond,
      receiveBytesPerSecond: options.limits?.snapshotReceiveBytesPerSecond ?? LIMITS.snapshotBytesPerSecond,
    },
    rttMs: options.rttMs ?? DEFAULT_RTT_MS,
    incarnation: identity.incarnation.counter,
    peers,
    refusal: peers.refusal,
    onFatal: fatal.tell,
    listeners: {
      ...listeners,
      leaderUpdated: (update) => {
        leaders.publish(update);
        listeners.leaderUpdated?.(update);
      },
      replicaFaulted: (shardId, replicaId, fault) => {
        leaders.forget(shardId);
        listeners.replicaFaulted?.(shardId, replicaId, fault);
      },
    },
  });
  fatal.attach(engine);
  return engine;
}

/** Opens the memory of peers; closed before its file. */
async function openPeers(options: NodeHostOptions, context: LogContext): Promise<PeerRegister> {
  const { env, files, identity } = context;
  const { hostId, dataSetId, deploymentId, incarnation } = identity;
  const file = { files, directory: options.dataDir, name: PEERS_FILE, crc32: env.crc32 };
  return new PeerRegister({ hostId, dataSetId, deploymentId, ...incarnation }, await RowFile.open(file), env);
}

function recordedSnapshots(logDb: LogDb): Map<string, SnapshotMeta> {
  const recorded = new Map<string, SnapshotMeta>();
  for (const { shardId, replicaId, snapshot } of logDb.recovery().replicas) {
    if (snapshot !== undefined) recorded.set(`${shardId}-${replicaId}`, snapshot);
  }
  return recorded;
}
