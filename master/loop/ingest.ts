/**
 * What comes in over the bus: reports, results, discovery. Every master listens to everything, so that a new leader is
 * warm; only the leading one answers. Bad input is counted and dropped, never thrown.
 */
import type { Bus, BusMessage, BusSubscription } from "../../shared/bus/port.js";
import { DISCOVER_SUBJECT, registryGetSubject, reportSubject, resultSubject } from "../../shared/bus/subjects.js";
import type { Env } from "../../shared/env/env.js";
import { errorText } from "../../shared/errors.js";
import type { NodeHostInfo, RegistryView, ReportReply } from "../../shared/types/control.js";
import {
  decodeDiscoverRequest,
  decodeHostResult,
  decodeNodeHostInfo,
  encodeDiscoverReply,
  encodeRegistryView,
  encodeReportReply,
} from "../../shared/wire/index.js";
import type { FailureDetector, ObservationImage } from "../detect/index.js";
import type { Dispatcher } from "./dispatch.js";

export interface IngestOptions {
  readonly env: Env;
  readonly bus: Bus;
  readonly deploymentId: number;
  readonly detector: FailureDetector;
  readonly image: ObservationImage;
  readonly dispatcher: Dispatcher;
  /** Fence of this master while it leads, undefined otherwise. */
  readonly leading: () => { readonly term: number; readonly lineage: number } | undefined;
  readonly registry: () => RegistryView;
  /** An accepted report is in the image. */
  readonly onReport: (info: NodeHostInfo) => void;
  readonly apiAddresses: readonly string[];
}

export class Ingest {
  readonly #options: IngestOptions;
  #subscriptions: BusSubscription[] = [];
  #malformed = 0;

  constructor(options: IngestOptions) {
    this.#options = options;
  }

  /** Messages that could not be read. */
  get malformed(): number {
    return this.#malformed;
  }

  start(): void {
    const { bus, deploymentId } = this.#options;
    const guarded = (handle: (message: BusMessage) => void) => (message: BusMessage) => {
      try {
        handle(message);
      } catch (error) {
        this.#malformed += 1;
        const { subject } = message;
        this.#options.env.logger.warn({ subject, error: errorText(error) }, "message from the bus dropped");
      }
    };
    this.#subscriptions = [
      bus.subscribe(
        reportSubject(deploymentId),
        guarded((m) => this.#report(m)),
      ),
      bus.subscribe(
        resultSubject(deploymentId),
        guarded((m) => this.#result(m)),
      ),
      bus.subscribe(
        registryGetSubject(deploymentId),
        guarded((m) => this.#registryGet(m)),
      ),
      bus.subscribe(
        DISCOVER_SUBJECT,
        guarded((m) => this.#discover(m)),
      ),
    ];
  }

  stop(): void {
    for (const subscription of this.#subscriptions) subscription.close();
  }

  #report(message: BusMessage): void {
    const { env, detector, image, deploymentId, leading, dispatcher, onReport } = this.#options;
    const nowMs = env.now();
    const info = decodeNodeHostInfo(message.payload);
    if (info.deploymentId !== deploymentId) return;
    const verdict = detector.onReport(info, nowMs);
    const accepted = verdict === "accepted";
    if (accepted) {
      image.onReport(info);
      onReport(info);
    }
    const fence = leading();
    if (fence === undefined) return;
    const requests = accepted ? dispatcher.requestsFor(info.hostId) : [];
    const refusal = detector.refusalOf(info.hostId, verdict);
    const reply: ReportReply = { masterTerm: fence.term, masterLineage: fence.lineage, requests, refusal };
    message.respond?.(encodeReportReply(reply));
  }

  #result(message: BusMessage): void {
    this.#options.dispatcher.onResult(decodeHostResult(message.payload));
  }

  #registryGet(message: BusMessage): void {
    if (this.#options.leading() !== undefined) message.respond?.(encodeRegistryView(this.#options.registry()));
  }

  #discover(message: BusMessage): void {
    const { bus, deploymentId, apiAddresses, leading } = this.#options;
    const { replyTo } = decodeDiscoverRequest(message.payload);
    if (leading() !== undefined) bus.publish(replyTo, encodeDiscoverReply(deploymentId, apiAddresses));
  }
}
