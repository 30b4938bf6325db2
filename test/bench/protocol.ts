/** What the benchmark's parent and its host processes say to each other over IPC. */
export interface BenchPlan {
  readonly groups: number;
  readonly inFlight: number;
  readonly payloadBytes: number;
  readonly warmupMs: number;
  readonly measureMs: number;
}

export type ToHost =
  | { readonly kind: "start"; readonly members: readonly (readonly [number, string])[]; readonly plan: BenchPlan }
  | { readonly kind: "run" }
  | { readonly kind: "stop" };

export interface HostReport {
  readonly completed: number;
  readonly failed: number;
  readonly latencyUs: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly fsyncs: number;
  readonly walBytes: number;
  readonly cpuMs: number;
  readonly rssBytes: number;
  readonly measuredMs: number;
}

export type FromHost =
  | { readonly kind: "listening"; readonly raftAddress: string }
  | { readonly kind: "ready" }
  | { readonly kind: "report"; readonly report: HostReport };
