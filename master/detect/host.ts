/**
 * One host as the detector follows it: identity of its last report, when it was heard on the effective clock, flaps.
 * Owned by FailureDetector.
 */
import type { NodeHostInfo } from "../../shared/types/control.js";
import type { DataSetId, HostId, Incarnation, Target } from "../../shared/types/ids.js";
import type { DetectTiming } from "./timing.js";
import type { HostState, Liveness, RegisteredHost } from "./types.js";

/** accepted; or why a report is not believed. */
export type ReportVerdict = "accepted" | "duplicate" | "stale" | "cloned";

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
  clonedUntilMs = -1;
  #flaps: number[] = [];
  #sequence = 0;

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

  /** Whether the report is of the newest start of this host on its present data set. */
  judge(info: NodeHostInfo): ReportVerdict {
    const known = this.registered;
    if (known?.pastDataSets.includes(info.dataSetId) === true) return "stale";
    if (known !== undefined && known.dataSetId === info.dataSetId) {
      const verdict = judgeStart(known.incarnation, info.incarnation);
      if (verdict !== "accepted") return verdict;
    }
    if (this.dataSetId === undefined || this.incarnation === undefined) return "accepted";
    // A newer data set was heard already: the registered one is the old disk.
    if (this.dataSetId !== info.dataSetId) return known?.dataSetId === info.dataSetId ? "stale" : "accepted";
    const verdict = judgeStart(this.incarnation, info.incarnation);
    if (verdict !== "accepted") return verdict;
    const sameStart = this.incarnation.counter === info.incarnation.counter;
    return sameStart && info.sequence <= this.#sequence ? "duplicate" : "accepted";
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

function judgeStart(known: Incarnation, now: Incarnation): ReportVerdict {
  if (now.counter < known.counter) return "stale";
  return now.counter === known.counter && now.nonce !== known.nonce ? "cloned" : "accepted";
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
