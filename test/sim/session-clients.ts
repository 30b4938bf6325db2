/**
 * Clients with sessions: each has one proposal under way, tries it again under the same series through any replica
 * until it is answered, now and then gives one up, sends an old one again, closes its session or begins another. More
 * clients than the shard keeps sessions means that live ones are evicted. What they were told is for R15 to check.
 */
import { EntryType } from "../../shared/codec/block.js";
import { SERIES_MAX, SERIES_REGISTER, SERIES_UNREGISTER } from "../../shared/types/session.js";
import { keyNumber, type SessionOutcome } from "./machine.js";
import type { SimNode, World } from "./model.js";
import type { Prng } from "./prng.js";

const GIVE_UP = 0.02;
const SEND_OLD = 0.06;
const TWICE = 0.15;

interface Client {
  clientId: string;
  seriesId: number;
  /** As it tells: the answers it has, or a few less. */
  respondedTo: number;
  command: Uint8Array;
  /** Counts the proposals: an answer to an earlier one is not looked at. */
  request: number;
  /** When it was sent last, -1 = not yet. */
  sentAt: number;
  /** Where it was before its session was closed or lost. */
  old: { readonly clientId: string; readonly seriesId: number; readonly respondedTo: number } | undefined;
}

const NOTHING = new Uint8Array(0);

export class SessionClients {
  readonly #world: World;
  readonly #random: Prng;
  readonly #clients: Client[];
  readonly #asked = new Map<number, { readonly client: Client; readonly request: number }>();

  constructor(world: World, random: Prng) {
    this.#world = world;
    this.#random = random;
    this.#clients = Array.from({ length: world.options.sessionClients }, () => this.#born());
  }

  get count(): number {
    return this.#clients.length;
  }

  /** Some client does something through `node`. */
  act(node: SimNode): void {
    const r = this.#random;
    const client = r.pick(this.#clients);
    if (client.old !== undefined && r.chance(SEND_OLD)) {
      node.desk.propose(EntryType.Application, [Uint8Array.of(1)], client.old, true);
      return;
    }
    const waited = this.#world.now - client.sentAt;
    if (client.sentAt >= 0 && waited < this.#world.options.sessionRetryMs && !r.chance(TWICE)) return;
    if (client.sentAt >= 0 && r.chance(GIVE_UP)) this.#giveUp(client);
    const { clientId, seriesId, respondedTo, request } = client;
    const repeats = client.sentAt >= 0;
    client.sentAt = this.#world.now;
    const session = { clientId, seriesId, respondedTo };
    const key = node.desk.propose(EntryType.Application, [client.command], session, repeats);
    if (key !== undefined) this.#asked.set(keyNumber(key), { client, request });
  }

  answered(key: number, outcome: SessionOutcome): void {
    const asked = this.#asked.get(key);
    this.#asked.delete(key);
    if (asked === undefined || asked.client.request !== asked.request) return;
    const { client } = asked;
    if (outcome.kind === "DL_ERR_SESSION_RESULT_LOST") this.#next(client, client.seriesId);
    else if (outcome.result === undefined || client.seriesId === SERIES_UNREGISTER) this.#leave(client);
    else if (client.seriesId === SERIES_REGISTER) this.#next(client, outcome.result.value);
    else if (this.#random.chance(this.#world.options.sessionChurn)) this.#close(client);
    else this.#next(client, client.seriesId);
  }

  #born(): Client {
    const client: Client = {
      clientId: "",
      seriesId: 0,
      respondedTo: 0,
      command: NOTHING,
      request: 0,
      sentAt: -1,
      old: undefined,
    };
    this.#register(client);
    return client;
  }

  /** Under a new id; the old one is remembered, to send something late. */
  #leave(client: Client): void {
    const { clientId, seriesId, respondedTo } = client;
    if (seriesId <= SERIES_MAX) client.old = { clientId, seriesId, respondedTo };
    this.#register(client);
  }

  #register(client: Client): void {
    const half = (): string => ((this.#random.next32() | 1) >>> 0).toString(16).padStart(8, "0");
    Object.assign(client, { clientId: half() + half(), seriesId: SERIES_REGISTER, respondedTo: 0, command: NOTHING });
    this.#begin(client);
  }

  #close(client: Client): void {
    client.seriesId = SERIES_UNREGISTER;
    client.command = NOTHING;
    this.#begin(client);
  }

  #next(client: Client, answered: number): void {
    const { clientId, seriesId, respondedTo } = client;
    if (seriesId <= SERIES_MAX) client.old = { clientId, seriesId, respondedTo };
    const lag = this.#random.int(this.#world.options.sessionLag + 1);
    client.respondedTo = seriesId === SERIES_REGISTER ? answered : Math.max(respondedTo, answered - lag);
    client.seriesId = answered + 1;
    client.command = Uint8Array.of(this.#random.int(256));
    this.#begin(client);
  }

  #giveUp(client: Client): void {
    const { seriesId } = client;
    if (seriesId <= SERIES_MAX) this.#next(client, seriesId);
  }

  #begin(client: Client): void {
    client.request += 1;
    client.sentAt = -1;
  }
}
