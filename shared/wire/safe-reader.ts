/**
 * Decoding of generated protobuf messages from untrusted bytes. Generated code types every uint64 as number but gives
 * Long objects at run time; this reader returns a checked safe integer instead, without touching protobufjs' global
 * settings (which belong to the application). Every failure becomes a MalformedError.
 *
 * Used by all codecs of shared/wire and by whoever decodes other messages of proto/ (transport, gRPC services).
 */
import type { Reader } from "protobufjs";
import protobuf from "protobufjs/minimal.js";
import { MalformedError } from "../codec/bytes.js";
import { errorText } from "../errors.js";
import { LIMITS } from "../limits.js";

class SafeReader extends protobuf.BufferReader {
  static {
    // The declared type of uint64() is Long, which an override may not change: defined on the prototype instead.
    Object.defineProperty(SafeReader.prototype, "uint64", { value: readSafeUint64 });
  }

  constructor(bytes: Uint8Array) {
    super(Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    this.discardUnknown = true;
  }
}

function readSafeUint64(this: Reader): number {
  const { buf, len } = this;
  let value = 0;
  let factor = 1;
  for (let i = 0; i < 10; i++) {
    const byte = this.pos < len ? buf[this.pos] : undefined;
    if (byte === undefined) throw new MalformedError("integer is cut off");
    this.pos += 1;
    // Sums above 2^53 are inexact, but never round to a safe integer.
    value += (byte & 127) * factor;
    factor *= 128;
    if (byte >= 128) continue;
    if (!Number.isSafeInteger(value)) throw new MalformedError("integer above 2^53 - 1");
    return value;
  }
  throw new MalformedError("integer longer than 10 bytes");
}

/** A generated message class, as far as it is needed to decode. */
export interface Decodable<T> {
  decode(reader: Reader, length?: number): T;
}

/** Decodes one message. Absent numbers are 0, absent texts "". Throws MalformedError. */
export function decodeMessage<T>(type: Decodable<T>, bytes: Uint8Array, maxBytes: number = LIMITS.frameBytesMax): T {
  if (bytes.length > maxBytes) throw new MalformedError(`message of ${bytes.length} bytes, at most ${maxBytes}`);
  try {
    return type.decode(new SafeReader(bytes));
  } catch (error) {
    if (error instanceof MalformedError) throw error;
    throw new MalformedError(errorText(error));
  }
}
