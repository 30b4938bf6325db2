/** Whatever a peer says, the core neither throws nor breaks an invariant of its own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  type BlockBody,
  EntryBlock,
  EntryType,
  metadataBody,
  openBody,
  sealBlock,
  singleBody,
} from "../../shared/codec/block.js";
import { encodeConfigChange } from "../../shared/codec/membership.js";
import { type Message, MessageType, REFUSAL_REASONS } from "../../shared/types/message.js";
import { checkInvariants } from "./invariants.js";
import { membershipOf, Net, SHARD, T, type TestNode } from "./test-net.js";

const small = fc.integer({ min: 0, max: 12 });
const wild = fc.constantFrom(Number.NaN, -1, 0.5, 2 ** 52, 2 ** 53 - 1, 2 ** 60, Number.POSITIVE_INFINITY);
const number = fc.oneof({ weight: 9, arbitrary: small }, { weight: 1, arbitrary: wild });
const id = fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 1, max: 5 }) }, { weight: 1, arbitrary: number });
const key = fc.record({ replicaId: id, incarnation: number, sequence: number });

const change = encodeConfigChange({
  kind: "remove",
  replicaId: 2,
  target: "",
  expectedConfigChangeIndex: 0,
  bootstrap: false,
});
const command = fc.oneof(fc.constant(change), fc.uint8Array({ maxLength: 40 }));

const body = fc.tuple(fc.integer({ min: 0, max: 2 }), key, command).map(([type, k, cmd]) => {
  const entryType = Object.values(EntryType)[type] ?? EntryType.Noop;
  const plain = { replicaId: 2, incarnation: 1, sequence: Number.isSafeInteger(k.sequence) ? Math.abs(k.sequence) : 0 };
  return singleBody(entryType, plain, cmd);
});

const place = (b: BlockBody, firstIndex: number, term: number): EntryBlock =>
  sealBlock(openBody(b.bytes), { shardId: SHARD, firstIndex, term });
/** As a witness is sent it. */
const reduced = (data: EntryBlock): EntryBlock =>
  sealBlock(metadataBody(data), { shardId: SHARD, firstIndex: data.baseIndex, term: data.term });

const block = fc.tuple(body, small, small, fc.integer({ min: 0, max: 9 })).map(([b, index, term, skew]) => {
  const sealed = place(b, index, term);
  if (skew > 0) return sealed;
  return new EntryBlock(sealed.bytes, term, true, { index, count: 9 }, { first: index, last: index + 3 });
});

/** Blocks that mostly fit together. */
const blocks = fc
  .tuple(small, fc.array(fc.tuple(body, fc.integer({ min: 0, max: 1 })), { maxLength: 4 }))
  .map(([from, bodies]) => {
    let term = 1;
    return bodies.map(([b, step], i) => {
      term += step;
      return place(b, from + 1 + i, term);
    });
  });
const metadata = blocks.map((data) => data.map(reduced));

const message: fc.Arbitrary<Message> = fc
  .record({
    type: fc.constantFrom(...Object.values(MessageType)),
    shardId: fc.oneof({ weight: 20, arbitrary: fc.constant(SHARD) }, { weight: 1, arbitrary: small }),
    from: id,
    to: fc.oneof({ weight: 20, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: small }),
    term: number,
    lineage: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: number }),
    lastIndex: number,
    lastTerm: number,
    transfer: fc.boolean(),
    granted: fc.boolean(),
    prevIndex: number,
    prevTerm: number,
    commit: number,
    blocks: fc.oneof(blocks, metadata, fc.array(block, { maxLength: 3 })),
    index: number,
    rejected: fc.boolean(),
    hintIndex: number,
    hintTerm: number,
    round: number,
    snapshot: fc.record({
      shardId: fc.constantFrom(SHARD, SHARD, 3),
      replicaId: id,
      index: number,
      term: number,
      membership: fc.constantFrom(
        membershipOf([1, 2, 3]),
        membershipOf([]),
        membershipOf([2], { removed: new Set([1]) }),
        membershipOf([1, 4], { lineage: 1, configChangeIndex: 5 }),
      ),
      sizeBytes: number,
      directory: fc.constant("d"),
    }),
    key,
    body,
    incarnation: number,
    firstSequence: number,
    count: number,
    bytes: number,
    reason: fc.constantFrom(...REFUSAL_REASONS),
  })
  .map((fields) => fields as Message);

