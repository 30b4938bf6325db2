/** CommandParser: commands come out the same however bytes are cut; bad bytes end the session within its bounds. */
import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { CommandParser, type CommandSink, ProtocolViolation } from "./broker-parser.js";

const LIMITS = { controlLineBytesMax: 64, payloadBytesMax: 200 };

function recorder() {
  const events: string[] = [];
  const sink: CommandSink = {
    connect: (options) => events.push(`connect ${options}`),
    ping: () => events.push("ping"),
    pong: () => events.push("pong"),
    publish: ({ subject, reply, headerBytes, payload }) =>
      events.push(`publish ${subject} ${reply} ${headerBytes} ${Buffer.from(payload).toString("hex")}`),
    subscribe: (subject, queue, sid) => events.push(`subscribe ${subject} ${queue} ${sid}`),
    unsubscribe: (sid, max) => events.push(`unsubscribe ${sid} ${max}`),
  };
  return { events, parser: new CommandParser(LIMITS, sink) };
}

/** A command as bytes and as the event it must cause. */
interface Sample {
  readonly bytes: Buffer;
  readonly event: string;
}

const word = fc.stringMatching(/^[a-z0-9.*>_-]{1,8}$/);
const gap = fc.constantFrom(" ", "  ", "\t", " \t ");
const end = fc.constantFrom("\r\n", "\n", " \r\n");
const line = (parts: readonly (string | number)[], space: string, tail: string): Buffer =>
  Buffer.from(parts.join(space) + tail);

const publication = fc
  .record({
    subject: word,
    reply: fc.option(word, { nil: undefined }),
    headers: fc.option(fc.uint8Array({ maxLength: 60 }), { nil: undefined }),
    body: fc.uint8Array({ maxLength: 140 }),
    space: gap,
    tail: end,
  })
  .map(({ subject, reply, headers, body, space, tail }): Sample => {
    const payload = Buffer.concat([headers ?? Buffer.alloc(0), body]);
    const names = reply === undefined ? [subject] : [subject, reply];
    const counts = headers === undefined ? [payload.length] : [headers.length, payload.length];
    const head = line([headers === undefined ? "PUB" : "HPUB", ...names, ...counts], space, tail);
    return {
      bytes: Buffer.concat([head, payload, Buffer.from("\r\n")]),
      event: `publish ${subject} ${reply} ${headers?.length ?? 0} ${payload.toString("hex")}`,
    };
  });

const other = fc.tuple(fc.nat(5), word, word, gap, end).map(([kind, one, two, space, tail]): Sample => {
  const forms: readonly [readonly (string | number)[], string][] = [
    [["PING"], "ping"],
    [["pong"], "pong"],
    [["SUB", one, "1"], `subscribe ${one} undefined 1`],
    [["Sub", one, two, "22"], `subscribe ${one} ${two} 22`],
    [["UNSUB", one], `unsubscribe ${one} undefined`],
    [["UNSUB", one, 7], `unsubscribe ${one} 7`],
  ];
  const [parts, event] = forms[kind] ?? [["PING"], "ping"];
  return { bytes: line(parts, space, tail), event };
});

const samples = fc.array(fc.oneof(publication, other), { maxLength: 12 });

/** Cuts bytes into chunks at the places given. */
function chunks(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return places.slice(1).map((place, at) => bytes.subarray(places[at], place));
}

it("reads the same commands however the bytes are cut", () => {
  fc.assert(
    fc.property(samples, fc.array(fc.nat(), { maxLength: 20 }), (commands, cuts) => {
      const { events, parser } = recorder();
      const all = Buffer.concat(commands.map((command) => command.bytes));
      for (const chunk of chunks(all, cuts)) parser.push(chunk);
      assert.deepEqual(
        events,
        commands.map((command) => command.event),
      );
      assert.equal(parser.heldBytes, 0);
    }),
    { numRuns: 500 },
  );
});

