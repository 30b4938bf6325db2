/**
 * Clients of a simulated cluster: appends of unique values and linearizable reads, through whichever host, one at a
 * time per client, with time-outs. A crash leaves what was under way on that host unknown. Everything is noted in a
 * History.
 */
import { decodeKvAnswer, decodeKvNumber, encodeKvCommand, encodeKvQuery, kvBytes } from "../../nodehost/apps/index.js";
import { type NodeHost, noOpSession, type RequestResult, type RequestState } from "../../nodehost/index.js";
import { History, type Operation, VALUE_END } from "./history.js";
import { SessionClients } from "./session-clients.js";
import { SHARD, type SimCluster } from "./sim-cluster.js";

export const KEYS = ["x", "y", "z"] as const;

export class Clients {
  readonly history = new History();
  readonly sessions: SessionClients;
  readonly #cluster: SimCluster;
  /** Under way, with who waits for it. */
  readonly #open = new Map<Operation, { readonly host: NodeHost; readonly next: () => void }>();
  #running = true;
  #values = 0;

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
    this.sessions = new SessionClients(cluster, this.history, KEYS);
  }

  start(count: number): void {
    for (let i = 0; i < count; i++) this.#pause(i);
  }

  stop(): void {
    this.#running = false;
    this.sessions.stop();
  }

  /** Nobody will answer what was asked of this host. */
  hostDied(host: NodeHost | undefined): void {
    this.sessions.hostDied(host);
    for (const [operation, { host: asked, next }] of [...this.#open]) {
      if (asked !== host) continue;
      this.#open.delete(operation);
      this.history.end(operation, "maybe", "host died");
      next();
    }
  }

  get openCount(): number {
    return this.#open.size + this.sessions.openCount;
  }

  /** Content of a key, read linearizably; undefined when that failed. */
  async content(host: NodeHost, key: string): Promise<string | undefined> {
    const state = host.readIndex(SHARD, { timeoutMs: 2_000 });
    if ((await state.completed).code !== "completed") return undefined;
    return contentOf(host, state, key);
  }

  #pause(client: number): void {
    const { world, env } = this.#cluster;
    env.timers.after(world.random.next() * 60, () => {
      if (this.#running) this.#act(client);
    });
  }

  #act(client: number): void {
    const { random } = this.#cluster.world;
    const { host } = this.#cluster.machine(random.int(this.#cluster.machines.length));
    const key = KEYS[random.int(KEYS.length)] ?? "x";
    const next = (): void => this.#pause(client);
    if (host === undefined) next();
    else if (random.next() < 0.4) this.#read(host, key, next);
    else this.#append(host, key, { client, next });
  }

  #read(host: NodeHost, key: string, next: () => void): void {
    const operation = this.history.begin("read", key, "");
    this.#open.set(operation, { host, next });
    const state = host.readIndex(SHARD, { timeoutMs: this.#timeoutMs() });
    state.onSettled(({ code, error }) => {
      this.#settle(operation, () => {
        const seen = code === "completed" ? contentOf(host, state, key) : undefined;
        if (seen !== undefined) operation.seen = seen;
        this.history.end(operation, seen === undefined ? "no" : "ok", `${code} ${error?.message ?? ""}`);
        next();
      });
    });
  }

  #append(host: NodeHost, key: string, by: { readonly client: number; readonly next: () => void }): void {
    const { random } = this.#cluster.world;
    const count = random.next() < 0.2 ? 1 + random.int(5) : 1;
    const operations = Array.from({ length: count }, () => {
      this.#values += 1;
      return this.history.begin("append", key, `${by.client}.${this.#values}${VALUE_END}`);
    });
    const commands = operations.map((o) =>
      encodeKvCommand({ op: "append", key: kvBytes(key), value: kvBytes(o.value) }),
    );
    let left = count;
    const next = (): void => {
      left -= 1;
      if (left === 0) by.next();
    };
    for (const operation of operations) this.#open.set(operation, { host, next });
    const options = { timeoutMs: this.#timeoutMs() };
    const session = noOpSession(SHARD);
    const [first] = commands;
    const single = first !== undefined && commands.length === 1 && random.next() < 0.9;
    const state = single ? host.propose(session, first, options) : host.proposeBatch(session, commands, options);
    state.onSettled((result) => {
      operations.forEach((operation, i) => {
        this.#settle(operation, () => {
          this.#answered(operation, result, i);
          next();
        });
      });
    });
  }

  #answered(operation: Operation, outcome: RequestResult, ordinal: number): void {
    const { code, error } = outcome;
    const result = outcome.result ?? outcome.results?.[ordinal];
    if (code === "completed" && result?.data !== undefined) {
      operation.lengthAfter = decodeKvNumber(result.data);
    }
    const known = code === "completed" ? "ok" : error?.outcome === "rejected" ? "no" : "maybe";
    this.history.end(operation, known, `${code} ${error?.message ?? ""}`);
  }

  #settle(operation: Operation, how: () => void): void {
    if (!this.#open.delete(operation)) return;
    how();
    const { kind, value, outcome, seen } = operation;
    this.#cluster.world.note(`${kind} ${value} ${outcome} ${seen?.length ?? ""}`);
  }

  #timeoutMs(): number {
    return 100 + this.#cluster.world.random.int(2_000);
  }
}

function contentOf(host: NodeHost, state: RequestState, key: string): string | undefined {
  try {
    const answer = host.readLocalNode(state, encodeKvQuery({ op: "get", key: kvBytes(key) }));
    if (!(answer instanceof Uint8Array)) throw new TypeError("kv answers bytes");
    return Buffer.from(decodeKvAnswer(answer).bytes).toString("utf8");
  } catch {
    // Stopped, removed or restoring since: the read failed.
    return undefined;
  }
}
