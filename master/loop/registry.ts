/** The registry as hosts and clients keep it: who is where, made from shard 0 and what leaders reported. */
import type { RegistryShard, RegistryView } from "../../shared/types/control.js";
import type { HostId } from "../../shared/types/ids.js";
import type { Role } from "../../shared/types/membership.js";
import type { MasterView, ShardRecord } from "../db/index.js";
import type { ObservationView } from "../detect/index.js";

export function registryView(db: MasterView, image: ObservationView, fresh: (hostId: HostId) => boolean): RegistryView {
  const hosts = [...db.hosts.values()]
    .filter((host) => !host.removed)
    .map(({ hostId, raftAddress, apiAddress, incarnation }) => {
      return { hostId, raftAddress, apiAddress, incarnation: incarnation.counter };
    });
  const shards: RegistryShard[] = [];
  for (const shard of db.shards.values()) {
    if (shard.tombstone) continue;
    const claim = image.leaderOf(shard.shardId, fresh);
    shards.push({
      shardId: shard.shardId,
      name: shard.spec.name,
      app: shard.spec.app,
      configChangeIndex: shard.confirmed?.configChangeIndex ?? 0,
      leaderReplicaId: claim?.info.replicaId ?? 0,
      leaderTerm: claim?.info.term ?? 0,
      replicas: replicasOf(shard),
    });
  }
  return { revision: db.revision, hosts, shards };
}

function replicasOf(shard: ShardRecord): RegistryShard["replicas"] {
  const { confirmed } = shard;
  if (confirmed === undefined) {
    return shard.bootstrap.map(({ replicaId, hostId }) => ({ replicaId, hostId, role: "voter" as const }));
  }
  const groups: readonly (readonly [Role, ReadonlyMap<number, string>])[] = [
    ["voter", confirmed.voters],
    ["nonVoting", confirmed.nonVotings],
    ["witness", confirmed.witnesses],
  ];
  return groups.flatMap(([role, members]) => [...members].map(([replicaId, hostId]) => ({ replicaId, hostId, role })));
}
