/** The door drumline/testing, used as its users do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeKvCommand, kvApp, kvBytes } from "./apps/index.js";
import { checkStateMachine, createMemoryLogDb, filesSuite, logDbSuite, MemoryLogStore, SimDisk } from "./testing.js";

logDbSuite("memory, through the door", async () => {
  const store = new MemoryLogStore();
  return { open: async () => createMemoryLogDb({ store }), cleanup: async () => {} };
});

filesSuite("SimDisk, through the door", async () => {
  const files = new SimDisk();
  await files.makeDirectory("/d");
  return { files, root: "/d", cleanup: async () => {} };
});

test("a state machine that keeps the contract has no problems, one that does not has", async () => {
  const commands = ["a", "b", "c"].map((key) => encodeKvCommand({ op: "put", key: kvBytes(key), value: kvBytes(key) }));
  assert.deepEqual(await checkStateMachine(kvApp(), commands), []);
  let calls = 0;
  const chance = {
    name: "chance",
    kind: "memory",
    create: () => ({
      update: () => {
        calls += 1;
        return { value: calls };
      },
      lookup: () => undefined,
      saveSnapshot: async () => {},
      recoverFromSnapshot: async () => {},
      close: () => {},
    }),
  } as const;
  assert.notDeepEqual(await checkStateMachine(chance, commands), []);
});
