/** Door of nodehost/raft: the pure Raft core of one replica. Used by the engine and the simulator. */
export { describeMessage, describeStatus } from "./describe.js";
export { type Hindrance, hindranceText } from "./hindrance.js";
export { checkInvariants, type Inspection } from "./invariants.js";
export { quorumOf, quorumValue, type VoteResult, voteResult } from "./quorum.js";
export { Raft } from "./raft.js";
export type { Counters } from "./state.js";
export type * from "./types.js";
