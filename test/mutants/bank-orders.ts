/**
 * Planted bugs against the order rules of ARCHITECTURE.md that no other part of the bank breaks: what waits for what
 * in the engine, and how a host ends whose log failed. Part of the bank (bank.ts).
 */
import type { Mutant } from "./mutant.js";

const ENGINE = "nodehost/engine";

export const ORDERS: readonly Mutant[] = [
  {
    id: "durable-told-at-once",
    file: `${ENGINE}/wal-queue.ts`,
    find: "    const asked = [{ durable, options }];\n",
    replace: "    durable();\n    const asked = [{ durable: () => {}, options }];\n",
    invariant: "the core is told that an update is durable when it is queued (R9, P08)",
    quick: true,
  },
  {
    id: "turn-starts-no-append",
    file: `${ENGINE}/turn.ts`,
    find: "  context.wal.start();\n",
    replace: "",
    invariant: "a turn queues updates and begins no append: nothing is ever durable",
    quick: false,
  },
  {
    id: "failed-append-counts",
    file: "nodehost/engine/wal-queue.ts",
    find: "else this.#fail(batch, error);",
    replace: "else this.#settled(batch);",
    invariant: "after a failed append the host goes on as if it were durable (P45)",
    quick: false,
    tests: ["nodehost/engine/wal-queue.test.ts"],
  },
  {
    id: "two-appends-in-flight",
    file: "nodehost/engine/wal-queue.ts",
    find: "if (this.#inFlight || this.#failure !== undefined) return;",
    replace: "if (this.#failure !== undefined) return;",
    invariant: "the next append does not wait for the one in flight",
    quick: false,
    tests: ["nodehost/engine/wal-queue.test.ts"],
  },
  {
    id: "dead-log-keeps-talking",
    file: "nodehost/engine/engine.ts",
    find: "    this.#options.transport.close().catch(() => {});\n    this.#options.onFatal(error);",
    replace: "    this.#options.onFatal(error);",
    invariant: "a host whose log failed keeps its connections: peers wait for it (P45)",
    quick: false,
    tests: ["nodehost/api/storage-faults.test.ts"],
  },
  {
    id: "dead-log-not-told",
    file: "nodehost/engine/engine.ts",
    find: "    this.#options.transport.close().catch(() => {});\n    this.#options.onFatal(error);",
    replace: "    this.#options.transport.close().catch(() => {});",
    invariant: "the owner of a host whose log failed does not hear of it: the process lives on (P45)",
    quick: false,
    tests: ["nodehost/api/storage-faults.test.ts"],
  },
  {
    id: "hanging-write-waited-for",
    file: "nodehost/logdb/wal-watch.ts",
    find: "        this.#overdue(what);\n",
    replace: "",
    invariant: "a write that never settles is waited for (P46)",
    quick: false,
    tests: ["nodehost/logdb/wal-fault.test.ts"],
  },
  {
    id: "slow-disk-keeps-leading",
    file: "nodehost/engine/slow-disk.ts",
    find: "if (ageMs <= this.#patienceMs) {",
    replace: "if (ageMs <= 1_000 * this.#patienceMs) {",
    invariant: "a host whose append takes longer than half an election timeout keeps its leaderships",
    quick: false,
    tests: ["nodehost/api/storage-faults.test.ts"],
  },
  {
    id: "answers-for-earlier-start",
    file: "nodehost/rsm/apply.ts",
    find: "return key.replicaId === this.#options.replicaId && key.incarnation === this.#options.incarnation;",
    replace: "return key.replicaId === this.#options.replicaId;",
    invariant: "an entry of an earlier start answers a request of this one",
    quick: false,
    tests: ["nodehost/rsm/rsm.test.ts"],
  },
];
