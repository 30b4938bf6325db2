/**
 * What a person needs to look into a failed seed. Runs it once more, recorded: that it fails again in the same way
 * is the first thing to know, because a run that does not repeat itself is a bug of the simulator.
 */
import { roleOf } from "../../shared/types/membership.js";
import { activeOptions } from "./calm.js";
import { type DiagramSize, drawDiagram } from "./diagram.js";
import { describeNode } from "./liveness.js";
import type { World } from "./model.js";
import { drawOptions, formatOptions, type SimOptions } from "./options.js";
import { Recorder } from "./recorder.js";
import type { Shrunk } from "./shrink.js";
import { type RunRequest, type RunResult, runSeed } from "./simulate.js";
import { formatLine } from "./trace.js";

const EVENTS = 30;
export const DIAGRAM_ROWS = 60;

/** Fits the terminal, if there is one. */
export function diagramSize(): DiagramSize {
  return { width: Math.min(160, Math.max(120, process.stdout.columns ?? 140)), rows: DIAGRAM_ROWS };
}

/** `first` is the result of `request`. `again` says how to have it once more. */
export async function explain(request: RunRequest, first: RunResult, again = commandOf(request)): Promise<string> {
  const seen: { world?: World; recorder?: Recorder } = {};
  const observe = (world: World): Recorder["sink"] => {
    seen.world = world;
    seen.recorder = new Recorder(world);
    return seen.recorder.sink;
  };
  const second = await runSeed({ ...request, observe });
  const { world, recorder } = seen;
  const events = recorder?.events() ?? [];
  const options = { ...drawOptions(request.seed, request.steps), ...request.overrides };
  const lines = [`seed ${request.seed}: ${second.why === "" ? first.why : second.why}`];
  if (second.hash !== first.hash || firstLine(second.why) !== firstLine(first.why)) {
    lines.push(`NOT REPEATED: the second time hash ${second.hash} instead of ${first.hash}: ${second.why || "ok"}`);
  }
  lines.push(`options: ${formatOptions(options)}`);
  if (world !== undefined) {
    const { membership } = world.ledger;
    lines.push(`at ${world.now} ms, step ${world.steps}${world.faults ? "" : ", after the faults"}; nodes:`);
    for (const node of world.nodes.values()) {
      lines.push(`  ${describeNode(node, roleOf(membership, node.id) !== undefined)}`);
    }
  }
  lines.push("last events:", ...events.slice(-EVENTS).map(({ line }) => `  ${formatLine(line)}`), "");
  lines.push(...drawDiagram(events, diagramSize()), "(heartbeats and applies by themselves are left out)", "");
  lines.push(`${firstLine(first.why)}`, `again: ${again}`);
  return lines.join("\n");
}

function commandOf({ seed, steps, overrides }: RunRequest): string {
  return `npm run sim -- --seed ${seed} --steps ${steps}${settings(overrides ?? {})}`;
}

function settings(overrides: Partial<SimOptions>): string {
  return Object.entries(overrides)
    .map(([name, value]) => ` --set ${name}=${value}`)
    .join("");
}

/** How to run a shrunk failure. */
export function shrunkCommand({ seed, steps, options }: Shrunk): string {
  return `npm run sim -- --seed ${seed} --steps ${steps} --calm${settings(activeOptions(options, seed))}`;
}

/** A shrunk failure, for people. */
export function shrunkText(shrunk: Shrunk, stepsBefore: number): string {
  const { seed, steps, options, result, runs } = shrunk;
  const needed = Object.entries(activeOptions(options, seed)).map(([name, value]) => `${name}=${value}`);
  return [
    `shrunk in ${runs} runs from ${stepsBefore} to ${steps} steps, ${options.voters} voters:`,
    firstLine(result.why),
    `needs: ${needed.join(" ") || "nothing but calm options"}`,
    `again: ${shrunkCommand(shrunk)}`,
  ].join("\n");
}

function firstLine(text: string): string {
  return text.split("\n")[0] ?? "";
}
