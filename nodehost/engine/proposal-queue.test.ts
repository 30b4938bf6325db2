/** How proposals become blocks: order, bounds, membership changes alone, no gaps in the sequences of a block. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type BlockBody, BlockBuilder, type Entry, EntryType, entriesOf, sealBlock } from "../../shared/codec/block.js";
import { OpError } from "../../shared/errors.js";
import { LIMITS } from "../../shared/limits.js";
import { ProposalQueue } from "./proposal-queue.js";
import { RequestState } from "./requests.js";

interface Given {
  readonly count: number;
  readonly config?: boolean;
  readonly bytes?: number;
  readonly aborted?: boolean;
}

function packed(given: readonly Given[]): { readonly bodies: BlockBody[]; readonly requests: RequestState[] } {
  const queue = new ProposalQueue(new BlockBuilder());
  const requests: RequestState[] = [];
  let sequence = 1;
  for (const { count, config = false, bytes = 1, aborted = false } of given) {
    const request = new RequestState(config ? "configChange" : "proposeBatch", 1, 100, count);
    requests.push(request);
    const type = config ? EntryType.ConfigChange : EntryType.Application;
    const commands = Array.from({ length: count }, () => new Uint8Array(bytes));
    queue.add({ request, type, firstSequence: sequence, commands });
    sequence += count;
    if (aborted) request.fail("aborted", new OpError("DL_ERR_ABORTED"));
  }
  const bodies: BlockBody[] = [];
  queue.pack(
    (s) => ({ replicaId: 3, incarnation: 2, sequence: s }),
    (body) => bodies.push(body),
  );
  assert.equal(queue.bytes, 0);
  queue.pack(
    () => assert.fail("nothing is packed twice"),
    () => assert.fail("nothing is packed twice"),
  );
  return { bodies, requests };
}

function entries(body: BlockBody): Entry[] {
  return [...entriesOf(sealBlock(body, { shardId: 1, firstIndex: 1, term: 1 }))];
}

test("commands of many requests share a block, in order", () => {
  const { bodies, requests } = packed([{ count: 2 }, { count: 1 }, { count: 3 }]);
  assert.equal(bodies.length, 1);
  const sequences = entries(bodies[0] as BlockBody).map((entry) => entry.key.sequence);
  assert.deepEqual(sequences, [1, 2, 3, 4, 5, 6]);
  assert.ok(requests.every((request) => request.handedOver));
});

test("a membership change is always alone in its block", () => {
  const { bodies } = packed([{ count: 1 }, { count: 1, config: true }, { count: 1, config: true }, { count: 2 }]);
  assert.deepEqual(
    bodies.map((body) => [body.firstKey.sequence, body.count, body.hasConfigChange]),
    [
      [1, 1, false],
      [2, 1, true],
      [3, 1, true],
      [4, 2, false],
    ],
  );
});

test("an aborted request is left out, and no block has a gap: drops are reported as ranges", () => {
  const { bodies, requests } = packed([{ count: 2 }, { count: 3, aborted: true }, { count: 1 }]);
  assert.deepEqual(
    bodies.map((body) => [body.firstKey.sequence, body.count]),
    [
      [1, 2],
      [6, 1],
    ],
  );
  assert.equal(requests[1]?.handedOver, false);
});

test("a block stays within its limits of entries and bytes", () => {
  const many = packed([{ count: LIMITS.blockEntriesMax + 1 }]).bodies;
  assert.deepEqual(
    many.map((body) => body.count),
    [LIMITS.blockEntriesMax, 1],
  );
  const large = packed([{ count: 5, bytes: LIMITS.blockBytesMax / 4 }]).bodies;
  assert.deepEqual(
    large.map((body) => body.count),
    [3, 2],
  );
  for (const body of large) assert.ok(body.bytes.length <= LIMITS.blockBytesMax);
});

test("property: every command of a live request is proposed once, with its sequence, contiguous per block", () => {
  const given = fc.record({ count: fc.integer({ min: 1, max: 5 }), config: fc.boolean(), aborted: fc.boolean() });
  fc.assert(
    fc.property(fc.array(given, { maxLength: 20 }), (list) => {
      const proposals = list.map((g) => (g.config ? { ...g, count: 1 } : g));
      const expected: number[] = [];
      let sequence = 1;
      for (const { count, aborted } of proposals) {
        for (let i = 0; i < count; i++) if (!aborted) expected.push(sequence + i);
        sequence += count;
      }
      const found: number[] = [];
      for (const body of packed(proposals).bodies) {
        const keys = entries(body).map((entry) => entry.key.sequence);
        keys.forEach((key, i) => {
          assert.equal(key, body.firstKey.sequence + i);
        });
        if (body.hasConfigChange) assert.equal(body.count, 1);
        found.push(...keys);
      }
      assert.deepEqual(found, expected);
    }),
    { numRuns: 200, seed: 42 },
  );
});
