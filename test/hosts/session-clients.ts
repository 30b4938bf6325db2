/**
 * Clients of a simulated cluster that append under sessions: one proposal at a time, tried again under its series
 * through whichever host until it is answered. Whatever happens to hosts, each is answered in the end and applied once.
 */
import { decodeKvNumber, encodeKvCommand, kvBytes } from "../../nodehost/apps/index.js";
import { type NodeHost, type RequestResult, Session } from "../../nodehost/index.js";
import { type History, type Operation, VALUE_END } from "./history.js";
import { SHARD, type SimCluster } from "./sim-cluster.js";

interface Client {
  readonly id: number;
  session: Session | undefined;
  /** Not answered yet. */
  operation: Operation | undefined;
  /** Asked, and not settled yet. */
  host: NodeHost | undefined;
  /** What settles later than it was given up is not looked at. */
  attempt: number;
}

/** Refusals that no client with a live session should meet. */
const BROKEN: readonly string[] = ["DL_ERR_SESSION_NOT_FOUND", "DL_ERR_SESSION_STALE", "DL_ERR_INVALID_SESSION"];

export class SessionClients {
  /** What must not happen to a session. */
  readonly problems: string[] = [];
  readonly #cluster: SimCluster;
  readonly #history: History;
  readonly #keys: readonly string[];
  readonly #clients: Client[] = [];
  #running = true;
  #values = 0;
  #attempts = 0;

  constructor(cluster: SimCluster, history: History, keys: readonly string[]) {
    this.#cluster = cluster;
    this.#history = history;
    this.#keys = keys;
  }

  start(count: number): void {
    for (let id = 0; id < count; id++) {
      const client = { id, session: undefined, operation: undefined, host: undefined, attempt: 0 };
      this.#clients.push(client);
      this.#pause(client);
    }
  }

  /** No new proposals; those that are open are tried until they are answered. */
  stop(): void {
    this.#running = false;
  }

  get openCount(): number {
    return this.#clients.filter((client) => client.operation !== undefined).length;
  }

  /** Attempts beyond the first of each proposal. */
  get retries(): number {
    return this.#attempts - this.#values;
  }

  /** Nobody will settle what was asked of this host: another object of the same session goes on. */
  hostDied(host: NodeHost | undefined): void {
    for (const client of this.#clients) {
      if (host === undefined || client.host !== host) continue;
      const { session } = client;
      if (session !== undefined) {
        const { shardId, clientId, seriesId, respondedTo } = session;
        client.session = Session.resume({ shardId, clientId, seriesId, respondedTo });
      }
      this.#goOn(client);
    }
  }

  #goOn(client: Client): void {
    client.host = undefined;
    client.attempt += 1;
    this.#pause(client);
  }

  #pause(client: Client): void {
    const { world, env } = this.#cluster;
    env.timers.after(world.random.next() * 60, () => this.#act(client));
  }

  #act(client: Client): void {
    if (!this.#running && client.operation === undefined) return;
    const { world, machines } = this.#cluster;
    const { host } = this.#cluster.machine(world.random.int(machines.length));
    if (host === undefined) this.#pause(client);
    else if (client.session === undefined) this.#register(client, host);
    else this.#propose(client, client.session, host);
  }

  #register(client: Client, host: NodeHost): void {
    const session = host.newSession(SHARD);
    const { attempt } = client;
    client.host = host;
    host.proposeSession(session, { timeoutMs: this.#timeoutMs() }).onSettled(({ code }) => {
      if (client.attempt !== attempt) return;
      if (code === "completed") client.session = session;
      this.#goOn(client);
    });
  }

  #propose(client: Client, session: Session, host: NodeHost): void {
    const operation = client.operation ?? this.#next(client);
    client.operation = operation;
    const { key, value } = operation;
    const { attempt } = client;
    client.host = host;
    this.#attempts += 1;
    const command = encodeKvCommand({ op: "append", key: kvBytes(key), value: kvBytes(value) });
    host.propose(session, command, { timeoutMs: this.#timeoutMs() }).onSettled((outcome) => {
      if (client.attempt === attempt) this.#settled(client, operation, outcome);
    });
  }

  #next(client: Client): Operation {
    this.#values += 1;
    const key = this.#keys[this.#cluster.world.random.int(this.#keys.length)] ?? "";
    return this.#history.begin("append", key, `s${client.id}.${this.#values}${VALUE_END}`);
  }

  #settled(client: Client, operation: Operation, { code, result, error }: RequestResult): void {
    this.#cluster.world.note(`session ${operation.value} ${code} ${error?.code ?? ""}`);
    if (code === "completed") {
      if (result?.data !== undefined) operation.lengthAfter = decodeKvNumber(result.data);
      this.#history.end(operation, "ok", code);
      client.operation = undefined;
      client.session?.proposalCompleted();
    } else if (error?.code === "DL_ERR_SESSION_RESULT_LOST") {
      // It was applied, but nobody knows any more what was answered.
      this.#history.end(operation, "ok", error.code);
      client.operation = undefined;
      client.session?.proposalCompleted();
    } else if (error !== undefined && BROKEN.includes(error.code)) {
      this.problems.push(`${operation.value}: ${error.code} ${error.message}`);
      this.#history.end(operation, "maybe", error.code);
      client.operation = undefined;
      client.session = undefined;
    }
    this.#goOn(client);
  }

  #timeoutMs(): number {
    return 100 + this.#cluster.world.random.int(1_000);
  }
}
