/** All invariants of a run, in the order in which they are asked. */
import type { Invariant, World } from "../model.js";
import { oracle } from "./oracle.js";
import { electionSafety } from "./r01.js";
import { logMatching } from "./r02.js";
import { leaderCompleteness } from "./r03.js";
import { stateMachineSafety } from "./r04.js";
import { committedIsDurable } from "./r05.js";
import { neverBack } from "./r06.js";
import { orderOfIndexes } from "./r07.js";
import { verifiedPrefix } from "./r08.js";
import { claimsAreDurable } from "./r09.js";
import { oneVotePerTerm } from "./r10.js";
import { leaderAppendOnly } from "./r11.js";
import { oneChangeAtATime } from "./r12.js";
import { onlyVotersCount } from "./r13.js";
import { progressIsTrue } from "./r14.js";
import { sessionsApplyOnce } from "./r15.js";
import { readsAreFresh } from "./r16.js";
import { membershipAgrees } from "./r17.js";
import { requestsAreAnswered } from "./r18.js";
import { transfersAreSafe } from "./r19.js";
import { witnessesHoldNothing } from "./r20.js";
import { restIsEarned } from "./r21.js";
import { promotionsAreEarned } from "./r22.js";
import { memoryIsBounded } from "./r23.js";

export function createInvariants(world: World): readonly Invariant[] {
  const all = [
    electionSafety,
    logMatching,
    leaderCompleteness,
    stateMachineSafety,
    committedIsDurable,
    neverBack,
    orderOfIndexes,
    verifiedPrefix,
    claimsAreDurable,
    oneVotePerTerm,
    leaderAppendOnly,
    oneChangeAtATime,
    onlyVotersCount,
    progressIsTrue,
    sessionsApplyOnce,
    readsAreFresh,
    membershipAgrees,
    transfersAreSafe,
    witnessesHoldNothing,
    restIsEarned,
    promotionsAreEarned,
    memoryIsBounded,
    oracle,
    requestsAreAnswered,
  ];
  return all.map((create) => create(world));
}
