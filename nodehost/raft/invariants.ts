/**
 * Cheap checks of what must hold in one replica after every input (R6–R9, R14 and their like). Called by tests and by
 * the simulator after each event; not by the engine.
 */
import { assert } from "../../shared/assert.js";
import type { Index, ReplicaId, Term } from "../../shared/types/ids.js";
import { describeMessage } from "./describe.js";
import { quiesceDue } from "./quiesce.js";
import type { Counters, RaftState } from "./state.js";
import type { PeerStatus, RaftRole } from "./types.js";

export interface Inspection {
  readonly replicaId: ReplicaId;
  readonly role: RaftRole;
  readonly witness: boolean;
  readonly term: Term;
  readonly vote: ReplicaId;
  readonly leaderId: ReplicaId;
  readonly quiesced: boolean;
  readonly quiesceDue: boolean;
  readonly durableTerm: Term;
  readonly durableVote: ReplicaId;
  readonly first: Index;
  readonly last: Index;
  readonly lastTerm: Term;
  readonly commit: Index;
  readonly applied: Index;
  readonly delivered: Index;
  readonly durable: Index;
  readonly handed: Index;
  readonly memoryFirst: Index;
  readonly memoryBytes: number;
  readonly verified: Index;
  readonly termStart: Index;
  readonly restoring: boolean;
  readonly pendingConfigs: readonly Index[];
  readonly peers: readonly (Omit<PeerStatus, "active"> & {
    readonly inflightMessages: number;
    readonly inflightBytes: number;
  })[];
  readonly inflightMessagesMax: number;
  readonly transferTarget: ReplicaId;
  readonly waitingMessages: number;
  readonly counters: Counters;
}

export function inspect(s: RaftState): Inspection {
  const { log } = s;
  const peers = [...s.peers.values()].map((p) => ({
    replicaId: p.id,
    match: p.match,
    next: p.next,
    state: p.state,
    lastContactMs: p.lastContactMs,
    inflightMessages: p.inflight.count,
    inflightBytes: p.inflight.bytes,
  }));
  return {
    replicaId: s.id,
    role: s.role,
    witness: s.config.witness,
    term: s.term,
    vote: s.vote,
    leaderId: s.leaderId,
    quiesced: s.quiesced,
    quiesceDue: quiesceDue(s),
    durableTerm: s.durableTerm,
    durableVote: s.durableVote,
    first: log.first,
    last: log.last,
    lastTerm: log.lastTerm,
    commit: log.commit,
    applied: log.applied,
    delivered: log.delivered,
    durable: log.durable,
    handed: log.handed,
    memoryFirst: log.memoryFirst,
    memoryBytes: log.memoryBytes,
    verified: s.verified,
    termStart: s.termStart,
    restoring: s.restoring !== undefined,
    pendingConfigs: [...log.pendingConfigs],
    peers,
    inflightMessagesMax: s.config.inflightMessagesMax,
    transferTarget: s.transfer?.target ?? 0,
    waitingMessages: s.out.waiting.length,
    counters: { ...s.counters },
  };
}

/** Given and never changed, for people only, or shown by others. Times (names in "Ms") are left out as well. */
const NO_STATE: ReadonlySet<string> = new Set([
  ...["config", "reader", "random", "crc32", "counters", "scratch", "log", "sequence", "metadataBlocks"],
]);

/**
 * Equal for two cores of one replica that answer all further inputs alike, timers and the terms in their logs aside.
 * For the test that visits all states of a small world.
 */
export function fingerprint(s: RaftState): string {
  const { log } = s;
  const positions = [log.commit, log.applied, log.delivered, log.durable, log.handed, log.writesInFlight];
  const plain = (key: string, value: unknown) => {
    if (NO_STATE.has(key) || key.endsWith("Ms")) return undefined;
    // Twice the same message says nothing more.
    if (key === "waiting") return [...new Set(s.out.waiting.map(describeMessage))];
    if (value instanceof Map) return [...value.entries()];
    return value instanceof Set ? [...value] : value;
  };
  return JSON.stringify([positions, log.pendingConfigs, s], plain);
}

