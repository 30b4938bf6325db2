/** Host records: who may register as what. Called by applyCommand. */
import type { HostId } from "../../shared/types/ids.js";
import { isIdText } from "./check.js";
import { LIST_ITEMS_MAX } from "./records.js";
import { type CommandResult, ok, refused } from "./result.js";
import type { MasterState } from "./state.js";
import type { HostFacts, HostRecord } from "./types.js";

const PAST_DATA_SETS_MAX = 16;

/**
 * Admits a host or takes over what is new about it. Refused: a removed host, an older start, a second process with the
 * same start counter (clone), a data set that was replaced before. A new data set of a known host means its disk is
 * new: accepted here; the planner treats the replicas recorded on the old one as lost.
 */
export function registerHost(state: MasterState, host: HostFacts, atMs: number): CommandResult {
  if (!isIdText(host.hostId) || !isIdText(host.dataSetId)) {
    return refused("DL_ERR_INVALID_ARGUMENT", "host id and data set id need 1 to 256 characters");
  }
  if (Object.keys(host.labels).length > LIST_ITEMS_MAX || host.apps.length > LIST_ITEMS_MAX) {
    return refused("DL_ERR_INVALID_ARGUMENT", "too many labels or apps");
  }
  const known = state.hosts.get(host.hostId);
  if (known === undefined) {
    state.hosts.set(host.hostId, {
      ...host,
      pastDataSets: [],
      maintenanceUntilMs: 0,
      maintenanceReason: "",
      draining: false,
      removed: false,
      admitted: true,
      registeredAtMs: atMs,
    });
    return ok();
  }
  if (known.removed) return refused("DL_ERR_HOST_REMOVED", host.hostId);
  if (known.pastDataSets.includes(host.dataSetId)) {
    return refused(
      "DL_ERR_DATA_STALE",
      `data set ${host.dataSetId} of ${host.hostId} was replaced by ${known.dataSetId}`,
    );
  }
  if (known.dataSetId === host.dataSetId) {
    const now = host.incarnation;
    if (now.counter < known.incarnation.counter) {
      return refused("DL_ERR_FENCED", `start ${now.counter} of ${host.hostId}, known is ${known.incarnation.counter}`);
    }
    if (now.counter === known.incarnation.counter && now.nonce !== known.incarnation.nonce) {
      return refused("DL_ERR_HOST_CLONED", `${host.hostId} runs twice with start counter ${now.counter}`);
    }
    state.hosts.set(host.hostId, { ...known, ...host });
    return ok();
  }
  const pastDataSets = [...known.pastDataSets, known.dataSetId].slice(-PAST_DATA_SETS_MAX);
  state.hosts.set(host.hostId, { ...known, ...host, pastDataSets });
  return ok();
}

export function updateHostRecord(state: MasterState, hostId: HostId, change: Partial<HostRecord>): CommandResult {
  const known = state.hosts.get(hostId);
  if (known === undefined) return refused("DL_ERR_HOST_NOT_FOUND", hostId);
  if (known.removed) return refused("DL_ERR_HOST_REMOVED", hostId);
  state.hosts.set(hostId, { ...known, ...change });
  return ok();
}
