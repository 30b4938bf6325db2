/** Speaks the NATS protocol by hand, for tests of what a broker says. */
import { connect, type Socket } from "node:net";

export class RawClient {
  readonly socket: Socket;
  /** Resolves when the broker ended the connection. */
  readonly closed: Promise<void>;
  #text = "";
  #over = false;
  #wake = (): void => {};

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (chunk) => {
      this.#text += String(chunk);
      this.#wake();
    });
    socket.on("error", () => {});
    this.closed = new Promise((resolve) => {
      socket.on("close", () => {
        this.#over = true;
        this.#wake();
        resolve();
      });
    });
  }

  /** Connects, reads INFO, sends CONNECT (unless `options` is undefined) and waits until it was taken. */
  static async open(port: number, options: object | undefined = {}): Promise<RawClient> {
    const client = new RawClient(connect({ host: "127.0.0.1", port }));
    await client.line();
    if (options === undefined) return client;
    client.send(`CONNECT ${JSON.stringify({ verbose: false, pedantic: false, ...options })}\r\n`);
    await client.sync();
    return client;
  }

  /** Connects and reads INFO. */
  static async greet(port: number): Promise<{ client: RawClient; info: Map<string, unknown> }> {
    const client = new RawClient(connect({ host: "127.0.0.1", port }));
    const line = await client.line();
    const info: unknown = JSON.parse(line.replace(/^INFO /, ""));
    return { client, info: new Map(Object.entries(typeof info === "object" && info !== null ? info : {})) };
  }

  send(text: string): void {
    this.socket.write(text, "latin1");
  }

  /** The next line, without its end. Rejects when the connection ended before. */
  async line(): Promise<string> {
    const end = await this.#until(() => this.#text.indexOf("\r\n"));
    const line = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 2);
    return line;
  }

  /** The next MSG or HMSG as [line, payload]. */
  async message(): Promise<[string, string]> {
    const line = await this.line();
    const size = Number(line.split(" ").at(-1));
    await this.#until(() => (this.#text.length >= size + 2 ? 0 : -1));
    const payload = this.#text.slice(0, size);
    this.#text = this.#text.slice(size + 2);
    return [line, payload];
  }

  /** Resolves when the broker handled everything sent before; returns the lines that came first. */
  async sync(): Promise<string[]> {
    this.send("PING\r\n");
    const before: string[] = [];
    for (let line = await this.line(); line !== "PONG"; line = await this.line()) before.push(line);
    return before;
  }

  /** All that comes until the broker ends the connection. */
  async rest(): Promise<string> {
    await this.closed;
    return this.#text;
  }

  close(): void {
    this.socket.destroy();
  }

  #until(find: () => number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#wake = () => {
        const at = find();
        if (at >= 0) resolve(at);
        else if (this.#over) reject(new Error(`the connection ended: ${this.#text}`));
      };
      this.#wake();
    });
  }
}
