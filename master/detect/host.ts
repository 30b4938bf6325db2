/**
 * One host as the detector follows it: identity of its last report, when it was heard on the effective clock, flaps.
 * Owned by FailureDetector.
 */
import type { NodeHostInfo } from "../../shared/types/control.js";
import type { DataSetId, HostId, Incarnation, Target } from "../../shared/types/ids.js";
import type { DetectTiming } from "./timing.js";
import type { HostState, Liveness, RegisteredHost } from "./types.js";

/**
 * accepted; or why a report is not believed. stale: of an older start, an older copy of the directory, or a data set
 * that was replaced. cloned: of a second process with the same identity.
 */
export type ReportVerdict = "accepted" | "duplicate" | "stale" | "cloned";

interface Judgement {
  readonly verdict: ReportVerdict;
  /** Why, when stale or cloned. */
  readonly why: string;
}

const ACCEPTED: Judgement = { verdict: "accepted", why: "" };

export class TrackedHost {
  readonly hostId: HostId;
  registered: RegisteredHost | undefined;
  incarnation: Incarnation | undefined;
  dataSetId: DataSetId | undefined;
  /** Effective time of the last report, or of the last fresh TTL. */
  baseMs: number;
  /** Heard since the base was set; a fresh TTL without a report is not life. */
  heard = false;
  /** Interruptions of listening as of `baseMs`. */
  gaps: number;
  /** Once Down, so until heard again: leaders stop missing it as soon as it is replaced. */
  downLatched = false;
  stopping = false;
  /** Whom this host's leaders miss, for how long, as of its last report. */
  missing: ReadonlyMap<Target, number> = new Map();
  state: HostState = "Unknown";
  sinceMs: number;
  /** Effective time of falling silent (Disconnected), undefined while heard. */
  silentSinceMs: number | undefined;
  /** The operator accepted its silence: it does not count in an outage until heard again. */
  acknowledged = false;
  coolUntilMs = -1;
  restartedUntilMs = -1;
  /** Another process or an old directory reports in this host's name: until then, and why it is not believed. */
  strangerUntilMs = -1;
  stranger = "";
  /** The host's own word that its directory must not be used. */
  directoryFault = "";
  #flaps: number[] = [];
  #sequence = 0;
  /** Start before the present one, and the highest log sequence that any start on this data set made durable. */
  #earlierNonce = "";
  #durableSequence = 0;

  constructor(hostId: HostId, nowMs: number, gaps: number) {
    this.hostId = hostId;
    this.baseMs = nowMs;
    this.sinceMs = nowMs;
    this.gaps = gaps;
  }

  /** Fresh TTL: neither alive nor dead until heard or due again. */
  restartTtl(nowMs: number, gaps: number): void {
    this.baseMs = nowMs;
    this.gaps = gaps;
    this.heard = false;
    this.downLatched = false;
    this.silentSinceMs = undefined;
  }

  /** Whether the report is of the newest start of this host on its present data set. `fresh`: heard lately. */
  judge(info: NodeHostInfo, fresh: boolean): Judgement {
    const known = this.registered;
    if (known?.pastDataSets.includes(info.dataSetId) === true) {
      return stale(`data set ${info.dataSetId} was replaced by ${known.dataSetId}`);
    }
    if (known !== undefined && known.dataSetId === info.dataSetId) {
      const judged = this.#judgeStart(known.incarnation, info.incarnation);
      if (judged.verdict !== "accepted") return judged;
    }
    if (this.dataSetId === undefined || this.incarnation === undefined) return ACCEPTED;
    // A newer data set was heard already: the registered one is the old disk.
    if (this.dataSetId !== info.dataSetId) {
      return known?.dataSetId === info.dataSetId ? stale(`data set ${this.dataSetId} was heard since`) : ACCEPTED;
    }
    const judged = this.#judgeStart(this.incarnation, info.incarnation);
    if (judged.verdict !== "accepted") return judged;
    if (this.incarnation.counter !== info.incarnation.counter) return this.#judgeNewStart(info, fresh);
    return info.sequence <= this.#sequence ? { verdict: "duplicate", why: "" } : ACCEPTED;
  }

