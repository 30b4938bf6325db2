/**
 * How a NodeHost talks to its masters. The interface is Dragonboat's IMasterClient: name, stop, getDeploymentId,
 * sendNodeHostInfo, handleMasterRequests; the NATS client is the default, a factory replaces it. Masters are optional:
 * a NodeHost without one, or cut off from it, serves as before.
 */
import type { HostRequest, HostResult, NodeHostInfo } from "../../shared/types/control.js";
import type { CallOptions } from "./options.js";

export interface IMasterClient {
  /** Unique type name of this client. */
  readonly name: string;
  /** Releases connections. Idempotent. */
  stop(): Promise<void>;
  /** The deployment id that the masters at `url` serve; the same for their whole life. DL_ERR_UNREACHABLE, _TIMEOUT. */
  getDeploymentId(url: string, options?: CallOptions): Promise<number>;
  /**
   * Called periodically. Requests of the masters that come back are queued for `handleMasterRequests`. Rejections
   * (DL_ERR_BUS_LOST, _TIMEOUT, _UNREACHABLE) cost nothing but this report.
   */
  sendNodeHostInfo(url: string, info: NodeHostInfo, options?: CallOptions): Promise<void>;
  /** Called periodically: carries out what is queued. Never rejects because of one request. */
  handleMasterRequests(options?: CallOptions): Promise<void>;
}

/** What a master client may ask of its host. */
export interface MasterClientHost {
  readonly hostId: string;
  /** Carries out one request: fenced, at most once per requestId, in order per shard. Never rejects. */
  execute(request: HostRequest): Promise<HostResult>;
  /**
   * The masters know that the directory of this host is an old copy or used twice: its replicas stop, for good.
   * DL_ERR_DATA_STALE, DL_ERR_HOST_CLONED; other codes are not believed.
   */
  refuseDirectory(code: string, detail: string): void;
  /** The registry says where a host is; the higher incarnation wins. */
  learnAddress(hostId: string, raftAddress: string, incarnation: number): void;
}

export type MasterClientFactory = (host: MasterClientHost) => IMasterClient;
