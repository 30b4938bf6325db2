/** Shard 0: the rules of every command. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { confirm, create, facts, fresh, membership, open, place, spec, THREE, withShard } from "./fixtures.js";
import { applyCommand, type Command, type HostFacts, MasterState } from "./index.js";

test("a second bootstrap with another id is refused; commands before the first too", () => {
  const state = new MasterState();
  assert.equal(applyCommand(state, create()).code, "DL_ERR_REJECTED");
  assert.equal(
    applyCommand(state, { kind: "initDeployment", deploymentId: 0, atMs: 0 }).code,
    "DL_ERR_INVALID_ARGUMENT",
  );
  assert.equal(applyCommand(state, { kind: "initDeployment", deploymentId: 7, atMs: 0 }).code, "ok");
  assert.equal(applyCommand(state, { kind: "initDeployment", deploymentId: 7, atMs: 0 }).code, "ok");
  assert.equal(
    applyCommand(state, { kind: "initDeployment", deploymentId: 8, atMs: 0 }).code,
    "DL_ERR_DEPLOYMENT_MISMATCH",
  );
});

test("registerHost: older start, clone, replaced data set, removed host are refused; a new data set is taken", () => {
  const state = fresh();
  const register = (change: Partial<HostFacts>): string =>
    applyCommand(state, { kind: "registerHost", host: facts(1, change), atMs: 2 }).code;
  assert.equal(register({ incarnation: { counter: 3, nonce: "bb" } }), "ok");
  assert.equal(register({ incarnation: { counter: 2, nonce: "aa" } }), "DL_ERR_FENCED");
  assert.equal(register({ incarnation: { counter: 3, nonce: "cc" } }), "DL_ERR_HOST_CLONED");
  assert.equal(register({ dataSetId: "new", incarnation: { counter: 1, nonce: "dd" } }), "ok");
  assert.deepEqual(state.hosts.get("h1")?.pastDataSets, ["d1"]);
  assert.equal(register({ incarnation: { counter: 9, nonce: "ee" } }), "DL_ERR_DATA_STALE");
  assert.equal(applyCommand(state, { kind: "removeHost", hostId: "h1", reason: "gone", atMs: 3 }).code, "ok");
  assert.equal(register({ dataSetId: "new" }), "DL_ERR_HOST_REMOVED");
  assert.equal(
    applyCommand(state, { kind: "removeHost", hostId: "nobody", reason: "", atMs: 3 }).code,
    "DL_ERR_HOST_NOT_FOUND",
  );
  assert.deepEqual(
    state.events.filter((event) => event.subject === "h1").map((event) => event.kind),
    ["host.joined", "host.restarted", "host.wiped", "host.removed"],
  );
});

test("createShard is idempotent by client key, commits the bootstrap set and opens its operation", () => {
  const state = fresh();
  const first = applyCommand(state, create({ clientKey: "k" }));
  assert.deepEqual(first, { code: "ok", id: 1, detail: "" });
  assert.deepEqual(applyCommand(state, create({ clientKey: "k", places: [] })), first);
  assert.equal(
    applyCommand(state, create({ clientKey: "k", spec: { ...spec, voters: 5 } })).code,
    "DL_ERR_SHARD_EXISTS",
  );
  const shard = state.shards.get(1);
  assert.deepEqual(
    shard?.bootstrap.map((p) => [p.replicaId, p.hostId]),
    [
      [1, "h1"],
      [2, "h2"],
      [3, "h3"],
    ],
  );
  assert.equal(state.operations.get(shard?.operationId ?? 0)?.kind, "create");
  assert.equal(state.nextReplicaId, 4);
});

test("createShard refuses wrong places: count, twice a host, unknown, removed, no such app, other data set", () => {
  const state = fresh(5);
  applyCommand(state, { kind: "removeHost", hostId: "h5", reason: "", atMs: 0 });
  const codes = [
    [place(1)],
    [place(1), place(1), place(2)],
    [place(1), place(2), place(9)],
    [place(1), place(2), place(5)],
    [place(1), place(2), { ...place(3), dataSetId: "other" }],
  ].map((places) => applyCommand(state, create({ places })).code);
  assert.deepEqual(codes, [
    "DL_ERR_INVALID_ARGUMENT",
    "DL_ERR_INVALID_ARGUMENT",
    "DL_ERR_HOST_NOT_FOUND",
    "DL_ERR_HOST_REMOVED",
    "DL_ERR_FENCED",
  ]);
  assert.equal(applyCommand(state, create({ spec: { ...spec, app: "x" } })).code, "DL_ERR_APP_UNKNOWN");
  assert.equal(state.shards.size, 0);
});

test("M6: confirmed membership advances only with (lineage, CCI); ids seen raise the counter (M3)", () => {
  const state = fresh();
  applyCommand(state, create());
  assert.equal(applyCommand(state, confirm(THREE)).id, 1);
  assert.equal(applyCommand(state, confirm(membership(2, [[9, "h4"]]))).id, 0);
  assert.equal(applyCommand(state, confirm(membership(3, [[9, "h4"]]))).id, 0);
  assert.equal(state.nextReplicaId, 4);
  assert.equal(
    applyCommand(
      state,
      confirm(
        membership(4, [
          [1, "h1"],
          [50, "h2"],
        ]),
      ),
    ).id,
    1,
  );
  assert.equal(state.nextReplicaId, 51);
  assert.equal(
    applyCommand(state, confirm(membership(1, [[1, "h1"]], 1))).id,
    1,
    "a higher lineage wins over a lower CCI",
  );
  assert.equal(applyCommand(state, confirm(membership(99, [[1, "h1"]], 0))).id, 0);
  assert.equal(applyCommand(state, confirm(membership(9, [], 5))).id, 0, "no voters: impossible");
  assert.equal(
    applyCommand(state, confirm(membership(9, [[2 ** 50, "h1"]], 5))).id,
    0,
    "an id that would exhaust the counter",
  );
});

test("M2: one operation per shard, opened at the confirmed membership only, new id allotted once", () => {
  const state = withShard();
  assert.equal(applyCommand(state, open({ cci: 2 })).code, "DL_ERR_FENCED");
  assert.equal(applyCommand(state, open({ lineage: 1 })).code, "DL_ERR_FENCED");
  const opened = applyCommand(state, open());
  assert.equal(opened.code, "ok");
  assert.equal(applyCommand(state, open()).code, "DL_ERR_OPERATION_OPEN");
  const operation = state.operations.get(opened.id);
  assert.deepEqual(
    operation?.steps.map((s) => s.targets[0]?.replicaId),
    [4, 4, 4, 4, 1],
  );
  assert.equal(operation?.steps[0]?.expectedCci, 3);
  assert.equal(state.shards.get(1)?.dataSets.get(4), "d4");
  assert.equal(state.view().placedCounts.get("h4"), 1, "influence of the open operation");
});

test("V7: late commands of a former leader change nothing: step, attempt and operation are compared", () => {
  const state = withShard();
  const operationId = applyCommand(state, open()).id;
  const advance = (fromStep: number, fromAttempt: number, toStep: number): string =>
    applyCommand(state, {
      kind: "advanceOperation",
      operationId,
      fromStep,
      fromAttempt,
      toStep,
      lineage: 0,
      cci: 4,
      note: "n",
      atMs: 8,
    }).code;
  assert.equal(advance(0, 1, 0), "ok");
  assert.equal(advance(0, 1, 1), "DL_ERR_FENCED");
  assert.equal(advance(0, 2, 2), "ok");
  assert.equal(advance(2, 1, 1), "DL_ERR_INVALID_ARGUMENT");
  assert.equal(advance(2, 1, 5), "DL_ERR_INVALID_ARGUMENT");
  assert.equal(state.operations.get(operationId)?.steps[2]?.expectedCci, 4);
  const finish = (fromStep: number, end: "done" | "open" | "failed"): string =>
    applyCommand(state, { kind: "finishOperation", operationId, fromStep, state: end, note: "why", atMs: 9 }).code;
  assert.equal(finish(0, "failed"), "DL_ERR_FENCED");
  assert.equal(finish(2, "open"), "DL_ERR_INVALID_ARGUMENT");
  assert.equal(finish(2, "failed"), "ok");
  assert.equal(finish(2, "failed"), "DL_ERR_OPERATION_NOT_FOUND");
  assert.equal(state.shards.get(1)?.operationId, 0);
  assert.equal(state.shards.get(1)?.failure?.count, 1);
  assert.equal(state.history.at(-1)?.state, "failed");
  assert.equal(state.view().placedCounts.get("h4"), undefined);
});

test("tombstone cancels the open operation, frees the name, is idempotent", () => {
  const state = fresh();
  const named = create({ spec: { ...spec, name: "n" } });
  assert.equal(applyCommand(state, named).id, 1);
  assert.equal(applyCommand(state, named).code, "DL_ERR_SHARD_EXISTS");
  const tombstone: Command = { kind: "tombstoneShard", shardId: 1, reason: "r", atMs: 9 };
  assert.equal(applyCommand(state, tombstone).code, "ok");
  assert.equal(applyCommand(state, tombstone).code, "ok");
  assert.equal(state.operations.size, 0);
  assert.equal(state.history.at(-1)?.state, "canceled");
  assert.equal(applyCommand(state, named).id, 2);
  assert.equal(applyCommand(state, open()).code, "DL_ERR_SHARD_NOT_FOUND");
});

test("the event ring is bounded and keeps the newest", () => {
  const state = fresh();
  for (let i = 0; i < 1_500; i++) {
    applyCommand(state, { kind: "appendEvent", severity: "info", event: "e", subject: "", text: `${i}`, atMs: i });
  }
  assert.equal(state.events.length, 1_000);
  assert.equal(state.events.at(-1)?.text, "1499");
});
