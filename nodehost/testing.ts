/**
 * `import … from "drumline/testing"`: what applications and authors of other ports need for their own tests. The
 * conformance suites register tests with node:test when they are called; `checkStateMachine` uses no test runner.
 */
export {
  NO_FAULTS,
  SimBroker,
  type SimBrokerOptions,
  type SimBusStats,
  type SimFaults,
} from "../shared/bus/sim-bus.js";
export { type BusSetup, busSuite } from "../shared/bus/suite.js";
export type { Env, Logger, Metrics, Random, TimerHandle, Timers } from "../shared/env/env.js";
export type { FileHandle, Files, OpenOptions } from "../shared/files/port.js";
export { SimDisk, type SimDiskOptions, type SimFault, type SimOperation } from "../shared/files/sim-files.js";
export { type FilesUnderTest, filesSuite } from "../shared/files/suite.js";
export { kitDirectories } from "./api/index.js";
export { createMemoryLogDb, type MemoryLogDbOptions, MemoryLogStore } from "./logdb/memory-logdb.js";
export type { LogDb, LogUpdate, RecoveredReplica, Recovery, ReplicaKey } from "./logdb/port.js";
export { type LogDbUnderTest, logDbSuite } from "./logdb/suite.js";
export { checkStateMachine, type KitDisk, type MachineProblem } from "./rsm/index.js";
export {
  type AddressBook,
  type Hello,
  type SimKnobs,
  SimNetwork,
  type SimNetworkOptions,
  SimTransport,
  type SimTransportOptions,
  type Transport,
  type TransportHandler,
} from "./transport/index.js";
export { type TestedTransport, type TransportHarness, transportSuite } from "./transport/suite.js";
