/** Runs the bus suite on the simulated bus, on the embedded broker, and on a nats-server when there is one. */
import { createRealEnv } from "../env/real-env.js";
import { startEmbeddedBroker } from "./embedded-broker.js";
import { createNatsBus } from "./nats-bus.js";
import { SimBroker } from "./sim-bus.js";
import { type BusSetup, busSuite } from "./suite.js";
import { skipWithoutNatsServer, startNatsServer } from "./testing/nats-server.js";
import { TcpRelay } from "./testing/tcp-relay.js";

const FAST = { reconnectMinMs: 10, reconnectMaxMs: 50 };

async function simulated(): Promise<BusSetup> {
  const env = createRealEnv();
  const broker = new SimBroker({ env, ...FAST });
  const nowhere = new SimBroker({ env, ...FAST });
  nowhere.down();
  return {
    createBus: (name) => broker.createBus(name),
    createStrandedBus: (name) => nowhere.createBus(name),
    stopBroker: async () => broker.down(),
    startBroker: async () => broker.up(),
    close: async () => {},
  };
}

interface Runnable {
  readonly port: number;
  stop(): Promise<void>;
}

/** Buses keep the address of a relay; the broker behind it may come back on another port. */
async function overNats(startBroker: () => Promise<Runnable>): Promise<BusSetup> {
  let broker = await startBroker();
  const relay = await TcpRelay.start(broker.port);
  const frozen = await TcpRelay.start();
  frozen.freeze();
  const bus = (name: string, port: number) =>
    createNatsBus({ servers: `nats://127.0.0.1:${port}`, env: createRealEnv(), name, ...FAST });
  return {
    createBus: (name) => bus(name, relay.port),
    createStrandedBus: (name) => bus(name, frozen.port),
    stopBroker: async () => {
      relay.lead(undefined);
      await broker.stop();
    },
    startBroker: async () => {
      broker = await startBroker();
      relay.lead(broker.port);
    },
    close: async () => {
      await Promise.all([relay.close(), frozen.close(), broker.stop()]);
    },
  };
}

async function startEmbedded(): Promise<Runnable> {
  const broker = await startEmbeddedBroker({ port: 0 });
  return { port: broker.port, stop: () => broker.close() };
}

busSuite("simulated", simulated);
busSuite("NATS on the embedded broker", () => overNats(startEmbedded));
busSuite("NATS on nats-server", () => overNats(startNatsServer), skipWithoutNatsServer());
