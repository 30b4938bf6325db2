/** What a peer of an older wire version is sent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EntryType, metadataBody, sealBlock, singleBody } from "../../shared/codec/block.js";
import { type Message, MessageType } from "../../shared/types/message.js";
import { messageFor } from "./message-versions.js";
import { sampleMessages } from "./suite-kit.js";

test("version 2 gets everything as it is, version 1 only the types it knows", () => {
  for (const message of sampleMessages()) {
    assert.equal(messageFor(2, message), message);
    const old = messageFor(1, message);
    if (message.type <= 16) assert.equal(old, message);
    else assert.equal(old?.type, message.type === MessageType.ProposeRefused ? MessageType.ProposeDropped : undefined);
  }
});

test("metadata of witnesses is not sent to version 1, which would take it for entries without effect", () => {
  const key = { replicaId: 1, incarnation: 1, sequence: 1 };
  const at = { shardId: 5, firstIndex: 1, term: 1 };
  const data = sealBlock(singleBody(EntryType.Application, key, Buffer.from("x")), at);
  const replicate = (block: typeof data): Message => {
    const head = { type: MessageType.Replicate, shardId: 5, from: 1, to: 2, term: 1, lineage: 0 } as const;
    return { ...head, prevIndex: 0, prevTerm: 0, commit: 0, blocks: [block] };
  };
  const metadata = replicate(sealBlock(metadataBody(data), at));
  assert.equal(messageFor(1, metadata), undefined);
  assert.equal(messageFor(2, metadata), metadata);
  assert.ok(messageFor(1, replicate(data)) !== undefined);
});
