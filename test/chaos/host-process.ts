/**
 * One NodeHost in a process of its own, to be cut off, stopped, starved and killed. Serves gRPC, runs the app kv; what
 * its directory holds runs again at once. Started by hosts.ts over an IPC channel; ends when that closes. A log that
 * cannot be written ends it with one line and exit code 70, as the nodehost command does.
 *
 *   node host-process.js '<HostSettings as JSON>'
 */

import { EXIT, fatalLines } from "../../master/cli/failure.js";
import { kvApp } from "../../nodehost/apps/index.js";
import { FatalStorageError, NodeHost } from "../../nodehost/index.js";

export interface HostSettings {
  readonly dataDir: string;
  readonly walDir?: string;
  readonly raftAddress: string;
  readonly apiAddress: string;
  readonly rttMs: number;
}

export type ToHost =
  | {
      readonly kind: "start";
      readonly shardId: number;
      readonly replicaId: number;
      readonly members: readonly (readonly [number, string])[];
      readonly snapshotEntries: number;
    }
  | { readonly kind: "stop" };

export type FromHost =
  | { readonly kind: "open"; readonly raftAddress: string; readonly apiAddress: string }
  | { readonly kind: "started" };

function say(message: FromHost): void {
  process.send?.(message);
}

function fatal(error: unknown): never {
  process.stderr.write(fatalLines(error));
  if (error instanceof FatalStorageError && error.stuck) process.kill(process.pid, "SIGKILL");
  process.exit(EXIT.fatal);
}

async function main(settings: HostSettings): Promise<void> {
  const app = kvApp();
  const host = await NodeHost.open({ ...settings, apps: [app], onFatal: fatal });
  const handle = async (message: ToHost): Promise<void> => {
    if (message.kind === "stop") {
      await host.close();
      process.exit(0);
    }
    const { shardId, replicaId, members, snapshotEntries } = message;
    const config = { shardId, replicaId, snapshotEntries, compactionOverhead: 100 };
    await host.startApp(new Map(members), false, app, config);
    say({ kind: "started" });
  };
  process.on("disconnect", () => process.exit(0));
  process.on("message", (message: ToHost) => {
    handle(message).catch(fatal);
  });
  say({ kind: "open", raftAddress: host.raftAddress, apiAddress: host.apiAddress });
}

main(JSON.parse(process.argv[2] ?? "{}")).catch(fatal);
