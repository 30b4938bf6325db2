/** The table of client sessions: its rules one by one, against a simple model, and as bytes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { EntrySession } from "../../shared/codec/block.js";
import { MalformedError } from "../../shared/codec/bytes.js";
import { SERIES_MAX, SERIES_REGISTER, SERIES_UNREGISTER } from "../../shared/types/session.js";
import { type SessionLimits, SessionTable } from "./sessions.js";
import type { Result } from "./state-machine.js";

const A = "00000000000000aa";
const B = "00000000000000bb";
const C = "00000000000000cc";

/** A table with what a machine would do: every application answers the next number. */
class Rig {
  readonly table: SessionTable;
  applied = 0;
  index = 0;

  constructor(limits: Partial<SessionLimits> = {}) {
    this.table = new SessionTable(limits);
  }

  register(clientId: string): string {
    return this.propose({ clientId, seriesId: SERIES_REGISTER, respondedTo: 0 });
  }

  unregister(clientId: string): string {
    return this.propose({ clientId, seriesId: SERIES_UNREGISTER, respondedTo: 0 });
  }

  /** "applied 3", "answered 3", or the code. */
  propose(session: EntrySession, data?: Uint8Array): string {
    this.index += 1;
    const verdict = this.table.begin(session, this.index);
    if (verdict.kind === "refused") return verdict.code;
    if (verdict.kind === "answered") return `answered ${textOf(verdict.result)}`;
    this.applied += 1;
    const result = data === undefined ? { value: this.applied } : { value: this.applied, data };
    this.table.record(session, result);
    return `applied ${textOf(result)}`;
  }

  clients(): string[] {
    return [...this.table.list()].map((session) => session.clientId);
  }
}

function textOf({ value, data }: Result): string {
  return data === undefined ? `${value}` : `${value}:${[...data]}`;
}

const at = (clientId: string, seriesId: number, respondedTo = seriesId - 1): EntrySession => ({
  clientId,
  seriesId,
  respondedTo,
});

test("a series is applied once; repeated it gets the same answer until the client has it, then it is stale", () => {
  const rig = new Rig();
  assert.equal(rig.register(A), "answered 1");
  assert.equal(rig.propose(at(A, 2), Uint8Array.of(7, 8)), "applied 1:7,8");
  assert.equal(rig.propose(at(A, 2)), "answered 1:7,8");
  assert.equal(rig.propose(at(A, 2)), "answered 1:7,8");
  assert.equal(rig.propose(at(A, 3)), "applied 2");
  assert.equal(rig.propose(at(A, 2)), "DL_ERR_SESSION_STALE");
  assert.equal(rig.propose(at(A, 3, 1)), "answered 2", "a late copy that says less clears nothing");
  assert.equal(rig.applied, 2);
});

test("of an on-disk machine: a lost answer is told as such, and is no part of the hash nor of evictions", () => {
  const limits = { resultsMayBeLost: true, bytesMax: 100 };
  const whole = new Rig(limits);
  const lossy = new Rig(limits);
  for (const rig of [whole, lossy]) {
    rig.register(A);
    rig.register(B);
    rig.propose(at(A, 2), new Uint8Array(40));
  }
  const verdict = lossy.table.begin(at(A, 3, 1), 4);
  assert.equal(verdict.kind, "apply");
  lossy.table.record(at(A, 3, 1), undefined);
  assert.equal(whole.propose(at(A, 3, 1), new Uint8Array(40)).slice(0, 9), "applied 2");
  assert.equal(lossy.table.hash(), whole.table.hash());
  assert.equal(lossy.propose(at(A, 3, 1)), "DL_ERR_SESSION_RESULT_LOST");
  assert.equal(whole.propose(at(A, 3, 1)).slice(0, 10), "answered 2");
  // Above the bound: another kind of machine would lose the session, here answers go, the oldest first.
  for (const rig of [whole, lossy]) rig.propose(at(B, 3, 2), new Uint8Array(60));
  assert.deepEqual(whole.clients(), [A, B]);
  assert.equal(lossy.table.hash(), whole.table.hash());
  assert.equal(whole.propose(at(A, 2, 1)), "DL_ERR_SESSION_RESULT_LOST");
  assert.equal(whole.propose(at(A, 3, 1)), "DL_ERR_SESSION_RESULT_LOST");
  assert.equal(whole.propose(at(B, 3, 2)).slice(0, 10), "answered 3");
  const copy = new SessionTable(limits);
  copy.restore(whole.table.encode());
  assert.deepEqual(copy.encode(), whole.table.encode());
  assert.throws(() => new SessionTable().restore(whole.table.encode()), MalformedError, "elsewhere none can be lost");
});

