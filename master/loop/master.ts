/**
 * One master process: a NodeHost with shard 0, ears on the bus, the detector, and, while it leads, the loop. Composes;
 * decides nothing.
 */
import type { Bus } from "../../shared/bus/port.js";
import { registrySubject } from "../../shared/bus/subjects.js";
import type { Env, Logger, TimerHandle } from "../../shared/env/env.js";
import { errorText, OpError } from "../../shared/errors.js";
import type { RegistryView } from "../../shared/types/control.js";
import { encodeRegistryView } from "../../shared/wire/index.js";
import { type DetectTiming, FailureDetector, ObservationImage, timingProblems } from "../detect/index.js";
import { derivePlanConfig } from "../plan/index.js";
import { Dispatcher } from "./dispatch.js";
import { Ingest } from "./ingest.js";
import { LeaderLoop } from "./leader-loop.js";
import { registryView } from "./registry.js";
import { type MasterMember, Store } from "./store.js";
import { SelfWatch } from "./watch.js";

export interface MasterOptions {
  readonly env: Env;
  readonly bus: Bus;
  readonly deploymentId: number;
  readonly replicaId: number;
  /** All masters, this one included. */
  readonly members: readonly MasterMember[];
  readonly dataDir: string;
  readonly timing: DetectTiming;
  readonly rttMs?: number;
  /** Where to listen, if it differs from this member's raftAddress. */
  readonly listenAddress?: string;
  readonly logger?: Logger;
  readonly onFatal?: (error: unknown) => void;
}

const REGISTRY_INTERVAL_MS = 2_000;

export class Master {
  readonly options: MasterOptions;
  readonly store: Store;
  readonly detector: FailureDetector;
  readonly image: ObservationImage;
  readonly loop: LeaderLoop;
  readonly #watch: SelfWatch;
  readonly #ingest: Ingest;
  #registryTimer: TimerHandle | undefined;
  #publishedRevision = -1;
  #closing: Promise<void> | undefined;

  /** DL_ERR_INVALID_CONFIG for bad times; errors of NodeHost.open. */
  static async open(options: MasterOptions): Promise<Master> {
    const [problem] = timingProblems(options.timing);
    if (problem !== undefined) throw new OpError("DL_ERR_INVALID_CONFIG", problem);
    const { env, deploymentId, replicaId, members, dataDir, rttMs, listenAddress, logger, onFatal } = options;
    const self = members.find((member) => member.replicaId === replicaId);
    if (self === undefined) {
      throw new OpError("DL_ERR_INVALID_CONFIG", `master ${replicaId} is not among ${members.map((m) => m.replicaId)}`);
    }
    const late: { loop: LeaderLoop | undefined } = { loop: undefined };
    const store = await Store.open({
      raftAddress: self.raftAddress,
      dataDir,
      deploymentId,
      replicaId,
      members,
      onApplied: () => late.loop?.poke(),
      ...(rttMs === undefined ? {} : { rttMs }),
      ...(listenAddress === undefined ? {} : { listenAddress }),
      ...(logger === undefined ? {} : { logger }),
      ...(onFatal === undefined ? {} : { onFatal }),
      ...(env === undefined ? {} : { env }),
    });
    const master = new Master(options, store);
    late.loop = master.loop;
    master.#start();
    return master;
  }

  private constructor(options: MasterOptions, store: Store) {
    const { env, bus, deploymentId, timing, members, replicaId } = options;
    this.options = options;
    this.store = store;
    this.detector = new FailureDetector(timing, env.now());
    this.image = new ObservationImage();
    const dispatcher = new Dispatcher(bus, env, deploymentId);
    const { detector, image } = this;
    const config = derivePlanConfig(timing);
    const cycleMs = Math.max(50, Math.min(1_000, timing.reportIntervalMs / 2));
    const onCycle = (): void => this.#publishRegistry();
    this.loop = new LeaderLoop({ env, store, detector, image, dispatcher, config, deploymentId, cycleMs, onCycle });
    const tickMs = Math.max(20, Math.min(250, timing.reportIntervalMs / 4));
    const { loopLagMs } = timing;
    const masterId = `${replicaId}-${env.random.hex(4)}`;
    this.#watch = new SelfWatch({ env, bus, detector, deploymentId, masterId, tickMs, loopLagMs });
    this.#ingest = new Ingest({
      env,
      bus,
      deploymentId,
      detector,
      image,
      dispatcher,
      leading: () => this.loop.fence,
      registry: () => this.registry(),
      onReport: () => this.loop.poke(),
      apiAddresses: members.map((member) => member.apiAddress),
    });
  }

  registry(): RegistryView {
    return registryView(this.store.view(), this.image, this.loop.fresh());
  }

  /** Stops listening, gives leadership away, closes the replica of shard 0. The bus belongs to the caller. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#registryTimer?.cancel();
    this.#watch.stop();
    this.#ingest.stop();
    await this.loop.stop();
    await this.store.stepDown();
    await this.store.close();
  }

  #start(): void {
    this.#watch.start();
    this.#ingest.start();
    this.loop.start();
    this.#registryTimer = this.options.env.timers.every(REGISTRY_INTERVAL_MS, () => {
      this.#publishedRevision = -1;
      this.#publishRegistry();
    });
  }

  /** At each change, and periodically for those who missed one. */
  #publishRegistry(): void {
    if (this.loop.fence === undefined) return;
    const { revision } = this.store.view();
    if (revision === this.#publishedRevision) return;
    this.#publishedRevision = revision;
    const { bus, env, deploymentId } = this.options;
    try {
      bus.publish(registrySubject(deploymentId), encodeRegistryView(this.registry()));
    } catch (error) {
      env.logger.debug({ error: errorText(error) }, "registry not published; it is repeated");
    }
  }
}
