/** `drumline broker`: the embedded broker on its own, for development. Production runs nats-server. */
import { startEmbeddedBroker } from "../../shared/bus/index.js";
import { createRealEnv } from "../../shared/env/real-env.js";
import { OpError } from "../../shared/errors.js";
import type { Output } from "./output.js";
import { ProcessLife } from "./process-life.js";

const SHUTDOWN_TIMEOUT_MS = 5_000;

export interface BrokerFlags {
  readonly host: string;
  readonly port: string;
}

export async function runBroker(output: Output, flags: BrokerFlags): Promise<never> {
  const port = Number(flags.port);
  if (!/^\d+$/.test(flags.port) || port > 65_535) {
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `port is ${flags.port}, expected an integer from 0 to 65535`);
  }
  const life = new ProcessLife();
  return await life.run(SHUTDOWN_TIMEOUT_MS, async () => {
    const env = createRealEnv({ logger: output.logger("warn") });
    const broker = await startEmbeddedBroker({ host: flags.host, port, env });
    life.defer(() => broker.close());
    life.becomeReady();
    if (output.json) output.object({ event: "ready", kind: "broker", url: broker.url, pid: process.pid });
    else output.line(`broker ready: ${broker.url} (development only: production runs nats-server)`);
  });
}
