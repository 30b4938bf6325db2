/** What lies where in a host's data directory. Used by the composition root and the tools for stopped hosts. */
import * as path from "node:path";

export interface DataPlace {
  readonly dataDir: string;
  /** Default `wal` below `dataDir`. */
  readonly walDir?: string | undefined;
}

export interface DataPaths {
  readonly logDb: string;
  readonly wal: string;
  readonly snapshots: string;
}

export function dataPaths(place: DataPlace): DataPaths {
  const { dataDir, walDir } = place;
  return {
    logDb: path.join(dataDir, "logdb"),
    wal: walDir ?? path.join(dataDir, "wal"),
    snapshots: path.join(dataDir, "snapshots"),
  };
}
