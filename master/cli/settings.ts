/**
 * From the command line to a process's settings: the options of `master` and `nodehost` are made from the table of
 * shared/config, and read back through it. Light: every verb loads it.
 */
import { type Command, Option } from "commander";
import {
  DEFAULT_APPS,
  type LoadedConfig,
  loadConfig,
  type ProcessKind,
  readConfigFile,
  settingsOf,
} from "../../shared/config/index.js";

export type Flags = Readonly<Record<string, unknown>>;

/** One option per setting, and the short forms that people type. */
export function addSettings(command: Command, kind: ProcessKind): Command {
  for (const { flag, help } of settingsOf(kind)) command.addOption(new Option(`${flag} <value>`, help));
  command.option("--http <address>", "same as --http-address");
  if (kind === "nodehost") {
    command.option("--label <key=value>", "one label; may be given several times", gathered);
    command.option("--app-module <path>", "one app module beside kv; may be given several times", gathered);
  }
  return command;
}

function gathered(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** Flags > DRUMLINE_* > file > defaults. DL_ERR_INVALID_CONFIG names every problem. */
export function loadSettings<Kind extends ProcessKind>(
  kind: Kind,
  flags: Flags,
  configPath: string | undefined,
): LoadedConfig<Kind> {
  return loadConfig(kind, { flags: withShortForms(flags), env: process.env, file: readConfigFile(configPath) });
}

function withShortForms(flags: Flags): Flags {
  const { label, appModule, http, ...rest } = flags;
  const long: Record<string, unknown> = { ...rest };
  if (Array.isArray(label)) long["labels"] = [rest["labels"], ...label].filter((l) => l !== undefined).join(",");
  if (Array.isArray(appModule)) long["apps"] = [rest["apps"] ?? DEFAULT_APPS.join(","), ...appModule].join(",");
  if (http !== undefined) long["httpAddress"] ??= http;
  return long;
}

/** `host:port` with another port. */
export function portAbove(address: string, offset: number): string {
  const colon = address.lastIndexOf(":");
  return `${address.slice(0, colon)}:${Number(address.slice(colon + 1)) + offset}`;
}
