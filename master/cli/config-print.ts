/** `drumline config print`: every setting of a master or NodeHost, its value and its origin; secrets masked. */
import { describeConfig, type ProcessKind } from "../../shared/config/index.js";
import { isOpError, OpError } from "../../shared/errors.js";
import type { Output } from "./output.js";
import { type Flags, loadSettings } from "./settings.js";

export function runConfigPrint(output: Output, kind: string, flags: Flags, configPath: string | undefined): void {
  if (kind !== "nodehost" && kind !== "master") {
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `kind is ${kind}, expected nodehost or master`);
  }
  const { rows, missing } = rowsOf(kind, flags, configPath);
  const shown = rows.map((row) => (missing.has(row.key) ? { ...row, value: "", origin: "missing" } : row));
  if (output.json) output.object({ kind, settings: shown });
  else
    output.table(
      ["SETTING", "VALUE", "ORIGIN"],
      shown.map(({ key, value, origin }) => [key, value, origin]),
    );
}

/** What a process is told when it is started; to show the rest, it may be missing. */
const TOLD_AT_START: Readonly<Record<string, string>> = { data: "-", ports: "0" };

function rowsOf(kind: ProcessKind, flags: Flags, configPath: string | undefined) {
  const missing = new Set<string>();
  const filled: Record<string, unknown> = { ...flags };
  for (;;) {
    try {
      return { rows: describeConfig(loadSettings(kind, filled, configPath)), missing };
    } catch (error) {
      const lacks = Object.keys(TOLD_AT_START).find((key) => {
        return isOpError(error) && !missing.has(key) && new RegExp(`\\b${key} is missing`).test(error.message);
      });
      if (lacks === undefined) throw error;
      missing.add(lacks);
      filled[lacks] = TOLD_AT_START[lacks];
    }
  }
}
