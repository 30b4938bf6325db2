/** Public door of the transport: TCP for hosts, the simulated network for tests. */
export type { DetailedStats } from "./core.js";
export { type LocalHello, PEER_ANSWERED } from "./hello.js";
export { DEFAULT_TRANSPORT_LIMITS, type TransportLimits } from "./limits.js";
export type {
  AddressBook,
  Hello,
  SnapshotHeader,
  Transport,
  TransportHandler,
  TransportStats,
} from "./port.js";
export { SimNetwork, type SimTransportOptions } from "./sim-network.js";
export { SimTransport } from "./sim-transport.js";
export type { SimKnobs, SimNetworkOptions } from "./sim-world.js";
export { createTcpTransport, type TcpTransport, type TcpTransportOptions } from "./tcp-transport.js";
