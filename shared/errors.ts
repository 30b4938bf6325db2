/**
 * Every failure a caller, operator or peer can meet has one stable code. Three kinds, three types:
 * AssertionError (a bug of ours), FatalStorageError (this host stops), OpError (an answer to the caller).
 * `outcome` says what is known of the request: `rejected` = certainly had no effect; `unknown` = may have had or may
 * still have one; `applied` = had its effect, but its result is gone.
 */
export type Outcome = "rejected" | "unknown" | "applied";

interface CodeFacts {
  readonly outcome: Outcome;
  readonly retryable: boolean;
  /** One line: what happened. */
  readonly text: string;
  /** One line: what to do next. */
  readonly try: string;
}

const rejected = (text: string, tryText: string): CodeFacts => ({
  outcome: "rejected",
  retryable: false,
  text,
  try: tryText,
});
const busy = (text: string, tryText: string): CodeFacts => ({
  outcome: "rejected",
  retryable: true,
  text,
  try: tryText,
});
const unknown = (text: string, tryText: string): CodeFacts => ({
  outcome: "unknown",
  retryable: true,
  text,
  try: tryText,
});

/** The closed table of codes. docs/errors.md is generated from it. */
export const ERROR_CODES = {
  DL_ERR_INVALID_ARGUMENT: rejected("an argument is not valid", "correct the argument named in the message"),
  DL_ERR_INVALID_CONFIG: rejected("a configuration value is not valid", "correct the key named in the message"),
  DL_ERR_INVALID_ADDRESS: rejected("an address is not host:port", "give host:port"),
  DL_ERR_INVALID_TARGET: rejected(
    "a target is not valid",
    "for a member: a host id or host:port that no other member uses; for a transfer: another voter",
  ),
  DL_ERR_INVALID_SESSION: rejected("the session does not fit this call", "see the message for what it is fit for"),
  DL_ERR_INVALID_OPERATION: rejected("this replica cannot do that", "ask a replica whose role allows it"),
  DL_ERR_NOT_IMPLEMENTED: rejected("this part is not built yet", "see CHANGELOG.md for what is"),
  DL_ERR_SHARD_NOT_FOUND: rejected("no replica of this shard runs here", "ask a host that runs the shard"),
  DL_ERR_SHARD_ALREADY_EXISTS: rejected("the shard already runs here", "stop it first, or use the running one"),
  DL_ERR_SHARD_NOT_BOOTSTRAPPED: rejected(
    "the replica was never started here",
    "start it with initial members or join",
  ),
  DL_ERR_BOOTSTRAP_MISMATCH: rejected(
    "the replica was first started with other settings",
    "restart it with no members and join false",
  ),
  DL_ERR_SHARD_NOT_READY: busy("the shard has no leader, or this replica is still starting", "retry"),
  DL_ERR_SHARD_NOT_STOPPED: rejected("the replica still runs", "stop it first"),
  DL_ERR_SHARD_CLOSED: unknown("the replica stopped before the answer", "read to learn what happened, then retry"),
  DL_ERR_REPLICA_REMOVED: rejected("this replica id was removed from the shard", "use a new replica id"),
  DL_ERR_REPLICA_FENCED: rejected("this replica is fenced after a failure", "see its report; it must be replaced"),
  DL_ERR_REJECTED: rejected("the shard refused the request", "see the reason in the message"),
  DL_ERR_DROPPED: busy("the request was certainly not appended", "retry"),
  DL_ERR_SYSTEM_BUSY: busy("a queue or window is full", "retry later with a delay"),
  DL_ERR_PAYLOAD_TOO_BIG: rejected("the payload is larger than the limit", "send smaller payloads"),
  DL_ERR_TIMEOUT: unknown("no answer in time", "read to learn what happened, then retry"),
  DL_ERR_CANCELED: unknown("canceled by the caller", "read to learn what happened"),
  DL_ERR_ABORTED: rejected("canceled before it was appended", "nothing happened"),
  DL_ERR_CLOSED: unknown("the NodeHost is closed", "open it again"),
  DL_ERR_SESSION_NOT_FOUND: rejected(
    "the session is not open: never registered, closed, or evicted by others",
    "open another; read first if an earlier attempt of this series ended unknown",
  ),
  DL_ERR_SESSION_STALE: rejected(
    "the session's client has said that it knows the answer to this series",
    "use the next series; read first if an earlier attempt ended unknown",
  ),
  DL_ERR_SESSION_RESULT_LOST: {
    outcome: "applied",
    retryable: false,
    text: "applied, but its result was lost in a crash",
    try: "read the state",
  } as CodeFacts,
  DL_ERR_NO_SNAPSHOT: rejected("there is nothing new to snapshot", "write first"),
  DL_ERR_CONFIG_CHANGE_PENDING: busy("another membership change is in flight", "retry when it is applied"),
  DL_ERR_NOT_CAUGHT_UP: busy(
    "the non-voting member is silent or too far behind to become a voter",
    "wait until it has caught up, then retry",
  ),
  DL_ERR_APP_UNKNOWN: rejected("no app of this name is registered on the host", "start the host with the app's module"),
  DL_ERR_APP_INVALID: rejected("the app module does not have the required form", "export app: { name, kind, create }"),
  DL_ERR_DIRECTORY_LOCKED: rejected("another process uses this directory", "stop it, or use another directory"),
  DL_ERR_DEPLOYMENT_MISMATCH: rejected(
    "another deployment's data or messages",
    "use the right configuration or directory",
  ),
  DL_ERR_HOST_MISMATCH: rejected(
    "the directory belongs to another host",
    "use that host's directory, or drop --host-id",
  ),
  DL_ERR_ADDRESS_IN_USE: rejected("the address is already in use", "choose another port, or stop who uses it"),
  DL_ERR_DATA_STALE: rejected(
    "the directory is older than what peers have seen of it",
    "stop the host, let its replicas be replaced under new ids, start it with an empty directory",
  ),
  DL_ERR_DATA_LOST: rejected(
    "data that was here is gone, and with it what was voted and acknowledged",
    "remove the members concerned and add new ones under new replica ids; a master does",
  ),
  DL_ERR_HOST_CLONED: rejected(
    "two processes use copies of one directory, or one was restored from a copy",
    "stop the one that is refused, let its replicas be replaced, start it with an empty directory",
  ),
  DL_ERR_LOGDB_CORRUPT: rejected("the log on disk is damaged", "let the master replace the replicas named"),
  DL_ERR_MACHINE_AHEAD: rejected(
    "an on-disk state machine does not fit the log beside it: it holds entries that the log does not",
    "log or machine was put back to an older copy; let the master replace the replica",
  ),
  DL_ERR_MACHINE_BEHIND: rejected(
    "an on-disk state machine lost entries that it had made durable and that the log no longer has",
    "its sync does not make durable, or its directory was put back; let the master replace the replica",
  ),
  DL_ERR_DISK_FULL: busy("the disk is full", "free space; the host goes on by itself"),
  DL_ERR_STORAGE_FAILED: unknown("a write to disk failed; the host stops", "check the disk, then restart the host"),
  DL_ERR_VERSION: rejected("a newer format or protocol version", "run a version that reads it"),
  DL_ERR_MALFORMED: rejected(
    "a message or file does not have the required form",
    "see the message; the sender is at fault",
  ),
  DL_ERR_UNREACHABLE: unknown("the other side cannot be reached", "check the address and that it runs"),
  DL_ERR_BUS_LOST: unknown("the message bus dropped the message", "it is retried where that is safe"),
  DL_ERR_WITNESS: busy("the replica asked is a witness: it holds no data", "ask another member of the shard"),
  DL_ERR_NOT_LEADER: busy("the one asked does not lead", "ask the leader named in the message"),
  DL_ERR_NOT_PLACEABLE: rejected(
    "there are not enough hosts for what is wanted",
    "add hosts or ask for fewer replicas",
  ),
  DL_ERR_HOST_NOT_FOUND: rejected("no host of this id is registered", "see drumline host list"),
  DL_ERR_HOST_REMOVED: rejected("the host was removed for ever", "start it with an empty directory: it gets a new id"),
  DL_ERR_OPERATION_NOT_FOUND: rejected("no open operation of this id", "see drumline op list"),
  DL_ERR_OPERATION_OPEN: busy("the shard has an open operation", "wait for it, or cancel it"),
  DL_ERR_SHARD_EXISTS: rejected("a shard of this id or key exists with other settings", "use another id"),
  DL_ERR_FENCED: rejected(
    "the request is from an older master, start or membership",
    "nothing; a newer request replaces it",
  ),
  DL_ERR_INTERNAL: unknown("a bug in the answering process", "report it with that process's log"),
  DL_ERR_FILE_EXISTS: rejected("the file exists and would be overwritten", "move it away, or use another path"),
} as const satisfies Record<string, CodeFacts>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** An answer that says no. `message` names the offending value and what would be valid. */
export class OpError extends Error {
  override readonly name = "OpError";
  readonly code: ErrorCode;
  readonly outcome: Outcome;
  readonly retryable: boolean;

