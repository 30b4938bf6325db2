/**
 * OpError ↔ gRPC status. The status code is the nearest standard one, for tools that know nothing else; the trailer
 * `drumline-error-bin` carries the whole error (ErrorDetail of proto/nodehost.proto), so that code and outcome survive
 * the trip. Used by shared/wire/grpc.ts; servers and clients use that.
 */
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { drumline } from "#gen/drumline.js";
import { MalformedError } from "../codec/bytes.js";
import { ERROR_CODES, type ErrorCode, errorText, isErrorCode, OpError, type Outcome } from "../errors.js";
import { cut } from "./check.js";
import { decodeMessage } from "./safe-reader.js";

const v1 = drumline.v1;

/** Name of the trailer. */
export const ERROR_TRAILER = "drumline-error-bin";
const ERROR_TRAILER_BYTES_MAX = 16_384;

const STATUS: Partial<Record<ErrorCode, status>> = {
  DL_ERR_INVALID_ARGUMENT: status.INVALID_ARGUMENT,
  DL_ERR_INVALID_ADDRESS: status.INVALID_ARGUMENT,
  DL_ERR_INVALID_CONFIG: status.INVALID_ARGUMENT,
  DL_ERR_INVALID_TARGET: status.INVALID_ARGUMENT,
  DL_ERR_MALFORMED: status.INVALID_ARGUMENT,
  DL_ERR_INVALID_SESSION: status.INVALID_ARGUMENT,
  DL_ERR_PAYLOAD_TOO_BIG: status.INVALID_ARGUMENT,
  DL_ERR_NOT_IMPLEMENTED: status.UNIMPLEMENTED,
  DL_ERR_SHARD_NOT_FOUND: status.NOT_FOUND,
  DL_ERR_SESSION_NOT_FOUND: status.NOT_FOUND,
  DL_ERR_APP_UNKNOWN: status.NOT_FOUND,
  DL_ERR_SHARD_ALREADY_EXISTS: status.ALREADY_EXISTS,
  DL_ERR_SHARD_EXISTS: status.ALREADY_EXISTS,
  DL_ERR_SHARD_NOT_READY: status.UNAVAILABLE,
  DL_ERR_NOT_LEADER: status.UNAVAILABLE,
  DL_ERR_UNREACHABLE: status.UNAVAILABLE,
  DL_ERR_BUS_LOST: status.UNAVAILABLE,
  DL_ERR_CLOSED: status.UNAVAILABLE,
  DL_ERR_SYSTEM_BUSY: status.RESOURCE_EXHAUSTED,
  DL_ERR_DISK_FULL: status.RESOURCE_EXHAUSTED,
  DL_ERR_TIMEOUT: status.DEADLINE_EXCEEDED,
  DL_ERR_CANCELED: status.CANCELLED,
  DL_ERR_ABORTED: status.CANCELLED,
  DL_ERR_LOGDB_CORRUPT: status.DATA_LOSS,
  DL_ERR_STORAGE_FAILED: status.DATA_LOSS,
  DL_ERR_INTERNAL: status.INTERNAL,
};

/** What a server hands to grpc-js for anything thrown by a handler. */
export function statusOf(error: unknown): { code: status; details: string; metadata: Metadata } {
  const opError = toOpError(error);
  const detail = v1.ErrorDetail.encode({
    code: opError.code,
    outcome: opError.outcome,
    retryable: opError.retryable,
    detail: cut(detailOf(opError)),
    hint: opError.hint,
  }).finish();
  const metadata = new Metadata();
  metadata.set(ERROR_TRAILER, Buffer.from(detail));
  const code = STATUS[opError.code] ?? (opError.outcome === "rejected" ? status.FAILED_PRECONDITION : status.UNKNOWN);
  return { code, details: cut(opError.message), metadata };
}

/** A bug's text stays in this process: it may hold anything. */
function toOpError(error: unknown): OpError {
  if (error instanceof OpError) return error;
  if (error instanceof MalformedError) return new OpError("DL_ERR_MALFORMED", error.message);
  return new OpError("DL_ERR_INTERNAL");
}

/** OpError puts the text of its code before the detail; the other side does so again. */
function detailOf(error: OpError): string {
  const { text } = ERROR_CODES[error.code];
  return error.message.startsWith(`${text}: `) ? error.message.slice(text.length + 2) : "";
}

/** What a client makes of a failed call. Never throws. */
export function opErrorOf(error: ServiceError): OpError {
  const [trailer] = error.metadata?.get(ERROR_TRAILER) ?? [];
  if (!Buffer.isBuffer(trailer)) return withoutTrailer(error);
  try {
    const m = decodeMessage(v1.ErrorDetail, trailer, ERROR_TRAILER_BYTES_MAX);
    const outcome = outcomeFrom(m.outcome);
    if (isErrorCode(m.code))
      return new OpError(m.code, m.detail === "" ? undefined : m.detail, { outcome, cause: error });
    // A newer server may know more codes than this client.
    const code = outcome === "rejected" ? "DL_ERR_REJECTED" : "DL_ERR_INTERNAL";
    return new OpError(code, `${m.code}: ${m.detail}`, { outcome, cause: error });
  } catch (cause) {
    return new OpError("DL_ERR_MALFORMED", `error trailer: ${errorText(cause)}`, { outcome: "unknown", cause: error });
  }
}

/** The call failed below us: connection, deadline, or a server that is not ours. */
function withoutTrailer(error: ServiceError): OpError {
  const options = { cause: error };
  switch (error.code) {
    case status.DEADLINE_EXCEEDED:
      return new OpError("DL_ERR_TIMEOUT", undefined, options);
    case status.CANCELLED:
      return new OpError("DL_ERR_CANCELED", undefined, options);
    case status.UNIMPLEMENTED:
      return new OpError("DL_ERR_NOT_IMPLEMENTED", error.details, options);
    case status.INTERNAL:
      return new OpError("DL_ERR_INTERNAL", error.details, options);
    default:
      return new OpError("DL_ERR_UNREACHABLE", error.details, options);
  }
}

function outcomeFrom(text: string): Outcome {
  return text === "rejected" || text === "applied" ? text : "unknown";
}