/** Throws an AssertionError that names the broken rule. Returns the inspection, to be given as `previous` next time. */
export function checkInvariants(raft: { inspect(): Inspection }, previous?: Inspection): Inspection {
  const now = raft.inspect();
  const who = `replica ${now.replicaId}`;
  assert(now.first - 1 <= now.commit, `R7 ${who}: first ${now.first} above commit ${now.commit}`);
  assert(now.commit <= now.last, `R7 ${who}: commit ${now.commit} above last ${now.last}`);
  assert(now.applied <= now.commit, `R7 ${who}: applied ${now.applied} above commit ${now.commit}`);
  assert(now.restoring || now.first - 1 <= now.applied, `R7 ${who}: first ${now.first} above applied ${now.applied}`);
  assert(now.durable <= now.handed && now.handed <= now.last, `R7 ${who}: durable ${now.durable}, last ${now.last}`);
  assert(now.restoring || now.delivered <= Math.min(now.commit, now.last), `R7 ${who}: delivered ${now.delivered}`);
  assert(now.restoring || now.memoryFirst <= now.applied + 1, `R7 ${who}: unapplied entries not in memory`);
  assert(now.verified <= now.last, `R8 ${who}: verified ${now.verified} above last ${now.last}`);
  assert(now.durableTerm <= now.term, `R9 ${who}: durable term ${now.durableTerm} above term ${now.term}`);
  assert(!now.witness || now.role === "follower", `R20 ${who}: a witness is ${now.role}`);
  if (now.quiesced) checkRest(now, who);
  if (now.role === "leader") checkLeader(now, who);
  else assert(now.peers.length === 0, `R13 ${who}: ${now.role} keeps progress of peers`);
  if (previous !== undefined) checkSteps(previous, now, who);
  return now;
}

function checkRest(now: Inspection, who: string): void {
  assert(now.role === "leader" || now.role === "follower", `R21 ${who}: a ${now.role} at rest`);
  assert(now.commit === now.last, `R21 ${who}: at rest with commit ${now.commit}, last ${now.last}`);
  assert(now.durable === now.last, `R21 ${who}: at rest with durable ${now.durable}, last ${now.last}`);
  assert(now.durableTerm === now.term, `R21 ${who}: at rest in a term that is not durable`);
  assert(now.leaderId !== 0 && now.transferTarget === 0, `R21 ${who}: at rest without a leader, or handing over`);
  assert(now.pendingConfigs.length === 0 && !now.restoring, `R21 ${who}: at rest with something to apply`);
}

function checkLeader(now: Inspection, who: string): void {
  assert(now.leaderId === now.replicaId, `R1 ${who}: leader follows ${now.leaderId}`);
  assert(now.durableTerm === now.term, `R9 ${who}: leads term ${now.term}, durable is ${now.durableTerm}`);
  assert(now.durableVote === now.replicaId, `R9 ${who}: leads with a vote that is not durable`);
  assert(now.last >= now.termStart, `R11 ${who}: its first entry of the term is gone`);
  for (const peer of now.peers) {
    const whom = `${who} of ${peer.replicaId}`;
    assert(peer.match < peer.next, `R14 ${whom}: match ${peer.match}, next ${peer.next}`);
    assert(peer.match <= now.last, `R14 ${whom}: match ${peer.match} above last ${now.last}`);
    assert(peer.next <= now.last + 1, `R14 ${whom}: next ${peer.next} above last ${now.last} + 1`);
    assert(peer.inflightMessages <= now.inflightMessagesMax, `R14 ${whom}: ${peer.inflightMessages} in flight`);
  }
}

function checkSteps(before: Inspection, now: Inspection, who: string): void {
  assert(now.term >= before.term, `R6 ${who}: term fell from ${before.term} to ${now.term}`);
  assert(now.commit >= before.commit, `R6 ${who}: commit fell from ${before.commit} to ${now.commit}`);
  assert(now.applied >= before.applied, `R6 ${who}: applied fell from ${before.applied} to ${now.applied}`);
  assert(now.durableTerm >= before.durableTerm, `R6 ${who}: durable term fell to ${now.durableTerm}`);
  if (now.term !== before.term) return;
  assert(before.vote === 0 || now.vote === before.vote, `R10 ${who}: voted ${before.vote}, then ${now.vote}`);
  if (before.role !== "leader" || now.role !== "leader") return;
  assert(now.last >= before.last, `R11 ${who}: a leader's log shrank`);
  if (before.transferTarget !== 0 && now.transferTarget === before.transferTarget) {
    assert(now.last === before.last, `R19 ${who}: appends while handing over to ${now.transferTarget}`);
  }
  for (const peer of now.peers) {
    const old = before.peers.find((p) => p.replicaId === peer.replicaId);
    assert(old === undefined || peer.match >= old.match, `R14 ${who}: match of ${peer.replicaId} fell`);
  }
}
