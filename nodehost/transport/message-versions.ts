/**
 * Which wire version knows which message. A peer of an older version gets what it can read, or nothing: every message
 * may be lost, so leaving one out is safe. Used by peer.ts and sim-link.ts.
 */
import { MessageType, type WireMessage } from "../../shared/types/message.js";

/** Version 1 knows types 1 … 16. */
const TYPE_MAX_OF_VERSION_1 = 16;

/** The first version that knows pulses. */
export const PULSE_VERSION = 2;

/** The message as a peer of `wireVersion` reads it, undefined if there is no such form. */
export function messageFor(wireVersion: number, message: WireMessage): WireMessage | undefined {
  if (wireVersion >= 2) return message;
  // Version 1 would take metadata for entries without effect: its replicas are no witnesses.
  if (message.type === MessageType.Replicate && message.blocks.some((block) => block.isMetadata)) return undefined;
  if (message.type <= TYPE_MAX_OF_VERSION_1) return message;
  if (message.type !== MessageType.ProposeRefused) return undefined;
  const { reason, ...same } = message;
  return { ...same, type: MessageType.ProposeDropped };
}
