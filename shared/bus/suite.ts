/**
 * What every Bus must do, as tests: run on the simulated bus, on NATS with the embedded broker, and on NATS with a
 * real nats-server (`bus.test.ts`). Registers tests with node:test when called.
 *
 * Nothing here waits for time to pass: a test goes on when the bus says that something happened. That a subscription
 * is in force is known by a message of the same bus to itself, sent after it.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type ErrorCode, OpError } from "../errors.js";
import type { Bus, BusMessage, BusStatus } from "./port.js";

/** One broker and the means to make buses of it. */
export interface BusSetup {
  createBus(name: string): Bus;
  /** A bus whose broker does not answer and never will. */
  createStrandedBus(name: string): Bus;
  stopBroker(): Promise<void>;
  startBroker(): Promise<void>;
  close(): Promise<void>;
}

const PATIENCE_MS = 20_000;
const ANSWER = { timeoutMs: PATIENCE_MS };

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (payload: Uint8Array): string => new TextDecoder().decode(payload);
const hasCode = (code: ErrorCode) => (error: unknown) => error instanceof OpError && error.code === code;

/** Resolves when the status is as wanted, now or at a change. */
function until(bus: Bus, wanted: (status: BusStatus) => boolean): Promise<BusStatus> {
  return new Promise((resolve) => {
    if (wanted(bus.status())) {
      resolve(bus.status());
      return;
    }
    const stop = bus.onStatus((status) => {
      if (!wanted(status)) return;
      stop();
      resolve(status);
    });
  });
}

/** Resolves when the broker has handled everything that this bus sent before. */
async function settled(bus: Bus, name: string): Promise<void> {
  await bus.ready(ANSWER);
  await new Promise<void>((resolve) => {
    const subject = `suite.settled.${name}`;
    const subscription = bus.subscribe(subject, () => {
      subscription.close();
      resolve();
    });
    bus.publish(subject, bytes(""));
  });
}

/** Collects messages; `count(n)` resolves when there are n. */
function collect(bus: Bus, pattern: string) {
  const messages: BusMessage[] = [];
  let wake = (): void => {};
  const subscription = bus.subscribe(pattern, (message) => {
    messages.push(message);
    wake();
  });
  const count = (wanted: number): Promise<BusMessage[]> =>
    new Promise((resolve) => {
      wake = () => {
        if (messages.length >= wanted) resolve(messages);
      };
      wake();
    });
  return { messages, count, texts: () => messages.map((message) => text(message.payload)), close: subscription.close };
}

const pattern = (length: number): Uint8Array => new Uint8Array(length).map((_, at) => (at * 31 + (at >>> 12)) & 0xff);

class World {
  readonly setup: BusSetup;
  readonly #buses: Bus[] = [];
  // The timers of a bus do not keep a process alive; a waiting test must.
  readonly #alive = setInterval(() => {}, 60_000);

  constructor(setup: BusSetup) {
    this.setup = setup;
  }

  bus(name: string): Bus {
    return this.keep(this.setup.createBus(name));
  }

  keep(bus: Bus): Bus {
    this.#buses.push(bus);
    return bus;
  }

