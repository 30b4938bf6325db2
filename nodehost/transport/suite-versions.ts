/** What hosts of different wire versions are to each other: a part of the conformance suite. */
import assert from "node:assert/strict";
import { HostMessageType, MessageType, type WireMessage } from "../../shared/types/message.js";
import type { ClusterTest, TestHost } from "./suite.js";
import { numbered } from "./suite-kit.js";

export function registerVersionTests(clusterTest: ClusterTest): void {
  clusterTest("a wire version that is not ours is refused, typed on both sides", async (c) => {
    const a = await c.host({ host: 1 });
    const b = await c.host({ host: 2, wireVersions: [3, 3] });
    c.send(a, b.hostId, numbered(1));
    await a.recorder.until(() => a.recorder.refused.length === 1);
    await b.recorder.until(() => b.recorder.refused.length === 1);
    assert.equal(a.recorder.refused[0]?.code, "DL_ERR_VERSION");
    assert.equal(b.recorder.refused[0]?.code, "DL_ERR_VERSION");
    assert.equal(b.recorder.received.length, 0);
  });

  clusterTest("a peer of wire version 1 is sent only what it can read", async (c) => {
    const old = await c.host({ host: 1, wireVersions: [1, 1] });
    const a = await c.host({ host: 2 });
    const b = await c.host({ host: 3 });
    for (const to of [old, b]) await c.sendUntil(a, to.hostId, () => to.recorder.received.length > 0);
    const range = { incarnation: 9, firstSequence: 7, count: 3 };
    const head = { shardId: 5, from: 1, to: 2, term: 3, lineage: 0 };
    const refused: WireMessage = { ...head, type: MessageType.ProposeRefused, ...range, reason: "notCaughtUp" };
    const unknown: WireMessage = { ...head, type: MessageType.MemoryReport, bytes: 7 };
    const lastOf = (host: TestHost): WireMessage | undefined => host.recorder.received.at(-1)?.message;
    for (const to of [old, b]) {
      c.send(a, to.hostId, unknown, refused);
      await to.recorder.until(
        () => lastOf(to)?.type === (to === b ? MessageType.ProposeRefused : MessageType.ProposeDropped),
      );
    }
    const arrived = (host: TestHost): WireMessage[] =>
      host.recorder.received.map((r) => r.message).filter((m) => m.type !== MessageType.HeartbeatResp);
    assert.deepEqual(arrived(b), [unknown, refused]);
    const { reason, ...rest } = refused;
    assert.deepEqual(arrived(old), [{ ...rest, type: MessageType.ProposeDropped }]);
    const recall: WireMessage = { ...head, type: HostMessageType.Recall, nonce: 5 };
    const c2 = await c.host({ host: 4 });
    // Also what is sent before it is known which version the peer speaks.
    for (const to of [old, b]) {
      c.send(c2, to.hostId, recall, numbered(8));
      await to.recorder.until(() => to.recorder.numbers.includes(8));
    }
    const recalls = (host: TestHost): number =>
      host.recorder.received.filter((r) => r.message.type === recall.type).length;
    await b.recorder.until(() => recalls(b) === 1);
    assert.equal(recalls(old), 0);
  });
}
