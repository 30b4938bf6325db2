/** The diagram against one drawn by hand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Message, MessageType } from "../../shared/types/message.js";
import { drawDiagram } from "./diagram.js";
import { EventKind } from "./queue.js";
import type { Life, Recorded } from "./recorder.js";
import type { TraceLine } from "./trace.js";

const header = { shardId: 1, term: 4, lineage: 0 };
const heartbeat: Message = { type: MessageType.Heartbeat, ...header, from: 1, to: 2, commit: 3, round: 7 };
const vote = { type: MessageType.Vote, ...header, lastIndex: 9, lastTerm: 3, transfer: false } as const;

function event(time: number, line: Partial<TraceLine>, changes: Record<number, string> = {}, lives = "uuu"): Recorded {
  const words = new Map<string, Life>([
    ["u", "up"],
    ["f", "frozen"],
    ["d", "down"],
  ]);
  return {
    line: { time, kind: EventKind.Message, nodeId: 0, message: undefined, text: undefined, ...line },
    changes: new Map(Object.entries(changes).map(([id, text]) => [Number(id), text])),
    lives: new Map([...lives].map((letter, i) => [i + 1, words.get(letter) ?? "up"])),
  };
}

test("arrows, losses, texts, partitions and idle heartbeats", () => {
  const events = [
    event(1, { nodeId: 2, message: heartbeat }),
    event(5, { nodeId: 2, message: { ...vote, from: 1, to: 2 } }, { 2: "follower t4" }),
    event(5, { nodeId: 1, message: { ...vote, from: 3, to: 1 } }, { 1: "last 9" }),
    event(6, { nodeId: 1, message: { ...vote, from: 1, to: 3 }, text: "cut" }, {}, "udf"),
    event(7, { kind: EventKind.Nemesis, text: "partition ring around 2" }, {}, "udf"),
    event(8, { kind: EventKind.Disk, nodeId: 1 }),
    event(9, { kind: EventKind.Disk, nodeId: 1 }, { 1: "dur 9" }),
    event(10, { kind: EventKind.Nemesis, nodeId: 1, text: "crash because of something" }),
    event(11, { kind: EventKind.Nemesis, nodeId: 1, text: "crash because of something" }, { 2: "LEADS t9" }),
  ];
  assert.deepEqual(drawDiagram(events, { width: 70, rows: 20 }), [
    "      ms  n1                  n2                  n3",
    "       5  │──Vote t4 9@3─────▶│ follower t4       │",
    "          │◀─Vote t4 9@3──────┼───────────────────│",
    "          │ last 9            │                   │",
    "       6  │──Vote t4 9@3──────┼──────────────────✗┆",
    "       7  ═══ partition ring around 2 ════════════════════════════════",
    "       9  │ dur 9             │                   │",
    "      10  │ crash because of something            │",
    "      11  │ crash because of  │ LEADS t9          │",
  ]);
  assert.equal(drawDiagram(events, { width: 70, rows: 2 }).length, 3, "the newest rows below the head");
  assert.deepEqual(drawDiagram([], { width: 70, rows: 2 }), []);
});
