/** The logger and the metrics of real processes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { register } from "prom-client";
import { AssertionError } from "../assert.js";
import { createPinoLogger, type LogLevel } from "./pino-logger.js";
import { createPromMetrics, createRegistry } from "./prom-metrics.js";

function collect(level: LogLevel) {
  const lines: string[] = [];
  const logger = createPinoLogger({ level, fields: { process: "m1" }, stream: { write: (line) => lines.push(line) } });
  const parsed = (): Record<string, unknown>[] => lines.map((line): Record<string, unknown> => JSON.parse(line));
  return { logger, parsed };
}

test("a log line is one JSON object with level, time, fields of the process and of the event", () => {
  const { logger, parsed } = collect("info");
  logger.child({ shardId: 7 }).warn({ term: 3 }, "stepped down");
  const [line] = parsed();
  assert.ok(line !== undefined);
  const { time, ...rest } = line;
  assert.match(String(time), /^\d{4}-\d\d-\d\dT/);
  assert.deepEqual(rest, { level: "warn", process: "m1", shardId: 7, term: 3, msg: "stepped down" });
});

test("less severe lines are left out", () => {
  const { logger, parsed } = collect("warn");
  logger.debug({}, "a");
  logger.info({}, "b");
  logger.error({}, "c");
  assert.deepEqual(
    parsed().map((line) => line.msg),
    ["c"],
  );
});

test("secrets are never logged", () => {
  const { logger, parsed } = collect("info");
  logger.info({ password: "hunter2", nats: { token: "hunter2" }, config: { natsPassword: "hunter2" } }, "connecting");
  assert.doesNotMatch(JSON.stringify(parsed()), /hunter2/);
  assert.match(JSON.stringify(parsed()), /"password":"\*\*\*"/);
});

test("metrics appear in their own registry only, the same name is the same metric", async () => {
  const registry = createRegistry();
  const metrics = createPromMetrics(registry);
  metrics.counter("drumline_a_total", "A").add();
  metrics.counter("drumline_a_total", "A").add(2);
  metrics.gauge("drumline_b", "B").set(-1.5);
  metrics.histogram("drumline_c_ms", "C").observe(3);
  const text = await registry.metrics();
  assert.match(text, /^drumline_a_total 3$/m);
  assert.match(text, /^drumline_b -1\.5$/m);
  assert.match(text, /^drumline_c_ms_bucket\{le="2\.5"\} 0$/m);
  assert.match(text, /^drumline_c_ms_bucket\{le="5"\} 1$/m);
  assert.equal(await register.metrics(), "\n");
});

test("two hosts in one process count apart", async () => {
  const registries = [createRegistry(), createRegistry()];
  for (const registry of registries) createPromMetrics(registry).counter("drumline_a_total", "A").add();
  for (const registry of registries) assert.match(await registry.metrics(), /^drumline_a_total 1$/m);
});

test("one name for two kinds of metric is a bug", () => {
  const metrics = createPromMetrics(createRegistry());
  metrics.counter("drumline_a", "A");
  assert.throws(() => metrics.gauge("drumline_a", "A"), AssertionError);
});
