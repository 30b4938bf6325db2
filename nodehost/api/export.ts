/** Exports snapshots of replicas that run here: `requestSnapshot` with `exportPath`. See exported.ts for the form. */
import * as path from "node:path";
import { OpError } from "../../shared/errors.js";
import type { Index } from "../../shared/types/ids.js";
import type { Replica, SnapshotOptions } from "../engine/index.js";
import type { Exporter } from "./calls.js";
import type { Parts } from "./compose.js";
import { writeExport } from "./exported.js";

export function exporterOf(parts: Parts): Exporter {
  return async (replica: Replica, options: SnapshotOptions): Promise<Index> => {
    const { env, files, identity, logDb } = parts;
    const { exportPath = "" } = options;
    if (!path.isAbsolute(exportPath)) {
      throw new OpError(
        "DL_ERR_INVALID_ARGUMENT",
        `exportPath is ${JSON.stringify(exportPath)}, expected an absolute path`,
      );
    }
    if (await files.exists(exportPath)) throw new OpError("DL_ERR_INVALID_ARGUMENT", `${exportPath} exists already`);
    const { shardId, replicaId } = replica;
    const bootstrap = logDb.state({ shardId, replicaId })?.bootstrap;
    if (bootstrap === undefined) throw new OpError("DL_ERR_SHARD_NOT_FOUND", `shard ${shardId}`);
    if (replica.role === "witness") throw new OpError("DL_ERR_REJECTED", "a witness has no data to export");
    const stream = await replica.snapshotter.open(options);
    try {
      const { index, term } = stream.meta;
      const { app, kind, config } = bootstrap;
      const exportedAtMs = Math.floor(env.wallClockMs());
      const description = {
        deploymentId: identity.deploymentId,
        shardId,
        app,
        kind,
        index,
        term,
        config,
        exportedAtMs,
      };
      await writeExport(files, exportPath, description, stream.chunks);
      return index;
    } finally {
      await stream.close();
    }
  };
}
