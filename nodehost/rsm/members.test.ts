/**
 * Membership changes: each rule by name, and every sequence of changes up to a bound against a model written the other
 * way round (a list of member rows and one predicate per rule).
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type ConfigChange,
  type ConfigChangeKind,
  emptyMembership,
  type Membership,
} from "../../shared/types/membership.js";
import { applyConfigChange, membershipHash } from "./members.js";

function change(kind: ConfigChangeKind, replicaId: number, target = "", expected = 0): ConfigChange {
  return { kind, replicaId, target, expectedConfigChangeIndex: expected, bootstrap: false };
}

function membership(parts: Partial<Membership>): Membership {
  return {
    ...emptyMembership(),
    configChangeIndex: 3,
    voters: new Map([
      [1, "a"],
      [2, "b"],
      [3, "c"],
    ]),
    ...parts,
  };
}

function refusal(m: Membership, c: ConfigChange): string {
  const outcome = applyConfigChange(m, c, 50);
  assert.equal(outcome.membership, m, "a refused change leaves the membership as it is");
  assert.notEqual(outcome.refusal, undefined, "expected a refusal");
  return outcome.refusal ?? "";
}

function accepted(m: Membership, c: ConfigChange): Membership {
  const before = membershipHash(m);
  const outcome = applyConfigChange(m, c, 50);
  assert.equal(outcome.refusal, undefined);
  assert.equal(outcome.membership.configChangeIndex, 50);
  assert.equal(outcome.membership.lineage, m.lineage);
  assert.equal(membershipHash(m), before, "the given membership is not changed in place");
  return outcome.membership;
}

test("bootstrap changes are always accepted and set the config change index", () => {
  let m = emptyMembership();
  for (const [i, target] of ["a", "b", "c"].entries()) {
    const c = { ...change("addVoter", i + 1, target, 77), bootstrap: true };
    const outcome = applyConfigChange(m, c, i + 1);
    assert.equal(outcome.refusal, undefined);
    m = outcome.membership;
    assert.equal(m.configChangeIndex, i + 1);
  }
  assert.deepEqual(
    [...m.voters],
    [
      [1, "a"],
      [2, "b"],
      [3, "c"],
    ],
  );
  const again = applyConfigChange(m, { ...change("addVoter", 2, "b"), bootstrap: true }, 9);
  assert.equal(again.refusal, undefined);
  assert.equal(again.membership.voters.size, 3);
  assert.match(refusal(m, { ...change("remove", 2), bootstrap: true }), /bootstrap/);
});

test("the expected config change index is compared, 0 is not", () => {
  const m = membership({});
  assert.match(refusal(m, change("addVoter", 4, "d", 2)), /config change index is 3, expected 2/);
  accepted(m, change("addVoter", 4, "d", 3));
  accepted(m, change("addVoter", 4, "d", 0));
});

test("a removed id never comes back, in any role", () => {
  const m = accepted(membership({}), change("remove", 3));
  assert.deepEqual([...m.removed], [3]);
  for (const kind of ["addVoter", "addNonVoting", "addWitness"] as const) {
    assert.match(refusal(m, change(kind, 3, "z")), /was removed/);
  }
  assert.match(refusal(m, change("remove", 3)), /removed already/);
  assert.match(refusal(m, { ...change("addVoter", 3, "c"), bootstrap: true }), /was removed/);
});

test("targets are unique among all members, compared trimmed and without case", () => {
  const m = membership({ nonVotings: new Map([[4, "Host-D:1"]]), witnesses: new Map([[5, "e"]]) });
  assert.match(refusal(m, change("addVoter", 6, " host-d:1 ")), /used by replica 4/);
  assert.match(refusal(m, change("addNonVoting", 6, "E")), /used by replica 5/);
  assert.match(refusal(m, change("addWitness", 6, "a")), /used by replica 1/);
  assert.match(refusal(m, change("addVoter", 6, "  ")), /no target/);
  const freed = accepted(m, change("remove", 4));
  accepted(freed, change("addVoter", 6, "host-d:1"));
});

test("promotion keeps the target, whatever target is given", () => {
  const m = membership({ nonVotings: new Map([[4, "d"]]) });
  for (const given of ["d", "", "a", "elsewhere"]) {
    const promoted = accepted(m, change("addVoter", 4, given));
    assert.equal(promoted.voters.get(4), "d");
    assert.equal(promoted.nonVotings.size, 0);
  }
});

test("a witness can only be removed; nobody becomes one", () => {
  const m = membership({ nonVotings: new Map([[4, "d"]]), witnesses: new Map([[5, "e"]]) });
  for (const kind of ["addVoter", "addNonVoting", "addWitness"] as const) {
    assert.match(refusal(m, change(kind, 5, "e2")), /witness member already/);
  }
  assert.match(refusal(m, change("addWitness", 1, "x")), /voter member already/);
  assert.match(refusal(m, change("addWitness", 4, "x")), /nonVoting member already/);
  assert.match(refusal(m, change("addNonVoting", 1, "x")), /voter member already/);
  assert.match(refusal(m, change("addVoter", 1, "x")), /voter member already/);
  const removed = accepted(m, change("remove", 5));
  assert.equal(removed.witnesses.size, 0);
});

test("P26 the only voter cannot be removed, not even beside witnesses and non-votings", () => {
  const m = membership({
    voters: new Map([[1, "a"]]),
    nonVotings: new Map([[2, "b"]]),
    witnesses: new Map([[3, "c"]]),
  });
  assert.match(refusal(m, change("remove", 1)), /only voter/);
  accepted(m, change("remove", 2));
  assert.match(refusal(m, change("remove", 9)), /not a member/);
  assert.match(refusal(m, change("addVoter", 0, "z")), /not valid/);
});

test("membershipHash does not depend on order and differs in every part", () => {
  const base = membership({ removed: new Set([8, 9]) });
  const same = membership({
    voters: new Map([
      [3, "c"],
      [1, "a"],
      [2, "b"],
    ]),
    removed: new Set([9, 8]),
  });
  assert.equal(membershipHash(base), membershipHash(same));
  const others = [
    { ...base, lineage: 1 },
    { ...base, configChangeIndex: 4 },
    {
      ...base,
      voters: new Map([
        [1, "a"],
        [2, "b"],
      ]),
    },
    {
      ...base,
      voters: new Map([
        [1, "a"],
        [2, "b"],
        [3, "d"],
      ]),
    },
    { ...base, nonVotings: new Map([[4, "d"]]) },
    { ...base, witnesses: new Map([[4, "d"]]) },
    { ...base, removed: new Set([8]) },
  ];
  const hashes = new Set([base, ...others].map(membershipHash));
  assert.equal(hashes.size, others.length + 1);
});

// ---- every sequence of changes up to a bound, against a model ----

interface Row {
  readonly id: number;
  readonly role: "voter" | "nonVoting" | "witness" | "removed";
  readonly target: string;
}
interface Model {
  readonly rows: readonly Row[];
  readonly cci: number;
}

/** The rules as a table: the model's next rows, or undefined if refused. */
function modelStep(model: Model, c: ConfigChange): readonly Row[] | undefined {
  const row = model.rows.find((r) => r.id === c.replicaId);
  const others = model.rows.filter((r) => r.id !== c.replicaId);
  if (c.expectedConfigChangeIndex > 0 && c.expectedConfigChangeIndex !== model.cci) return undefined;
  if (c.kind === "remove") {
    if (row === undefined || row.role === "removed") return undefined;
    if (row.role === "voter" && !others.some((r) => r.role === "voter")) return undefined;
    return [...others, { ...row, role: "removed", target: "" }];
  }
  if (c.kind === "shrink") {
    if (row?.role !== "voter" && row?.role !== "nonVoting") return undefined;
    const gone = others.map((r) => ({ ...r, role: "removed" as const, target: "" }));
    return [...gone, { ...row, role: "voter", target: c.target === "" ? row.target : c.target }];
  }
  const taken = others.some((r) => r.role !== "removed" && r.target.toLowerCase() === c.target.toLowerCase());
  if (row === undefined) {
    const role = { addVoter: "voter", addNonVoting: "nonVoting", addWitness: "witness" } as const;
    return taken ? undefined : [...others, { id: c.replicaId, role: role[c.kind], target: c.target }];
  }
  return row.role === "nonVoting" && c.kind === "addVoter" ? [...others, { ...row, role: "voter" }] : undefined;
}