  async close(): Promise<void> {
    for (const bus of this.#buses) await bus.close();
    await this.setup.close();
    clearInterval(this.#alive);
  }
}

export function busSuite(title: string, open: () => Promise<BusSetup>, skip: string | false = false): void {
  const test: Register = (name, body) => {
    it(name, { skip }, async () => {
      const world = new World(await open());
      try {
        await body(world);
      } finally {
        await world.close();
      }
    });
  };
  describe(`bus: ${title}`, () => {
    publishTests(test);
    requestTests(test);
    sizeTests(test);
    outageTests(test);
    closeTests(test);
  });
}

type Register = (name: string, body: (world: World) => Promise<void>) => void;

function publishTests(test: Register): void {
  test("every subscriber of a subject gets a publication, in the order of sending", async (world) => {
    const [a, b] = [world.bus("a"), world.bus("b")];
    const [atA, atB, second] = [collect(a, "x.y"), collect(b, "x.y"), collect(b, "x.y")];
    await Promise.all([settled(a, "a"), settled(b, "b")]);
    const sent = [...Array(50).keys()].map(String);
    for (const each of sent) a.publish("x.y", bytes(each));
    await Promise.all([atA.count(50), atB.count(50), second.count(50)]);
    for (const at of [atA, atB, second]) assert.deepEqual(at.texts(), sent);
    assert.equal(atB.messages[0]?.subject, "x.y");
    assert.equal(atB.messages[0]?.respond, undefined);
  });

  test("wildcards match whole tokens only", async (world) => {
    const a = world.bus("a");
    const [star, rest] = [collect(a, "w.*.c"), collect(a, "w.>")];
    const [exact, end] = [collect(a, "w.b.c"), collect(a, "suite.end")];
    await settled(a, "a");
    for (const subject of ["w.b.c", "w.b", "w", "w.bb.c", "w.b.c.d", "v.b.c"]) a.publish(subject, bytes(subject));
    a.publish("suite.end", bytes(""));
    await end.count(1);
    assert.deepEqual(star.texts(), ["w.b.c", "w.bb.c"]);
    assert.deepEqual(rest.texts(), ["w.b.c", "w.b", "w.bb.c", "w.b.c.d"]);
    assert.deepEqual(exact.texts(), ["w.b.c"]);
  });

  test("a closed subscription gets nothing more; the others go on", async (world) => {
    const a = world.bus("a");
    const [gone, stays] = [collect(a, "s.1"), collect(a, "s.*")];
    await settled(a, "a");
    a.publish("s.1", bytes("before"));
    await stays.count(1);
    gone.close();
    gone.close();
    a.publish("s.1", bytes("after"));
    await stays.count(2);
    assert.deepEqual(gone.texts(), ["before"]);
  });

  test("a handler that throws disturbs nobody", async (world) => {
    const a = world.bus("a");
    a.subscribe("t.x", () => {
      throw new Error("a fault of the application");
    });
    const good = collect(a, "t.x");
    await settled(a, "a");
    a.publish("t.x", bytes("1"));
    a.publish("t.x", bytes("2"));
    await good.count(2);
    assert.equal(a.status().connected, true);
  });

  test("subjects that a broker would misread are refused", async (world) => {
    const a = world.bus("a");
    await a.ready(ANSWER);
    for (const subject of ["", "a b", "a..b", ".a", "a.", "a.*", ">", "a\r\nPING", "ü", "x".repeat(600)]) {
      assert.throws(() => a.publish(subject, bytes("")), hasCode("DL_ERR_INVALID_ARGUMENT"), subject);
      await assert.rejects(a.request(subject, bytes(""), ANSWER), hasCode("DL_ERR_INVALID_ARGUMENT"), subject);
    }
    for (const subject of ["", "a b", "a.>.b", "a..>", "a\n"]) {
      assert.throws(() => a.subscribe(subject, () => {}), hasCode("DL_ERR_INVALID_ARGUMENT"), subject);
    }
  });
}

function requestTests(test: Register): void {
  test("a request is answered, many at a time, each with its own answer", async (world) => {
    const [a, b] = [world.bus("a"), world.bus("b")];
    b.subscribe("echo.*", (message) => message.respond?.(bytes(`${message.subject}:${text(message.payload)}`)));
    await Promise.all([settled(b, "b"), a.ready(ANSWER)]);
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, at) => a.request(`echo.${at}`, bytes(`q${at}`), ANSWER)),
    );
    assert.deepEqual(
      answers.map(text),
      Array.from({ length: 100 }, (_, at) => `echo.${at}:q${at}`),
    );
  });

  test("a bus answers itself", async (world) => {
    const a = world.bus("a");
    a.subscribe("self", (message) => message.respond?.(message.payload));
    await settled(a, "a");
    assert.equal(text(await a.request("self", bytes("me"), ANSWER)), "me");
  });

  test("the first answer counts, and an empty one is an answer", async (world) => {
    const [a, b] = [world.bus("a"), world.bus("b")];
    b.subscribe("twice", (message) => {
      message.respond?.(bytes(""));
      message.respond?.(bytes("again"));
    });
    await Promise.all([settled(b, "b"), a.ready(ANSWER)]);
    assert.equal((await a.request("twice", bytes("?"), ANSWER)).length, 0);
    assert.equal((await a.request("twice", bytes("?"), ANSWER)).length, 0);
  });

  test("nobody listens: DL_ERR_UNREACHABLE, at once and certainly without effect", async (world) => {
    const a = world.bus("a");
    await a.ready(ANSWER);
    await assert.rejects(a.request("nobody.here", bytes("?"), ANSWER), (error: unknown) => {
      assert.ok(hasCode("DL_ERR_UNREACHABLE")(error));
      return error instanceof OpError && error.outcome === "rejected";
    });
    await assert.rejects(a.request("nobody.here", pattern(3_000_000), ANSWER), hasCode("DL_ERR_UNREACHABLE"));
  });

  test("no answer in time: DL_ERR_TIMEOUT; canceled: DL_ERR_CANCELED", async (world) => {
    const [a, b] = [world.bus("a"), world.bus("b")];
    const asked = collect(b, "silent");
    await Promise.all([settled(b, "b"), a.ready(ANSWER)]);
    await assert.rejects(a.request("silent", bytes("?"), { timeoutMs: 20 }), hasCode("DL_ERR_TIMEOUT"));
    const abort = new AbortController();
    const canceled = a.request("silent", bytes("?"), { ...ANSWER, signal: abort.signal });
    await Promise.all([assert.rejects(canceled, hasCode("DL_ERR_CANCELED")), asked.count(2).then(() => abort.abort())]);
    await assert.rejects(
      a.request("silent", bytes("?"), { ...ANSWER, signal: abort.signal }),
      (error: unknown) => hasCode("DL_ERR_CANCELED")(error) && error instanceof OpError && error.outcome === "rejected",
    );
    for (const timeoutMs of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      await assert.rejects(a.request("silent", bytes("?"), { timeoutMs }), hasCode("DL_ERR_INVALID_ARGUMENT"));
    }
    assert.equal(asked.messages.length, 2);
  });

  test("P57: an answer that comes too late is taken by no other request", async (world) => {
    const [a, b] = [world.bus("a"), world.bus("b")];
    const asked = collect(b, "slow");
    await Promise.all([settled(b, "b"), a.ready(ANSWER)]);
    await assert.rejects(a.request("slow", bytes("first"), { timeoutMs: 20 }), hasCode("DL_ERR_TIMEOUT"));
    const second = a.request("slow", bytes("second"), ANSWER);
    const [first, next] = await asked.count(2);
    first?.respond?.(bytes("late"));
    first?.respond?.(bytes("later"));
    next?.respond?.(bytes("right"));
    assert.equal(text(await second), "right");
    assert.equal(a.status().lost, 0);
  });
}

