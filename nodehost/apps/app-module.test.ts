/** App modules: a good one passes through, a bad one is told by what is missing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isOpError } from "../../shared/errors.js";
import { appFromModule, builtinApps } from "./index.js";

const AT = { dataDir: "/somewhere" };
const METHODS = ["update", "lookup", "saveSnapshot", "recoverFromSnapshot", "close"];

function machine(without: readonly string[] = [], extra: readonly string[] = []): object {
  const names = [...METHODS, ...extra].filter((name) => !without.includes(name));
  return Object.fromEntries(names.map((name) => [name, () => 1]));
}

function invalid(pattern: RegExp): (error: unknown) => boolean {
  return (error) => isOpError(error) && error.code === "DL_ERR_APP_INVALID" && pattern.test(error.message);
}

test("a good module's app makes machines, with its own this and arguments", () => {
  const seen: unknown[] = [];
  const app = {
    name: "bank.v1",
    kind: "memory",
    create(...args: unknown[]) {
      seen.push(this, ...args);
      return machine();
    },
  };
  const found = appFromModule({ app }, "bank.js");
  assert.equal(found.name, "bank.v1");
  assert.equal(found.kind, "memory");
  assert.equal(typeof found.create(3, 4).update, "function");
  assert.deepEqual(seen, [app, 3, 4]);
  const concurrent = { name: "c", kind: "concurrent", create: () => machine([], ["prepareSnapshot"]) };
  assert.equal(typeof appFromModule({ app: concurrent }, "c.js").create(1, 1, AT).lookup, "function");
});

test("a bad module is refused by what is missing or wrong", () => {
  const good = { name: "x", kind: "memory", create: () => machine() };
  const cases: [unknown, RegExp][] = [
    [{}, /bad\.js: export "app" is missing/],
    [undefined, /export "app" is missing/],
    [{ default: good }, /export "app" is missing/],
    [{ app: null }, /export "app" is null/],
    [{ app: () => good }, /export "app" is a function/],
    [{ app: { ...good, name: undefined } }, /app\.name is missing/],
    [{ app: { ...good, name: "" } }, /app\.name is ""/],
    [{ app: { ...good, name: "a b" } }, /app\.name is "a b"/],
    [{ app: { ...good, kind: undefined } }, /app\.kind is missing/],
    [{ app: { ...good, kind: "disk" } }, /app\.kind is "disk", expected "memory", "concurrent" or "onDisk"/],
    [{ app: { ...good, create: undefined } }, /app\.create is missing/],
    [{ app: { ...good, create: {} } }, /app\.create is a object/],
  ];
  for (const [namespace, message] of cases) {
    assert.throws(() => appFromModule(namespace, "bad.js"), invalid(message));
  }
});

test("a machine without a method is refused when it is made", () => {
  const make = (kind: string, made: unknown) => appFromModule({ app: { name: "x", kind, create: () => made } }, "x.js");
  for (const method of METHODS) {
    assert.throws(() => make("memory", machine([method])).create(1, 1, AT), invalid(new RegExp(`has no ${method}`)));
  }
  assert.throws(() => make("concurrent", machine()).create(1, 1, AT), invalid(/has no prepareSnapshot/));
  assert.throws(() => make("memory", undefined).create(1, 1, AT), invalid(/has no update, lookup/));
  const thrower = {
    name: "x",
    kind: "memory",
    create: () => {
      throw new Error("no licence");
    },
  };
  assert.throws(() => appFromModule({ app: thrower }, "x.js").create(1, 1, AT), invalid(/create threw: no licence/));
});

test("built-in apps have distinct names and make machines", () => {
  const apps = builtinApps();
  assert.ok(apps.some((app) => app.name === "kv"));
  assert.equal(new Set(apps.map((app) => app.name)).size, apps.length);
  for (const app of apps) assert.equal(typeof app.create(1, 1, AT).update, "function");
});
