/** For the TCP tests only: raw connections, a clock moved by hand, a cluster per test. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { ByteWriter } from "../../shared/codec/bytes.js";
import { crc32 } from "../../shared/codec/crc32.js";
import type { Env, TimerHandle } from "../../shared/env/env.js";
import { createRealEnv } from "../../shared/env/real-env.js";
import { parseAddress } from "./address.js";
import { FrameKind, FrameReader } from "./frame.js";
import { Lane, writeAccept, writeHello } from "./hello.js";
import type { Hello } from "./port.js";
import { Cluster, type TransportHarness } from "./suite.js";
import { createTcpTransport, type TcpTransport } from "./tcp-transport.js";

export class TcpHarness implements TransportHarness {
  readonly env: Env;

  constructor(env: Env = createRealEnv()) {
    this.env = env;
  }

  create(options: Parameters<TransportHarness["create"]>[0]): TcpTransport {
    return createTcpTransport({ env: this.env, ...options });
  }

  async inject(from: Hello, to: string, bytes: Uint8Array): Promise<void> {
    const socket = await greetAs(from, to, Lane.Messages);
    const closed = closeOf(socket);
    socket.write(bytes);
    socket.resume();
    await closed;
  }
}

/** Resolves when the socket is closed, by an error or not. */
export function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once("close", () => resolve());
  });
}

/** A raw connection on which both sides have accepted each other. */
export async function greetAs(from: Hello, to: string, lane: Lane): Promise<Socket> {
  const socket = connect(parseAddress(to));
  socket.on("error", () => {});
  const w = new ByteWriter();
  writeHello(w, { hello: from, lane }, crc32);
  socket.write(w.finish());
  await frameOf(socket, FrameKind.Accept);
  const accept = new ByteWriter();
  writeAccept(accept, crc32);
  socket.write(accept.finish());
  return socket;
}

/** The next frame of a kind. */
export function frameOf(socket: Socket, wanted: number): Promise<Uint8Array> {
  return new Promise((resolve) => {
    const onFrame = (kind: number, frame: Uint8Array): boolean => {
      if (kind === wanted) resolve(frame);
      return true;
    };
    const reader = new FrameReader(crc32, { onFrame }, 1 << 20);
    socket.on("data", (chunk: Buffer) => reader.push(chunk));
  });
}

/** A server that hands out its connections and does nothing with them. */
export async function rawServer(
  onSocket: (socket: Socket) => void,
): Promise<{ server: Server; address: string; sockets: Socket[] }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    socket.on("error", () => {});
    sockets.push(socket);
    onSocket(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const bound = server.address();
  assert.ok(bound !== null && typeof bound === "object");
  return { server, address: `127.0.0.1:${bound.port}`, sockets };
}

export async function closeRaw(raw: { server: Server; sockets: Socket[] }): Promise<void> {
  for (const socket of raw.sockets) socket.destroy();
  raw.server.close();
  await once(raw.server, "close");
}

/** A real Env whose clock and timers move only when the test says so. `soon` stays real. */
export class HandClock {
  readonly env: Env;
  #now = 1000;
  #timers: { at: number; readonly everyMs: number; readonly call: () => void }[] = [];

  constructor() {
    const real = createRealEnv();
    const add = (everyMs: number, delayMs: number, call: () => void): TimerHandle => {
      const timer = { at: this.#now + delayMs, everyMs, call };
      this.#timers.push(timer);
      return {
        cancel: () => {
          this.#timers = this.#timers.filter((t) => t !== timer);
        },
      };
    };
    this.env = {
      ...real,
      now: () => this.#now,
      timers: {
        after: (delayMs, call) => add(0, delayMs, call),
        every: (intervalMs, call) => add(intervalMs, intervalMs, call),
        soon: real.timers.soon,
      },
    };
  }

  advance(ms: number): void {
    this.#now += ms;
    for (const timer of [...this.#timers]) {
      if (timer.at > this.#now || !this.#timers.includes(timer)) continue;
      if (timer.everyMs > 0) timer.at = this.#now + timer.everyMs;
      else this.#timers = this.#timers.filter((t) => t !== timer);
      timer.call();
    }
  }
}

export async function withCluster(env: Env, body: (c: Cluster) => Promise<void>): Promise<void> {
  const c = new Cluster(new TcpHarness(env));
  try {
    await body(c);
  } finally {
    await c.close();
  }
}
