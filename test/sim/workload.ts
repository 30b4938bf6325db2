/**
 * The clients of a run: proposals and linearizable reads at any replica, membership changes, and operators who start
 * elections and move leadership at bad moments.
 */
import { EntryType } from "../../shared/codec/block.js";
import { encodeConfigChange } from "../../shared/codec/membership.js";
import type { ConfigChange } from "../../shared/types/membership.js";
import { MessageType } from "../../shared/types/message.js";
import type { SessionOutcome } from "./machine.js";
import { SHARD_ID, type SimNode, type WorkloadPort, type World } from "./model.js";
import type { Prng } from "./prng.js";
import { EventKind } from "./queue.js";
import { SessionClients } from "./session-clients.js";
import { drawTarget } from "./transfers.js";
import { freshId, WitnessTroubles } from "./witnesses.js";

const VOTERS_MAX = 5;
const LEARNERS_MAX = 2;

export class Workload implements WorkloadPort {
  readonly #world: World;
  readonly #random: Prng;
  readonly #sessions: SessionClients;
  /** Committed index when each read began. */
  readonly readFloor = new Map<number, number>();

  constructor(world: World, random: Prng) {
    this.#world = world;
    this.#random = random;
    this.#sessions = new SessionClients(world, world.stream(13));
  }

  begin(): void {
    const { proposeEveryMs, readEveryMs, configEveryMs, disturbEveryMs } = this.#world.options;
    const { transferEveryMs, sessionEveryMs, witnessEveryMs } = this.#world.options;
    this.#every(proposeEveryMs, (node) => this.write(node));
    this.#every(readEveryMs, (node) => this.read(node));
    this.#every(configEveryMs, (node) => this.#change(node));
    this.#every(disturbEveryMs, (node) => this.#disturb(node));
    this.#every(transferEveryMs, (node) => node.desk.transfer(drawTarget(this.#world, node, this.#random)));
    if (this.#sessions.count > 0) this.#every(sessionEveryMs, (node) => this.#sessions.act(node));
    const troubles = new WitnessTroubles(this.#world, this.#world.stream(31));
    this.#every(witnessEveryMs, (node) => troubles.act(node));
  }

  #every(meanMs: number, call: (node: SimNode) => void): void {
    if (meanMs === 0) return;
    const world = this.#world;
    world.after(1 + this.#random.exponential(meanMs), EventKind.Client, undefined, () => {
      if (!world.faults) return;
      const node = this.#someone();
      if (node !== undefined) call(node);
      this.#every(meanMs, call);
    });
  }

  #someone(): SimNode | undefined {
    const { now } = this.#world;
    const running = this.#world.running().filter((node) => node.frozenUntil <= now);
    // Whoever thinks it leads, also if it does not any more: long stale logs, reads that must not be answered.
    const leaders = running.filter((node) => node.core?.role === "leader");
    if (leaders.length > 0 && this.#random.chance(0.6)) return this.#random.pick(leaders);
    return running.length === 0 ? undefined : this.#random.pick(running);
  }

  sessionAnswered(keyNumber: number, outcome: SessionOutcome): void {
    this.#sessions.answered(keyNumber, outcome);
  }

  write(node: SimNode): void {
    const r = this.#random;
    const { batchMax, commandBytesMax } = this.#world.options;
    const count = r.chance(0.5) ? 1 : r.range(1, batchMax);
    const commands: Uint8Array[] = [];
    for (let i = 0; i < count; i++) {
      const command = new Uint8Array(r.int(commandBytesMax + 1));
      if (command.length > 0) command[0] = r.int(256);
      commands.push(command);
    }
    node.desk.propose(EntryType.Application, commands);
  }

  read(node: SimNode): void {
    if (this.#random.chance(0.1)) node.desk.repeatRead();
    else node.desk.read();
  }

  readBegins(keyNumber: number): void {
    this.readFloor.set(keyNumber, this.#world.ledger.commit);
  }

  #change(node: SimNode): void {
    const r = this.#random;
    const { membership } = this.#world.ledger;
    // Whoever changes members while one is lost must know what they do (repair.ts).
    if (this.#world.repair.needed) return;
    const change = this.#drawChange();
    if (change === undefined) return;
    const expected = r.chance(0.5) ? membership.configChangeIndex : r.chance(0.9) ? 0 : r.int(5);
    const full: ConfigChange = { ...change, expectedConfigChangeIndex: expected, bootstrap: false };
    node.desk.propose(EntryType.ConfigChange, [encodeConfigChange(full)]);
  }

  #drawChange(): Pick<ConfigChange, "kind" | "replicaId" | "target"> | undefined {
    const r = this.#random;
    const { voters, nonVotings, removed } = this.#world.ledger.membership;
    const fresh = freshId(this.#world);
    const draw = r.float();
    if (draw < 0.3 && fresh !== undefined && nonVotings.size < LEARNERS_MAX) {
      return { kind: "addNonVoting", replicaId: fresh, target: `host-${fresh}` };
    }
    if (draw < 0.55 && nonVotings.size > 0 && voters.size < VOTERS_MAX) {
      const id = r.pick([...nonVotings.keys()]);
      return { kind: "addVoter", replicaId: id, target: `host-${id}` };
    }
    if (draw < 0.65 && fresh !== undefined && voters.size < VOTERS_MAX) {
      return { kind: "addVoter", replicaId: fresh, target: `host-${fresh}` };
    }
    if (draw < 0.7 && removed.size > 0) {
      const id = r.pick([...removed]);
      return { kind: "addVoter", replicaId: id, target: `host-${id}` };
    }
    if (draw < 0.95) return { kind: "remove", replicaId: r.pick([...voters.keys(), ...nonVotings.keys()]), target: "" };
    return undefined;
  }

  #disturb(node: SimNode): void {
    const r = this.#random;
    const { core } = node;
    const draw = r.float();
    if (draw < 0.4) core?.campaign(node.clock());
    else if (draw < 0.6) core?.stepDown(node.clock());
    else this.#timeoutNow();
    node.touched();
  }

  /** As of a transfer that the leader gave up long ago. */
  #timeoutNow(): void {
    const leader = this.#world.leader();
    if (leader?.core === undefined) return;
    const { term, membership } = leader.core;
    const to = this.#random.pick([...membership.voters.keys()]);
    if (to === leader.id) return;
    const header = { shardId: SHARD_ID, from: leader.id, to, term, lineage: membership.lineage };
    this.#world.network.send({ type: MessageType.TimeoutNow, ...header });
  }
}
