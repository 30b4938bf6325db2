/**
 * R19: handing leadership over is safe to ask for at any time. TimeoutNow goes only to another voter that holds the
 * leader's whole log durably, with no membership change unapplied at the leader; the leader's log stands still
 * meanwhile; it takes proposals again within one election timeout of its clock; every transfer that began is reported
 * once, by who really leads.
 */
import type { TransferResult } from "../../../nodehost/raft/types.js";
import type { Index, ReplicaId, Term, TimeMs } from "../../../shared/types/ids.js";
import { MessageType, type TimeoutNowMessage } from "../../../shared/types/message.js";
import { unappliedChange } from "../changes.js";
import { type Invariant, type SimNode, Violation, type World } from "../model.js";

interface Handover {
  readonly target: ReplicaId;
  readonly term: Term;
  readonly last: Index;
  /** On the clock of the node. */
  readonly endMs: TimeMs;
}

export function transfersAreSafe(world: World): Invariant {
  const open = new Map<ReplicaId, Handover>();
  /** What the node hands over now, while it leads. */
  const current = (node: SimNode): Handover | undefined => {
    const handover = open.get(node.id);
    const { core } = node;
    if (handover === undefined || core?.role !== "leader" || core.term !== handover.term) return undefined;
    return core.status().transferTarget === 0 ? undefined : handover;
  };
  return {
    id: "R19",
    text: "TimeoutNow only to a caught-up voter; transfers end in time, take no proposals, and are reported once",
    onStart(node) {
      open.delete(node.id);
    },
    onTransfer(node, target) {
      const { core } = node;
      if (core === undefined) return;
      if (core.role !== "leader" || target === node.id || !core.membership.voters.has(target)) {
        throw new Violation("R19", `node ${node.id} (${core.role}) accepts a transfer to ${target}`);
      }
      if (open.has(node.id)) throw new Violation("R19", `node ${node.id} begins a second transfer`);
      const endMs = node.clock() + world.options.electionTimeoutMs;
      open.set(node.id, { target, term: core.term, last: core.last, endMs });
    },
    onSend(node, message) {
      if (message.type !== MessageType.TimeoutNow) return;
      // Said while it handed over, taken from the core after that ended: a late one, like one on the network.
      const ended = open.get(node.id)?.target === message.to && node.core?.status().transferTarget === 0;
      if (!ended) mayBeAsked(world, node, message);
    },
    afterInput(node) {
      const { core } = node;
      const begun = open.get(node.id);
      if (begun === undefined || core === undefined) return;
      const grows = core.last !== begun.last;
      const isVoter = core.membership.voters.has(begun.target);
      // Only then is it worth asking whether it hands over still.
      if (!grows && isVoter && core.deadlineMs <= begun.endMs) return;
      if (current(node) === undefined) return;
      const what = `leader ${node.id} hands over to ${begun.target}`;
      if (grows) throw new Violation("R19", `${what} and appends ${core.last}`);
      if (!isVoter) throw new Violation("R19", `${what}, which is no voter any more`);
      throw new Violation("R19", `${what} without looking at its end`);
    },
    afterTick(node) {
      const handover = current(node);
      if (handover === undefined || node.clock() < handover.endMs) return;
      throw new Violation("R19", `leader ${node.id} goes on handing over to ${handover.target} after its time`);
    },
    onTransferred(node, result) {
      const handover = open.get(node.id);
      open.delete(node.id);
      if (handover?.target !== result.target) {
        throw new Violation("R19", `node ${node.id} reports a transfer to ${result.target}, asked for was another`);
      }
      mustBeTrue(world, node, result);
    },
    afterOutput(node) {
      const handover = open.get(node.id);
      const { core } = node;
      if (handover === undefined || core === undefined) return;
      const leadsOn = core.role === "leader" && core.term === handover.term;
      if (core.status().transferTarget === 0 || (!leadsOn && core.leaderId !== 0)) {
        throw new Violation("R19", `node ${node.id} does not report the end of its transfer to ${handover.target}`);
      }
    },
  };
}

function mayBeAsked(world: World, node: SimNode, message: TimeoutNowMessage): void {
  const { core, view } = node;
  // Said while it led, taken from the core after it no longer did: a late TimeoutNow, like one on the network.
  if (core?.role !== "leader" || core.term !== message.term) return;
  const who = `leader ${node.id} asks ${message.to}`;
  if (message.to === node.id || !core.membership.voters.has(message.to)) {
    throw new Violation("R19", `${who}, which is no other voter`);
  }
  const change = unappliedChange(world, node);
  if (change !== undefined) throw new Violation("R19", `${who} with the membership change ${change} not applied`);
  const disk = world.node(message.to)?.disk;
  if (disk === undefined || disk.hardState.term > message.term) return;
  if (disk.log.last !== view.last || disk.log.term(disk.log.last) !== view.term(view.last)) {
    throw new Violation("R19", `${who}, whose log ends at ${disk.log.last}, its own at ${view.last}`);
  }
}

function mustBeTrue(world: World, node: SimNode, result: TransferResult): void {
  const { outcome, leaderId, term } = result;
  const leads = world.ledger.leaders.get(term);
  const own = leaderId === node.id;
  if (leads !== leaderId || own !== (outcome === "aborted")) {
    throw new Violation(
      "R19",
      `node ${node.id} reports ${outcome}, leader ${leaderId} of term ${term}, true is ${leads}`,
    );
  }
}
