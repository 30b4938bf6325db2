/**
 * Swarm configuration: every tunable of a run is drawn from the seed, and each fault class is switched on or off, so
 * that different seeds stress different corners. Uniform faults at one setting find far less (RELIABILITY.md).
 */
import { drawProtocol, type ProtocolOptions } from "./options-protocol.js";
import { Prng } from "./prng.js";

export interface SimOptions extends ProtocolOptions {
  readonly seed: number;
  readonly steps: number;
  // cluster
  readonly voters: number;
  readonly learners: number;
  /** At the beginning, in shards of up to four voters. */
  readonly witnesses: number;
  // core
  readonly electionTimeoutMs: number;
  readonly heartbeatIntervalMs: number;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  /** 0 = the shard never rests. */
  readonly quiesceAfterMs: number;
  readonly inflightBytesMax: number;
  readonly inflightMessagesMax: number;
  readonly replicateBytesMax: number;
  readonly cacheBytesMax: number;
  // engine
  /** Probability that the output is collected later, after more inputs. */
  readonly lazyTurn: number;
  /** An old log slice is not at hand at once. */
  readonly fetchPending: number;
  readonly applyDelayMs: number;
  readonly snapshotEvery: number;
  readonly compactionOverhead: number;
  // workload
  readonly batchMax: number;
  readonly commandBytesMax: number;
  readonly proposeEveryMs: number;
  readonly readEveryMs: number;
  /** 0 = no membership changes. */
  readonly configEveryMs: number;
  /** 0 = none. Campaigns, step-downs, stray TimeoutNow. */
  readonly disturbEveryMs: number;
  /** 0 = none. Leadership is moved, to good and to bad targets. */
  readonly transferEveryMs: number;
  // state machine
  /** It keeps its own state on disk. */
  readonly onDisk: boolean;
  readonly machineSyncMs: number;
  // sessions
  /** 0 = none. */
  readonly sessionClients: number;
  /** Sessions that a shard keeps: fewer than clients means evictions. */
  readonly sessionsMax: number;
  /** Answers kept per session. */
  readonly sessionResultsMax: number;
  readonly sessionEveryMs: number;
  /** An unanswered proposal is tried again after about this time. */
  readonly sessionRetryMs: number;
  /** A client closes its session after an answer and opens another. */
  readonly sessionChurn: number;
  /** How many answers behind a client may be with telling that it has them. */
  readonly sessionLag: number;
  // witnesses
  /** 0 = none. Things are asked of witnesses that they must not do. */
  readonly witnessEveryMs: number;
  /** How often it is a membership change, allowed or not, that is asked for. */
  readonly witnessChange: number;
  /** A message with entries or a snapshot also reaches a member of the other kind. */
  readonly misrouteChance: number;
  // requests
  /** A request's time-out is uniform up to twice this. */
  readonly requestTimeoutMs: number;
  /** Cancelled by its client with this probability. */
  readonly requestCancel: number;
  /** A request waits up to so long for the node's next step. */
  readonly stepDelayMs: number;
  // disk
  readonly diskMs: number;
  readonly diskSlowChance: number;
  readonly diskSlowMs: number;
  /** One append in flight, later updates join the next; otherwise every update is an append of its own. */
  readonly groupCommit: boolean;
  /** An append in flight survives a crash with this probability (all-or-nothing, in order). */
  readonly survive: number;
  // storage code
  /** The real log and snapshot files, above simulated ones, instead of a model of the disk. */
  readonly wal: boolean;
  readonly segmentBytes: number;
  /** The largest segment is so many times as long. */
  readonly segmentGrowth: number;
  readonly sealAfterMs: number;
  readonly writeDeadlineMs: number;
  /** A crash ends the process only, and what was written is not lost yet. */
  readonly processDeath: number;
  /** An operation on a file or a commit of the checkpoint store fails (reads less often). */
  readonly ioErrorChance: number;
  /** A write of the log or a commit never ends. */
  readonly stuckChance: number;
  /** 0 = never. The disk of some node is full for a while. */
  readonly diskFullEveryMs: number;
  /** 0 = never. Files of some node rot or are gone. */
  readonly damageEveryMs: number;
  /** 0 = never. Also with the model of the disk. */
  readonly lostDiskEveryMs: number;
  /** 0 = never. A disk is replaced by an older copy of it. */
  readonly staleDiskEveryMs: number;
  /** Damage may hit a majority: the shard must stand still then. */
  readonly overBudget: boolean;
  /** A snapshot on its way is cut, changed, doubled or late. */
  readonly snapshotFault: number;
  /** A snapshot file holds up to so many bytes more than it must. */
  readonly snapshotPadding: number;
  // network
  readonly latencyMs: number;
  readonly jitterMs: number;
  readonly tailChance: number;
  readonly dropChance: number;
  readonly duplicateChance: number;
  readonly replayChance: number;
  /** TimeoutNow is lost with this probability, beside `dropChance`. */
  readonly transferLoss: number;
  /** A lost message is noticed by its sender (a broken connection). */
  readonly unreachableChance: number;
  // nemesis (0 = off)
  readonly crashEveryMs: number;
  readonly downMs: number;
  readonly crashAll: boolean;
  readonly partitionEveryMs: number;
  readonly freezeEveryMs: number;
  readonly clockSkew: number;
  // state-aware crashes: probability per occasion
  readonly crashOnVote: number;
  readonly crashOnAppend: number;
  readonly crashOnLeader: number;
  readonly crashOnCommit: number;
  readonly crashOnConfig: number;
  readonly crashOnSnapshot: number;
  /** The leader that sends TimeoutNow. */
  readonly crashOnTransfer: number;
}

