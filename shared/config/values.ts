/**
 * Single values of the configuration, as zod schemas: each accepts what YAML gives and the text of flags and
 * environment variables, and says in its message what it expects. Used by schema.ts only.
 */
import { z } from "zod";
import { parseHostPort } from "../codec/host-port.js";

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;
const DURATION_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE = /^(\d+(?:\.\d+)?)(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)$/;
const SIZE_BYTES: Record<string, number> = {
  B: 1,
  kB: 1e3,
  KiB: 1024,
  MB: 1e6,
  MiB: 1024 ** 2,
  GB: 1e9,
  GiB: 1024 ** 3,
  TB: 1e12,
  TiB: 1024 ** 4,
};

/** "5s" → 5000; undefined if it is none. */
export function parseDuration(text: string): number | undefined {
  return quantity(DURATION, DURATION_MS, text);
}

/** "64MiB" → 67108864; undefined if it is none. */
export function parseSize(text: string): number | undefined {
  return quantity(SIZE, SIZE_BYTES, text);
}

function quantity(form: RegExp, units: Record<string, number>, text: string): number | undefined {
  const [, digits, unit] = form.exec(text) ?? [];
  const factor = unit === undefined ? undefined : units[unit];
  if (factor === undefined) return undefined;
  const value = Number(digits) * factor;
  return Number.isSafeInteger(Math.round(value)) ? Math.round(value) : undefined;
}

/** 5000 → "5s": the largest unit that needs no fraction. */
export function durationText(ms: number): string {
  for (const unit of ["d", "h", "m", "s"]) {
    const factor = DURATION_MS[unit] ?? 1;
    if (ms !== 0 && ms % factor === 0) return `${ms / factor}${unit}`;
  }
  return `${ms}ms`;
}

/** A duration in milliseconds, within bounds. */
export function duration(minMs: number, maxMs: number) {
  const expected = `expected a duration from ${durationText(minMs)} to ${durationText(maxMs)}, such as 500ms, 5s or 5m`;
  return z.string({ error: expected }).transform((value, context) => {
    const ms = parseDuration(value);
    if (ms !== undefined && ms >= minMs && ms <= maxMs) return ms;
    context.addIssue({ code: "custom", message: expected });
    return z.NEVER;
  });
}

export function integer(min: number, max: number) {
  const error = `expected an integer from ${min} to ${max}`;
  return z.preprocess(
    (value) => (typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value),
    z.int({ error }).min(min, { error }).max(max, { error }),
  );
}

export function text(expected: string) {
  return z.string({ error: expected }).min(1, { error: expected });
}

const ADDRESS_EXPECTED = "expected host:port";

function isAddress(value: string): boolean {
  return parseHostPort(value) !== undefined;
}

/** host:port. */
export const address = z.string({ error: ADDRESS_EXPECTED }).refine(isAddress, { error: ADDRESS_EXPECTED });

/** Text "a,b" or a list. */
export function listOf(expected: string, isValid: (item: string) => boolean = (item) => item !== "") {
  const items = z.array(z.string({ error: expected }).refine(isValid, { error: expected }), { error: expected });
  return z.preprocess((value) => (typeof value === "string" ? splitList(value) : value), items);
}

/** host:port of the masters; a bare port means this machine. */
export const masterList = z.preprocess(
  (value) => {
    const items = typeof value === "string" || typeof value === "number" ? splitList(String(value)) : value;
    return Array.isArray(items)
      ? items.map((item) => (/^\d+$/.test(String(item)) ? `127.0.0.1:${item}` : item))
      : items;
  },
  z.array(address, { error: "expected a list of host:port" }).min(1, { error: "expected at least one host:port" }),
);

const NATS_EXPECTED = "expected nats://host:port, or a list of them";

/** Servers of one NATS cluster. */
export const natsServers = listOf(NATS_EXPECTED, (item) => /^(nats|tls):\/\/[^\s/]+$/.test(item));

const LABELS_EXPECTED = "expected key=value pairs with keys of letters, digits and . _ - /";
const LABEL_KEY = /^[A-Za-z0-9._/-]{1,128}$/;

/** Text "zone=a,machine=m1" or a map. */
export const labels = z.preprocess(
  (value) => (typeof value === "string" ? Object.fromEntries(splitList(value).map(splitPair)) : value),
  z.record(z.string().regex(LABEL_KEY, { error: LABELS_EXPECTED }), z.string({ error: LABELS_EXPECTED }), {
    error: LABELS_EXPECTED,
  }),
);

function splitPair(pair: string): [string, unknown] {
  const at = pair.indexOf("=");
  return at < 0 ? [pair, undefined] : [pair.slice(0, at), pair.slice(at + 1)];
}

function splitList(value: string): string[] {
  return value === "" ? [] : value.split(",").map((item) => item.trim());
}
