/**
 * The writers of all shards together, over real connections. Used by the demo and by the end-to-end tests.
 */

import { encodeKvCommand, KvStatus, kvBytes } from "../../nodehost/apps/index.js";
import { HostClient } from "../../nodehost/client/index.js";
import { OpError } from "../../shared/errors.js";
import { LeaderView } from "./demo-leaders.js";
import { pause } from "./demo-wait.js";
import { type ShardLedger, ShardWriter, type Write, type WriterPort } from "./demo-writer.js";

/** Long enough that an answer is not given up lightly; gaps are not measured by it (see HEDGE_MS). */
const WRITE_TIMEOUT_MS = 3_000;
const NUDGE_MS = 25;

export interface LoadTotals {
  readonly acked: number;
  readonly unknown: number;
  readonly refusals: number;
  /** Largest over the shards. */
  readonly maxGapMs: number;
  /** Where and when (performance.now) it was. */
  readonly maxGapShardId: number;
  readonly maxGapEndedMs: number;
}

export class Load implements WriterPort {
  readonly #leaders = new LeaderView();
  readonly #clients = new Map<string, HostClient>();
  readonly #writers: ShardWriter[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** Hosts to write through; call again when one moved. */
  setHosts(addresses: readonly string[]): void {
    this.#leaders.setHosts(addresses);
  }

  start(shardIds: readonly number[]): void {
    for (const shardId of shardIds) this.#writers.push(new ShardWriter(shardId, this));
    const nudge = (): void => {
      for (const writer of this.#writers) writer.nudge();
    };
    nudge();
    this.#timer = setInterval(nudge, NUDGE_MS);
  }

  /** Resolves when every write has its fate. */
  async stop(): Promise<readonly ShardLedger[]> {
    clearInterval(this.#timer);
    await Promise.all(this.#writers.map((writer) => writer.stop()));
    return this.ledgers;
  }

  get ledgers(): readonly ShardLedger[] {
    return this.#writers.map((writer) => writer.ledger);
  }

  totals(): LoadTotals {
    const ledgers = this.ledgers;
    const sum = (key: "acked" | "unknown" | "refusals"): number => ledgers.reduce((n, ledger) => n + ledger[key], 0);
    const widest = ledgers.reduce<ShardLedger | undefined>(
      (best, ledger) => (best === undefined || ledger.maxGapMs > best.maxGapMs ? ledger : best),
      undefined,
    );
    return {
      acked: sum("acked"),
      unknown: sum("unknown"),
      refusals: sum("refusals"),
      maxGapMs: Math.round(widest?.maxGapMs ?? 0),
      maxGapShardId: widest?.shardId ?? 0,
      maxGapEndedMs: widest?.maxGapEndedMs ?? 0,
    };
  }

  /** After `stop`. */
  close(): void {
    clearInterval(this.#timer);
    this.#leaders.close();
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  // WriterPort

  route(shardId: number): readonly string[] {
    return this.#leaders.route(shardId);
  }

  async append(address: string, shardId: number, { key, value }: Write): Promise<void> {
    const command = encodeKvCommand({ op: "append", key: kvBytes(key), value: kvBytes(`${value},`) });
    const answer = await this.#client(address).propose(shardId, command, { timeoutMs: WRITE_TIMEOUT_MS });
    if (answer.value !== KvStatus.Ok) throw new OpError("DL_ERR_REJECTED", `kv status ${answer.value}`);
  }

  now(): number {
    return performance.now();
  }

  pause(ms: number): Promise<void> {
    return pause(ms);
  }

  #client(address: string): HostClient {
    let client = this.#clients.get(address);
    if (client === undefined) {
      client = new HostClient(address);
      this.#clients.set(address, client);
    }
    return client;
  }
}