test("answers are kept until told otherwise, also of a client that is behind with telling", () => {
  const rig = new Rig();
  rig.register(A);
  for (const series of [2, 3, 4, 5]) rig.propose(at(A, series, 1));
  assert.equal(rig.propose(at(A, 6, 3)), "applied 5");
  assert.deepEqual([...(rig.table.list().next().value?.results.keys() ?? [])], [4, 5, 6]);
  assert.equal(rig.propose(at(A, 3, 1)), "DL_ERR_SESSION_STALE");
  assert.equal(rig.propose(at(A, 4, 1)), "answered 3");
});

test("a client that never tells loses its oldest answers, and is never applied twice", () => {
  const rig = new Rig({ resultsMax: 2 });
  rig.register(A);
  for (const series of [2, 3, 4]) rig.propose(at(A, series, 1));
  assert.equal(rig.propose(at(A, 2, 1)), "DL_ERR_SESSION_STALE");
  assert.equal(rig.propose(at(A, 3, 1)), "answered 2");
  assert.equal(rig.applied, 3);
});

test("unknown, closed and evicted sessions are refused, and nothing is applied", () => {
  const rig = new Rig({ sessionsMax: 2 });
  assert.equal(rig.propose(at(A, 1)), "DL_ERR_SESSION_NOT_FOUND");
  assert.equal(rig.unregister(A), "DL_ERR_SESSION_NOT_FOUND");
  rig.register(A);
  assert.equal(rig.unregister(A), "answered 3");
  assert.equal(rig.propose(at(A, 4)), "DL_ERR_SESSION_NOT_FOUND");
  for (const client of [A, B, C]) rig.register(client);
  assert.deepEqual(rig.clients(), [B, C]);
  assert.equal(rig.propose(at(A, 6)), "DL_ERR_SESSION_NOT_FOUND");
  assert.equal(rig.applied, 0);
});

test("the least recently used session is evicted; repeats, refusals and registrations are uses (P37)", () => {
  const rig = new Rig({ sessionsMax: 3 });
  for (const client of [A, B, C]) rig.register(client);
  rig.propose(at(A, 4));
  assert.deepEqual(rig.clients(), [B, C, A]);
  rig.propose(at(B, 1));
  assert.deepEqual(rig.clients(), [C, A, B]);
  rig.register(C);
  assert.deepEqual(rig.clients(), [A, B, C]);
  rig.propose(at(A, 4));
  rig.register("00000000000000dd");
  assert.deepEqual(rig.clients(), [C, A, "00000000000000dd"]);
});

test("registering again answers the same and keeps the answers", () => {
  const rig = new Rig();
  assert.equal(rig.register(A), "answered 1");
  rig.propose(at(A, 2));
  assert.equal(rig.register(A), "answered 1");
  assert.equal(rig.propose(at(A, 2)), "answered 1");
});

test("a registration that comes after the eviction lets nothing apply again", () => {
  const rig = new Rig({ sessionsMax: 1 });
  rig.register(A);
  rig.propose(at(A, 2));
  rig.propose(at(A, 3));
  rig.register(B);
  const late = rig.register(A);
  assert.equal(late, "answered 5");
  assert.equal(rig.propose(at(A, 3)), "DL_ERR_SESSION_STALE");
  assert.equal(rig.propose(at(A, 4)), "DL_ERR_SESSION_STALE");
  assert.equal(rig.applied, 2);
});

