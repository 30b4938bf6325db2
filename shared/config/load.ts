/**
 * Configuration of a process: flags > DRUMLINE_* > YAML file > defaults. Every problem is named with its origin in one
 * DL_ERR_INVALID_CONFIG; keys that nobody knows are problems too. A file may hold keys of the other kind of process,
 * so that masters and NodeHosts can share one. Pure but for `readConfigFile`; called by the CLI.
 */
import { existsSync, readFileSync } from "node:fs";
import { parse } from "yaml";
import { errorText, OpError } from "../errors.js";
import { type Configs, type ProcessKind, SCHEMAS, SECRETS, settingsOf } from "./schema.js";
import { controlTimingProblems, deriveControlTiming } from "./timing.js";

export interface ConfigFile {
  readonly path: string;
  readonly text: string;
}

export interface ConfigSources {
  /** By key, as a command-line parser gives them; undefined = not given. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly file: ConfigFile | undefined;
}

export interface LoadedConfig<Kind extends ProcessKind> {
  readonly kind: Kind;
  readonly values: Configs[Kind];
  /** Where each value comes from: "--wal-dir", "DRUMLINE_WAL_DIR", a file's path, or "default". */
  readonly origins: Readonly<Record<string, string>>;
}

export const DEFAULT_CONFIG_FILE = "drumline.yaml";

/** An explicit path must exist; the default one may be missing. */
export function readConfigFile(path: string | undefined): ConfigFile | undefined {
  const chosen = path ?? DEFAULT_CONFIG_FILE;
  if (path === undefined && !existsSync(chosen)) return undefined;
  try {
    return { path: chosen, text: readFileSync(chosen, "utf8") };
  } catch (error) {
    throw new OpError("DL_ERR_INVALID_CONFIG", `cannot read ${chosen}: ${errorText(error)}`);
  }
}

export function loadConfig<Kind extends ProcessKind>(kind: Kind, sources: ConfigSources): LoadedConfig<Kind> {
  const problems: string[] = [];
  const raw: Record<string, unknown> = {};
  const origins: Record<string, string> = {};
  const layers = [flagLayer(kind, sources.flags), envLayer(sources.env, problems), fileLayer(sources.file, problems)];
  for (const { key } of settingsOf(kind)) {
    const found = layers.map((layer) => layer.get(key)).find((entry) => entry !== undefined);
    origins[key] = found?.origin ?? "default";
    if (found !== undefined) raw[key] = found.value;
  }
  const parsed = SCHEMAS[kind].safeParse(raw);
  for (const issue of parsed.error?.issues ?? []) {
    const key = String(issue.path[0]);
    problems.push(describeProblem(key, raw[key], origins[key] ?? "default", issue.message));
  }
  if (parsed.data !== undefined) problems.push(...mismatches(parsed.data));
  if (parsed.data === undefined || problems.length > 0) {
    throw new OpError("DL_ERR_INVALID_CONFIG", [...new Set(problems)].join("; "));
  }
  return { kind, values: parsed.data as Configs[Kind], origins };
}

interface Entry {
  readonly value: unknown;
  readonly origin: string;
}
type Layer = ReadonlyMap<string, Entry>;

function flagLayer(kind: ProcessKind, flags: Readonly<Record<string, unknown>>): Layer {
  const layer = new Map<string, Entry>();
  for (const { key, flag } of settingsOf(kind)) {
    if (flags[key] !== undefined) layer.set(key, { value: flags[key], origin: flag });
  }
  return layer;
}

/** Not settings of a process: what the CLI reads itself, test switches, and what Kubernetes makes of a Service. */
const OTHER_ENV = /^DRUMLINE_(CONFIG|MASTER|JSON|TEST_.*|.*SERVICE_(HOST|PORT)(_.*)?|(.*_)?PORT(_\d+_.*)?)$/;

function envLayer(env: Readonly<Record<string, string | undefined>>, problems: string[]): Layer {
  const layer = new Map<string, Entry>();
  const known = new Map(allSettings().map(({ env: name, key }) => [name, key]));
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith("DRUMLINE_") || value === undefined) continue;
    const key = known.get(name);
    if (key !== undefined) layer.set(key, { value, origin: name });
    else if (!OTHER_ENV.test(name)) problems.push(`${name} is not a setting`);
  }
  return layer;
}

function fileLayer(file: ConfigFile | undefined, problems: string[]): Layer {
  const layer = new Map<string, Entry>();
  if (file === undefined) return layer;
  const content = parseYaml(file);
  if (content === null) return layer;
  if (typeof content !== "object" || Array.isArray(content)) {
    throw new OpError("DL_ERR_INVALID_CONFIG", `${file.path} must hold "key: value" lines`);
  }
  const keys = allSettings().map(({ key }) => key);
  for (const [key, value] of Object.entries(content)) {
    if (!keys.includes(key)) problems.push(`${key} in ${file.path} is not a setting${suggestion(key, keys)}`);
    else if (value !== null) layer.set(key, { value, origin: file.path });
  }
  return layer;
}

function parseYaml(file: ConfigFile): unknown {
  try {
    return parse(file.text);
  } catch (error) {
    throw new OpError("DL_ERR_INVALID_CONFIG", `${file.path} is not YAML: ${errorText(error)}`);
  }
}

function allSettings() {
  return [...settingsOf("master"), ...settingsOf("nodehost")];
}

/** Most wrong keys are spelled in another style, such as wal-dir or waldir. */
function suggestion(key: string, keys: readonly string[]): string {
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z]/g, "");
  const meant = keys.find((known) => plain(known) === plain(key));
  return meant === undefined ? "" : `, did you mean ${meant}?`;
}

function describeProblem(key: string, value: unknown, origin: string, message: string): string {
  if (value === undefined) return `${key} is missing, ${message}`;
  return `${key} is ${SECRETS.has(key) ? "***" : JSON.stringify(value)} (from ${origin}), ${message}`;
}

/** Rules over several settings. */
function mismatches(c: Configs[ProcessKind]): string[] {
  const problems = controlTimingProblems(deriveControlTiming(c.downAfter));
  if (c.electionTicks < 2 * c.heartbeatTicks) problems.push("electionTicks must be at least twice heartbeatTicks");
  const tls = [c.tlsCert, c.tlsKey, c.tlsCa].filter((value) => value !== undefined);
  if (tls.length !== 0 && tls.length !== 3)
    problems.push("tlsCert, tlsKey and tlsCa belong together: give all or none");
  if ((c.natsUser === undefined) !== (c.natsPassword === undefined)) {
    problems.push("natsUser and natsPassword belong together: give both or none");
  }
  const ways = [c.natsUser, c.natsToken, c.natsCreds, c.natsNkey].filter((value) => value !== undefined);
  if (ways.length > 1) problems.push("natsUser, natsToken, natsCreds and natsNkey exclude each other: give one");
  if (c.ports === undefined && c.raftAddress === undefined) problems.push("ports is missing, or give raftAddress");
  if (new Set(c.masters).size !== (c.masters?.length ?? 0)) problems.push("masters holds an address twice");
  return problems;
}
