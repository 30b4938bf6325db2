/** The codec of everything in shared/types/control.ts: what bus users import. */
export {
  decodeNodeHostInfo,
  decodeRegistryView,
  encodeNodeHostInfo,
  encodeRegistryView,
  nodeHostInfoFromWire,
  nodeHostInfoToWire,
} from "./report-codec.js";
export {
  decodeHostRequest,
  decodeHostResult,
  decodeReportReply,
  encodeHostRequest,
  encodeHostResult,
  encodeReportReply,
} from "./request-codec.js";
