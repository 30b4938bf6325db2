/** Temporary directories of tests: below the system's, removed when the test ends. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import type { TestContext } from "node:test";

export async function tempDir(t: TestContext): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), "drumline-"));
  // Hooks run in order: what a test opens in it may be closing still, and write. rm tries again while it is not empty.
  t.after(() => rm(dir, { recursive: true, force: true, maxRetries: 20 }));
  return dir;
}
