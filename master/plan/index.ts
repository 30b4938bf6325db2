/** The door of master/plan: the pure planner, placement of new shards, and the texts that explain. */
import type { ReplicaPlace, ShardSpec } from "../db/index.js";
import { PlanContext } from "./context.js";
import { placeShard } from "./placement.js";
import type { PlanView } from "./types.js";

export { explainShard } from "./explain.js";
export { plan, planSliced } from "./plan.js";
export { leaderCoverage } from "./registry.js";
export {
  derivePlanConfig,
  type Plan,
  type PlanConfig,
  type PlanMemory,
  type PlannedAction,
  type PlanView,
  type Reason,
  type ShardHealth,
  type ShardStatus,
} from "./types.js";

/** Places for the initial voters of a new shard, for the command createShard; or why there are not enough hosts. */
export function placeNewShard(
  view: PlanView,
  spec: ShardSpec,
  seed: number,
): { readonly places: readonly ReplicaPlace[] } | { readonly reason: string } {
  return placeShard(new PlanContext(view, view.detector.effectiveMs, seed), spec);
}
