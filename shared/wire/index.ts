/** The door to proto/gen for plain types: codecs of control messages, and the gRPC services. */
export * from "./control-codec.js";
export {
  decodeDiscoverReply,
  decodeDiscoverRequest,
  encodeDiscoverReply,
  encodeDiscoverRequest,
} from "./discover-codec.js";
export * from "./grpc.js";
export { membershipFromWire, membershipToWire } from "./membership-codec.js";
