#!/usr/bin/env node
/**
 * The `drumline` command. CommonJS, because UV_THREADPOOL_SIZE must be set before the first module is loaded
 * asynchronously: libuv reads it when its pool starts, which the ESM loader makes it do.
 */
"use strict";

const { existsSync } = require("node:fs");
const { join } = require("node:path");
const { pathToFileURL } = require("node:url");

// A log write must never wait behind four slow file operations (the default pool).
process.env.UV_THREADPOOL_SIZE ??= "16";
// Makes LMDB open at its last synced transaction after a crash instead of trusting pages that were never synced.
process.env.LMDB_RESTORE ??= "safe";

const main = join(__dirname, "..", "dist", "master", "cli", "main.js");
if (!existsSync(main)) {
  process.stderr.write("drumline: not built yet: run npm start\n");
  process.exitCode = 1;
} else {
  process.setSourceMapsEnabled(true);
  import(pathToFileURL(main).href).catch((error) => {
    process.stderr.write(`drumline: ${error?.stack ?? error}\n`);
    process.exitCode = 70;
  });
}
