/** The door of nodehost/api for the tools that work on directories of stopped hosts, and for test kits. */
export { type DataPaths, type DataPlace, dataPaths } from "./data-paths.js";
export { EXPORTED_SNAPSHOT, type ExportDescription, readExport } from "./exported.js";
export { type DirectoryLock, lockDirectory, openIdentity, readIdentity } from "./host-dir.js";
export { kitDirectories } from "./kit-directories.js";
