/** Discovery on the bus: a host without a deployment id asks, every deployment's leading master answers. */
import { drumline } from "#gen/drumline.js";
import { MalformedError } from "../codec/bytes.js";
import { positive } from "./check.js";
import { decodeMessage } from "./safe-reader.js";

const v1 = drumline.v1;
const REPLY_SUBJECT = /^drumline\.discover\.[0-9a-f]{16}$/;

export function encodeDiscoverRequest(hostId: string, replyTo: string): Uint8Array {
  return v1.DiscoverRequest.encode({ hostId, replyTo }).finish();
}

/** The subject to answer on. Only discovery's own reply subjects are accepted: nobody is made to publish elsewhere. */
export function decodeDiscoverRequest(bytes: Uint8Array): { readonly hostId: string; readonly replyTo: string } {
  const { hostId, replyTo } = decodeMessage(v1.DiscoverRequest, bytes);
  if (!REPLY_SUBJECT.test(replyTo)) throw new MalformedError("discovery without a reply subject");
  return { hostId, replyTo };
}

export function encodeDiscoverReply(deploymentId: number, masters: readonly string[]): Uint8Array {
  return v1.DiscoverReply.encode({ deploymentId, masters: [...masters] }).finish();
}

export function decodeDiscoverReply(bytes: Uint8Array): { readonly deploymentId: number } {
  return { deploymentId: positive(decodeMessage(v1.DiscoverReply, bytes).deploymentId, "deploymentId") };
}
