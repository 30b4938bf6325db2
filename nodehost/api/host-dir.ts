/**
 * The data directory's identity: one process at a time (kernel lock on LOCK, released by any death), one host, one
 * deployment, one data set, and an incarnation that grows with each start and is durable before the first message.
 */
import * as fs from "node:fs/promises";
import * as path from "node:path";
import { tryLock } from "fs-native-extensions";
import type { Env } from "../../shared/env/env.js";
import { OpError } from "../../shared/errors.js";
import { type Files, readWhole } from "../../shared/files/port.js";
import { type DataSetId, type HostId, type Incarnation, isSafeUint, isUuid } from "../../shared/types/ids.js";

export interface HostIdentity {
  readonly hostId: HostId;
  readonly deploymentId: number;
  readonly dataSetId: DataSetId;
  readonly incarnation: Incarnation;
}

interface IdentityFile {
  readonly version: 1;
  readonly hostId: string;
  readonly deploymentId: number;
  readonly dataSetId: string;
  readonly incarnation: number;
}

export interface DirectoryLock {
  release(): Promise<void>;
}

const IDENTITY = "host.json";

/** Takes the directory for this process. DL_ERR_DIRECTORY_LOCKED names who has it. */
export async function lockDirectory(dataDir: string): Promise<DirectoryLock> {
  await fs.mkdir(dataDir, { recursive: true });
  const file = path.join(dataDir, "LOCK");
  const handle = await fs.open(file, "a+");
  if (!tryLock(handle.fd)) {
    const holder = (await handle.readFile("utf8").catch(() => "")).trim();
    await handle.close();
    throw new OpError("DL_ERR_DIRECTORY_LOCKED", `${dataDir}${holder === "" ? "" : ` is used by ${holder}`}`);
  }
  await handle.truncate(0);
  await handle.appendFile(`process ${process.pid} since ${new Date().toISOString()}\n`);
  return { release: () => handle.close() };
}

/** What the directory says of itself, undefined if it is new. */
export async function readIdentity(files: Files, dataDir: string): Promise<IdentityFile | undefined> {
  const file = path.join(dataDir, IDENTITY);
  if (!(await files.exists(file))) return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(await readWhole(files, file)).toString("utf8"));
  } catch {
    throw new OpError("DL_ERR_LOGDB_CORRUPT", `${file} is not readable`);
  }
  return checkIdentity(parsed, file);
}

export interface IdentityWish {
  readonly hostId: HostId | undefined;
  readonly deploymentId: number | undefined;
}

/** Opens or makes the identity, counts the incarnation up, and makes it durable. */
export async function openIdentity(files: Files, dataDir: string, wish: IdentityWish, env: Env): Promise<HostIdentity> {
  const found = await readIdentity(files, dataDir);
  if (found !== undefined) checkWish(found, wish, dataDir);
  const next: IdentityFile = {
    version: 1,
    hostId: found?.hostId ?? wish.hostId ?? env.random.uuid(),
    deploymentId: found?.deploymentId ?? wish.deploymentId ?? 1,
    dataSetId: found?.dataSetId ?? env.random.uuid(),
    incarnation: (found?.incarnation ?? 0) + 1,
  };
  await writeDurably(files, dataDir, IDENTITY, Buffer.from(`${JSON.stringify(next, null, 2)}\n`));
  const incarnation = { counter: next.incarnation, nonce: env.random.hex(8) };
  return { hostId: next.hostId, deploymentId: next.deploymentId, dataSetId: next.dataSetId, incarnation };
}

/** Replaces a small file whole: either the old or the new one is there after a crash. DL_ERR_DISK_FULL. */
export async function writeDurably(files: Files, directory: string, name: string, bytes: Uint8Array): Promise<void> {
  try {
    await replaceFile(files, directory, name, bytes);
  } catch (error) {
    if (!isFull(error)) throw error;
    throw new OpError("DL_ERR_DISK_FULL", path.join(directory, name), { cause: error });
  }
}

/** True for the disk's own word that it has no room. */
export function isFull(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT");
}

async function replaceFile(files: Files, directory: string, name: string, bytes: Uint8Array): Promise<void> {
  const temporary = path.join(directory, `${name}.new`);
  await files.remove(temporary);
  const handle = await files.open(temporary, { create: true });
  try {
    await handle.write(bytes, 0);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await files.rename(temporary, path.join(directory, name));
  await files.syncDirectory(directory);
}

export function isHostId(text: string): boolean {
  return isUuid(text);
}

function checkIdentity(parsed: unknown, file: string): IdentityFile {
  const bad = (what: string): OpError => new OpError("DL_ERR_LOGDB_CORRUPT", `${file}: ${what}`);
  if (typeof parsed !== "object" || parsed === null) throw bad("not an object");
  const fields = new Map<string, unknown>(Object.entries(parsed));
  const version = fields.get("version");
  if (version !== 1) throw new OpError("DL_ERR_VERSION", `${file} has version ${String(version)}, expected 1`);
  const hostId = fields.get("hostId");
  const dataSetId = fields.get("dataSetId");
  const deploymentId = fields.get("deploymentId");
  const incarnation = fields.get("incarnation");
  if (typeof hostId !== "string" || !isHostId(hostId)) throw bad("hostId is not a UUID");
  if (typeof dataSetId !== "string" || !isHostId(dataSetId)) throw bad("dataSetId is not a UUID");
  if (!isSafeUint(deploymentId) || deploymentId < 1) throw bad("deploymentId is not an integer ≥ 1");
  if (!isSafeUint(incarnation)) throw bad("incarnation is not a count");
  return { version: 1, hostId, dataSetId, deploymentId, incarnation };
}

function checkWish(found: IdentityFile, wish: IdentityWish, dataDir: string): void {
  if (wish.hostId !== undefined && wish.hostId !== found.hostId) {
    throw new OpError("DL_ERR_HOST_MISMATCH", `${dataDir} belongs to host ${found.hostId}, expected ${wish.hostId}`);
  }
  if (wish.deploymentId !== undefined && wish.deploymentId !== found.deploymentId) {
    const what = `${dataDir} belongs to deployment ${found.deploymentId}, expected ${wish.deploymentId}`;
    throw new OpError("DL_ERR_DEPLOYMENT_MISMATCH", what);
  }
}
