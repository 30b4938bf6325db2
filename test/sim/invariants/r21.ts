/**
 * R21: only a shard with nothing to do rests, and only as long. (a) A leader rests when what it holds is committed and
 * durable on a quorum that it told, itself included, and everyone it told holds the same; a member rests when that
 * leader told it so, in this term and at this index, and nothing is unapplied of the membership. (b) At rest nothing
 * is under way; whoever wakes has a whole timeout, or beats at once and has time to be answered. That a shard at rest
 * elects when its leader is gone is demanded in rest.ts.
 */

import type { ReplicaId, Term, TimeMs } from "../../../shared/types/ids.js";
import { roleOf } from "../../../shared/types/membership.js";
import { MessageType } from "../../../shared/types/message.js";
import { unappliedChange } from "../changes.js";
import { type Invariant, type SimNode, Violation, type World } from "../model.js";

interface Life {
  resting: boolean;
  /** Since when a leader that woke leads this term. */
  wokeMs: TimeMs;
  wokeTerm: Term;
}

export function restIsEarned(world: World): Invariant {
  const lives = new Map<ReplicaId, Life>();
  /** Term and index of every Quiesce ever sent, by receiver. */
  const told = new Set<string>();
  const lifeOf = (node: SimNode): Life => {
    let life = lives.get(node.id);
    if (life === undefined) {
      life = { resting: false, wokeMs: 0, wokeTerm: 0 };
      lives.set(node.id, life);
    }
    return life;
  };
  return {
    id: "R21",
    text: "a shard rests only with everything committed, durable and told, and whoever wakes has its time",
    onStart(node) {
      lives.delete(node.id);
    },
    onSend(_node, message) {
      if (message.type === MessageType.Quiesce) told.add(`${message.to} ${message.term} ${message.index}`);
    },
    afterInput(node) {
      const { core } = node;
      if (core === undefined || world.options.quiesceAfterMs === 0) return;
      const life = lifeOf(node);
      const rested = life.resting;
      life.resting = core.quiesced;
      if (core.quiesced) {
        if (!rested && core.role === "leader") mayLead(world, node);
        else if (!rested) mayFollow(node, told);
        const change = rested ? undefined : unappliedChange(world, node);
        if (change !== undefined)
          throw new Violation("R21", `node ${node.id} rests with the change ${change} unapplied`);
        isStill(node);
      } else if (rested) {
        hasTime(node);
        if (core.role === "leader") Object.assign(life, { wokeMs: node.clock(), wokeTerm: core.term });
      }
    },
    afterTick(node) {
      const life = lives.get(node.id);
      const { core } = node;
      if (core === undefined || life === undefined || life.wokeTerm !== core.term || core.role === "leader") return;
      if (node.clock() - life.wokeMs >= world.options.electionTimeoutMs) return;
      throw new Violation("R21", `leader ${node.id} woke at ${life.wokeMs} and gives up at ${node.clock()}`);
    },
  };
}

function mayLead(world: World, node: SimNode): void {
  const { core, view, disk } = node;
  if (core === undefined) return;
  const who = `leader ${node.id} rests`;
  const { told } = node.pulse;
  const { voters, witnesses } = core.membership;
  const counting = [...voters.keys(), ...witnesses.keys()];
  const resting = counting.filter((id) => id === node.id || told.has(id));
  if (resting.length * 2 <= counting.length) throw new Violation("R21", `${who} without a quorum`);
  if (core.commit !== view.last || disk.log.last !== view.last) {
    throw new Violation("R21", `${who} with commit ${core.commit}, durable ${disk.log.last} of ${view.last}`);
  }
  for (const id of told) {
    const other = world.node(id)?.disk;
    if (other === undefined || roleOf(core.membership, id) === undefined) continue;
    if (other.hardState.term > core.term) continue;
    if (other.log.last !== view.last || other.log.term(view.last) !== view.term(view.last)) {
      throw new Violation("R21", `${who} at ${view.last} while ${id} is at ${other.log.last}`);
    }
  }
}

function mayFollow(node: SimNode, told: ReadonlySet<string>): void {
  const { core } = node;
  if (core === undefined) return;
  if (told.has(`${node.id} ${core.term} ${core.last}`)) return;
  throw new Violation("R21", `node ${node.id} rests in term ${core.term} at ${core.last}, which nobody told it`);
}

function isStill(node: SimNode): void {
  const { core, disk, view } = node;
  if (core === undefined) return;
  const who = `node ${node.id} (${core.role}) at rest`;
  if (core.role !== "leader" && core.role !== "follower") throw new Violation("R21", who);
  if (core.commit !== core.last) throw new Violation("R21", `${who} with commit ${core.commit}, last ${core.last}`);
  if (disk.log.last !== view.last) throw new Violation("R21", `${who} with durable ${disk.log.last} of ${view.last}`);
  if (disk.hardState.term !== core.term) throw new Violation("R21", `${who}: its term is not durable`);
  if (core.role === "leader" && core.status().transferTarget !== 0) throw new Violation("R21", `${who} hands over`);
  if (Number.isFinite(core.deadlineMs)) throw new Violation("R21", `${who} has a timer`);
}

function hasTime(node: SimNode): void {
  const { core, world } = node;
  if (core === undefined || !core.membership.voters.has(node.id)) return;
  const { electionTimeoutMs, heartbeatIntervalMs } = world.options;
  const leftMs = core.deadlineMs - node.clock();
  const fits = core.role === "leader" ? leftMs <= heartbeatIntervalMs : leftMs >= electionTimeoutMs;
  if (!fits) throw new Violation("R21", `node ${node.id} (${core.role}) wakes with ${leftMs} ms until its next act`);
}
