/**
 * What the embedded broker says, byte for byte. Scenarios marked "as nats-server" run against a real one too, when
 * there is one: then both must pass the same test.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isOpError } from "../errors.js";
import { type EmbeddedBrokerOptions, startEmbeddedBroker } from "./embedded-broker.js";
import { skipWithoutNatsServer, startNatsServer } from "./testing/nats-server.js";
import { RawClient } from "./testing/raw-client.js";

interface Running {
  readonly port: number;
  stop(): Promise<void>;
}

const SERVERS = [
  {
    title: "embedded",
    skip: false,
    start: async (): Promise<Running> => {
      const broker = await startEmbeddedBroker({ port: 0 });
      return { port: broker.port, stop: () => broker.close() };
    },
    startWithUser: async (): Promise<Running> => {
      const broker = await startEmbeddedBroker({ port: 0, user: "u", pass: "secret" });
      return { port: broker.port, stop: () => broker.close() };
    },
  },
  {
    title: "nats-server",
    skip: skipWithoutNatsServer(),
    start: (): Promise<Running> => startNatsServer(),
    startWithUser: (): Promise<Running> => startNatsServer(["--user", "u", "--pass", "secret"]),
  },
] as const;

type Open = (options?: object) => Promise<RawClient>;

async function scenario(start: () => Promise<Running>, body: (open: Open, port: number) => Promise<void>) {
  const server = await start();
  const clients: RawClient[] = [];
  try {
    await body(async (options) => {
      const client = await RawClient.open(server.port, options ?? {});
      clients.push(client);
      return client;
    }, server.port);
  } finally {
    for (const client of clients) client.close();
    await server.stop();
  }
}

for (const { title, skip, start, startWithUser } of SERVERS) {
  describe(`broker protocol, as nats-server does: ${title}`, { skip }, () => {
    it("delivers with and without reply, whatever the spacing and case", () =>
      scenario(start, async (open) => {
        const [a, b] = [await open(), await open()];
        b.send("SUB  x.*   1\r\nsub\tx.> 22\r\n");
        await b.sync();
        a.send("PUB x.y 5\r\nhello\r\npub x.y\tback  0\r\n\r\nPUB other 1\r\nz\r\n");
        assert.deepEqual(
          [await b.message(), await b.message()].sort(),
          [
            ["MSG x.y 1 5", "hello"],
            ["MSG x.y 22 5", "hello"],
          ].sort(),
        );
        assert.deepEqual(
          [await b.message(), await b.message()].sort(),
          [
            ["MSG x.y 1 back 0", ""],
            ["MSG x.y 22 back 0", ""],
          ].sort(),
        );
        assert.deepEqual(await b.sync(), []);
      }));

    it("verbose answers +OK to each command", () =>
      scenario(start, async (open) => {
        const a = await open({ verbose: true });
        a.send("SUB x 1\r\nUNSUB 1\r\nPUB x 0\r\n\r\n");
        assert.deepEqual(await a.sync(), ["+OK", "+OK", "+OK"]);
      }));

    it("a queue group shares, plain subscribers all get it", () =>
      scenario(start, async (open) => {
        const [a, b, c] = [await open(), await open(), await open()];
        b.send("SUB job.* workers 1\r\n");
        c.send("SUB job.1 workers 2\r\nSUB job.1 3\r\n");
        await Promise.all([b.sync(), c.sync()]);
        for (let at = 0; at < 100; at++) a.send("PUB job.1 0\r\n\r\n");
        await a.sync();
        const lines = [...(await b.sync()), ...(await c.sync())];
        const of = (sid: string): number => lines.filter((line) => line === `MSG job.1 ${sid} 0`).length;
        assert.equal(of("3"), 100);
        assert.equal(of("1") + of("2"), 100);
        assert.ok(of("1") > 0 && of("2") > 0);
      }));

    it("UNSUB with a maximum counts from the subscription on", () =>
      scenario(start, async (open) => {
        const a = await open();
        a.send("SUB m 1\r\nPUB m 0\r\n\r\nUNSUB 1 3\r\nPUB m 0\r\n\r\nPUB m 0\r\n\r\nPUB m 0\r\n\r\n");
        a.send("SUB n 2\r\nPUB n 0\r\n\r\nUNSUB 2 1\r\nPUB n 0\r\n\r\nUNSUB 77\r\n");
        const got = (await a.sync()).filter((line) => line !== "");
        assert.deepEqual(got, ["MSG m 1 0", "MSG m 1 0", "MSG m 1 0", "MSG n 2 0"]);
      }));

    it("headers reach those who know them; others get the payload alone", () =>
      scenario(start, async (open) => {
        const [a, b] = [await open({ headers: true }), await open()];
        a.send("SUB h 1\r\n");
        b.send("SUB h 2\r\n");
        await Promise.all([a.sync(), b.sync()]);
        const headers = "NATS/1.0\r\nA: b\r\n\r\n";
        a.send(`HPUB h back ${headers.length} ${headers.length + 2}\r\n${headers}hi\r\n`);
        assert.deepEqual(await a.message(), [`HMSG h 1 back ${headers.length} ${headers.length + 2}`, `${headers}hi`]);
        assert.deepEqual(await b.message(), ["MSG h 2 back 2", "hi"]);
      }));

    it("tells a requester that nobody listens, if it asked to be told", () =>
      scenario(start, async (open) => {
        const a = await open({ headers: true, no_responders: true });
        a.send("SUB inbox.* 9\r\nPUB nobody inbox.1 2\r\nhi\r\n");
        assert.deepEqual(await a.message(), ["HMSG inbox.1 9 16 16", "NATS/1.0 503\r\n\r\n"]);
        const b = await open();
        b.send("SUB inbox.* 9\r\nPUB nobody inbox.1 2\r\nhi\r\n");
        assert.deepEqual(await b.sync(), []);
      }));

    it("echo false: a client does not hear itself", () =>
      scenario(start, async (open) => {
        const [a, b] = [await open({ echo: false }), await open()];
        a.send("SUB e 1\r\n");
        b.send("SUB e 2\r\n");
        await Promise.all([a.sync(), b.sync()]);
        a.send("PUB e 1\r\nx\r\n");
        assert.deepEqual(await a.sync(), []);
        assert.deepEqual(await b.message(), ["MSG e 2 1", "x"]);
      }));

    it("an invalid subject is refused, the connection goes on", () =>
      scenario(start, async (open) => {
        const a = await open();
        a.send("SUB a..b 1\r\nSUB a.>.b 2\r\nSUB ok 3\r\nPUB ok 0\r\n\r\n");
        const lines = (await a.sync()).map((line) => line.toLowerCase());
        assert.deepEqual(lines, ["-err 'invalid subject'", "-err 'invalid subject'", "msg ok 3 0", ""]);
      }));

    // nats-server ends these three without a word; saying why is kinder.
    const why = title === "embedded" ? /^-ERR 'Parser Error'\r\n$/ : /^$/;
    const fatal: readonly [string, string, RegExp][] = [
      ["unknown command", "HELLO\r\n", /^-ERR 'Unknown Protocol Operation'/],
      ["payload longer than announced", "PUB x 1\r\nxyz\r\n", /-ERR '/],
      ["payload above the limit", "PUB x 1048577\r\n", /^-ERR 'Maximum Payload Violation'/],
      ["control line without end", `PUB ${"x".repeat(9000)}`, /^-ERR 'Maximum Control Line Exceeded'/i],
      ["size that is no number", "PUB x many\r\n", why],
      ["headers longer than the message", "HPUB x 10 5\r\nhello\r\n", why],
      ["CONNECT that is no JSON", "CONNECT {nonsense\r\n", why],
    ];
    for (const [what, sent, answer] of fatal) {
      it(`${what}: -ERR, this connection ends, others do not notice`, () =>
        scenario(start, async (open) => {
          const [bad, good] = [await open({ headers: true }), await open()];
          good.send("SUB g 1\r\n");
          await good.sync();
          bad.send(sent);
          assert.match(await bad.rest(), answer);
          good.send("PUB g 2\r\nok\r\n");
          assert.deepEqual(await good.message(), ["MSG g 1 2", "ok"]);
        }));
    }

    it("without or with wrong credentials: Authorization Violation", () =>
      scenario(startWithUser, async (open, port) => {
        const { client: wrong, info } = await RawClient.greet(port);
        assert.equal(info.get("auth_required"), true);
        wrong.send(`CONNECT ${JSON.stringify({ user: "u", pass: "guess" })}\r\nPUB x 0\r\n\r\n`);
        assert.match(await wrong.rest(), /^-ERR 'Authorization Violation'/);
        const { client: silent } = await RawClient.greet(port);
        silent.send("SUB > 1\r\n");
        assert.match(await silent.rest(), /^-ERR 'Auth/);
        const right = await open({ user: "u", pass: "secret" });
        assert.deepEqual(await right.sync(), []);
      }));
  });
}

async function withBroker(
  options: EmbeddedBrokerOptions,
  body: (broker: Awaited<ReturnType<typeof startEmbeddedBroker>>) => Promise<void>,
): Promise<void> {
  const broker = await startEmbeddedBroker({ port: 0, ...options });
  try {
    await body(broker);
  } finally {
    await broker.close();
  }
}

describe("embedded broker", () => {
  it("greets with what clients need to know", () =>
    withBroker({ maxPayload: 1000 }, async (broker) => {
      assert.equal(broker.url, `nats://127.0.0.1:${broker.port}`);
      const { client, info } = await RawClient.greet(broker.port);
      assert.equal(info.get("max_payload"), 1000);
      assert.equal(info.get("headers"), true);
      assert.equal(info.get("proto"), 1);
      assert.equal(info.get("port"), broker.port);
      client.close();
    }));

  it("a port in use is DL_ERR_ADDRESS_IN_USE, a bad one DL_ERR_INVALID_ADDRESS", () =>
    withBroker({}, async (broker) => {
      const code = (wanted: string) => (error: unknown) => isOpError(error) && error.code === wanted;
      await assert.rejects(startEmbeddedBroker({ port: broker.port }), code("DL_ERR_ADDRESS_IN_USE"));
      await assert.rejects(startEmbeddedBroker({ port: 70_000 }), code("DL_ERR_INVALID_ADDRESS"));
      await assert.rejects(startEmbeddedBroker({ host: "192.0.2.1", port: 0 }), code("DL_ERR_INVALID_ADDRESS"));
    }));

  it("a token is accepted instead of a user", () =>
    withBroker({ token: "t0k" }, async (broker) => {
      const { client: wrong } = await RawClient.greet(broker.port);
      wrong.send(`CONNECT ${JSON.stringify({ auth_token: "" })}\r\n`);
      assert.match(await wrong.rest(), /^-ERR 'Authorization Violation'/);
      const right = await RawClient.open(broker.port, { auth_token: "t0k" });
      right.close();
      assert.equal(broker.stats().authErrors, 1);
    }));

  it("P56: a client that does not read is cut off; its neighbours get everything", () =>
    withBroker({ maxPending: 4_000_000 }, async (broker) => {
      const [slow, good, sender] = [
        await RawClient.open(broker.port),
        await RawClient.open(broker.port),
        await RawClient.open(broker.port),
      ];
      slow.send("SUB f 1\r\n");
      good.send("SUB f 2\r\n");
      await Promise.all([slow.sync(), good.sync()]);
      slow.socket.pause();
      const payload = "x".repeat(1_000_000);
      let sent = 0;
      // The kernel's buffers take some; the broker keeps at most 4 MB more.
      while (broker.stats().slowConsumers === 0 && sent < 100) {
        sender.send(`PUB f ${payload.length}\r\n${payload}\r\n`);
        assert.deepEqual(await good.message(), [`MSG f 2 ${payload.length}`, payload]);
        sent += 1;
      }
      assert.equal(broker.stats().slowConsumers, 1);
      assert.equal(broker.stats().subscriptions, 1);
      slow.socket.resume();
      await slow.closed;
      for (const client of [good, sender]) client.close();
    }));

  it("a client that answers no ping is ended", () =>
    withBroker({ pingIntervalMs: 10 }, async (broker) => {
      const { client } = await RawClient.greet(broker.port);
      assert.equal(await client.rest(), "PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
    }));

  it("a client that does not present itself is ended, where it must", () =>
    withBroker({ authTimeoutMs: 10, user: "u" }, async (broker) => {
      const { client } = await RawClient.greet(broker.port);
      assert.equal(await client.rest(), "-ERR 'Authentication Timeout'\r\n");
    }));

  it("connections and subscriptions are bounded", () =>
    withBroker({ maxConnections: 1, maxSubscriptions: 2 }, async (broker) => {
      const first = await RawClient.open(broker.port);
      const { client: second } = await RawClient.greet(broker.port);
      assert.match(await second.rest(), /maximum connections exceeded/);
      first.send("SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n");
      assert.match(await first.rest(), /-ERR 'Maximum Subscriptions Exceeded'/);
      assert.equal(broker.stats().subscriptions, 0);
    }));

  it("closing sends what was taken, ends everybody, and is idempotent", async () => {
    const broker = await startEmbeddedBroker({ port: 0 });
    const client = await RawClient.open(broker.port);
    client.send("SUB a 1\r\nPUB a 2\r\nhi\r\n");
    assert.deepEqual(await client.message(), ["MSG a 1 2", "hi"]);
    await Promise.all([broker.close(), broker.close(), client.closed]);
    await broker.close();
    assert.equal(broker.stats().connections, 0);
    assert.equal(broker.stats().subscriptions, 0);
  });

  it("counts what passes", () =>
    withBroker({}, async (broker) => {
      const client = await RawClient.open(broker.port);
      client.send("SUB a 1\r\nSUB a 2\r\nPUB a 5\r\nhello\r\nPUB b 1\r\nx\r\n");
      await client.sync();
      const { inMessages, inBytes, outMessages, outBytes, connections, subscriptions } = broker.stats();
      assert.deepEqual(
        { inMessages, inBytes, outMessages, outBytes, connections, subscriptions },
        { inMessages: 2, inBytes: 6, outMessages: 2, outBytes: 10, connections: 1, subscriptions: 2 },
      );
      client.close();
    }));
});
