/**
 * Metrics into a prom-client registry that the caller owns: never the module-level one, because one process may run
 * several hosts (tests, the simulator), each with its own. The same name asked twice is the same metric.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { AssertionError } from "../assert.js";
import type { Metrics } from "./env.js";

/** Upper bounds, in the unit of the metric: milliseconds unless its name says otherwise. */
const BUCKETS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

export function createRegistry(): Registry {
  return new Registry();
}

export function createPromMetrics(registry: Registry): Metrics {
  const registers = [registry];
  return {
    counter(name, help) {
      const metric = registry.getSingleMetric(name) ?? new Counter({ name, help, registers });
      if (!(metric instanceof Counter)) throw otherKind(name, "counter");
      return { add: (value = 1) => metric.inc(value) };
    },
    gauge(name, help) {
      const metric = registry.getSingleMetric(name) ?? new Gauge({ name, help, registers });
      if (!(metric instanceof Gauge)) throw otherKind(name, "gauge");
      return { set: (value) => metric.set(value) };
    },
    histogram(name, help) {
      const metric = registry.getSingleMetric(name) ?? new Histogram({ name, help, registers, buckets: BUCKETS });
      if (!(metric instanceof Histogram)) throw otherKind(name, "histogram");
      return { observe: (value) => metric.observe(value) };
    },
  };
}

function otherKind(name: string, kind: string): AssertionError {
  return new AssertionError(`metric ${name} is no ${kind}`);
}
