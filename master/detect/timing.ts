/**
 * All times of detection and repair, derived from one number: how long a host may be silent before its replicas are
 * replaced. Those that hosts know too come from shared/config (report interval, Suspect (D2), Disconnected, Down, peer
 * evidence, warm-up (D5), zombie hold (D14)); the rest, only the master's, is added here. Used by master/loop.
 */
import {
  type ControlTiming,
  controlTimingProblems,
  DOWN_AFTER_DEFAULT_MS,
  DOWN_AFTER_MAX_MS,
  DOWN_AFTER_MIN_MS,
  deriveControlTiming,
} from "../../shared/config/timing.js";

export interface DetectTiming extends ControlTiming {
  /** A new leader waits for reports no longer (D6). */
  readonly warmUpCapMs: number;
  /** An event-loop gap above this is taken out of the clock (D1). Tick at least twice as often. */
  readonly loopLagMs: number;
  /** A message to ourselves through the bus must return within this (D1). */
  readonly probeTimeoutMs: number;
  /** A link gap longer than this is followed by `reconnectQuietMs` of observing only (D10). */
  readonly linkGapMs: number;
  readonly reconnectQuietMs: number;
  /** Hosts that fell silent within this count together as one outage (D7, D8). */
  readonly outageWindowMs: number;
  /** 90 % must be back for so long before a large outage is over. */
  readonly outageExitMs: number;
  /** A host that returned from Disconnected stays Suspect for so long, twice that at each further flap. */
  readonly flapCoolMs: number;
  readonly flapWindowMs: number;
}

export function deriveTiming(downMs: number = DOWN_AFTER_DEFAULT_MS): DetectTiming {
  const control = deriveControlTiming(downMs);
  return {
    ...control,
    warmUpCapMs: Math.max(2 * control.warmUpMs, Math.min(300_000, downMs * 1.2)),
    loopLagMs: 1_000,
    probeTimeoutMs: 3_000,
    linkGapMs: 1_000,
    reconnectQuietMs: Math.min(10_000, downMs * 0.6),
    outageWindowMs: Math.max(downMs, Math.min(300_000, downMs * 12)),
    outageExitMs: Math.min(60_000, downMs),
    flapCoolMs: Math.min(30_000, downMs * 0.6),
    flapWindowMs: downMs * 2,
  };
}

/** What is wrong with a set of times, one line each; empty = valid. */
export function timingProblems(t: DetectTiming): string[] {
  const problems = controlTimingProblems(t);
  if (!(t.downMs >= DOWN_AFTER_MIN_MS && t.downMs <= DOWN_AFTER_MAX_MS)) {
    problems.push(`downMs ${t.downMs}, expected ${DOWN_AFTER_MIN_MS} to ${DOWN_AFTER_MAX_MS}`);
  }
  if (t.warmUpMs < t.suspectMs) problems.push("warmUpMs must be at least suspectMs");
  if (t.warmUpCapMs < t.warmUpMs) problems.push("warmUpCapMs must be at least warmUpMs");
  return problems;
}
