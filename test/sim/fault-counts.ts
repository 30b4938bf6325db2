/** How often each fault really happened: the proof that a run was not a calm one. One name per knob or effect. */
export const FAULTS = [
  "lostBlocks",
  "tornBlocks",
  "lostNames",
  "processDeaths",
  "writeErrors",
  "readErrors",
  "stuckWrites",
  "checkpointErrors",
  "fullDisks",
  "fullDiskRefusals",
  "failStops",
  "fenced",
  "segmentsReused",
  "snapshotsRefused",
  "snapshotCut",
  "snapshotFlipped",
  "snapshotDoubled",
  "snapshotMoved",
  "snapshotTwice",
  "snapshotLate",
  "flipMiddle",
  "flipTail",
  "flipSnapshot",
  "loseBlock",
  "loseSegment",
  "cutSegment",
  "loseWal",
  "loseCheckpoint",
  "loseSnapshot",
  "staleWal",
  "lostDisks",
  "staleDisks",
  "damageFound",
  "damageHarmless",
  "standstills",
  "machinesAhead",
  "resultsLost",
] as const;

export type Fault = (typeof FAULTS)[number];

export class FaultCounts {
  readonly counts = new Map<Fault, number>();

  add(fault: Fault, times = 1): void {
    this.counts.set(fault, (this.counts.get(fault) ?? 0) + times);
  }
}

/** Both together. Every fault is named, also one that never happened. */
export function addFaults(a: ReadonlyMap<Fault, number>, b: ReadonlyMap<Fault, number>): ReadonlyMap<Fault, number> {
  return new Map(FAULTS.map((fault) => [fault, (a.get(fault) ?? 0) + (b.get(fault) ?? 0)]));
}
