/** Options of NodeHost.open, checked field by field. */
import type { Bus } from "../../shared/bus/port.js";
import { parseHostPort } from "../../shared/codec/host-port.js";
import type { Env, Logger } from "../../shared/env/env.js";
import { OpError } from "../../shared/errors.js";
import type { Files } from "../../shared/files/port.js";
import { LIMITS } from "../../shared/limits.js";
import { type HostId, isSafeUint, type Target } from "../../shared/types/ids.js";
import type { EngineListeners } from "../engine/index.js";
import type { LogDb } from "../logdb/port.js";
import type { App } from "../rsm/index.js";
import type { TcpTransportOptions, Transport } from "../transport/index.js";
import type { PortFactories } from "./compose.js";
import { isHostId } from "./host-dir.js";
import type { MasterClientFactory } from "./master-client.js";

export interface NodeHostOptions {
  /** `host:port` at which other hosts reach this one. Port 0 = any free one (tests). */
  readonly raftAddress: string;
  /** Where to listen, if it differs. */
  readonly listenAddress?: string;
  /** One directory per host; never shared, never copied. */
  readonly dataDir: string;
  /** Log directory on another disk. Default: inside dataDir. */
  readonly walDir?: string;
  /** UUID. Default: made at first start and kept in dataDir. */
  readonly hostId?: HostId;
  /** Messages and data of another deployment are refused. Integer ≥ 1. Default: the directory's, or 1. */
  readonly deploymentId?: number;
  /** Length of a tick, about the round trip between hosts. Default 50. */
  readonly rttMs?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly region?: string;
  /** Where to serve the gRPC API, `host:port`; port 0 = any free one. Default: none. */
  readonly apiAddress?: string;
  /** Apps this host can run by name: for masters, and for the gRPC API. */
  readonly apps?: readonly App[];
  /** Report to masters and do what they ask. Default: none. */
  readonly master?: MasterLink;
  readonly limits?: HostLimits;
  readonly listeners?: EngineListeners;
  readonly logger?: Logger;
  /**
   * Called once when durability can no longer be promised. Default: the error is thrown outside of any promise, which
   * ends the process.
   */
  readonly onFatal?: (error: unknown) => void;
  /** Tests: other time, disk, log or network. */
  readonly env?: Env;
  readonly files?: Files;
  readonly factories?: PortFactories;
}

/** Bounds that a host may set for itself. */
export interface HostLimits {
  /** Snapshot bytes per second, all streams together; at least 64 KiB, 0 = no limit. Default 50 MB. */
  readonly snapshotSendBytesPerSecond?: number;
  readonly snapshotReceiveBytesPerSecond?: number;
}

/** How a host finds its masters. */
export interface MasterLink {
  /** Servers, or a bus that the caller owns and closes. */
  readonly nats: string | readonly string[] | Bus;
  /** Another client than the one on NATS. */
  readonly client?: MasterClientFactory;
  /** Time between reports. Default 3,000. */
  readonly reportIntervalMs?: number;
  /** Silence of a peer worth reporting. Default 60,000. */
  readonly peerSilenceMs?: number;
}

/** What a factory of `factories` makes. */
export type LogDbFactory = (context: {
  readonly env: Env;
  readonly dataSetId: string;
  readonly onFatal: (error: unknown) => void;
}) => Promise<LogDb>;
export type TransportFactory = (setup: TransportSetup) => Transport;

/** What a transport needs to know of its host. */
export interface TransportSetup extends Omit<TcpTransportOptions, "limits"> {
  readonly hostId: HostId;
}

/** Options of every asynchronous call. */
export interface CallOptions {
  /** Default 10,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export const DEFAULT_TIMEOUT_MS = 10_000;
export const DEFAULT_RTT_MS = 50;
/** Below it a chunk takes so long that the other side takes the stream for stalled. */
const SNAPSHOT_RATE_MIN = 64 * 1024;

export function checkOptions(options: NodeHostOptions): void {
  checkAddress("raftAddress", options.raftAddress);
  if (options.listenAddress !== undefined) checkAddress("listenAddress", options.listenAddress);
  if (typeof options.dataDir !== "string" || options.dataDir === "") bad("dataDir", options.dataDir, "a directory");
  if (options.hostId !== undefined && !isHostId(options.hostId)) bad("hostId", options.hostId, "a UUID in lower case");
  const { deploymentId, rttMs } = options;
  if (deploymentId !== undefined && (!isSafeUint(deploymentId) || deploymentId < 1)) {
    bad("deploymentId", deploymentId, "an integer from 1 to 2^53 - 1");
  }
  for (const name of ["snapshotSendBytesPerSecond", "snapshotReceiveBytesPerSecond"] as const) {
    const rate = options.limits?.[name] ?? 0;
    if (rate === 0 || (Number.isFinite(rate) && rate >= SNAPSHOT_RATE_MIN)) continue;
    bad(`limits.${name}`, rate, `0 (no limit) or at least ${SNAPSHOT_RATE_MIN}`);
  }
  if (rttMs !== undefined && (!Number.isFinite(rttMs) || rttMs < 1 || rttMs > 60_000)) {
    bad("rttMs", rttMs, "1 to 60000 milliseconds");
  }
}

/** DL_ERR_INVALID_ADDRESS unless host:port with a port of 0 … 65535. */
export function checkAddress(name: string, address: string): void {
  if (isAddress(address)) return;
  throw new OpError("DL_ERR_INVALID_ADDRESS", `${name} is ${JSON.stringify(address)}, expected host:port`);
}

/** DL_ERR_INVALID_TARGET unless a host id or host:port. */
export function checkTarget(target: Target): void {
  if (target.length <= LIMITS.wireNameCharsMax && (isHostId(target) || isAddress(target))) return;
  const got = JSON.stringify(target.slice(0, LIMITS.wireNameCharsMax));
  throw new OpError("DL_ERR_INVALID_TARGET", `got ${got}, expected a host id or host:port`);
}

function isAddress(address: string): boolean {
  return parseHostPort(address) !== undefined;
}

export function timeoutOf(options: CallOptions | undefined): number {
  const timeoutMs = options?.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  if (!Number.isFinite(timeoutMs) || timeoutMs <= 0) bad("timeoutMs", timeoutMs, "more than 0 milliseconds");
  return timeoutMs;
}

function bad(name: string, value: unknown, expected: string): never {
  throw new OpError("DL_ERR_INVALID_CONFIG", `${name} is ${JSON.stringify(value)}, expected ${expected}`);
}
