/**
 * `drumline data …`: the tools for the data directories of stopped hosts (nodehost/tools). What changes data says what
 * it would do, and does it only with --yes.
 */
import { SingleBar } from "cli-progress";
import {
  checkDisk,
  importSnapshot,
  inspectData,
  type Membership,
  type ShrinkReport,
  shrinkToSurvivors,
} from "../../nodehost/index.js";
import { parseDuration } from "../../shared/config/index.js";
import { OpError } from "../../shared/errors.js";
import { EXIT } from "./failure.js";
import type { Output } from "./output.js";

export interface DataFlags {
  readonly data: string;
  readonly walDir?: string;
}

export interface ShrinkFlags extends DataFlags {
  readonly shard: string;
  readonly replica?: string;
  readonly target?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

/** Exit code 1 if something is wrong with the directory. */
export async function runInspect(output: Output, flags: DataFlags): Promise<number> {
  const found = await inspectData(placeOf(flags));
  const code = found.problems.length === 0 ? EXIT.ok : EXIT.failed;
  if (output.json) {
    output.object({ ...found, replicas: found.replicas.map((r) => ({ ...r, membership: plain(r.membership) })) });
    return code;
  }
  output.line(
    `host ${found.hostId}, deployment ${found.deploymentId}, data set ${found.dataSetId}, ${found.starts} starts`,
  );
  if (found.log !== undefined) {
    const { lastSequence, tornTail, formatVersion } = found.log;
    output.line(
      `log format ${formatVersion}, last frame ${lastSequence}${tornTail ? ", the last write was cut off" : ""}`,
    );
    const rows = found.log.segments.map((s) => {
      const frames = s.frames === 0 ? "none" : `${s.frames}, ${s.firstSequence}–${s.lastSequence}`;
      return [s.fileName, s.lengthBytes, frames, s.liveBlocks];
    });
    output.table(["SEGMENT", "BYTES", "FRAMES", "LIVE BLOCKS"], rows);
  }
  const rows = found.replicas.map((r) => {
    const entries = r.last < r.first ? "none" : `${r.first}–${r.last}`;
    const state = r.damage === undefined ? "ok" : { text: "damaged", colour: "red" as const };
    const snapshot =
      r.snapshotIndex === 0 ? "none" : `${r.snapshotIndex} ${r.snapshotFile === "ok" ? "ok" : "damaged"}`;
    return [
      r.shardId,
      r.replicaId,
      r.app,
      r.kind,
      r.term,
      r.commit,
      entries,
      snapshot,
      membersText(r.membership),
      state,
    ];
  });
  const headers = ["SHARD", "REPLICA", "APP", "KIND", "TERM", "COMMIT", "ENTRIES", "SNAPSHOT", "MEMBERS", "STATE"];
  output.table(headers, rows);
  for (const problem of found.problems) output.line(output.paint("red", problem));
  return code;
}

export async function runShrink(output: Output, flags: ShrinkFlags): Promise<number> {
  const doIt = flags.yes === true && flags.dryRun !== true;
  const report = await shrinkToSurvivors({
    ...placeOf(flags),
    shardId: idFlag("shard", flags.shard),
    ...(flags.replica === undefined ? {} : { replicaId: idFlag("replica", flags.replica) }),
    ...(flags.target === undefined ? {} : { target: flags.target }),
    dryRun: !doIt,
  });
  if (output.json) {
    output.object({ ...report, before: plain(report.before), after: plain(report.after) });
    return EXIT.ok;
  }
  for (const line of shrinkText(report)) output.line(line);
  return EXIT.ok;
}

function shrinkText(report: ShrinkReport): string[] {
  const { shardId, replicaId, hostId, before, after, commit, lastIndex, lastTerm, uncommittedEntries, done } = report;
  const gone = [...after.removed].filter((id) => !before.removed.has(id));
  return [
    `shard ${shardId}: replica ${replicaId} on host ${hostId} ${done ? "is" : "would be"} the only member`,
    `  members before: ${membersText(before)} (lineage ${before.lineage}, membership ${before.configChangeIndex})`,
    `  removed for ever: ${gone.join(", ")}; if they come back they fence themselves as soon as they meet a member`,
    `  its log ends at index ${lastIndex}, term ${lastTerm}; ${uncommittedEntries} entries behind ${commit}, of which`,
    "  it is not known whether they were committed, count from now on",
    "  lost is what was acknowledged without this replica: compare last term and index of all survivors first",
    done ? "start its host; masters then add the missing replicas" : "nothing was changed: run it again with --yes",
  ];
}

export interface ImportFlags extends DataFlags {
  readonly from: string;
  readonly replica: string;
  readonly members: string;
  readonly lineage?: string;
  readonly replace?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

export async function runImport(output: Output, flags: ImportFlags): Promise<number> {
  const doIt = flags.yes === true && flags.dryRun !== true;
  const report = await importSnapshot({
    ...placeOf(flags),
    from: flags.from,
    replicaId: idFlag("replica", flags.replica),
    members: membersFlag(flags.members),
    ...(flags.lineage === undefined ? {} : { lineage: idFlag("lineage", flags.lineage) }),
    replace: flags.replace === true,
    dryRun: !doIt,
  });
  if (output.json) {
    output.object({ ...report, before: plain(report.before), after: plain(report.after) });
    return EXIT.ok;
  }
  const { shardId, replicaId, app, index, term, exportedAtMs, before, after, replaced, done } = report;
  output.line(`shard ${shardId}: replica ${replicaId} ${done ? "is" : "would be"} made from the export`);
  output.line(`  app ${app || "(by code)"}, index ${index}, term ${term}, of ${new Date(exportedAtMs).toISOString()}`);
  output.line(
    `  members: ${membersText(after)}, lineage ${after.lineage}; before: ${membersText(before)}, gone for ever`,
  );
  output.line("  what was written after the export is lost");
  if (replaced.length > 0) output.line(`  removed here: replica ${replaced.join(", ")}`);
  output.line(done ? "do the same on each host of the members, then start them" : "nothing was changed: add --yes");
  return EXIT.ok;
}

/** "11=host:port,12=host:port" */
function membersFlag(text: string): Map<number, string> {
  const members = new Map<number, string>();
  for (const part of text.split(",")) {
    const [id = "", target = ""] = part.split("=");
    members.set(idFlag("members", id.trim()), target.trim());
  }
  return members;
}

export interface CheckDiskFlags {
  readonly for: string;
}

export async function runCheckDisk(output: Output, directory: string, flags: CheckDiskFlags): Promise<number> {
  const forMs = parseDuration(flags.for);
  if (forMs === undefined) {
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `for is ${JSON.stringify(flags.for)}, expected a duration such as 4s`);
  }
  const bar = output.json ? undefined : new SingleBar({ format: "{bar} {percentage} %", stream: process.stderr });
  bar?.start(100, 0);
  const report = await checkDisk({ directory, forMs, progress: (part) => bar?.update(Math.round(part * 100)) });
  bar?.update(100);
  bar?.stop();
  const code = report.verdict === "unsuitable" || report.verdict === "implausible" ? EXIT.failed : EXIT.ok;
  if (output.json) {
    output.object(report);
    return code;
  }
  const rows = report.measurements.map((m) => [
    `${m.writeBytes / 1024} KiB`,
    m.writesPerSecond,
    `${(m.bytesPerSecond / 1e6).toFixed(1)} MB/s`,
    m.p50Ms,
    m.p99Ms,
    m.maxMs,
  ]);
  output.table(["DURABLE WRITES OF", "PER SECOND", "RATE", "P50 MS", "P99 MS", "MAX MS"], rows);
  output.line(`${report.verdict}: ${report.advice}`);
  return code;
}

function placeOf(flags: DataFlags): { readonly dataDir: string; readonly walDir?: string } {
  return { dataDir: flags.data, ...(flags.walDir === undefined ? {} : { walDir: flags.walDir }) };
}

function idFlag(name: string, text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new OpError("DL_ERR_INVALID_ARGUMENT", `${name} is ${JSON.stringify(text)}, expected an id`);
}

function membersText({ voters, nonVotings, witnesses }: Membership): string {
  const list = (ids: Iterable<number>, mark: string): string[] =>
    [...ids].sort((a, b) => a - b).map((id) => `${id}${mark}`);
  return [...list(voters.keys(), ""), ...list(nonVotings.keys(), "n"), ...list(witnesses.keys(), "w")].join(" ");
}

/** Maps and sets as JSON has them. */
function plain(m: Membership): object {
  const { lineage, configChangeIndex, voters, nonVotings, witnesses, removed } = m;
  const members = (group: ReadonlyMap<number, string>): object => Object.fromEntries(group);
  const groups = { voters: members(voters), nonVotings: members(nonVotings), witnesses: members(witnesses) };
  return { lineage, configChangeIndex, ...groups, removed: [...removed] };
}