const input = fc.oneof(
  { weight: 8, arbitrary: message },
  {
    weight: 3,
    arbitrary: fc.constantFrom("output", "flush", "apply", "tick", "campaign", "read", "propose", "transfer"),
  },
);

function feed(net: Net, node: TestNode, what: Message | string): void {
  if (typeof what !== "string") node.raft.receive(what, net.nowMs);
  else if (what === "flush") net.flush(1);
  else if (what === "read") net.read(1);
  else if (what === "propose") net.propose(1, "x");
  else if (what === "campaign") node.raft.campaign(net.nowMs);
  else if (what === "transfer") node.raft.transferLeadership(2, net.nowMs);
  else if (what === "tick") {
    net.nowMs += T;
    node.raft.tick(net.nowMs);
  } else if (what === "output" && node.raft.hasOutput) {
    const out = node.raft.takeOutput();
    if (out.update !== undefined) node.unwritten.push(out.update);
    if (out.restore !== undefined) node.raft.restored(out.restore);
    const last = out.committed.at(-1);
    if (last !== undefined) node.raft.appliedTo(last.last);
  }
}

test("no sequence of messages makes the core throw or break its invariants", () => {
  fc.assert(
    fc.property(fc.array(input, { maxLength: 60 }), fc.constantFrom("leader", "voter", "witness"), (inputs, kind) => {
      const net = new Net({ voters: [1, 2, 3], config: { witness: kind === "witness" } });
      const node = net.node(1);
      if (kind === "leader") net.elect(1);
      let seen = checkInvariants(node.raft);
      for (const what of inputs) {
        feed(net, node, what);
        seen = checkInvariants(node.raft, seen);
      }
    }),
    { numRuns: 2000, seed: 42 },
  );
});

test("a config change that nobody could decode is refused, forwarded or replicated", () => {
  const net = new Net({ voters: [1, 2, 3] });
  const leader = net.elect(1);
  const { term, last } = leader.raft;
  const bad = () =>
    singleBody(EntryType.ConfigChange, { replicaId: 2, incarnation: 1, sequence: 9 }, new Uint8Array(3));
  leader.raft.receive(
    { type: MessageType.Propose, shardId: SHARD, from: 2, to: 1, term, lineage: 0, body: bad() },
    net.nowMs,
  );
  leader.raft.propose(bad(), net.nowMs);
  assert.equal(leader.raft.last, last);
  net.run();
  assert.equal(net.node(2).dropped.length, 1);
  assert.equal(leader.dropped.length, 1);
  const poisoned = sealBlock(bad(), { shardId: SHARD, firstIndex: last + 1, term });
  const header = { type: MessageType.Replicate, shardId: SHARD, from: 1, to: 2, term, lineage: 0 } as const;
  net.deliver({ ...header, prevIndex: last, prevTerm: term, commit: 0, blocks: [poisoned] });
  assert.equal(net.node(2).raft.last, last);
  assert.equal(net.node(2).raft.inspect().counters.malformed, 1);
});

test("messages for others, of others, or out of range are counted and dropped", () => {
  const net = new Net({ voters: [1, 2, 3] });
  const node = net.node(1);
  const good = {
    type: MessageType.Heartbeat,
    shardId: SHARD,
    from: 2,
    to: 1,
    term: 5,
    lineage: 0,
    commit: 0,
    round: 0,
  };
  const bad: Partial<Message>[] = [
    { shardId: 8 },
    { to: 2 },
    { from: 1 },
    { from: 0 },
    { term: -1 },
    { term: Number.NaN },
    { term: 2 ** 53 - 1 },
    { lineage: -3 },
  ];
  for (const fields of bad) node.raft.receive({ ...good, ...fields } as Message, 0);
  assert.equal(node.raft.inspect().counters.malformed, bad.length);
  assert.equal(node.raft.term, 1);
});
