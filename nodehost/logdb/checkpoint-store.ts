/**
 * A few small rows beside the WAL, changed together and durable when `commit` resolves: which segments there are, and
 * which replicas were removed for ever. The real one is LMDB (`lmdb-checkpoint.ts`), its twin `sim-checkpoint.ts`.
 *
 * A commit that rejects or does not settle in time is as final as a failed write of the WAL: the log stops.
 */
export interface CheckpointChange {
  /** ASCII, at most 200 characters. */
  readonly key: string;
  /** undefined = remove the row. */
  readonly value: Uint8Array | undefined;
}

export interface CheckpointStore {
  /** All rows. DL_ERR_LOGDB_CORRUPT if one does not have its checksum. */
  load(): Promise<ReadonlyMap<string, Uint8Array>>;
  /** All changes or none; durable when it resolves. One at a time. */
  commit(changes: readonly CheckpointChange[]): Promise<void>;
  /** Bytes of disk used. */
  diskBytes(): number;
  close(): Promise<void>;
}

/** Opens (creates) the store in a directory. */
export type CheckpointStoreFactory = (directory: string) => Promise<CheckpointStore>;
