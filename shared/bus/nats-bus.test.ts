/** What only the NATS bus must do: find its broker, survive frozen and refusing ones, leave no socket behind. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Logger } from "../env/env.js";
import { createRealEnv } from "../env/real-env.js";
import { isOpError } from "../errors.js";
import { LIMITS } from "../limits.js";
import { type EmbeddedBroker, type EmbeddedBrokerOptions, startEmbeddedBroker } from "./embedded-broker.js";
import { createNatsBus, type NatsBusOptions } from "./nats-bus.js";
import type { Bus, BusStatus } from "./port.js";
import { parseServer, serverText } from "./server-address.js";
import { RawClient } from "./testing/raw-client.js";
import { TcpRelay } from "./testing/tcp-relay.js";

const PATIENCE = { timeoutMs: 20_000 };
const code = (wanted: string) => (error: unknown) => isOpError(error) && error.code === wanted;

function until(bus: Bus, wanted: (status: BusStatus) => boolean): Promise<void> {
  return new Promise((resolve) => {
    const stop = bus.onStatus((status) => {
      if (!wanted(status)) return;
      stop();
      resolve();
    });
    if (wanted(bus.status())) resolve();
  });
}

/** Notes what is said above debug. */
function notes() {
  const said: string[] = [];
  const logger: Logger = {
    debug() {},
    info: (_fields, message) => said.push(`info ${message}`),
    warn: (_fields, message) => said.push(`warn ${message}`),
    error: (_fields, message) => said.push(`error ${message}`),
    child: () => logger,
  };
  return { said, logger };
}

interface World {
  readonly broker: EmbeddedBroker;
  readonly relay: TcpRelay;
  bus(options?: Partial<NatsBusOptions>): Bus;
}

async function withWorld(options: EmbeddedBrokerOptions, body: (world: World) => Promise<void>): Promise<void> {
  const broker = await startEmbeddedBroker({ port: 0, ...options });
  const relay = await TcpRelay.start(broker.port);
  const buses: Bus[] = [];
  const alive = setInterval(() => {}, 60_000);
  try {
    await body({
      broker,
      relay,
      bus: (more) => {
        const bus = createNatsBus({
          servers: `127.0.0.1:${relay.port}`,
          env: createRealEnv(),
          reconnectMinMs: 5,
          reconnectMaxMs: 20,
          ...more,
        });
        buses.push(bus);
        return bus;
      },
    });
  } finally {
    for (const bus of buses) await bus.close();
    await relay.close();
    await broker.close();
    clearInterval(alive);
  }
}

