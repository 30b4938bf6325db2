/** The public door of the control channel: the port, its implementations, the broker for a first run, subject names. */
export {
  type EmbeddedBroker,
  type EmbeddedBrokerOptions,
  type EmbeddedBrokerStats,
  startEmbeddedBroker,
} from "./embedded-broker.js";
export { FRAMING_LIMITS } from "./framing.js";
export { createNatsBus, type NatsBusOptions, type NatsTlsOptions } from "./nats-bus.js";
export type { Bus, BusMessage, BusStatus, BusSubscription, RequestOptions } from "./port.js";
export { NO_FAULTS, SimBroker, type SimBrokerOptions, type SimBusStats, type SimFaults } from "./sim-bus.js";
export {
  DISCOVER_SUBJECT,
  eventsSubject,
  hostSubject,
  isPattern,
  isSubject,
  probeSubject,
  registryGetSubject,
  registrySubject,
  reportSubject,
  resultSubject,
  subjectMatches,
} from "./subjects.js";
