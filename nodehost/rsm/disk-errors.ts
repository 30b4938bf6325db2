/**
 * What errors of files mean for a replica: a full disk may have room again, a missing file is damage of this replica,
 * anything else is a failure of its storage. Used by SnapshotStore and Rsm.
 */
import { errorText, isOpError, OpError } from "../../shared/errors.js";

/** Also as a state machine on disk may throw it. */
export function isDiskFull(error: unknown): boolean {
  if (isOpError(error)) return error.code === "DL_ERR_DISK_FULL";
  const code = systemCode(error);
  return code === "ENOSPC" || code === "EDQUOT";
}

export function isMissing(error: unknown): boolean {
  return systemCode(error) === "ENOENT";
}

function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** Only this snapshot is lost, not the host's promises: the log is written elsewhere. */
export function translate(error: unknown, path: string): unknown {
  const code = systemCode(error);
  if (isOpError(error) || code === undefined || !/^E[A-Z]+$/.test(code)) return error;
  const kind = isDiskFull(error) ? "DL_ERR_DISK_FULL" : "DL_ERR_STORAGE_FAILED";
  return new OpError(kind, `${path}: ${errorText(error)}`, { outcome: "rejected", cause: error });
}
