/** The door of nodehost/apps: the apps every host has, and how an application's module becomes one. */
import type { App } from "../rsm/index.js";
import { type KvOptions, kvApp } from "./kv/kv.js";
import { kvDiskApp } from "./kv-disk/kv-disk.js";

export { appFromModule } from "./app-module.js";
export { type KvOptions, kvApp } from "./kv/kv.js";
export {
  decodeKvAnswer,
  decodeKvCommand,
  decodeKvNumber,
  encodeKvCommand,
  encodeKvQuery,
  KV_KEY_BYTES_MAX,
  KV_VALUE_BYTES_MAX,
  type KvAnswer,
  type KvCommand,
  type KvQuery,
  KvStatus,
  kvBytes,
} from "./kv/kv-codec.js";
export { KV_DISK_KEY_BYTES_MAX, kvDiskApp } from "./kv-disk/kv-disk.js";

/** Registered in every host. Options are for the machines that need a turn of the event loop in long work. */
export function builtinApps(options: KvOptions = {}): App[] {
  return [kvApp(options), kvDiskApp(options)];
}