it("reads byte by byte", () => {
  const { events, parser } = recorder();
  const all = Buffer.from(
    'CONNECT {"a": 1}\r\nPUB a 3\r\n\r\n\n\r\nHPUB a b 1 2\r\nxy\r\n+OK\r\n-ERR what\r\nPING\r\n',
  );
  for (let at = 0; at < all.length; at++) parser.push(all.subarray(at, at + 1));
  assert.deepEqual(events, ['connect {"a": 1}', "publish a undefined 0 0d0a0a", "publish a b 1 7879", "ping"]);
});

it("any bytes: commands or ProtocolViolation, and bounded memory", () => {
  const spoiled = fc.tuple(samples, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 })).map(([all, edits]) => {
    const bytes = Buffer.concat(all.map((command) => command.bytes));
    for (const [at, value] of edits) if (bytes.length > 0) bytes[at % bytes.length] = value;
    return bytes;
  });
  const noise = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes));
  const verbs = fc
    .tuple(fc.constantFrom("PUB", "HPUB", "SUB", "UNSUB", "CONNECT", "MSG"), fc.string({ maxLength: 40 }))
    .map(([verb, rest]) => Buffer.from(`${verb} ${rest}\r\n`));
  const most = LIMITS.controlLineBytesMax + LIMITS.payloadBytesMax + 2;
  fc.assert(
    fc.property(fc.oneof(spoiled, noise, verbs), fc.array(fc.nat(), { maxLength: 8 }), (bytes, cuts) => {
      const { parser } = recorder();
      try {
        for (const chunk of chunks(bytes, cuts)) {
          parser.push(chunk);
          assert.ok(parser.heldBytes <= most);
        }
      } catch (error) {
        assert.ok(error instanceof ProtocolViolation, String(error));
      }
    }),
    { numRuns: 5000 },
  );
});

it("refuses what is too long, wrong or incomplete", () => {
  const violations: readonly [string, string][] = [
    ["x".repeat(65), "Maximum Control Line Exceeded"],
    [`SUB ${"x".repeat(64)} 1\r\n`, "Maximum Control Line Exceeded"],
    ["PUB x 201\r\n", "Maximum Payload Violation"],
    ["PUB x 1\r\nab\r\n", "Parser Error"],
    ["PUB x\r\n", "Parser Error"],
    ["PUB x -1\r\n", "Parser Error"],
    ["PUB x 1e2\r\n", "Parser Error"],
    ["PUB x y z 1\r\n", "Parser Error"],
    ["HPUB x 5 4\r\n", "Parser Error"],
    ["HPUB x 5\r\n", "Parser Error"],
    ["SUB x\r\n", "Parser Error"],
    ["SUB x y z 1\r\n", "Parser Error"],
    ["UNSUB\r\n", "Parser Error"],
    ["UNSUB 1 x\r\n", "Parser Error"],
    ["\r\n", "Unknown Protocol Operation"],
    ["INFO {}\r\n", "Unknown Protocol Operation"],
  ];
  for (const [text, message] of violations) {
    const { parser, events } = recorder();
    assert.throws(() => parser.push(Buffer.from(text)), { name: "ProtocolViolation", message }, text);
    assert.deepEqual(events, [], text);
  }
});

it("a payload within one chunk is not copied", () => {
  const seen: Uint8Array[] = [];
  const sink: CommandSink = {
    connect() {},
    ping() {},
    pong() {},
    publish: (command) => seen.push(command.payload),
    subscribe() {},
    unsubscribe() {},
  };
  const parser = new CommandParser(LIMITS, sink);
  const chunk = Buffer.from("PUB x 5\r\nhello\r\n");
  parser.push(chunk);
  assert.equal(seen[0]?.buffer, chunk.buffer);
  assert.equal(Buffer.from(seen[0] ?? []).toString(), "hello");
});

it("stops at the command after which the session is over", () => {
  const { events, parser } = recorder();
  parser.push(Buffer.from("PING\r\nPING\r\nPING\r\n"), () => events.length >= 2);
  assert.equal(events.length, 2);
});
