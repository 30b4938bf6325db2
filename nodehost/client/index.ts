/** Public door of the client: `import { ShardClient } from "drumline/client"`. Speaks gRPC only. */
export type { SessionState } from "../../shared/types/session.js";
export { type ClientCallOptions, HostClient, type ProposeAnswer, type ProposeOptions } from "./host-client.js";
export { type Route, ShardClient } from "./shard-client.js";
export { ShardSession } from "./shard-session.js";