test("result data is bounded in all: the sessions used longest ago go first", () => {
  const rig = new Rig({ bytesMax: 10 });
  for (const client of [A, B, C]) rig.register(client);
  rig.propose(at(A, 4), new Uint8Array(4));
  rig.propose(at(B, 5), new Uint8Array(4));
  rig.propose(at(B, 6), new Uint8Array(6));
  assert.deepEqual(rig.clients(), [C, A, B], "what was told to be seen counts no more");
  rig.propose(at(B, 7), new Uint8Array(8));
  assert.deepEqual(rig.clients(), [B]);
  assert.match(rig.propose(at(B, 8), new Uint8Array(11)), /^applied/, "the proposer gets its answer");
  assert.deepEqual(rig.clients(), []);
});

test("answers are copies: neither the machine's buffer nor a caller's changes what is kept", () => {
  const { table } = new Rig();
  table.begin({ clientId: A, seriesId: SERIES_REGISTER, respondedTo: 0 }, 1);
  const data = Uint8Array.of(1);
  table.begin(at(A, 2), 2);
  table.record(at(A, 2), { value: 1, data });
  data[0] = 9;
  for (let i = 0; i < 2; i++) {
    const verdict = table.begin(at(A, 2), 3);
    assert.ok(verdict.kind === "answered");
    assert.deepEqual(verdict.result, { value: 1, data: Uint8Array.of(1) });
    verdict.result.data?.fill(7);
  }
});

test("entries that nobody should make are refused, alike everywhere, and never throw", () => {
  const rig = new Rig();
  assert.equal(rig.register("0000000000000000"), "DL_ERR_INVALID_SESSION");
  rig.register(A);
  assert.equal(rig.propose(at(A, 0, 0)), "DL_ERR_SESSION_STALE");
  assert.equal(rig.propose(at(A, 5, 9)), "DL_ERR_SESSION_STALE");
  assert.equal(rig.propose(at(A, SERIES_MAX, SERIES_UNREGISTER)), "DL_ERR_SESSION_STALE");
  assert.equal(rig.propose(at(A, SERIES_MAX)), "DL_ERR_SESSION_STALE");
  assert.equal(rig.applied, 0);
});

test("golden bytes of the session area", () => {
  const { table } = new Rig();
  const b = { clientId: "fedcba9876543210", seriesId: SERIES_REGISTER, respondedTo: 0 };
  table.begin({ ...b, clientId: "0123456789abcdef" }, 5);
  table.begin(b, 258);
  const first = at(b.clientId, 259);
  table.begin(first, 260);
  table.record(first, { value: -3 });
  const second = at(b.clientId, 260, 258);
  table.begin(second, 261);
  table.record(second, { value: 7, data: Uint8Array.of(0xaa, 0xbb) });
  assert.equal(
    Buffer.from(table.encode()).toString("hex"),
    [
      "02000000",
      "0123456789abcdef" + "0500000000000000" + "0500000000000000" + "00000000",
      "fedcba9876543210" + "0201000000000000" + "0201000000000000" + "02000000",
      "0301000000000000" + "01" + "0300000000000000",
      "0401000000000000" + "02" + "0700000000000000" + "02000000" + "aabb",
    ].join(""),
  );
  assert.equal(new SessionTable().encode().length, 0);
  const lost = new SessionTable({ resultsMayBeLost: true });
  lost.begin({ ...b, clientId: "0123456789abcdef" }, 5);
  lost.begin(at("0123456789abcdef", 6), 6);
  lost.record(at("0123456789abcdef", 6), undefined);
  assert.equal(
    Buffer.from(lost.encode()).toString("hex"),
    [
      "01000000",
      "0123456789abcdef" + "0500000000000000" + "0500000000000000" + "01000000",
      "0600000000000000" + "04" + "0000000000000000",
    ].join(""),
  );
});

