/** Configuration of masters and NodeHosts: the door of this folder. */
export { type Addresses, addressesOf, type ConfigRow, describeConfig } from "./describe.js";
export { type InitFile, initFileText, newDeploymentId } from "./init-file.js";
export {
  type ConfigFile,
  type ConfigSources,
  DEFAULT_CONFIG_FILE,
  type LoadedConfig,
  loadConfig,
  readConfigFile,
} from "./load.js";
export {
  DEFAULT_APPS,
  type MasterConfig,
  type NodeHostConfig,
  type ProcessKind,
  type Setting,
  settingsOf,
} from "./schema.js";
export {
  type ControlTiming,
  controlTimingProblems,
  DOWN_AFTER_DEFAULT_MS,
  DOWN_AFTER_MAX_MS,
  DOWN_AFTER_MIN_MS,
  deriveControlTiming,
} from "./timing.js";
export { durationText, parseDuration, parseSize } from "./values.js";
