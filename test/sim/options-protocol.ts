/**
 * Knobs of the protocol's options: what members are configured with, beside the basic timing. Drawn from a stream of
 * its own, so that a new knob at the end shifts no other draw.
 */
import type { PromotionPolicy } from "../../nodehost/raft/types.js";
import type { SimOptions } from "./options.js";
import { Prng } from "./prng.js";

export interface ProtocolOptions {
  /** A leader refuses to promote a learner that lags by more entries. */
  readonly promotionLagEntriesMax: number;
  /** 0 = learners are not promoted by policy. */
  readonly autoPromoteRounds: number;
  readonly autoPromoteLagEntries: number;
  readonly autoPromoteTimeoutMs: number;
  /** 0 = off. */
  readonly maxInMemLogBytes: number;
  /** Bit n set: node n is configured with the opposite of `preVote`, of `checkQuorum`. */
  readonly preVoteFlips: number;
  readonly checkQuorumFlips: number;
}

export function drawProtocol(seed: number, T: number): ProtocolOptions {
  const r = new Prng(seed, 5);
  return { ...drawPromotion(r, T), ...drawMemory(r), ...drawFlips(r) };
}

function drawPromotion(r: Prng, T: number) {
  const promotionLagEntriesMax = r.chance(0.5) ? 1_000_000_000 : r.logRange(1, 300);
  return {
    promotionLagEntriesMax,
    autoPromoteRounds: r.chance(0.4) ? r.range(1, 6) : 0,
    autoPromoteLagEntries: Math.min(promotionLagEntriesMax, r.logRange(1, 100) - 1),
    autoPromoteTimeoutMs: r.logRange(T, 40 * T),
  };
}

function drawMemory(r: Prng) {
  return { maxInMemLogBytes: r.chance(0.4) ? r.logRange(100, 20_000) : 0 };
}

function drawFlips(r: Prng) {
  const flips = (): number => (r.chance(0.4) ? r.int(65_536) : 0);
  return { preVoteFlips: flips(), checkQuorumFlips: flips() };
}

/** The promotion policy of all nodes. */
export function policyOf(o: ProtocolOptions): PromotionPolicy | undefined {
  const { autoPromoteRounds: rounds, autoPromoteLagEntries: maxLagEntries, autoPromoteTimeoutMs: timeoutMs } = o;
  return rounds === 0 ? undefined : { rounds, maxLagEntries, timeoutMs };
}

/** What node `id` is configured with. */
export function protocolConfig(o: SimOptions, id: number) {
  return {
    preVote: flipped(o.preVote, o.preVoteFlips, id),
    checkQuorum: flipped(o.checkQuorum, o.checkQuorumFlips, id),
    maxInMemLogBytes: o.maxInMemLogBytes,
    promotionLagEntriesMax: o.promotionLagEntriesMax,
    autoPromote: policyOf(o),
  };
}

function flipped(value: boolean, flips: number, id: number): boolean {
  return value !== (((flips >>> id) & 1) === 1);
}
