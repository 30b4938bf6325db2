/** Listeners of an application as the engine calls them: an error of theirs is logged and stays with them. */
import type { Logger } from "../../shared/env/env.js";
import { errorText } from "../../shared/errors.js";
import type { EngineListeners } from "./ports.js";

export function guardListeners(listeners: EngineListeners, logger: Logger): Required<EngineListeners> {
  const guard =
    <Args extends readonly unknown[]>(name: keyof EngineListeners, call: (...args: Args) => void) =>
    (...args: Args): void => {
      try {
        call(...args);
      } catch (error) {
        logger.error({ listener: name, error: errorText(error) }, "a listener threw");
      }
    };
  return {
    leaderUpdated: guard("leaderUpdated", (update) => listeners.leaderUpdated?.(update)),
    directoryRefused: guard("directoryRefused", (refusal) => listeners.directoryRefused?.(refusal)),
    replicaFaulted: guard("replicaFaulted", (...args) => listeners.replicaFaulted?.(...args)),
    membershipChanged: guard("membershipChanged", (...args) => listeners.membershipChanged?.(...args)),
    snapshotCreated: guard("snapshotCreated", (...args) => listeners.snapshotCreated?.(...args)),
    snapshotSendStarted: guard("snapshotSendStarted", (...args) => listeners.snapshotSendStarted?.(...args)),
    snapshotSendCompleted: guard("snapshotSendCompleted", (...args) => listeners.snapshotSendCompleted?.(...args)),
    snapshotSendAborted: guard("snapshotSendAborted", (...args) => listeners.snapshotSendAborted?.(...args)),
    snapshotRecovered: guard("snapshotRecovered", (...args) => listeners.snapshotRecovered?.(...args)),
    snapshotReceived: guard("snapshotReceived", (...args) => listeners.snapshotReceived?.(...args)),
  };
}
