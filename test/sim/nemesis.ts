/**
 * What goes wrong, and when: crashes and restarts, partitions of several shapes, frozen nodes, returning removed
 * replicas, and crashes fired by what a node is just doing (a vote granted, an append not yet written, …), which find
 * what random times do not.
 */
import type { Output } from "../../nodehost/raft/types.js";
import { MessageType } from "../../shared/types/message.js";
import type { CrashPoint, NemesisPort, SimNode, World } from "./model.js";
import type { Prng } from "./prng.js";
import { EventKind } from "./queue.js";

const CRASH_POINTS: readonly CrashPoint[] = ["beforeWrite", "beforeSend", "afterSend"];

export class Nemesis implements NemesisPort {
  readonly #world: World;
  readonly #random: Prng;

  constructor(world: World, random: Prng) {
    this.#world = world;
    this.#random = random;
  }

  begin(): void {
    const { crashEveryMs, partitionEveryMs, freezeEveryMs } = this.#world.options;
    this.#every(crashEveryMs, () => this.#crashSome());
    this.#every(partitionEveryMs, () => this.#partition());
    this.#every(freezeEveryMs, () => this.#freeze());
  }

  // State-aware crashes.

  crashPoint(node: SimNode, out: Output): CrashPoint {
    const { options, faults } = this.#world;
    if (!faults) return "none";
    const acks = out.messages[0]?.type === MessageType.ReplicateResp;
    let chance = out.update === undefined && !acks ? 0 : options.crashOnAppend;
    if (options.crashOnVote > 0 && aboutVotes(node, out)) chance = Math.max(chance, options.crashOnVote);
    if (options.crashOnTransfer > 0 && out.messages.some((m) => m.type === MessageType.TimeoutNow)) {
      chance = Math.max(chance, options.crashOnTransfer);
    }
    if (options.crashOnSnapshot > 0 && out.update?.snapshot !== undefined) chance = options.crashOnSnapshot;
    return this.#random.chance(chance) ? this.#random.pick(CRASH_POINTS) : "none";
  }

  becameLeader(node: SimNode): void {
    this.#crashSoon(node, this.#world.options.crashOnLeader);
  }

  committed(node: SimNode): void {
    this.#crashSoon(node, this.#world.options.crashOnCommit);
  }

  changeApplied(node: SimNode): void {
    this.#crashSoon(node, this.#world.options.crashOnConfig);
  }

  #crashSoon(node: SimNode, chance: number): void {
    if (this.#world.faults && this.#random.chance(chance)) node.crashSoon = true;
  }

  /** Crashes a node and plans its restart. */
  crash(node: SimNode, why: string): void {
    const r = this.#random;
    const { options } = this.#world;
    node.crash(why);
    const down = r.chance(0.3) ? r.int(3) : 1 + r.int(options.downMs);
    this.#world.after(down, EventKind.Restart, undefined, () => this.#restart(node));
  }

  #restart(node: SimNode): void {
    if (node.retired || node.refused !== undefined) return;
    this.#world.trace.note(this.#world.now, node.id, EventKind.Restart, "start");
    node.start();
  }

  // At random times.

  #every(meanMs: number, call: () => void): void {
    if (meanMs === 0) return;
    this.#world.after(1 + this.#random.exponential(meanMs), EventKind.Nemesis, undefined, () => {
      if (!this.#world.faults) return;
      call();
      this.#every(meanMs, call);
    });
  }

  /** Half of the time the leader. */
  #victim(): SimNode | undefined {
    const running = this.#world.running();
    const leader = this.#world.leader();
    if (leader !== undefined && this.#random.chance(0.5)) return leader;
    return running.length === 0 ? undefined : this.#random.pick(running);
  }

  #crashSome(): void {
    const { options, nodes } = this.#world;
    const r = this.#random;
    if (options.crashAll && r.chance(0.2)) {
      for (const node of this.#world.running()) this.crash(node, "all");
      return;
    }
    if (r.chance(0.1)) {
      const retired = [...nodes.values()].filter((node) => node.retired && !node.alive && node.refused === undefined);
      if (retired.length > 0) {
        const zombie = r.pick(retired);
        zombie.retired = false;
        this.#restart(zombie);
        return;
      }
    }
    const victim = this.#victim();
    if (victim !== undefined) this.crash(victim, "random");
  }

  #freeze(): void {
    const victim = this.#victim();
    if (victim === undefined) return;
    const T = this.#world.options.electionTimeoutMs;
    const forMs = this.#random.chance(0.5) ? this.#random.int(T) : this.#random.int(8 * T);
    victim.frozenUntil = Math.max(victim.frozenUntil, this.#world.now + forMs);
    this.#world.trace.note(this.#world.now, victim.id, EventKind.Nemesis, `frozen until ${victim.frozenUntil}`);
  }

  #partition(): void {
    const { network, now, trace, nodes } = this.#world;
    const r = this.#random;
    network.heal();
    if (r.chance(0.35)) {
      trace.note(now, 0, EventKind.Nemesis, "heal");
      return;
    }
    const ids = [...nodes.keys()];
    const shape = r.pick(["isolate", "isolate", "halves", "oneWayIn", "oneWayOut", "ring", "bridge", "random"]);
    const centre = this.#victim()?.id ?? r.pick(ids);
    trace.note(now, 0, EventKind.Nemesis, `partition ${shape} around ${centre}`);
    const half = new Set(ids.filter(() => r.chance(0.5)));
    for (const a of ids) {
      for (const b of ids) {
        if (a !== b && this.#isCut(shape, { a, b, centre, half, ids })) network.cut(a, b);
      }
    }
  }

  #isCut(shape: string, at: { a: number; b: number; centre: number; half: Set<number>; ids: number[] }): boolean {
    const { a, b, centre, half, ids } = at;
    switch (shape) {
      case "isolate":
        return a === centre || b === centre;
      case "halves":
        return half.has(a) !== half.has(b);
      case "oneWayIn":
        return b === centre;
      case "oneWayOut":
        return a === centre;
      case "ring": {
        const apart = Math.abs(ids.indexOf(a) - ids.indexOf(b));
        return apart !== 1 && apart !== ids.length - 1;
      }
      case "bridge":
        return a !== centre && b !== centre && half.has(a) !== half.has(b);
      default:
        return this.#random.chance(0.3);
    }
  }
}

function aboutVotes(node: SimNode, out: Output): boolean {
  if (
    out.update !== undefined &&
    out.update.hardState.vote !== 0 &&
    out.update.hardState.term > node.disk.hardState.term
  ) {
    return true;
  }
  return out.messages.some((m) => m.type === MessageType.VoteResp && m.granted);
}
