/** Tools for the data directories of stopped hosts: after a loss of quorum, and to look into what is there. */
export {
  type CheckDiskOptions,
  type CheckDiskReport,
  checkDisk,
  type DiskMeasurement,
  type DiskVerdict,
} from "./checkdisk.js";
export { type ImportOptions, type ImportReport, importSnapshot } from "./import.js";
export { type InspectedReplica, type Inspection, inspectData } from "./inspect.js";
export type { DataOptions } from "./open-data.js";
export { type ShrinkOptions, type ShrinkReport, shrinkToSurvivors } from "./shrink.js";
