/** The demo's live status as lines of text. Pure: what is known goes in, lines come out. Used by demo-view.ts. */
import { styleText } from "node:util";

export interface HostLine {
  readonly name: string;
  /** As a master shows it: "up", "suspect", …; "killed" while the process is not there and no master noticed. */
  readonly state: string;
  readonly replicas: number;
  readonly leaders: number;
}

export interface ShardLine {
  readonly shardId: number;
  readonly state: string;
  /** One per member: its host's number, and whether it leads, runs, or does not. */
  readonly members: readonly { readonly host: string; readonly is: "leader" | "running" | "missing" }[];
}

export interface StatusSnapshot {
  readonly hosts: readonly HostLine[];
  readonly shards: readonly ShardLine[];
  readonly operationsOpen: number;
  readonly acked: number;
  readonly unknown: number;
  readonly writesPerSecond: number;
  readonly maxGapMs: number;
}

export interface PhaseLine {
  readonly text: string;
  readonly tookMs: number | undefined;
  readonly failed: boolean;
}

type Style = Parameters<typeof styleText>[0];
type Paint = (style: Style, text: string) => string;

export function painter(colors: boolean): Paint {
  return colors ? (style, text) => styleText(style, text, { validateStream: false }) : (_style, text) => text;
}

const HOST_STYLE: Readonly<Record<string, Style>> = { up: "green", down: "red", killed: "red" };
const SHARD_WIDTH = 30;

export function renderPhase(phase: PhaseLine, paint: Paint): string {
  const took = phase.tookMs === undefined ? "" : paint("dim", `  ${seconds(phase.tookMs)}`);
  if (phase.failed) return `${paint("red", "✗")} ${phase.text}${took}`;
  return phase.tookMs === undefined
    ? `${paint("yellow", "…")} ${phase.text}`
    : `${paint("green", "✔")} ${phase.text}${took}`;
}

export function renderStatus(status: StatusSnapshot, paint: Paint, columns: number): string[] {
  const perLine = Math.min(4, Math.max(1, Math.floor(columns / SHARD_WIDTH)));
  const hosts = status.hosts.map((host) => {
    const state = paint(HOST_STYLE[host.state] ?? "yellow", host.state.padEnd(12));
    return `  ${host.name.padEnd(8)}${state} ${String(host.replicas).padStart(3)} replicas, leads ${host.leaders}`;
  });
  const cells = status.shards.map((shard) => renderShard(shard, paint));
  const rows: string[] = [];
  for (let i = 0; i < cells.length; i += perLine) rows.push(`  ${cells.slice(i, i + perLine).join("  ")}`);
  return ["", ...hosts, "", ...rows, "", `  ${renderTotals(status)}`];
}

/** "12 healthy ● 1 ○ 4 ✗ 5": numbers are hosts; ● leads, ○ follows, ✗ does not run. */
function renderShard(shard: ShardLine, paint: Paint): string {
  const members = shard.members.map(({ host, is }) => {
    if (is === "leader") return paint("green", `●${host}`);
    return is === "running" ? `○${host}` : paint("red", `✗${host}`);
  });
  const width = shard.members.reduce((n, { host }) => n + host.length + 2, 0);
  const style: Style = shard.state === "healthy" ? "dim" : "yellow";
  const text = `${String(shard.shardId).padStart(3)} ${paint(style, shard.state.padEnd(11))} ${members.join(" ")}`;
  return text + " ".repeat(Math.max(0, 12 - width));
}

export function renderTotals(status: StatusSnapshot): string {
  const { acked, unknown, writesPerSecond, maxGapMs, operationsOpen } = status;
  const writes = `${grouped(acked)} writes acknowledged (${grouped(writesPerSecond)}/s), ${unknown} unknown`;
  return `${writes}, largest gap ${maxGapMs} ms, ${operationsOpen} operations open`;
}

/** 1234567 → "1,234,567". */
export function grouped(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
