/**
 * Before a planned stop: every leadership held here moves to its best caught-up voter, so that clients wait for a round
 * trip and not for an election; what cannot be moved in time is given up. Used by Engine only.
 */
import type { TimeMs } from "../../shared/types/ids.js";
import type { Replica } from "./replica.js";
import { RequestState } from "./requests.js";
import { bestTarget } from "./transfer-book.js";

const AT_ONCE = 64;

export interface DrainPorts {
  readonly now: () => TimeMs;
  /** Sees to the deadline of a request. */
  readonly watch: (request: RequestState) => void;
  readonly ready: (replica: Replica) => void;
}

/** What became of the leaderships of a host. */
export interface DrainResult {
  /** Shards that another replica leads now. */
  readonly moved: number;
  /** Shards left without a leader, until they elect one. */
  readonly steppedDown: number;
}

export async function moveLeaders(replicas: Iterable<Replica>, endMs: TimeMs, ports: DrainPorts): Promise<DrainResult> {
  const led = [...replicas].filter((replica) => leads(replica) && !isAlone(replica));
  const given = new Map<string, number>();
  let moved = 0;
  let steppedDown = 0;
  const mover = async (): Promise<void> => {
    for (let replica = led.pop(); replica !== undefined; replica = led.pop()) {
      if (await moveOne(replica, { endMs, given, ports })) moved += 1;
      else if (leads(replica)) {
        steppedDown += 1;
        replica.raft.stepDown(ports.now());
        ports.ready(replica);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, led.length) }, mover));
  return { moved, steppedDown };
}

interface Move {
  readonly endMs: TimeMs;
  /** Leaderships given to each host so far. */
  readonly given: Map<string, number>;
  readonly ports: DrainPorts;
}

/** Tries one candidate after the other. True if another replica leads. */
async function moveOne(replica: Replica, { endMs, given, ports }: Move): Promise<boolean> {
  const tried = new Set<number>();
  while (leads(replica) && ports.now() < endMs) {
    const status = replica.status();
    const target = bestTarget(status, { tried, given });
    if (target === undefined) return false;
    tried.add(target);
    const host = status.membership.voters.get(target) ?? "";
    given.set(host, (given.get(host) ?? 0) + 1);
    const request = new RequestState("transfer", replica.shardId, endMs);
    const refusal = replica.askLeader((requests) => requests.transfer(request, target));
    if (refusal !== undefined) request.fail("rejected", refusal);
    ports.watch(request);
    const { code } = await request.completed;
    if (code === "completed") return true;
  }
  return !leads(replica) && replica.raft.leaderId !== 0;
}

/** The only voter has nobody to hand over to. */
function isAlone({ raft: { membership } }: Replica): boolean {
  return membership.voters.size + membership.witnesses.size === 1;
}

function leads(replica: Replica): boolean {
  return replica.working && replica.raft.role === "leader";
}
