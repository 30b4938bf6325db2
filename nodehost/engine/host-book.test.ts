/** Who is who among hosts: targets by id, address and alias, hosts that start again, move, or take another's place. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Hello } from "../transport/port.js";
import { HostBook } from "./host-book.js";

function hello(hostId: string, raftAddress: string, counter = 1): Hello {
  return {
    wireVersionMin: 1,
    wireVersionMax: 2,
    deploymentId: 1,
    hostId,
    dataSetId: "d",
    incarnation: { counter, nonce: "" },
    recoveredWalSequence: 0,
    raftAddress,
  };
}

class Books {
  readonly answering = new Map<string, string>();
  readonly lost: string[] = [];
  readonly book = new HostBook(
    (target) => this.answering.get(target),
    (host) => this.lost.push(`${host.hostId}#${host.incarnation}`),
  );

  hosts(): string[] {
    return [...this.book.hosts()].map((host) => host.hostId);
  }
}

test("one host is one, whether members name its id, its address, or an alias of it", () => {
  const { book, answering, lost } = new Books();
  for (const target of ["h1", "a:1", "alias:1"]) book.count(target, 1, true);
  answering.set("alias:1", "h1");
  const host = book.heard(hello("h1", "a:1"), 10);
  assert.ok(host !== undefined);
  assert.deepEqual([...host.links].map((link) => link.target).sort(), ["a:1", "alias:1", "h1"]);
  book.count("b:1", 1, false);
  const link = book.link("b:1");
  assert.ok(link !== undefined);
  assert.equal(book.bind(link), undefined, "nobody answers there yet");
  answering.set("b:1", "h1");
  assert.equal(book.bind(link), host);
  assert.deepEqual(lost, []);
});

test("strangers are not kept, and a host is forgotten with the last member there", () => {
  const books = new Books();
  const { book, lost } = books;
  assert.equal(book.heard(hello("h9", "x:9"), 10), undefined);
  book.count("a:1", 1, true);
  book.count("a:1", 1, false);
  assert.equal(book.link("a:1")?.wanting, 1);
  book.heard(hello("h1", "a:1"), 10);
  book.count("a:1", -1, false);
  assert.deepEqual(books.hosts(), ["h1"]);
  book.count("a:1", -1, true);
  assert.deepEqual(books.hosts(), []);
  assert.deepEqual(lost, ["h1#1"]);
  assert.equal(book.link("a:1"), undefined);
});

test("a new start loses what was true of the old one; the old one is not heard any more", () => {
  const { book, lost } = new Books();
  book.count("a:1", 1, true);
  const host = book.heard(hello("h1", "a:1", 3), 10);
  assert.ok(host !== undefined);
  host.pulsing = true;
  host.silent = true;
  assert.equal(book.heard(hello("h1", "a:1", 3), 20), host);
  assert.deepEqual([host.heardMs, host.silent, host.pulsing], [20, false, true]);
  assert.equal(book.heard(hello("h1", "a:1", 2), 30), undefined);
  assert.equal(host.heardMs, 20);
  assert.deepEqual(lost, []);
  assert.equal(book.heard(hello("h1", "a:1", 4), 40), host);
  assert.deepEqual([host.heardMs, host.pulsing, host.incarnation], [40, false, 4]);
  assert.deepEqual(lost, ["h1#4"]);
});

test("a host that moves is another one to us, and so is who answers at its address", () => {
  const books = new Books();
  const { book, lost } = books;
  book.count("h1", 1, true);
  book.count("a:1", 1, true);
  const first = book.heard(hello("h1", "a:1"), 10);
  const moved = book.heard(hello("h1", "b:1", 2), 20);
  assert.ok(first !== undefined && moved !== undefined && moved !== first);
  assert.deepEqual(
    [...moved.links].map((link) => link.target),
    ["h1"],
  );
  assert.deepEqual(lost, ["h1#1"]);
  assert.equal(book.heard(hello("h1", "a:1", 1), 30), undefined, "what it said before it moved");
  const heir = book.heard(hello("h2", "a:1"), 40);
  assert.deepEqual(
    [...(heir?.links ?? [])].map((link) => link.target),
    ["a:1"],
  );
  assert.deepEqual(books.hosts(), ["h1", "h2"]);
  const thief = book.heard(hello("h3", "a:1"), 50);
  assert.deepEqual(
    [...(thief?.links ?? [])].map((link) => link.target),
    ["a:1"],
  );
  assert.deepEqual(books.hosts(), ["h1", "h3"]);
  assert.deepEqual(lost, ["h1#1", "h2#1"]);
});
