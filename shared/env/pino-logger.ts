/**
 * Logger of the command-line programs: one JSON line per event on stderr, so that stdout stays free for answers. The
 * library itself is silent unless its user passes a logger (pino's own fits, too). Nothing here is kept in the module.
 */
import { type DestinationStream, destination, type Logger as PinoInstance, pino, stdTimeFunctions } from "pino";
import type { Logger } from "./env.js";

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Fields that hold secrets wherever they appear, one level deep included. */
const SECRET_FIELDS = ["password", "token", "seed", "natsPassword", "natsToken"];

export interface PinoLoggerOptions {
  readonly level: LogLevel;
  /** In every line, such as the name of the process. */
  readonly fields?: object;
  /** Takes complete lines. Default: stderr, written at once, so that the last line before a crash is there. */
  readonly stream?: DestinationStream;
}

export function createPinoLogger(options: PinoLoggerOptions): Logger {
  const stream = options.stream ?? destination({ dest: 2, sync: true });
  const settings = {
    level: options.level,
    base: { ...options.fields },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`]), censor: "***" },
  };
  return adapt(pino(settings, stream));
}

function adapt(instance: PinoInstance): Logger {
  return {
    debug: (fields, message) => instance.debug(fields, message),
    info: (fields, message) => instance.info(fields, message),
    warn: (fields, message) => instance.warn(fields, message),
    error: (fields, message) => instance.error(fields, message),
    child: (fields) => adapt(instance.child(fields)),
  };
}
