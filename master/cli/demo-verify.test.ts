/** When a shard counts as at strength: from what hosts report, each way to miss it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterInfo, NodeHostInfo } from "../../shared/types/control.js";
import type { Membership } from "../../shared/types/membership.js";
import { votersAtStrength } from "./demo-verify.js";

interface World {
  readonly voters?: readonly number[];
  readonly nonVotings?: readonly number[];
  readonly running?: readonly number[];
  readonly leader?: number;
  readonly fault?: string;
}

/** Replica i of shard 1 on host "h<i>". */
function infos(world: World): NodeHostInfo[] {
  const { voters = [1, 2, 3], nonVotings = [], running = [1, 2, 3], leader = 1, fault = "" } = world;
  const members = (ids: readonly number[]): Map<number, string> => new Map(ids.map((id) => [id, `h${id}`]));
  const membership = { voters: members(voters), nonVotings: members(nonVotings), witnesses: new Map() };
  return running.map((replicaId) => {
    const isLeader = replicaId === leader;
    const replica: Partial<ClusterInfo> = {
      shardId: 1,
      replicaId,
      isLeader,
      term: 4,
      membership: membership as unknown as Membership,
      fault: isLeader ? "" : fault,
    };
    const info: Partial<NodeHostInfo> = {
      hostId: `h${replicaId}`,
      raftAddress: "",
      apiAddress: `api${replicaId}`,
      clusterInfo: [replica as ClusterInfo],
    };
    return info as NodeHostInfo;
  });
}

test("three voters that run on their hosts are at strength", () => {
  const placed = votersAtStrength(1, 3, infos({}));
  assert.ok(typeof placed !== "string", String(placed));
  assert.deepEqual(
    placed.map((one) => one.address),
    ["api1", "api2", "api3"],
  );
});

test("no leader, too few or too many voters, a learner left, a voter not running or faulty are not", () => {
  const why = (world: World): string => String(votersAtStrength(1, 3, infos(world)));
  assert.match(why({ leader: 9 }), /no leader/);
  assert.match(why({ voters: [1, 2] }), /has 2 voters/);
  assert.match(why({ voters: [1, 2, 3, 4], running: [1, 2, 3, 4] }), /has 4 voters/);
  assert.match(why({ nonVotings: [4] }), /3 voters and 1 others/);
  assert.match(why({ running: [1, 2] }), /voter 3 does not run on h3/);
  assert.match(why({ fault: "fenced" }), /voter 2 does not run on h2/);
});

test("a replica of the right id on another host is not the member", () => {
  const [a, b, c] = infos({});
  assert.ok(a !== undefined && b !== undefined && c !== undefined);
  assert.match(String(votersAtStrength(1, 3, [a, b, { ...c, hostId: "elsewhere" }])), /voter 3 does not run/);
});
