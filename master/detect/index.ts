/** The door of master/detect: which hosts live, what they reported, and whether the master may act. */
export { FailureDetector } from "./detector.js";
export type { ReportVerdict } from "./host.js";
export { type LeaderClaim, ObservationImage, type ObservationView, type ReplicaObservation } from "./observe.js";
export { type DetectTiming, deriveTiming, timingProblems } from "./timing.js";
export {
  type DetectorView,
  type HostState,
  type HostView,
  type Liveness,
  type Mode,
  type RegisteredHost,
  registeredHosts,
} from "./types.js";
