/**
 * How a failure is told: one line with the code, one with what to try, and the exit code. 0 done · 1 failed · 2 usage ·
 * 3 unreachable · 4 no answer in time, outcome unknown · 70 fatal. Used by every verb.
 */
import { CommanderError } from "commander";
import { errorText, isOpError, type OpError } from "../../shared/errors.js";

export const EXIT = { ok: 0, failed: 1, usage: 2, unreachable: 3, unknown: 4, fatal: 70 } as const;

/** Undefined for what is neither: a bug. */
export function failureOf(error: unknown): { readonly lines: string; readonly exitCode: number } | undefined {
  if (isOpError(error)) return { lines: failureLines(error), exitCode: exitCodeOf(error) };
  if (!(error instanceof CommanderError)) return undefined;
  if (error.exitCode === 0) return { lines: "", exitCode: EXIT.ok };
  const what = error.code === "commander.help" ? "a verb is missing" : error.message.replace(/^error: /, "");
  return { lines: usageLines(what), exitCode: EXIT.usage };
}

/** For what no verb may go on after. */
export function fatalLines(error: unknown): string {
  if (isOpError(error)) return failureLines(error);
  return `drumline: DL_ERR_STORAGE_FAILED: ${oneLine(errorText(error))}\ntry: check the disk, then start it again\n`;
}

export function failureLines(error: OpError): string {
  return `drumline: ${error.code}: ${oneLine(error.message)}\ntry: ${error.hint}\n`;
}

function usageLines(what: string): string {
  return `drumline: DL_ERR_INVALID_ARGUMENT: ${oneLine(what)}\ntry: drumline --help\n`;
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, "; ").trim();
}

function exitCodeOf(error: OpError): number {
  switch (error.code) {
    case "DL_ERR_INVALID_ARGUMENT":
    case "DL_ERR_INVALID_CONFIG":
    case "DL_ERR_INVALID_ADDRESS":
      return EXIT.usage;
    case "DL_ERR_UNREACHABLE":
    case "DL_ERR_BUS_LOST":
    case "DL_ERR_NOT_LEADER":
      return EXIT.unreachable;
    case "DL_ERR_STORAGE_FAILED":
      return EXIT.fatal;
    default:
      return error.outcome === "unknown" ? EXIT.unknown : EXIT.failed;
  }
}
