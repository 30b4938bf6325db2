/** "What is with this shard, and why is nothing happening?" in lines for people. Used by the API, CLI and dashboard. */
import type { ShardId } from "../../shared/types/ids.js";
import { PlanContext } from "./context.js";
import { passShard } from "./shard.js";
import type { PlanView } from "./types.js";

export function explainShard(view: PlanView, nowMs: number, shardId: ShardId): readonly string[] {
  const shard = view.db.shards.get(shardId);
  if (shard === undefined) return [`shard ${shardId} is not known`];
  const { facts, status, wish } = passShard(new PlanContext(view, nowMs, 0), shard);
  const { name, app, voters, nonVotings } = shard.spec;
  const title = name === "" ? `shard ${shardId}` : `shard ${shardId} (${name})`;
  const lines = [`${title} of app ${app}: ${status.health}, wanted ${voters} voters, ${nonVotings} non-voting`];
  if (facts !== undefined) {
    const { configChangeIndex, lineage } = facts.membership;
    const { quorum, margin } = facts;
    const leader = facts.leader === undefined ? "none known" : `replica ${facts.leader.info.replicaId}`;
    lines.push(
      `leader ${leader}; membership ${configChangeIndex}, lineage ${lineage}; quorum ${quorum}, margin ${margin}`,
    );
    for (const m of facts.members) {
      const words = [
        m.condition,
        m.live ? "live" : "not live",
        m.lost ? "lost" : "",
        m.leaving ? "leaving" : "",
        m.fault,
      ];
      lines.push(`  replica ${m.replicaId} on ${m.hostId}, ${m.role}: ${words.filter((w) => w !== "").join(", ")}`);
    }
  }
  if (wish !== undefined) {
    const built = wish.build();
    const text = "steps" in built ? built.steps.map((s) => s.kind).join(" → ") : built.reason;
    lines.push(`wanted: ${wish.kind}, ${wish.reason}: ${text}`);
  }
  if (status.doing !== "") lines.push(`doing: ${status.doing}`);
  if (status.waiting !== "") lines.push(`waiting: ${status.waiting}`);
  if (shard.failure !== undefined) lines.push(`last failure (${shard.failure.count}): ${shard.failure.reason}`);
  return lines;
}