test("areas that cannot be are refused and leave the table as it was", () => {
  const { table } = new Rig();
  table.begin({ clientId: A, seriesId: SERIES_REGISTER, respondedTo: 0 }, 5);
  const hash = table.hash();
  const session = (id: string, respondedTo: string, results: string): string =>
    `${id}0500000000000000${respondedTo}${results}`;
  const plain = session(A, "0500000000000000", "00000000");
  const bad = [
    "00000000",
    "ffffffff",
    `02000000${plain}`,
    `02000000${plain}${plain}`,
    `01000000${plain}00`,
    `01000000${session("0000000000000000", "0500000000000000", "00000000")}`,
    `01000000${session(A, "0500000000000000", "01000000" + "0500000000000000" + "00" + "0300000000000000")}`,
    `01000000${session(A, "0500000000000000", "01000000" + "0600000000000000" + "04" + "0300000000000000")}`,
    `01000000${session(A, "ffffffffffffffff", "00000000")}`,
  ];
  for (const hex of bad) assert.throws(() => table.restore(Buffer.from(hex, "hex")), MalformedError, hex);
  assert.equal(table.hash(), hash);
  table.restore(Buffer.from(`01000000${plain}`, "hex"));
  assert.equal(table.hash(), hash);
  table.restore(new Uint8Array(0));
  assert.equal(table.size, 0);
});

interface ModelSession {
  readonly clientId: string;
  respondedTo: number;
  readonly answers: Map<number, string>;
}

/** The rules once more, on a list. */
function model(list: ModelSession[], { clientId, seriesId, respondedTo }: EntrySession, index: number, max: number) {
  const found = list.find((session) => session.clientId === clientId);
  if (found !== undefined) list.splice(list.indexOf(found), 1);
  if (seriesId === SERIES_REGISTER) {
    list.push(found ?? { clientId, respondedTo: index, answers: new Map() });
    if (list.length > max) list.shift();
    return "known";
  }
  if (found === undefined) return "DL_ERR_SESSION_NOT_FOUND";
  if (seriesId === SERIES_UNREGISTER) return "known";
  list.push(found);
  found.respondedTo = Math.max(found.respondedTo, respondedTo);
  if (seriesId <= found.respondedTo) return "DL_ERR_SESSION_STALE";
  const known = found.answers.get(seriesId);
  if (known !== undefined) return `answered ${known}`;
  return "applied";
}

test("random histories agree with a simple model, and a replica restored at any point with one that is not", () => {
  const ids = [A, B, C, "00000000000000dd"];
  const step = fc.record({
    client: fc.nat({ max: ids.length - 1 }),
    kind: fc.constantFrom("register", "unregister", "propose", "propose", "propose", "propose"),
    ahead: fc.integer({ min: -3, max: 3 }),
    behind: fc.nat({ max: 3 }),
    restore: fc.boolean(),
  });
  void fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 1, max: 4 }), (steps, sessionsMax) => {
      const rig = new Rig({ sessionsMax });
      const twin = new Rig({ sessionsMax });
      const list: ModelSession[] = [];
      const newest = new Map<string, number>();
      for (const { client, kind, ahead, behind, restore } of steps) {
        const clientId = ids[client] ?? A;
        const base = newest.get(clientId) ?? rig.index;
        const seriesId =
          kind === "register" ? SERIES_REGISTER : kind === "unregister" ? SERIES_UNREGISTER : Math.max(0, base + ahead);
        const entry = { clientId, seriesId, respondedTo: Math.max(0, base - behind) };
        const expected = model(list, entry, rig.index + 1, sessionsMax);
        const outcome = rig.propose(entry);
        if (expected === "known") assert.match(outcome, /^answered|NOT_FOUND$/);
        else if (expected === "applied") assert.match(outcome, /^applied/);
        else assert.equal(outcome, expected);
        if (expected === "applied") {
          list.at(-1)?.answers.set(seriesId, `${rig.applied}`);
          newest.set(clientId, seriesId + 1);
        }
        if (outcome.startsWith("answered") && seriesId === SERIES_REGISTER) {
          newest.set(clientId, Math.max(newest.get(clientId) ?? 0, Number(outcome.slice(9)) + 1));
        }
        assert.deepEqual(
          rig.clients(),
          list.map((session) => session.clientId),
        );
        if (restore) {
          const fresh = new SessionTable({ sessionsMax });
          fresh.restore(twin.table.encode());
          twin.table.restore(fresh.encode());
        }
        assert.equal(twin.propose(entry), outcome);
        assert.equal(twin.table.hash(), rig.table.hash());
      }
    }),
    { numRuns: 300 },
  );
});
