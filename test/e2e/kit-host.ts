/**
 * A NodeHost process without masters, as an application that embeds the library would be: `kit-host.js <dataDir>
 * <base port>`. Serves the gRPC API, tells on stdout when it is ready and when a snapshot arrived, exits with its
 * parent. Started by three-hosts.e2e.test.ts.
 */
import { builtinApps } from "../../nodehost/apps/index.js";
import { NodeHost } from "../../nodehost/index.js";

function say(event: object): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

async function main(): Promise<void> {
  process.on("disconnect", () => process.exit(0));
  const [dataDir = "", port = "0"] = process.argv.slice(2);
  const host = await NodeHost.open({
    raftAddress: `127.0.0.1:${port}`,
    apiAddress: `127.0.0.1:${Number(port) + 1}`,
    dataDir,
    apps: builtinApps(),
    listeners: {
      snapshotReceived: (shardId, replicaId, index) => say({ event: "snapshotReceived", shardId, replicaId, index }),
    },
  });
  process.once("SIGTERM", () => {
    host.close().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  });
  const { raftAddress, apiAddress } = host;
  say({ event: "ready", raftAddress, apiAddress });
}

await main();
