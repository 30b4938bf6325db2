/**
 * The times of failure detection and repair that hosts and masters must agree on, all derived from one setting:
 * `downAfter`, the silence after which a host's replicas are replaced. One knob, because separate ones that do not fit
 * together are how a control plane comes to see everyone as dead. Pure; the master's detector adds its own to them.
 *
 * | downAfter | report | suspect | disconnected | peer evidence | warm-up | zombie hold |
 * |-----------|--------|---------|--------------|---------------|---------|-------------|
 * | 5 s       | 0.5 s  | 1.5 s   | 3 s          | 3 s           | 3 s     | 5 s         |
 * | 5 min     | 3 s    | 10 s    | 30 s         | 60 s          | 30 s    | 60 s        |
 */
export interface ControlTiming {
  /** Hosts report each so often (± 10 %). */
  readonly reportIntervalMs: number;
  /** Silent longer: nothing new is placed there. */
  readonly suspectMs: number;
  /** Silent longer: counts in an outage, operations that need it wait. */
  readonly disconnectedMs: number;
  /** Silent longer, and missed by leaders too: its replicas are replaced. */
  readonly downMs: number;
  /** How long a leader must have missed a host to be a witness of its death. */
  readonly peerEvidenceMs: number;
  /** A new leader of the masters plans nothing before. */
  readonly warmUpMs: number;
  /** Between stopping a replica that is no member and removing its data. */
  readonly zombieHoldMs: number;
}

export const DOWN_AFTER_DEFAULT_MS = 300_000;
/** Below it, one late report would be a death. */
export const DOWN_AFTER_MIN_MS = 2_000;
export const DOWN_AFTER_MAX_MS = 86_400_000;

export function deriveControlTiming(downAfterMs: number): ControlTiming {
  // Whole milliseconds; rounded so that three reports always fit before suspicion.
  const threeTenths = Math.ceil((downAfterMs * 3) / 10);
  return {
    reportIntervalMs: clamp(Math.floor(downAfterMs / 10), 200, 3_000),
    suspectMs: Math.min(threeTenths, 10_000),
    disconnectedMs: Math.min(2 * threeTenths, 30_000),
    downMs: downAfterMs,
    peerEvidenceMs: Math.min(2 * threeTenths, 60_000),
    warmUpMs: clamp(2 * threeTenths, 3_000, 30_000),
    zombieHoldMs: clamp(downAfterMs, 5_000, 60_000),
  };
}

/** What does not fit together, one line each; empty = valid. Holds for derived and for hand-made times. */
export function controlTimingProblems(t: ControlTiming): string[] {
  const problems: string[] = [];
  const need = (holds: boolean, problem: string) => {
    if (!holds) problems.push(problem);
  };
  need(t.reportIntervalMs > 0, "reportIntervalMs must be above 0");
  need(t.suspectMs >= 3 * t.reportIntervalMs, "suspectMs must be at least 3 report intervals");
  need(t.disconnectedMs > t.suspectMs, "disconnectedMs must be above suspectMs");
  need(t.downMs > t.disconnectedMs, "downMs must be above disconnectedMs");
  need(t.peerEvidenceMs <= t.downMs, "peerEvidenceMs must be at most downMs");
  need(t.warmUpMs >= 3_000, "warmUpMs must be at least 3 s");
  need(t.warmUpMs >= 2 * t.reportIntervalMs, "warmUpMs must be at least 2 report intervals");
  need(t.zombieHoldMs >= t.suspectMs, "zombieHoldMs must be at least suspectMs");
  return problems;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