describe("NATS bus", () => {
  it("says once that the broker is unreachable, once that it is back, and keeps trying", () =>
    withWorld({}, async ({ broker, relay, bus }) => {
      const { said, logger } = notes();
      relay.lead(undefined);
      const patient = bus({ env: createRealEnv({ logger }) });
      await relay.until(() => relay.accepted >= 5);
      assert.deepEqual(said, ["warn the message bus is unreachable; retrying"]);
      relay.lead(broker.port);
      await patient.ready(PATIENCE);
      assert.deepEqual(said.slice(1), ["info connected to the message bus"]);
      relay.lead(undefined);
      relay.cut();
      const accepted = relay.accepted;
      await relay.until(() => relay.accepted >= accepted + 3);
      relay.lead(broker.port);
      await until(patient, (now) => now.connects === 2);
      assert.deepEqual(said.slice(2), [
        "warn the message bus is unreachable; retrying",
        "info connected to the message bus",
      ]);
    }));

  it("gives up a broker that froze, finds it again, and leaves no connection behind", () =>
    withWorld({}, async ({ relay, bus }) => {
      const one = bus({ pingIntervalMs: 100, connectTimeoutMs: 50 });
      await one.ready(PATIENCE);
      relay.freeze();
      // More than the kernel buffers: bytes wait in this process, which keeps the client from closing by itself.
      for (let at = 0; at < 40; at++) one.publish("x", new Uint8Array(500_000));
      await until(one, (now) => !now.connected);
      assert.throws(() => one.publish("x", new Uint8Array(1)), code("DL_ERR_BUS_LOST"));
      const accepted = relay.accepted;
      await relay.until(() => relay.accepted >= accepted + 3);
      relay.thaw();
      await until(one, (now) => now.connected);
      assert.ok(one.status().connects >= 2);
      await one.close();
      await relay.until(() => relay.open === 0);
    }));

  it("closes although the broker takes no bytes", () =>
    withWorld({}, async ({ relay, bus }) => {
      const one = bus();
      await one.ready(PATIENCE);
      relay.freeze();
      for (let at = 0; at < 40; at++) one.publish("x", new Uint8Array(500_000));
      const pending = assert.rejects(one.request("x", new Uint8Array(1), PATIENCE), code("DL_ERR_CLOSED"));
      await Promise.all([one.close(), pending]);
      relay.thaw();
      await relay.until(() => relay.open === 0);
    }));

  it("closes in the middle of an attempt that is not answered", () =>
    withWorld({}, async ({ relay, bus }) => {
      relay.freeze();
      const one = bus({ connectTimeoutMs: 60_000 });
      await relay.until(() => relay.open === 1);
      await one.close();
      await relay.until(() => relay.open === 0);
    }));

  it("bytes waiting for a broker that takes none are bounded", () =>
    withWorld({}, async ({ relay, bus }) => {
      const one = bus({ pingIntervalMs: 60_000 });
      await one.ready(PATIENCE);
      relay.freeze();
      const chunk = new Uint8Array(800_000);
      const most = Math.ceil((LIMITS.sendBufferBytesMax + 32 * 1024 * 1024) / chunk.length);
      let sent = 0;
      assert.throws(() => {
        for (; sent < most; sent++) one.publish("x", chunk);
      }, code("DL_ERR_BUS_LOST"));
      assert.ok(sent > 1 && sent < most, String(sent));
      assert.ok(one.status().lost >= 1);
    }));

  it("P56: cut off as a slow consumer, it comes back, and the gap is counted", () =>
    withWorld({ maxPending: 2_000_000 }, async ({ broker, relay, bus }) => {
      const slow = bus();
      await slow.ready(PATIENCE);
      let heard = 0;
      slow.subscribe("flood", () => {
        heard += 1;
      });
      await slow.request("nobody", new Uint8Array(), PATIENCE).catch(() => {});
      relay.freeze();
      const sender = await RawClient.open(broker.port);
      const payload = "x".repeat(500_000);
      for (let at = 0; at < 200 && broker.stats().slowConsumers === 0; at++) {
        sender.send(`PUB flood ${payload.length}\r\n${payload}\r\n`);
        await sender.sync();
      }
      assert.equal(broker.stats().slowConsumers, 1);
      relay.thaw();
      await until(slow, (now) => now.connects === 2 && now.connected);
      assert.ok(slow.status().lost >= 1);
      assert.equal(
        await slow.request("nobody", new Uint8Array(), PATIENCE).catch((error) => error.code),
        "DL_ERR_UNREACHABLE",
      );
      const before = heard;
      const back = new Promise<void>((resolve) => slow.subscribe("flood", () => resolve()));
      await slow.request("nobody", new Uint8Array(), PATIENCE).catch(() => {});
      sender.send("PUB flood 1\r\n\x01\r\n");
      await back;
      assert.equal(heard, before + 1);
      sender.close();
    }));

  it("messages that are none of ours are dropped and counted", () =>
    withWorld({}, async ({ broker, bus }) => {
      const { said, logger } = notes();
      const one = bus({ env: createRealEnv({ logger }) });
      await one.ready(PATIENCE);
      const got: Uint8Array[] = [];
      const done = new Promise<void>((resolve) =>
        one.subscribe("x", (message) => {
          got.push(message.payload);
          resolve();
        }),
      );
      await one.request("nobody", new Uint8Array(), PATIENCE).catch(() => {});
      const raw = await RawClient.open(broker.port);
      raw.send("PUB x 5\r\nhello\r\nPUB x 0\r\n\r\nPUB x 3\r\n\x02ab\r\nPUB x bad..reply 2\r\n\x01z\r\n");
      await done;
      assert.deepEqual(got, [Uint8Array.of(0x7a)]);
      assert.equal(one.status().lost, 3);
      assert.equal(said.filter((line) => line.includes("malformed")).length, 3);
      raw.close();
    }));

  it("credentials: by option or in the address; wrong ones are retried, not fatal", () =>
    withWorld({ user: "u", pass: "p@ss" }, async ({ broker, relay, bus }) => {
      const { said, logger } = notes();
      const wrong = bus({ user: "u", pass: "guess", env: createRealEnv({ logger }) });
      await relay.until(() => broker.stats().authErrors >= 3);
      assert.equal(wrong.status().connects, 0);
      assert.deepEqual(said, ["warn the message bus is unreachable; retrying"]);
      await wrong.close();
      await bus({ user: "u", pass: "p@ss" }).ready(PATIENCE);
      await bus({ servers: `nats://u:p%40ss@127.0.0.1:${relay.port}` }).ready(PATIENCE);
    }));

  it("token", () =>
    withWorld({ token: "t" }, async ({ bus }) => {
      await bus({ token: "t" }).ready(PATIENCE);
    }));

  it("tries the servers in turn", () =>
    withWorld({}, async ({ relay, bus }) => {
      const dead = await TcpRelay.start();
      const servers = [`nats://127.0.0.1:${dead.port}`, `nats://127.0.0.1:${relay.port}`];
      const [one, two] = [bus({ servers }), bus({ servers: servers.toReversed().join(", ") })];
      await Promise.all([one.ready(PATIENCE), two.ready(PATIENCE)]);
      await dead.close();
    }));

  it("splits below the limit of the broker, however small", () =>
    withWorld({ maxPayload: 1000 }, async ({ bus }) => {
      const one = bus();
      one.subscribe("echo", (message) => message.respond?.(message.payload));
      await one.ready(PATIENCE);
      const payload = new Uint8Array(100_000).map((_, at) => at & 0xff);
      assert.equal(Buffer.compare(await one.request("echo", payload, PATIENCE), payload), 0);
    }));

  it("addresses: what is none is refused at once, and never shows a password", () => {
    const env = createRealEnv();
    for (const servers of ["", "http://x:1", "nats://", "nats://h:99999", "nats://u:secret@h:x", []]) {
      assert.throws(
        () => createNatsBus({ servers, env }),
        (error: unknown) => code("DL_ERR_INVALID_ADDRESS")(error) && !String(error).includes("secret"),
        String(servers),
      );
    }
    const text = (server: string): string => serverText(parseServer(server));
    assert.equal(text("h"), "h:4222");
    assert.equal(text("h:1"), "h:1");
    assert.equal(text("nats://[::1]:5"), "[::1]:5");
    assert.equal(text("tls://u:p@h.example:80"), "h.example:80");
    assert.equal(parseServer("tls://h").tls, true);
  });
});
