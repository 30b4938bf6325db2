/** The door of master/loop: a running master. */
export { Master, type MasterOptions } from "./master.js";
export { MASTER_SHARD, type MasterMember, Store } from "./store.js";
