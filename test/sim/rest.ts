/**
 * The end of a run in which shards may rest: once everybody serves again the shard must come to rest; then its leader
 * dies, and the others must elect without being asked anything; then the dead one returns and must be served again.
 */
import { type SimNode, Violation, type World } from "./model.js";
import { allRest } from "./pulse.js";

/** Of the slowest clock, for each of the three. */
const TIMEOUTS = 20;

export class RestPhase {
  readonly #world: World;
  readonly #slowestMs: number;

  constructor(world: World) {
    this.#world = world;
    const { electionTimeoutMs, clockSkew } = world.options;
    this.#slowestMs = Math.ceil(electionTimeoutMs / (1 - clockSkew));
  }

  async run(): Promise<void> {
    const world = this.#world;
    const { quiesceAfterMs, electionTimeoutMs } = world.options;
    if (quiesceAfterMs === 0 || world.ledger.stranded > 0 || world.repair.hopeless) return;
    const idleMs = this.#slowestMs * (quiesceAfterMs / electionTimeoutMs);
    await this.#until("rests", idleMs, () => allRest(world));
    const leader = world.leader();
    if (leader?.core === undefined || world.ledger.membership.voters.size < 3) return;
    // It may find that its disk is damaged, and not return.
    if (world.repair.needed) return;
    const { term } = leader.core;
    leader.crash("at rest");
    await this.#until("elects", 0, () => (world.leader()?.core?.term ?? 0) > term);
    leader.start();
    await this.#until("takes it back", idleMs, () => this.#follows(leader));
  }

  #follows(node: SimNode): boolean {
    const leader = this.#world.leader();
    if (leader?.core === undefined || node.core === undefined) return false;
    return node.core.leaderId === leader.id && node.core.commit === leader.core.commit;
  }

  async #until(what: string, extraMs: number, holds: () => boolean): Promise<void> {
    const world = this.#world;
    const endMs = world.now + extraMs + TIMEOUTS * this.#slowestMs;
    while (!holds()) {
      if (world.step() && world.now <= endMs) {
        if (world.stirred) await world.settle();
        continue;
      }
      const nodes = [...world.nodes.values()].map((node) => {
        const { core } = node;
        if (core === undefined) return `${node.id} down`;
        const rest = core.quiesced ? " at rest" : "";
        return `${node.id} ${core.role} term ${core.term} leader ${core.leaderId} ${core.commit}/${core.last}${rest}`;
      });
      throw new Violation("L2", `a shard at rest never ${what}: ${nodes.join("; ")}`);
    }
  }
}