/** Draws the options of `seed`. Half of the fault classes are off on average. */
export function drawOptions(seed: number, steps: number): SimOptions {
  const r = new Prng(seed, 1);
  const on = (probability = 0.5): boolean => r.chance(probability);
  const electionTimeoutMs = r.logRange(60, 400);
  const shared = { seed, steps, electionTimeoutMs };
  const voters = r.pick([1, 2, 2, 3, 3, 3, 3, 3, 4, 4, 5, 5, 5]);
  const T = electionTimeoutMs;
  return {
    ...shared,
    voters,
    learners: on() ? r.range(1, 2) : 0,
    heartbeatIntervalMs: Math.max(3, Math.floor(T / r.range(3, 12))),
    preVote: on(0.7),
    checkQuorum: on(0.7),
    inflightBytesMax: r.logRange(200, 1_000_000),
    inflightMessagesMax: r.logRange(1, 256),
    replicateBytesMax: on(0.4) ? r.range(1, 200) : r.logRange(200, 65_536),
    cacheBytesMax: on(0.3) ? 0 : r.logRange(100, 1_000_000),
    lazyTurn: on() ? r.float() * 0.6 : 0,
    fetchPending: on() ? r.float() : 0,
    applyDelayMs: on() ? r.logRange(1, T) : 0,
    snapshotEvery: on(0.7) ? r.logRange(3, 500) : 1_000_000_000,
    compactionOverhead: r.logRange(0, 100),
    batchMax: on(0.4) ? 1 : r.logRange(1, 64),
    commandBytesMax: r.logRange(0, 40),
    proposeEveryMs: r.logRange(2, T),
    readEveryMs: r.logRange(4, T * 2),
    configEveryMs: on(0.4) ? r.logRange(Math.floor(T / 2), 10 * T) : 0,
    disturbEveryMs: on(0.4) ? r.logRange(T, 20 * T) : 0,
    ...drawEnvironment(r, T),
    ...drawNemesis(r, T),
    ...drawTransfers(r, T),
    ...drawSessions(new Prng(seed, 2), T),
    ...drawWitnesses(new Prng(seed, 3), T, voters),
    ...drawMachine(new Prng(seed, 6), T),
    ...drawStorage(new Prng(seed, 7), T),
    ...drawProtocol(seed, T),
    ...drawRest(new Prng(seed, 4), T),
    ...drawRequests(new Prng(seed, 9), T),
  };
}

function drawMachine(r: Prng, T: number) {
  return { onDisk: r.chance(0.35), machineSyncMs: r.logRange(1, 4 * T) };
}

function drawTransfers(r: Prng, T: number) {
  const on = (probability = 0.5): boolean => r.chance(probability);
  return {
    transferEveryMs: on(0.6) ? r.logRange(Math.floor(T / 4), 6 * T) : 0,
    transferLoss: on(0.3) ? r.float() : 0,
    crashOnTransfer: on(0.4) ? r.float() ** 2 : 0,
  };
}

/** Often so soon that the shard rests between two requests. */
function drawRest(r: Prng, T: number) {
  return { quiesceAfterMs: r.chance(0.4) ? r.logRange(1, 4 * T) : 0 };
}

function drawSessions(r: Prng, T: number) {
  const on = (probability = 0.5): boolean => r.chance(probability);
  return {
    sessionClients: on(0.4) ? r.logRange(1, 80) : 0,
    sessionsMax: r.logRange(1, 64),
    sessionResultsMax: r.logRange(1, 8),
    sessionEveryMs: r.logRange(Math.ceil(T / 32), T),
    sessionRetryMs: r.logRange(1, 4 * T),
    sessionChurn: on() ? r.float() ** 2 * 0.5 : 0,
    sessionLag: on() ? r.range(1, 4) : 0,
  };
}