function sizeTests(test: Register): void {
  test("P56: 5 MB pass whole beside small messages, as publication, request and answer", async (world) => {
    const [a, b] = [world.bus("a"), world.bus("b")];
    const big = pattern(5_000_000);
    const [bigs, smalls] = [collect(b, "big"), collect(b, "small")];
    b.subscribe("big.echo", (message) => message.respond?.(message.payload));
    await Promise.all([settled(b, "b"), a.ready(ANSWER)]);
    a.publish("big", big);
    a.publish("small", bytes("beside"));
    a.publish("big", big.subarray(1));
    const answer = await a.request("big.echo", big, ANSWER);
    await Promise.all([bigs.count(2), smalls.count(1)]);
    assert.equal(Buffer.compare(bigs.messages[0]?.payload ?? bytes(""), big), 0);
    assert.equal(Buffer.compare(bigs.messages[1]?.payload ?? bytes(""), big.subarray(1)), 0);
    assert.equal(Buffer.compare(answer, big), 0);
    assert.deepEqual(smalls.texts(), ["beside"]);
    assert.equal(a.status().lost + b.status().lost, 0);
  });

  test("a payload above the limit is refused and does no harm", async (world) => {
    const a = world.bus("a");
    const got = collect(a, "size");
    await settled(a, "a");
    const huge = new Uint8Array(32 * 1024 * 1024 + 1);
    assert.throws(() => a.publish("size", huge), hasCode("DL_ERR_PAYLOAD_TOO_BIG"));
    await assert.rejects(a.request("size", huge, ANSWER), hasCode("DL_ERR_PAYLOAD_TOO_BIG"));
    a.publish("size", bytes(""));
    await got.count(1);
    assert.equal(got.messages[0]?.payload.length, 0);
  });
}

