/**
 * The loop between a host and its masters: report, take requests, carry them out, report again as soon as something
 * was done. Losing the masters costs nothing but their help.
 */
import type { Env, TimerHandle } from "../../shared/env/env.js";
import { errorText } from "../../shared/errors.js";
import type { NodeHostInfo } from "../../shared/types/control.js";
import type { IMasterClient } from "./master-client.js";

export interface AgentOptions {
  readonly client: IMasterClient;
  readonly url: string;
  readonly env: Env;
  readonly reportIntervalMs: number;
  /** The report of this moment. */
  readonly info: (sequence: number, stopping: boolean) => Promise<NodeHostInfo>;
}

export class MasterAgent {
  readonly #options: AgentOptions;
  #timer: TimerHandle | undefined;
  #sequence = 0;
  #stopping = false;
  #reporting = false;
  #again = false;
  #lost = false;

  constructor(options: AgentOptions) {
    this.#options = options;
  }

  start(): void {
    const { env, reportIntervalMs } = this.#options;
    const next = (): void => {
      // Spread by ± 10 %, so that a thousand hosts do not report together.
      const delayMs = reportIntervalMs * (0.9 + env.random.next() * 0.2);
      this.#timer = env.timers.after(delayMs, () => {
        next();
        this.#report();
      });
    };
    next();
    this.#report();
  }

  /** Says goodbye: the master need not wait for a silence. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#timer?.cancel();
    const timeoutMs = Math.min(1_000, this.#options.reportIntervalMs);
    try {
      await this.#options.client.sendNodeHostInfo(this.#options.url, await this.#info(), { timeoutMs });
    } catch (error) {
      this.#options.env.logger.debug({ error: errorText(error) }, "stopping without telling a master");
    }
    await this.#options.client.stop();
  }

  /** Requests came: they are carried out now, and the next report shows it. */
  poke(): void {
    this.#report();
  }

  #report(): void {
    if (this.#stopping) return;
    if (this.#reporting) {
      this.#again = true;
      return;
    }
    this.#reporting = true;
    const { env } = this.#options;
    this.#cycle()
      .catch((error: unknown) => env.logger.error({ error: errorText(error) }, "report cycle failed"))
      .finally(() => {
        this.#reporting = false;
        if (!this.#again) return;
        this.#again = false;
        this.#report();
      });
  }

  async #cycle(): Promise<void> {
    const { client, url, env, reportIntervalMs } = this.#options;
    try {
      await client.sendNodeHostInfo(url, await this.#info(), { timeoutMs: reportIntervalMs });
      if (this.#lost) env.logger.info({}, "masters answer again");
      this.#lost = false;
    } catch (error) {
      if (!this.#lost) env.logger.warn({ error: errorText(error) }, "no master answers; serving on, trying again");
      this.#lost = true;
    }
    this.#handle();
  }

  /** Reports go on meanwhile: a step of a request may take longer than a master waits for a report. */
  #handle(): void {
    const { client, env } = this.#options;
    if (this.#stopping) return;
    client.handleMasterRequests().catch((error: unknown) => {
      env.logger.error({ error: errorText(error) }, "carrying out requests failed");
    });
  }

  #info(): Promise<NodeHostInfo> {
    this.#sequence += 1;
    return this.#options.info(this.#sequence, this.#stopping);
  }
}
