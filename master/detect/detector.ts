/**
 * FailureDetector: which hosts live, and whether this master may act at all. Pure: events and ticks in, a view out.
 *
 * Every master replica runs one, leader or not: all of them hear the reports, so a new leader keeps the age of each
 * host it listened to without a gap (D4 as decided here), and only the others get a fresh TTL.
 * Invariants: silence during our own deafness (link cut, probe lost, loop stalled) never ages a host (D1, D10); nobody
 * is Down without a second witness; no plan before warm-up (D5) and none in a large outage (D8).
 * Driven by master/loop: call `tick` at least twice per `loopLagMs`.
 */
import type { ErrorCode } from "../../shared/errors.js";
import type { NodeHostInfo } from "../../shared/types/control.js";
import type { HostId } from "../../shared/types/ids.js";
import { EffectiveClock } from "./clock.js";
import { type ReportVerdict, TrackedHost } from "./host.js";
import { OutageGuard } from "./outage.js";
import type { DetectTiming } from "./timing.js";
import type { DetectorView, HostState, HostView, Liveness, Mode, RegisteredHost } from "./types.js";

const KNOWN_PART = 0.9;
const BRAKE_FRACTION = 0.1;

export class FailureDetector {
  readonly #timing: DetectTiming;
  readonly #clock: EffectiveClock;
  readonly #outage: OutageGuard;
  readonly #hosts = new Map<HostId, TrackedHost>();
  #linked = false;
  #linkLostMs: number | undefined;
  #probeMs: number;
  /** Effective time until which we only observe after a reconnect. */
  #quietUntilMs = -1;
  #leading = false;
  #leadSinceMs = 0;
  #warm = false;
  #coverage = { led: 0, shards: 0 };
  #outageLevel: "none" | "brake" | "observe" = "none";

  constructor(timing: DetectTiming, nowMs: number) {
    this.#timing = timing;
    this.#clock = new EffectiveClock(timing.loopLagMs, nowMs);
    this.#outage = new OutageGuard(timing);
    this.#probeMs = nowMs;
  }

  /** The registry, whenever it changed (and when a maintenance window ends). */
  setHosts(hosts: Iterable<RegisteredHost>): void {
    const seen = new Set<HostId>();
    for (const host of hosts) {
      seen.add(host.hostId);
      this.#track(host.hostId).registered = host;
    }
    for (const tracked of this.#hosts.values()) {
      if (!seen.has(tracked.hostId)) tracked.registered = undefined;
    }
  }

  /** Part of the shards whose leader is known from fresh reports: the second half of warm-up (D5). */
  onCoverage(shardsLed: number, shards: number): void {
    this.#coverage = { led: shardsLed, shards };
  }

