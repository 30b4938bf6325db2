/**
 * All times of detection and repair, derived from one number: how long a host may be silent before its replicas are
 * replaced. The ratios keep the order report < Suspect < Disconnected < Down at every setting; misconfigured single
 * intervals are how other masters came to see everyone as dead.
 */
export interface DetectTiming {
  /** Hosts report each so often (±10 %). */
  readonly reportIntervalMs: number;
  /** Silent longer: no new replicas there (D2). */
  readonly suspectMs: number;
  /** Silent longer: counts as silent in a large outage; operations that need it wait. */
  readonly disconnectedMs: number;
  /** Silent longer, and missed by leaders too: Down, its replicas are replaced. */
  readonly downMs: number;
  /** How long a leader must have missed a host to be a witness of its death. */
  readonly peerEvidenceMs: number;
  /** A new leader plans nothing before (D5), and waits for reports no longer than the cap (D6). */
  readonly warmUpMs: number;
  readonly warmUpCapMs: number;
  /** Between stopping a replica that is no member and removing its data (D14). */
  readonly zombieHoldMs: number;
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

export const DOWN_DEFAULT_MS = 300_000;
const DOWN_MIN_MS = 2_000;
const DOWN_MAX_MS = 86_400_000;

/** At 300 s: report 3 s, Suspect 10 s, Disconnected 30 s, warm-up 30 s. At 5 s: 0.5, 1.5, 3, 3. */
export function deriveTiming(downMs: number = DOWN_DEFAULT_MS): DetectTiming {
  return {
    reportIntervalMs: clamp(downMs / 10, 200, 3_000),
    suspectMs: Math.min(10_000, downMs * 0.3),
    disconnectedMs: Math.min(30_000, downMs * 0.6),
    downMs,
    peerEvidenceMs: Math.min(60_000, downMs * 0.6),
    warmUpMs: Math.min(30_000, downMs * 0.6),
    warmUpCapMs: Math.min(300_000, downMs * 1.2),
    zombieHoldMs: Math.min(60_000, downMs),
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
  const problems: string[] = [];
  if (!(t.downMs >= DOWN_MIN_MS && t.downMs <= DOWN_MAX_MS)) {
    problems.push(`downMs ${t.downMs}, expected ${DOWN_MIN_MS} to ${DOWN_MAX_MS}`);
  }
  if (t.suspectMs < 3 * t.reportIntervalMs) problems.push("suspectMs must be at least 3 report intervals");
  if (t.disconnectedMs <= t.suspectMs) problems.push("disconnectedMs must be above suspectMs");
  if (t.downMs <= t.disconnectedMs) problems.push("downMs must be above disconnectedMs");
  if (t.warmUpMs < t.suspectMs) problems.push("warmUpMs must be at least suspectMs");
  if (t.warmUpCapMs < t.warmUpMs) problems.push("warmUpCapMs must be at least warmUpMs");
  return problems;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