function outageTests(test: Register): void {
  test("P55: broker restart: publishing fails meanwhile, subscriptions come back, no stale burst", async (world) => {
    const [a, b] = [world.bus("a"), world.bus("b")];
    const [got, asked] = [collect(b, "o.*"), collect(b, "never.answered")];
    const seen: BusStatus[] = [];
    await Promise.all([settled(a, "a"), settled(b, "b")]);
    a.onStatus((status) => seen.push(status));
    a.publish("o.1", bytes("before"));
    await got.count(1);
    const inFlight = assert.rejects(a.request("never.answered", bytes("?"), ANSWER), hasCode("DL_ERR_BUS_LOST"));
    await asked.count(1);
    await Promise.all([world.setup.stopBroker(), until(a, (now) => !now.connected), until(b, (now) => !now.connected)]);
    await inFlight;
    for (let at = 0; at < 100; at++) {
      assert.throws(() => a.publish("o.2", bytes("stale")), hasCode("DL_ERR_BUS_LOST"));
    }
    await assert.rejects(a.request("o.2", bytes("stale"), ANSWER), hasCode("DL_ERR_BUS_LOST"));
    const during = collect(b, "p.*");
    await world.setup.startBroker();
    await Promise.all([settled(a, "a"), settled(b, "b")]);
    a.publish("o.3", bytes("fresh"));
    a.publish("p.1", bytes("subscribed meanwhile"));
    await Promise.all([got.count(2), during.count(1)]);
    assert.deepEqual(got.texts(), ["before", "fresh"]);
    assert.deepEqual(during.texts(), ["subscribed meanwhile"]);
    assert.equal(seen[0]?.connected, false);
    const last = seen.at(-1);
    assert.ok(last?.connected === true && last.connects === 2 && last.lost >= 2, JSON.stringify(last));
  });

  test("requests work again after a restart, and a stopped status listener is not called", async (world) => {
    const [a, b] = [world.bus("a"), world.bus("b")];
    b.subscribe("again", (message) => message.respond?.(message.payload));
    await Promise.all([settled(a, "a"), settled(b, "b")]);
    let calls = 0;
    a.onStatus(() => {
      calls += 1;
    })();
    await Promise.all([world.setup.stopBroker(), until(a, (now) => !now.connected), until(b, (now) => !now.connected)]);
    await world.setup.startBroker();
    await Promise.all([settled(a, "a"), settled(b, "b")]);
    assert.equal(text(await a.request("again", bytes("yes"), ANSWER)), "yes");
    assert.equal(calls, 0);
  });

  test("a broker that was never reached: ready gives up, everything else answers", async (world) => {
    const bus = world.keep(world.setup.createStrandedBus("lonely"));
    bus.subscribe("x", () => {});
    await assert.rejects(bus.ready({ timeoutMs: 50 }), hasCode("DL_ERR_TIMEOUT"));
    const abort = new AbortController();
    const canceled = assert.rejects(bus.ready({ ...ANSWER, signal: abort.signal }), hasCode("DL_ERR_CANCELED"));
    abort.abort();
    await canceled;
    assert.deepEqual(bus.status(), { connected: false, connects: 0, lost: 0 });
    assert.throws(() => bus.publish("x", bytes("")), hasCode("DL_ERR_BUS_LOST"));
    await assert.rejects(bus.request("x", bytes(""), ANSWER), hasCode("DL_ERR_BUS_LOST"));
    const waiting = assert.rejects(bus.ready(ANSWER), hasCode("DL_ERR_CLOSED"));
    await bus.close();
    await waiting;
  });
}

function closeTests(test: Register): void {
  test("close rejects what waits, is idempotent, and refuses what comes after", async (world) => {
    const [a, b] = [world.bus("a"), world.bus("b")];
    const asked = collect(b, "open.question");
    await Promise.all([settled(b, "b"), a.ready(ANSWER)]);
    let calls = 0;
    a.onStatus((status) => {
      calls += 1;
      assert.equal(status.connected, false);
      // A listener may close again.
      void a.close();
    });
    const pending = assert.rejects(a.request("open.question", bytes("?"), ANSWER), hasCode("DL_ERR_CLOSED"));
    await asked.count(1);
    await Promise.all([a.close(), a.close(), pending]);
    await a.close();
    assert.equal(calls, 1);
    assert.equal(a.status().connected, false);
    assert.throws(() => a.publish("x", bytes("")), hasCode("DL_ERR_CLOSED"));
    assert.throws(() => a.subscribe("x", () => {}), hasCode("DL_ERR_CLOSED"));
    await assert.rejects(a.request("x", bytes(""), ANSWER), hasCode("DL_ERR_CLOSED"));
    await assert.rejects(a.ready(ANSWER), hasCode("DL_ERR_CLOSED"));
    asked.messages[0]?.respond?.(bytes("nobody is there any more"));
    await settled(b, "b");
  });

  test("what was published just before close still goes out", async (world) => {
    const [a, b] = [world.bus("a"), world.bus("b")];
    const got = collect(b, "last.words");
    await Promise.all([settled(b, "b"), a.ready(ANSWER)]);
    a.publish("last.words", pattern(2_000_000));
    a.publish("last.words", bytes("goodbye"));
    await a.close();
    await got.count(2);
    assert.equal(got.messages[0]?.payload.length, 2_000_000);
    assert.equal(got.texts()[1], "goodbye");
  });
}