  /** A report arrived, stamped when it reached the process (D3). Only an accepted one may enter the image. */
  onReport(info: NodeHostInfo, nowMs: number): ReportVerdict {
    this.#advance(nowMs);
    const host = this.#track(info.hostId);
    const { verdict, why } = host.judge(info, this.#fresh(host));
    if (verdict === "stale" || verdict === "cloned") {
      host.strangerUntilMs = this.#clock.nowMs + this.#timing.disconnectedMs;
      host.stranger = why;
    }
    if (verdict === "accepted") host.hear(info, this.#clock.nowMs, this.#clock.gaps, this.#timing);
    return verdict;
  }

  /** What a host is told whose report was not believed: right after `onReport` said stale or cloned. */
  refusalOf(hostId: HostId, verdict: ReportVerdict): { readonly code: ErrorCode; readonly detail: string } | undefined {
    if (verdict !== "stale" && verdict !== "cloned") return undefined;
    const code = verdict === "stale" ? "DL_ERR_DATA_STALE" : "DL_ERR_HOST_CLONED";
    return { code, detail: `the masters do not believe this directory: ${this.#hosts.get(hostId)?.stranger ?? ""}` };
  }

  /** Our own link to the bus came or went. */
  onLink(connected: boolean, nowMs: number): void {
    this.#advance(nowMs);
    if (connected === this.#linked) return;
    this.#linked = connected;
    if (connected) this.#probeMs = nowMs;
    else this.#linkLostMs = nowMs;
    this.#listen(nowMs);
  }

  /** A message to ourselves came back through the bus. */
  onProbe(nowMs: number): void {
    this.#advance(nowMs);
    this.#probeMs = nowMs;
    this.#listen(nowMs);
  }

  /** The event loop was measured to have stood still for `gapMs` just before `nowMs`. */
  onStall(gapMs: number, nowMs: number): void {
    this.#clock.exclude(gapMs);
    this.#advance(nowMs);
  }

  onLeadership(isLeader: boolean, nowMs: number): void {
    this.#advance(nowMs);
    if (isLeader && !this.#leading) {
      this.#leadSinceMs = this.#clock.nowMs;
      this.#warm = false;
      this.#coverage = { led: 0, shards: 0 };
      this.#outage.end();
      // D4: an age that spans a gap of our listening is worth nothing.
      for (const host of this.#hosts.values()) {
        if (!host.heard || host.gaps !== this.#clock.gaps) this.#restartTtl(host);
      }
    }
    this.#leading = isLeader;
  }

  /** The operator accepts that the hosts silent now are lost: repair may go on (D8). */
  acknowledgeOutage(nowMs: number): void {
    this.#advance(nowMs);
    for (const host of this.#hosts.values()) if (host.silentSinceMs !== undefined) host.acknowledged = true;
    this.#outage.end();
    this.#evaluate();
  }

  tick(nowMs: number): void {
    this.#advance(nowMs);
    this.#listen(nowMs);
    this.#evaluate();
  }

  view(): DetectorView {
    const nowMs = this.#clock.nowMs;
    const hosts = new Map<HostId, HostView>();
    for (const host of this.#hosts.values()) hosts.set(host.hostId, this.#hostView(host));
    const { mode, reasons } = this.#mode();
    const connected = this.#leading && this.#clock.running;
    const mayPlan = mode === "normal" || mode === "braked";
    // Restarting a replica where its data is can harm nobody, so a large outage does not stop it.
    const warmEnough = nowMs - this.#leadSinceMs >= this.#timing.warmUpMs;
    const mayRestart = connected && warmEnough && nowMs >= this.#quietUntilMs;
    const repairFraction = mode === "normal" ? 1 : mode === "braked" ? BRAKE_FRACTION : 0;
    return { effectiveMs: nowMs, mode, reasons, connected, mayRestart, mayPlan, repairFraction, hosts };
  }

  #track(hostId: HostId): TrackedHost {
    let host = this.#hosts.get(hostId);
    if (host === undefined) {
      host = new TrackedHost(hostId, this.#clock.nowMs, this.#clock.gaps);
      this.#hosts.set(hostId, host);
    }
    return host;
  }

  #advance(nowMs: number): void {
    const stalledMs = this.#clock.advance(nowMs);
    // Probes could not have been handled either.
    if (stalledMs > 0) this.#probeMs = nowMs;
  }

  /** Starts or stops the clock. */
  #listen(nowMs: number): void {
    const listening = this.#linked && nowMs - this.#probeMs <= this.#timing.probeTimeoutMs;
    if (listening === this.#clock.running) return;
    this.#clock.setRunning(listening);
    if (!listening) {
      this.#linkLostMs ??= nowMs;
      return;
    }
    const gapMs = nowMs - (this.#linkLostMs ?? nowMs);
    this.#linkLostMs = undefined;
    if (gapMs > this.#timing.linkGapMs) this.#quietUntilMs = this.#clock.nowMs + this.#timing.reconnectQuietMs;
    // D10: after a reconnect everybody gets a full TTL.
    for (const host of this.#hosts.values()) this.#restartTtl(host);
  }

  #restartTtl(host: TrackedHost): void {
    host.restartTtl(this.#clock.nowMs, this.#clock.gaps);
  }

  #evaluate(): void {
    const nowMs = this.#clock.nowMs;
    let counted = 0;
    let silent = 0;
    let known = 0;
    for (const host of this.#hosts.values()) {
      const liveness = this.#liveness(host);
      const isSilent = liveness === "disconnected" || liveness === "down";
      if (isSilent) host.silentSinceMs ??= nowMs;
      this.#settle(host, liveness);
      const registered = host.registered;
      if (registered === undefined || registered.removed || registered.maintenance) continue;
      if (isSilent && this.#longSilent(host)) continue;
      counted += 1;
      if (host.heard) known += 1;
      if (isSilent) silent += 1;
    }
    this.#warm ||= this.#isWarm(known, counted);
    const level = this.#outage.update({ hosts: counted, silent }, nowMs);
    if (level === "ended") for (const host of this.#hosts.values()) this.#restartTtl(host);
    this.#outageLevel = level === "ended" ? "none" : level;
  }

  #longSilent(host: TrackedHost): boolean {
    if (host.acknowledged) return true;
    const sinceMs = host.silentSinceMs;
    return (
      !this.#outage.observing && sinceMs !== undefined && this.#clock.nowMs - sinceMs > this.#timing.outageWindowMs
    );
  }

  #isWarm(known: number, counted: number): boolean {
    const passedMs = this.#clock.nowMs - this.#leadSinceMs;
    if (!this.#leading || passedMs < this.#timing.warmUpMs) return false;
    if (passedMs >= this.#timing.warmUpCapMs) return true;
    const { led, shards } = this.#coverage;
    return known >= counted * KNOWN_PART && led >= shards * KNOWN_PART;
  }

  #liveness(host: TrackedHost): Liveness {
    return host.liveness(this.#clock.nowMs, this.#timing, () => this.#missedByPeers(host));
  }

  /** Whether a leader on another host that is heard misses this one. */
  #missedByPeers(host: TrackedHost): boolean {
    const address = host.registered?.raftAddress;
    for (const witness of this.#hosts.values()) {
      if (witness === host || !this.#fresh(witness)) continue;
      if (witness.missing.has(host.hostId)) return true;
      if (address !== undefined && witness.missing.has(address)) return true;
    }
    return false;
  }

  #fresh(host: TrackedHost): boolean {
    return host.heard && this.#clock.nowMs - host.baseMs <= this.#timing.suspectMs;
  }

  #settle(host: TrackedHost, liveness: Liveness): void {
    const state = this.#stateOf(host, liveness);
    if (state === host.state) return;
    host.state = state;
    host.sinceMs = this.#clock.nowMs;
  }

  #stateOf(host: TrackedHost, liveness: Liveness): HostState {
    if (host.registered?.removed === true) return "Removed";
    if (host.registered?.maintenance === true) return "Maintenance";
    const nowMs = this.#clock.nowMs;
    const stranger = nowMs < host.strangerUntilMs;
    if (stranger && !this.#fresh(host)) return "Refused";
    if (liveness === "unknown") return "Unknown";
    if (liveness === "disconnected") return "Disconnected";
    if (liveness === "down") return "Down";
    const registered = host.registered?.dataSetId;
    if (registered !== undefined && host.dataSetId !== registered) return "Wiped";
    if (host.directoryFault !== "") return "Refused";
    if (stranger) return "Cloned";
    if (host.stopping) return "Stopping";
    if (liveness === "suspect" || nowMs < host.coolUntilMs) return "Suspect";
    return nowMs < host.restartedUntilMs ? "Restarted" : "Up";
  }

  #hostView(host: TrackedHost): HostView {
    const liveness = this.#liveness(host);
    this.#settle(host, liveness);
    const ageMs = this.#clock.nowMs - host.baseMs;
    const missedByPeers = liveness === "down" || (liveness === "disconnected" && this.#missedByPeers(host));
    const { hostId, state, sinceMs, incarnation, dataSetId } = host;
    const reason = this.#reason(host, liveness, missedByPeers);
    const fresh = this.#fresh(host);
    return { hostId, state, liveness, fresh, ageMs, sinceMs, incarnation, dataSetId, missedByPeers, reason };
  }

  #reason(host: TrackedHost, liveness: Liveness, missed: boolean): string {
    const ageMs = this.#clock.nowMs - host.baseMs;
    const silent = `silent for ${seconds(ageMs)}`;
    switch (host.state) {
      case "Unknown":
        return "not heard since this master listens";
      case "Suspect":
        return liveness === "up" ? "returned a moment ago" : silent;
      case "Disconnected":
        return ageMs > this.#timing.downMs && !missed ? `${silent}, but no leader misses it` : silent;
      case "Down":
        return `${silent}, and leaders miss it`;
      case "Refused":
        return host.directoryFault === "" ? `its directory is an old copy: ${host.stranger}` : host.directoryFault;
      case "Cloned":
        return `a second process reports with this host's identity and is refused: ${host.stranger}`;
      case "Wiped":
        return "reports another data set than the registered one";
      default:
        return "";
    }
  }

  #mode(): { readonly mode: Mode; readonly reasons: readonly string[] } {
    if (!this.#leading) return { mode: "standby", reasons: ["this master does not lead"] };
    if (!this.#linked) return { mode: "observer", reasons: ["the link to the bus is cut (D10)"] };
    if (!this.#clock.running) return { mode: "observer", reasons: ["messages to ourselves do not return (D1)"] };
    if (this.#clock.nowMs < this.#quietUntilMs)
      return { mode: "observer", reasons: ["the bus link came back a moment ago (D10)"] };
    if (!this.#warm) return { mode: "warming", reasons: ["new leader, waiting for reports (D5)"] };
    if (this.#outageLevel === "observe") {
      return {
        mode: "observer",
        reasons: ["large outage: too many hosts silent at once (D8); acknowledge or bring them back"],
      };
    }
    if (this.#outageLevel === "brake")
      return { mode: "braked", reasons: ["many hosts silent: repairs slowed down (D7)"] };
    return { mode: "normal", reasons: [] };
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
