/** What a hunt of mutants found, as a table for a terminal and as rows for RELIABILITY.md. */
import { basename } from "node:path";
import type { Catch } from "./layers.js";
import type { Mutant } from "./mutant.js";

/** Of the mutants that a simulation can reach at all. */
const SIMULATED_MIN = 0.95;
/** Width of "caught by". */
const BY = 36;

export interface Hunt {
  readonly mutant: Mutant;
  readonly caught: Catch | undefined;
  /** A simulation runs the mutated file. */
  readonly reachable: boolean;
  readonly seconds: number;
}

export interface Summary {
  readonly text: string;
  readonly missed: number;
  /** Simulation alone catches as many as it must. */
  readonly enough: boolean;
}

export function summaryOf(hunts: readonly Hunt[]): Summary {
  const of = (layer: string): number => hunts.filter(({ caught }) => caught?.layer === layer).length;
  const missed = hunts.filter(({ caught }) => caught === undefined).length;
  const reachable = hunts.filter((hunt) => hunt.reachable).length;
  const simulated = of("simulation") + of("hosts");
  const share = reachable === 0 ? 1 : simulated / reachable;
  const text = [
    `${simulated} by simulation (${of("hosts")} of them by whole hosts), ${of("tests")} by unit/golden,`,
    `${missed} missed; ${(100 * share).toFixed(1)} % of the ${reachable} that simulation can reach`,
  ].join(" ");
  return { text, missed, enough: share >= SIMULATED_MIN };
}

export function tableText(hunts: readonly Hunt[]): string {
  const width = Math.max(...hunts.map(({ mutant }) => mutant.id.length));
  const rows = hunts.map(({ mutant, caught, seconds }) => {
    const by = (caught === undefined ? "MISSED" : `${caught.layer}: ${basename(caught.by)}`).slice(0, BY);
    const seeds = String(caught?.seeds ?? 0).padStart(5);
    const took = seconds.toFixed(1).padStart(7);
    return `${mutant.id.padEnd(width)}  ${by.padEnd(BY)}  ${seeds}  ${took}  ${mutant.invariant}`;
  });
  return [`${"mutant".padEnd(width)}  ${"caught by".padEnd(BY)}  seeds  seconds  what`, ...rows].join("\n");
}

/** Rows of the table "Planted bugs". */
export function markdownText(hunts: readonly Hunt[]): string {
  return hunts
    .map(({ mutant, caught }) => {
      const what = mutant.invariant.replace(/ \([^()]*\)$/, "");
      const by = caught === undefined ? "MISSED" : shortBy(caught);
      const seeds = caught === undefined || caught.seeds === 0 ? "" : `${caught.seeds} `;
      return `| \`${mutant.id}\` | ${what} | ${by} | ${seeds}|`;
    })
    .join("\n");
}

function shortBy({ layer, by }: Catch): string {
  if (layer === "simulation") return by;
  if (layer === "hosts") return "hosts";
  return `\`${by.split(":")[0]}\``;
}
