/**
 * The default master client: reports as requests on the bus, answered by the leading master with what it wants done;
 * requests are also pushed to the host's own subject. Everything is at least once and idempotent, so a lost message
 * costs one report interval.
 */
import type { Bus, BusMessage, BusSubscription } from "../../shared/bus/port.js";
import {
  DISCOVER_SUBJECT,
  discoverReplySubject,
  hostSubject,
  registrySubject,
  reportSubject,
  resultSubject,
} from "../../shared/bus/subjects.js";
import type { Env } from "../../shared/env/env.js";
import { errorText, OpError } from "../../shared/errors.js";
import type { HostRequest, NodeHostInfo } from "../../shared/types/control.js";
import {
  decodeDiscoverReply,
  decodeHostRequest,
  decodeRegistryView,
  decodeReportReply,
  encodeDiscoverRequest,
  encodeHostResult,
  encodeNodeHostInfo,
} from "../../shared/wire/index.js";
import type { IMasterClient, MasterClientHost } from "./master-client.js";
import { type CallOptions, timeoutOf } from "./options.js";

const QUEUED_REQUESTS_MAX = 10_000;
const DISCOVER_WAIT_MS = 1_000;

export interface NatsMasterClientOptions {
  readonly bus: Bus;
  readonly env: Env;
  readonly host: MasterClientHost;
  readonly deploymentId: number;
  /** A request came between two reports. */
  readonly onPushed: () => void;
}

export class NatsMasterClient implements IMasterClient {
  readonly name = "drumline-nats";
  readonly #options: NatsMasterClientOptions;
  readonly #queue = new Map<string, HostRequest>();
  readonly #subscriptions: readonly BusSubscription[];

  constructor(options: NatsMasterClientOptions) {
    this.#options = options;
    const { bus, env, deploymentId, host } = options;
    const guarded = (handle: (message: BusMessage) => void) => (message: BusMessage) => {
      try {
        handle(message);
      } catch (error) {
        env.logger.warn({ subject: message.subject, error: errorText(error) }, "message from the bus dropped");
      }
    };
    const onPush = guarded((message) => {
      this.#enqueue(decodeHostRequest(message.payload));
      options.onPushed();
    });
    this.#subscriptions = [
      bus.subscribe(hostSubject(deploymentId, host.hostId), onPush),
      bus.subscribe(
        registrySubject(deploymentId),
        guarded((message) => this.#learn(message.payload)),
      ),
    ];
  }

  stop(): Promise<void> {
    for (const subscription of this.#subscriptions) subscription.close();
    return Promise.resolve();
  }

  /** `url` is not used: the bus is connected already. */
  getDeploymentId(_url: string, options?: CallOptions): Promise<number> {
    return discoverDeployment(this.#options.bus, this.#options.env, options);
  }

  async sendNodeHostInfo(_url: string, info: NodeHostInfo, options?: CallOptions): Promise<void> {
    const { bus, deploymentId } = this.#options;
    const timeoutMs = timeoutOf(options);
    const payload = await bus.request(reportSubject(deploymentId), encodeNodeHostInfo(info), { timeoutMs });
    const reply = decodeReportReply(payload);
    if (reply.refusal !== undefined) this.#options.host.refuseDirectory(reply.refusal.code, reply.refusal.detail);
    for (const request of reply.requests) this.#enqueue(request);
  }

  async handleMasterRequests(): Promise<void> {
    const requests = [...this.#queue.values()];
    this.#queue.clear();
    const { bus, host, deploymentId, env } = this.#options;
    await Promise.all(
      requests.map(async (request) => {
        const result = await host.execute(request);
        try {
          bus.publish(resultSubject(deploymentId), encodeHostResult(result));
        } catch (error) {
          env.logger.debug({ error: errorText(error) }, "result not sent; the next report shows it");
        }
      }),
    );
  }

  /** Where every host is, so that replicas find each other. */
  #learn(payload: Uint8Array): void {
    const { host } = this.#options;
    for (const { hostId, raftAddress, incarnation } of decodeRegistryView(payload).hosts) {
      if (hostId !== host.hostId) host.learnAddress(hostId, raftAddress, incarnation);
    }
  }

  #enqueue(request: HostRequest): void {
    if (this.#queue.size < QUEUED_REQUESTS_MAX) this.#queue.set(request.requestId, request);
  }
}

/** Asks who serves here. Two different answers are refused: the broker is shared by two deployments. */
export async function discoverDeployment(bus: Bus, env: Env, options?: CallOptions): Promise<number> {
  const replyTo = discoverReplySubject(env.random.hex(8));
  const answers = new Set<number>();
  const subscription = bus.subscribe(replyTo, (message) => {
    try {
      answers.add(decodeDiscoverReply(message.payload).deploymentId);
    } catch (error) {
      env.logger.warn({ error: errorText(error) }, "discovery answer not readable: dropped");
    }
  });
  try {
    await bus.ready({ timeoutMs: timeoutOf(options) });
    bus.publish(DISCOVER_SUBJECT, encodeDiscoverRequest("", replyTo));
    await new Promise<void>((resolve) => env.timers.after(DISCOVER_WAIT_MS, resolve));
  } finally {
    subscription.close();
  }
  const [first] = answers;
  if (first === undefined) throw new OpError("DL_ERR_UNREACHABLE", "no master answers on the bus");
  if (answers.size > 1) {
    const what = `masters of deployments ${[...answers].join(" and ")} answer on one bus; configure deploymentId`;
    throw new OpError("DL_ERR_DEPLOYMENT_MISMATCH", what);
  }
  return first;
}