  constructor(code: ErrorCode, detail?: string, options?: { readonly outcome?: Outcome; readonly cause?: unknown }) {
    const facts: CodeFacts = ERROR_CODES[code];
    super(
      detail === undefined ? facts.text : `${facts.text}: ${detail}`,
      options?.cause === undefined ? undefined : { cause: options.cause },
    );
    this.code = code;
    this.outcome = options?.outcome ?? facts.outcome;
    this.retryable = facts.retryable;
  }

  /** What to do next, in one line. */
  get hint(): string {
    return ERROR_CODES[this.code].try;
  }
}

/** Durability can no longer be promised: the NodeHost stops itself. */
export class FatalStorageError extends Error {
  override readonly name = "FatalStorageError";
  readonly code = "DL_ERR_STORAGE_FAILED" satisfies ErrorCode;
  /**
   * A write never came back: a thread of this process hangs in the kernel, and an orderly exit would wait for it while
   * holding lock and ports. Only SIGKILL ends such a process.
   */
  readonly stuck: boolean;

  constructor(message: string, options: { readonly cause?: unknown; readonly stuck?: boolean } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.stuck = options.stuck ?? false;
  }
}

export function isOpError(value: unknown): value is OpError {
  return value instanceof OpError;
}

/** For codes that come as text, from peers or from disk: a later version may know others. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(ERROR_CODES, text);
}

/** Text of anything thrown. */
export function errorText(value: unknown): string {
  return value instanceof Error ? value.message : String(value);
}