function modelText(model: Model): string {
  const rows = model.rows.map((r) => `${r.id}:${r.role}:${r.target}`).sort();
  return `${rows.join(",")}@${model.cci}`;
}

function text(m: Membership): string {
  const rows = [
    ...[...m.voters].map(([id, target]) => `${id}:voter:${target}`),
    ...[...m.nonVotings].map(([id, target]) => `${id}:nonVoting:${target}`),
    ...[...m.witnesses].map(([id, target]) => `${id}:witness:${target}`),
    ...[...m.removed].map((id) => `${id}:removed:`),
  ];
  return `${rows.sort().join(",")}@${m.configChangeIndex}`;
}

test("every sequence of changes up to 4 steps agrees with the model", () => {
  const changes: ConfigChange[] = [];
  for (const id of [1, 2, 3]) {
    changes.push(change("remove", id), change("shrink", id, ""), change("shrink", id, "e"));
    for (const kind of ["addVoter", "addNonVoting", "addWitness"] as const) {
      for (const target of ["a", "B", "c"]) changes.push(change(kind, id, target));
    }
  }
  changes.push(change("addVoter", 3, "d", 1), change("addVoter", 3, "d", 2));
  let compared = 0;
  let refused = 0;
  const seen = new Set<string>();
  const walk = (m: Membership, model: Model, depth: number): void => {
    const key = `${depth}|${modelText(model)}`;
    if (depth === 0 || seen.has(key)) return;
    seen.add(key);
    const index = model.cci + 1;
    for (const c of changes) {
      const outcome = applyConfigChange(m, c, index);
      const rows = modelStep(model, c);
      assert.equal(outcome.refusal === undefined, rows !== undefined, `${text(m)} ${JSON.stringify(c)}`);
      const forced = c.kind === "shrink" && rows !== undefined;
      const next = rows === undefined ? model : { rows, cci: forced ? model.cci : index };
      assert.equal(outcome.membership.lineage, m.lineage + (forced ? 1 : 0));
      assert.equal(text(outcome.membership), modelText(next), `${text(m)} ${JSON.stringify(c)}`);
      compared += 1;
      if (rows === undefined) refused += 1;
      else walk(outcome.membership, next, depth - 1);
    }
  };
  const start = { ...emptyMembership(), configChangeIndex: 1, voters: new Map([[1, "a"]]) };
  walk(start, { rows: [{ id: 1, role: "voter", target: "a" }], cci: 1 }, 4);
  assert.ok(compared > 1000, `${compared} steps compared`);
  assert.ok(refused > 100 && refused < compared, `${refused} of ${compared} refused`);
});
