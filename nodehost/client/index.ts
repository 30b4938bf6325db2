/** Public door of the client: `import { ShardClient } from "drumline/client"`. Speaks gRPC only. */
export { type ClientCallOptions, HostClient, type ProposeAnswer } from "./host-client.js";
export { type Route, ShardClient } from "./shard-client.js";
