/** Where hosts are: learned, kept over restarts, newer starts win, damage is only a lost memory. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "../../shared/env/env.js";
import { type Files, readWhole } from "../../shared/files/port.js";
import { SimDisk } from "../../shared/files/sim-files.js";
import { DurableAddressBook } from "./address-book.js";

const A = "00000000-0000-4000-8000-00000000000a";
const B = "00000000-0000-4000-8000-00000000000b";

async function disk(): Promise<SimDisk> {
  const files = new SimDisk();
  await files.makeDirectory("/d");
  return files;
}

async function opened(files: Files): Promise<DurableAddressBook> {
  const book = new DurableAddressBook(files, "/d", silentLogger);
  await book.open();
  return book;
}

test("an address is its own place; a host id is where it was last seen, or nowhere", async () => {
  const book = await opened(await disk());
  assert.equal(book.resolve("example:7500"), "example:7500");
  assert.equal(book.resolve(A), undefined);
  book.learn(A, "one:1", 1);
  assert.equal(book.resolve(A), "one:1");
});

test("a later start moves a host, an earlier one does not", async () => {
  const book = await opened(await disk());
  book.learn(A, "one:1", 5);
  book.learn(A, "two:2", 4);
  assert.equal(book.resolve(A), "one:1");
  book.learn(A, "two:2", 5);
  assert.equal(book.resolve(A), "two:2");
  book.learn(A, "three:3", 6);
  assert.equal(book.resolve(A), "three:3");
});

test("what was learned survives a crash once close has waited for it", async () => {
  const files = await disk();
  const book = await opened(files);
  book.learn(A, "one:1", 1);
  book.learn(B, "two:2", 1);
  book.learn(A, "three:3", 2);
  await book.close();
  files.crash(() => 0.9);
  const again = await opened(files);
  assert.equal(again.resolve(A), "three:3");
  assert.equal(again.resolve(B), "two:2");
  again.learn(A, "old:1", 1);
  assert.equal(again.resolve(A), "three:3", "the incarnation is remembered too");
});

test("a change right after a write has ended is written as well", async () => {
  const files = await disk();
  const book = await opened(files);
  book.learn(A, "one:1", 1);
  // At every microtask of the first write and around its end another change is made.
  for (let i = 2; i < 60; i++) {
    book.learn(A, `at:${i}`, i);
    await Promise.resolve();
  }
  await book.close();
  assert.equal((await opened(files)).resolve(A), "at:59");
});

test("a write that fails loses nothing in memory, and the next change is written", async () => {
  const files = await disk();
  const book = await opened(files);
  files.fault = ({ kind }) => (kind === "write" ? "EIO" : undefined);
  book.learn(A, "one:1", 1);
  await book.close();
  assert.equal(book.resolve(A), "one:1");
  assert.equal((await opened(files)).resolve(A), undefined);
  files.fault = undefined;
  book.learn(B, "two:2", 1);
  await book.close();
  assert.equal((await opened(files)).resolve(A), "one:1");
});

test("a damaged file is forgotten, entries of the wrong form are left out", async () => {
  const files = await disk();
  const write = async (text: string): Promise<void> => {
    await files.remove("/d/addresses.json");
    const handle = await files.open("/d/addresses.json", { create: true });
    await handle.write(Buffer.from(text), 0);
    await handle.close();
  };
  for (const text of ["", "{", "[1]", "null", '"x"']) {
    await write(text);
    assert.equal((await opened(files)).resolve(A), undefined, text);
  }
  const good = { raftAddress: "one:1", incarnation: 1 };
  await write(JSON.stringify({ [A]: good, [B]: { raftAddress: 5, incarnation: 1 }, nobody: good }));
  const book = await opened(files);
  assert.equal(book.resolve(A), "one:1");
  assert.equal(book.resolve(B), undefined);
  assert.ok((await readWhole(files, "/d/addresses.json")).length > 0);
});
