/**
 * A TCP relay for tests: clients keep one address while the broker behind it stops, restarts elsewhere, or freezes.
 * Without a target it accepts and closes at once; frozen, it keeps connections open and passes nothing on.
 */
import { connect, createServer, type Server, type Socket } from "node:net";

export class TcpRelay {
  readonly #server: Server;
  readonly #pairs = new Map<Socket, Socket | undefined>();
  #target: number | undefined;
  #frozen = false;
  #accepted = 0;
  #wake: (() => void)[] = [];
  #port = 0;

  private constructor() {
    this.#server = createServer((client) => this.#accept(client));
  }

  static async start(target?: number): Promise<TcpRelay> {
    const relay = new TcpRelay();
    relay.#target = target;
    await new Promise<void>((resolve) => {
      relay.#server.listen({ host: "127.0.0.1", port: 0 }, resolve);
    });
    const address = relay.#server.address();
    relay.#port = typeof address === "object" && address !== null ? address.port : 0;
    return relay;
  }

  get port(): number {
    return this.#port;
  }

  /** Connections accepted so far. */
  get accepted(): number {
    return this.#accepted;
  }

  /** Connections of clients that are open. */
  get open(): number {
    return this.#pairs.size;
  }

  /** Where new connections lead; undefined = nowhere. */
  lead(target: number | undefined): void {
    this.#target = target;
  }

  /** Resets every connection. */
  cut(): void {
    for (const [client, upstream] of this.#pairs) {
      client.resetAndDestroy();
      upstream?.destroy();
    }
  }

  /** Takes no more bytes from either side, as a stopped process does; the kernel still accepts connections. */
  freeze(): void {
    this.#frozen = true;
    for (const [client, upstream] of this.#pairs) {
      client.pause();
      upstream?.pause();
    }
  }

  thaw(): void {
    this.#frozen = false;
    for (const [client, upstream] of this.#pairs) {
      if (upstream === undefined) client.destroy();
      client.resume();
      upstream?.resume();
    }
  }

  /** Resolves when `wanted` holds, checked at each connection that comes or goes. */
  until(wanted: (relay: TcpRelay) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (wanted(this)) resolve();
        else this.#wake.push(check);
      };
      check();
    });
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    this.cut();
    await closed;
  }

  #accept(client: Socket): void {
    this.#accepted += 1;
    client.on("error", () => {});
    client.on("close", () => {
      this.#pairs.delete(client);
      this.#changed();
    });
    this.#pairs.set(client, undefined);
    if (this.#frozen) {
      // Reading nothing would hide that the client gave up: bytes are dropped, the end is seen.
      client.resume();
    } else if (this.#target === undefined) client.destroy();
    else this.#join(client, this.#target);
    this.#changed();
  }

  #join(client: Socket, target: number): void {
    const upstream = connect({ host: "127.0.0.1", port: target });
    this.#pairs.set(client, upstream);
    upstream.on("error", () => {});
    upstream.on("close", () => client.destroy());
    client.on("close", () => upstream.destroy());
    client.on("data", (chunk) => forward(chunk, client, upstream, () => this.#frozen));
    upstream.on("data", (chunk) => forward(chunk, upstream, client, () => this.#frozen));
  }

  #changed(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const check of wake) check();
  }
}

function forward(chunk: Buffer, from: Socket, to: Socket, frozen: () => boolean): void {
  if (to.write(chunk)) return;
  from.pause();
  to.once("drain", () => {
    if (!frozen()) from.resume();
  });
}
