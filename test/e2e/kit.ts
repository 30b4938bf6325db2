/** What the end-to-end tests share: a limit, a directory, a load that is checked, programs. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import type { Load } from "../../master/cli/demo-load.js";
import { checkWrites, type HostViews, replicasEqual, votersAtStrength } from "../../master/cli/demo-verify.js";
import { Limit } from "../../master/cli/demo-wait.js";

export { tempDir } from "../kit/temp.js";

/** Of the checkout. */
export const ROOT = dirname(createRequire(import.meta.url).resolve("drumline/package.json"));
/** The command as users run it. */
export const DRUMLINE = fileURLToPath(new URL("../../../deploy/drumline.cjs", import.meta.url));
/** The same program without the wrapper. */
export const MAIN = fileURLToPath(new URL("../../master/cli/main.js", import.meta.url));

/** Ends a broken run with a message; no test passes or fails by the time it took. */
export function limitOf(t: TestContext, ms = 50_000): Limit {
  const stop = new AbortController();
  t.after(() => stop.abort());
  return new Limit(ms, stop.signal);
}

export interface Checked {
  readonly load: Load;
  readonly views: HostViews;
  readonly limit: Limit;
  readonly voters: number;
  /** Of the live hosts. */
  addresses(): readonly string[];
}

/** Every shard has its voters, each running on a live host. */
export async function awaitStrength(shardIds: readonly number[], checked: Omit<Checked, "load">): Promise<void> {
  const { limit, views, voters } = checked;
  await limit.until("all shards at strength", async () => {
    const infos = await views.infos(checked.addresses());
    for (const shardId of shardIds) {
      const state = votersAtStrength(shardId, voters, infos);
      if (typeof state === "string") throw new Error(state);
    }
    return true;
  });
}

/** Stops the load, then: nothing acknowledged is lost or double on any replica, and all replicas are equal. */
export async function checkAll(checked: Checked): Promise<void> {
  const { load, views, limit, voters } = checked;
  const ledgers = await load.stop();
  const shardIds = ledgers.map((ledger) => ledger.shardId);
  await awaitStrength(shardIds, checked);
  const addressesOf = async (shardId: number): Promise<string[]> => {
    const placed = votersAtStrength(shardId, voters, await views.infos(checked.addresses()));
    if (typeof placed === "string") throw new Error(placed);
    return placed.map((one) => one.address);
  };
  const check = await checkWrites(ledgers, views, { limit, addressesOf });
  assert.deepEqual(check.findings, []);
  assert.equal(check.lost + check.double + check.unwitnessed, 0);
  const problems: string[] = [];
  const problem = (text: string): void => void problems.push(text);
  const addresses = (): readonly string[] => checked.addresses();
  const equal = await replicasEqual(shardIds, views, { voters, limit, limitMs: 20_000, addresses, problem });
  assert.ok(equal, problems.join("; "));
}

/** Acknowledged writes of every shard rise by `count` from now on. */
export async function awaitWrites(load: Load, limit: Limit, count: number): Promise<void> {
  const before = load.ledgers.map((ledger) => ledger.acked);
  const risen = (): boolean => load.ledgers.every((ledger, i) => ledger.acked >= (before[i] ?? 0) + count);
  await limit.until(`${count} more writes of every shard`, risen);
}
