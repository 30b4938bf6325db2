/**
 * A violation as a page for people: one row per process, one bar per operation, numbered in the order of the longest
 * prefix that fits, with the state after each; what could not be placed is red. Written by the chaos tests when they
 * fail. No script, no outside file.
 */
import type { KeyVerdict } from "./checker.js";
import type { Model } from "./history.js";

const ROW_PX = 30;
const LABEL_PX = 90;
const BAR_PX_MIN = 6;
const PX_PER_OPERATION = 90;
const WIDTH_PX_MAX = 60_000;
const TEXT_CHARS_MAX = 60;

const STYLE = `body{font:13px system-ui,sans-serif;margin:16px}
.chart{position:relative;border:1px solid #ccc;overflow-x:auto}
.name,.bar{position:absolute;height:22px;line-height:22px;white-space:nowrap}
.name{left:4px;color:#666}
.bar{background:#cfe3ff;border:1px solid #6c9bd8;box-sizing:border-box;overflow:visible;padding-left:2px;font-size:11px}
.stuck{background:#ffd0d0;border-color:#d04040}
.open{background:#eee;border-color:#999;border-right-style:dashed}
td,th{padding:2px 10px 2px 0;text-align:left;font-variant-numeric:tabular-nums}`;

/** A whole HTML page. */
export function timelineHtml<S extends string | number | null, I, O>(
  model: Model<S, I, O>,
  found: KeyVerdict<I, O>,
): string {
  const title = `key ${found.key}: ${found.verdict}`;
  const counts = `${found.longest.length} of ${found.operations.length} operations fit, ${found.steps} steps`;
  return `<!doctype html><html lang="en"><meta charset="utf-8">
<title>${escapeHtml(title)}</title><style>${STYLE}</style>
<h1>${escapeHtml(title)}</h1><p>${counts}</p>
${chart(model, found)}
<h2>Longest prefix that fits</h2>
<table><tr><th>#<th>process<th>operation<th>state afterwards</tr>
${prefixRows(model, found)}</table></html>
`;
}

function chart<S extends string | number | null, I, O>(model: Model<S, I, O>, found: KeyVerdict<I, O>): string {
  const { operations, longest } = found;
  const startMs = Math.min(...operations.map((op) => op.callMs));
  const lastMs = Math.max(...operations.map((op) => (op.output === undefined ? op.callMs : op.returnMs)));
  const spanMs = Math.max(lastMs - startMs, 1);
  const widthPx = Math.min(WIDTH_PX_MAX, Math.max(1000, operations.length * PX_PER_OPERATION));
  const x = (ms: number): number => LABEL_PX + ((ms - startMs) / spanMs) * widthPx;
  const rows = [...new Set(operations.map((op) => op.process))].sort((a, b) => a - b);
  const order = new Map(longest.map((op, place) => [op, place + 1]));
  const names = rows.map((row, i) => `<div class="name" style="top:${i * ROW_PX + 4}px">process ${row}</div>`);
  const bars = operations.map((op, i) => {
    const unknown = op.output === undefined;
    const left = x(op.callMs);
    const width = Math.max(BAR_PX_MIN, (unknown ? x(lastMs) + BAR_PX_MIN : x(op.returnMs)) - left);
    const place = order.get(i);
    const kind = place !== undefined ? "" : unknown ? " open" : " stuck";
    const text = `${place === undefined ? "" : `${place}. `}${model.describe(op.input, op.output)}`;
    const times = `${op.callMs.toFixed(3)} … ${unknown ? "?" : op.returnMs.toFixed(3)} ms`;
    const top = rows.indexOf(op.process) * ROW_PX + 4;
    const style = `top:${top}px;left:${left.toFixed(1)}px;width:${width.toFixed(1)}px`;
    const title = escapeHtml(`${text}\n${times}`);
    return `<div class="bar${kind}" style="${style}" title="${title}">${escapeHtml(short(text))}</div>`;
  });
  const size = `height:${rows.length * ROW_PX + 24}px`;
  return `<div class="chart" style="${size}">${[...names, ...bars].join("\n")}</div>`;
}

function prefixRows<S extends string | number | null, I, O>(model: Model<S, I, O>, found: KeyVerdict<I, O>): string {
  let state: S | undefined = model.initial;
  return found.longest
    .map((number, place) => {
      const op = found.operations[number];
      if (op === undefined || state === undefined) return "";
      state = model.step(state, op.input, op.output);
      const cells = [place + 1, op.process, model.describe(op.input, op.output), state ?? "nothing"];
      return `<tr>${cells.map((cell) => `<td>${escapeHtml(short(String(cell)))}`).join("")}</tr>`;
    })
    .join("\n");
}

function short(text: string): string {
  return text.length <= TEXT_CHARS_MAX
    ? text
    : `${text.slice(0, TEXT_CHARS_MAX / 2)}…${text.slice(-TEXT_CHARS_MAX / 2)}`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}