  #judgeStart(known: Incarnation, now: Incarnation): Judgement {
    if (now.counter < known.counter) {
      const both = `starts ${now.counter} and ${known.counter} both report`;
      if (now.nonce === this.#earlierNonce) return { verdict: "cloned", why: both };
      return stale(`it counts start ${now.counter}, its start ${known.counter} was heard`);
    }
    if (now.counter > known.counter || now.nonce === known.nonce) return ACCEPTED;
    return { verdict: "cloned", why: `two processes count start ${now.counter}` };
  }

  #judgeNewStart(info: NodeHostInfo, fresh: boolean): Judgement {
    // Its peers know better: it does not take the place of the process that it is a copy of.
    if (fresh && !this.stopping && info.directoryFault !== "") return { verdict: "cloned", why: info.directoryFault };
    const { recoveredSequence, durableSequence } = info;
    // Both are 0 in reports of version 0.1.0.
    if (durableSequence === 0 || recoveredSequence >= this.#durableSequence) return ACCEPTED;
    return stale(`it recovered its log up to ${recoveredSequence}, ${this.#durableSequence} were durable`);
  }

  /** Takes an accepted report over. */
  hear(info: NodeHostInfo, nowMs: number, gaps: number, timing: DetectTiming): void {
    const returned = this.heard && nowMs - this.baseMs > timing.disconnectedMs;
    if (returned) this.#flap(nowMs, timing);
    const restarted =
      this.dataSetId === info.dataSetId &&
      this.incarnation !== undefined &&
      info.incarnation.counter > this.incarnation.counter;
    if (restarted) this.restartedUntilMs = nowMs + timing.suspectMs;
    if (restarted) this.#earlierNonce = this.incarnation?.nonce ?? "";
    this.#durableSequence =
      this.dataSetId === info.dataSetId ? Math.max(this.#durableSequence, info.durableSequence) : info.durableSequence;
    this.directoryFault = info.directoryFault;
    this.incarnation = info.incarnation;
    this.dataSetId = info.dataSetId;
    this.#sequence = info.sequence;
    this.baseMs = nowMs;
    this.gaps = gaps;
    this.heard = true;
    this.downLatched = false;
    this.silentSinceMs = undefined;
    this.acknowledged = false;
    this.stopping = info.stopping;
    this.missing = missingOf(info, timing.peerEvidenceMs);
  }

  #flap(nowMs: number, timing: DetectTiming): void {
    this.#flaps = [...this.#flaps.filter((at) => nowMs - at <= timing.flapWindowMs), nowMs];
    const coolMs = timing.flapCoolMs * 2 ** Math.min(this.#flaps.length - 1, 10);
    this.coolUntilMs = nowMs + Math.min(coolMs, Math.max(timing.downMs, timing.flapCoolMs));
  }

  /** By age; Down only with a second witness (`missed`). */
  liveness(nowMs: number, timing: DetectTiming, missed: () => boolean): Liveness {
    const ageMs = nowMs - this.baseMs;
    if (ageMs > timing.downMs) {
      this.downLatched ||= missed();
      return this.downLatched ? "down" : "disconnected";
    }
    if (ageMs > timing.disconnectedMs) return "disconnected";
    if (!this.heard) return "unknown";
    return ageMs > timing.suspectMs ? "suspect" : "up";
  }
}

function stale(why: string): Judgement {
  return { verdict: "stale", why };
}

/** Targets that leaders on the reporting host have not heard for at least `atLeastMs`. */
function missingOf(info: NodeHostInfo, atLeastMs: number): ReadonlyMap<Target, number> {
  const missing = new Map<Target, number>();
  const note = (target: Target, silentMs: number): void => {
    if (silentMs >= atLeastMs) missing.set(target, Math.max(silentMs, missing.get(target) ?? 0));
  };
  for (const peer of info.silentPeers) note(peer.target, peer.silentMs);
  for (const replica of info.clusterInfo) {
    if (!replica.isLeader || replica.membership === undefined) continue;
    for (const p of replica.progress) {
      if (p.silentMs < atLeastMs) continue;
      const m = replica.membership;
      const target = m.voters.get(p.replicaId) ?? m.nonVotings.get(p.replicaId) ?? m.witnesses.get(p.replicaId);
      if (target !== undefined) note(target, p.silentMs);
    }
  }
  return missing;
}
