/**
 * Every bound of the system, with its unit in its name. Hitting one is a typed error before anything is appended,
 * never an unbounded buffer.
 */
export const LIMITS = {
  /** One proposal's command. */
  commandBytesMax: 4 * 1024 * 1024,
  /** One packed block; a bigger batch becomes several. */
  blockBytesMax: 4 * 1024 * 1024,
  blockEntriesMax: 4096,
  /** One Replicate message. */
  replicateBytesMax: 1024 * 1024,
  /** Unacknowledged bytes per follower in state Replicate. */
  inflightBytesMax: 8 * 1024 * 1024,
  inflightMessagesMax: 256,
  /** Queued, not yet appended proposals of one replica. */
  proposalQueueEntriesMax: 32_768,
  proposalQueueBytesMax: 64 * 1024 * 1024,
  /** Appended or forwarded and not yet answered, per replica. */
  pendingRequestsMax: 262_144,
  readIndexQueueMax: 65_536,
  /** Applied entries of one replica kept in memory for slow followers. */
  logCacheBytesMax: 1024 * 1024,
  /** Segments of the log above which the replicas that hold the oldest one are compacted. */
  logSegmentsMax: 6,
  /** Above so many, live blocks of the oldest segment are written once more, at most so fast. */
  logSegmentsRelocate: 8,
  logRelocateBytesPerSecond: 32 * 1024 * 1024,
  /** Above so many, proposals are refused until there is room again: the log stays below 1 GiB. */
  logSegmentsBusy: 12,
  /** Snapshots saved at the same time on one host. */
  snapshotSavesMax: 2,
  /** Shards at rest that are woken in one turn, so that a dead host's shards do not all campaign at once. */
  restWakesPerTurnMax: 256,
  /** Messages waiting for one replica's next step. */
  inboxMessagesMax: 4096,
  /** Not yet written bytes per peer connection; above it messages are dropped. */
  sendBufferBytesMax: 64 * 1024 * 1024,
  /** One transport frame. */
  frameBytesMax: 64 * 1024 * 1024,
  snapshotChunkBytes: 256 * 1024,
  snapshotStreamsOutMax: 4,
  snapshotStreamsInMax: 4,
  snapshotsKeptMax: 2,
  /** Snapshot bytes a host sends, and takes, per second unless told otherwise: all streams of a direction together. */
  snapshotBytesPerSecond: 50_000_000,
  /** An on-disk machine is synced at least so often. */
  machineSyncIntervalMs: 180_000,
  /** Part of what replicas must agree on, like the next two: one value for all versions that run together. */
  sessionsPerShardMax: 4096,
  /** Answers kept for one session; a client that has one proposal in flight needs one. */
  sessionResultsMax: 16,
  /** Data of all answers kept for the sessions of one shard. */
  sessionResultBytesMax: 8 * 1024 * 1024,
  /** A write to the log that has not settled by then stops the host. */
  walWriteDeadlineMs: 10_000,
  /** Turn: entries are applied until this much time is used, then the loop is yielded. */
  applyBudgetMs: 2,
  /** NATS payloads are split below this. */
  busPayloadBytesMax: 900 * 1024,
  /** How far the remembered log sequence of a peer may lag behind what it acknowledged. */
  peerSequenceLagMs: 1_000,
  /** A host that writes tells the hosts of all other members about it so often. */
  peerBeatMs: 1_000,
  /** Data directories of peers, and replicas of peers, that are remembered. */
  peerDataSetsMax: 10_000,
  peerReplicasMax: 262_144,
  /** Messages of one peer or replica that wait until who it is has been written down. */
  heldMessagesMax: 64,
  reportShardsMax: 200_000,
  eventRingEntriesMax: 1000,
  /** Ids, names, addresses, label keys and values in control messages. */
  wireNameCharsMax: 256,
  /** Free text in control messages; longer text is cut when sent, refused when received. */
  wireTextCharsMax: 4096,
  /** Labels, apps and silent peers of one host. */
  wireListMax: 10_000,
  /** Members of one shard in control messages. */
  wireMembersMax: 1000,
  /** Open requests in one answer to a host. */
  requestsPerReplyMax: 10_000,
  registryHostsMax: 10_000,
  registryShardsMax: 1_000_000,
} as const;