function drawWitnesses(r: Prng, T: number, voters: number) {
  const on = (probability = 0.5): boolean => r.chance(probability);
  const some = on(0.4) && voters <= 4;
  return {
    witnesses: some ? r.pick([0, 1, 1, 1, 1, 2]) : 0,
    witnessEveryMs: some ? r.logRange(Math.floor(T / 2), 10 * T) : 0,
    witnessChange: on(0.7) ? r.float() : 0,
    misrouteChance: some && on() ? r.float() ** 2 * 0.05 : 0,
  };
}

function drawStorage(r: Prng, T: number) {
  const on = (probability = 0.5): boolean => r.chance(probability);
  return {
    wal: on(0.55),
    segmentBytes: r.logRange(5, 64) * 4096,
    segmentGrowth: r.pick([1, 2, 4]),
    sealAfterMs: r.logRange(1, T),
    writeDeadlineMs: r.range(6 * T, 12 * T),
    processDeath: r.pick([0, 0.3, 0.8]),
    snapshotPadding: on() ? r.logRange(1, 4000) : 0,
    ioErrorChance: on(0.4) ? r.float() ** 3 * 0.02 : 0,
    stuckChance: on(0.4) ? r.float() ** 3 * 0.01 : 0,
    diskFullEveryMs: on(0.4) ? r.logRange(2 * T, 20 * T) : 0,
    damageEveryMs: on(0.4) ? r.logRange(2 * T, 40 * T) : 0,
    lostDiskEveryMs: on(0.25) ? r.logRange(4 * T, 60 * T) : 0,
    staleDiskEveryMs: on(0.25) ? r.logRange(4 * T, 60 * T) : 0,
    overBudget: on(0.04),
    snapshotFault: on() ? r.float() ** 2 * 0.7 : 0,
  };
}

function drawRequests(r: Prng, T: number) {
  const on = (probability = 0.5): boolean => r.chance(probability);
  return {
    requestTimeoutMs: r.logRange(Math.floor(T / 4), 20 * T),
    requestCancel: on() ? r.float() ** 2 * 0.5 : 0,
    stepDelayMs: on() ? r.logRange(0, Math.floor(T / 8)) : 0,
  };
}

function drawEnvironment(r: Prng, T: number) {
  const on = (probability = 0.5): boolean => r.chance(probability);
  return {
    diskMs: r.logRange(0, Math.floor(T / 4)),
    diskSlowChance: on() ? r.float() * 0.2 : 0,
    diskSlowMs: r.logRange(5, 4 * T),
    groupCommit: on(0.7),
    survive: r.pick([0, 0.5, 0.5, 0.9]),
    latencyMs: r.logRange(0, Math.floor(T / 8)),
    jitterMs: on(0.8) ? r.logRange(1, Math.floor(T / 4)) : 0,
    tailChance: on() ? r.float() * 0.05 : 0,
    dropChance: on() ? r.float() ** 3 * 0.4 : 0,
    duplicateChance: on() ? r.float() ** 2 * 0.3 : 0,
    replayChance: on(0.4) ? r.float() * 0.05 : 0,
    unreachableChance: on() ? r.float() : 0,
  };
}

function drawNemesis(r: Prng, T: number) {
  const on = (probability = 0.5): boolean => r.chance(probability);
  const aware = (): number => (on(0.4) ? r.float() ** 2 * 0.3 : 0);
  return {
    crashEveryMs: on(0.6) ? r.logRange(2 * T, 40 * T) : 0,
    downMs: r.logRange(1, 10 * T),
    crashAll: on(0.3),
    partitionEveryMs: on(0.6) ? r.logRange(T, 20 * T) : 0,
    freezeEveryMs: on(0.4) ? r.logRange(2 * T, 30 * T) : 0,
    clockSkew: on(0.3) ? r.float() * 0.5 : 0,
    crashOnVote: aware(),
    crashOnAppend: aware() * 0.3,
    crashOnLeader: aware(),
    crashOnCommit: aware() * 0.3,
    crashOnConfig: aware(),
    crashOnSnapshot: aware(),
  };
}

/** One line, for people who look at a failed seed. */
export function formatOptions(options: SimOptions): string {
  return Object.entries(options)
    .map(([name, value]) => `${name}=${typeof value === "number" ? Number(value.toFixed(4)) : value}`)
    .join(" ");
}
