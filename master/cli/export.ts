/** `drumline shard export`: asks a host of the shard to write a snapshot into a directory of its machine. */
import { HostClient } from "../../nodehost/client/index.js";
import { OpError } from "../../shared/errors.js";
import type { AdminClient } from "./admin-client.js";
import { routeOf } from "./kv.js";
import type { Output } from "./output.js";
import { shardIdOf } from "./shard.js";

export interface ExportFlags {
  readonly to: string;
  readonly api?: string;
}

export async function exportShard(
  output: Output,
  admin: AdminClient,
  call: { readonly shard: string; readonly flags: ExportFlags; readonly timeoutMs: number },
): Promise<void> {
  const { shard, flags, timeoutMs } = call;
  const shardId = flags.api === undefined ? await shardIdOf(admin, shard) : Number(shard);
  if (!Number.isSafeInteger(shardId) || shardId < 0) {
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `shard is ${shard}, expected its id: only masters know names`);
  }
  const api = flags.api ?? (await routeOf(admin)(shardId))[0];
  if (api === undefined) throw new OpError("DL_ERR_SHARD_NOT_FOUND", `no host with an API runs shard ${shardId}`);
  const client = new HostClient(api);
  try {
    const index = await client.requestSnapshot(shardId, { exportPath: flags.to }, { timeoutMs });
    if (output.json) output.object({ shardId, index, host: api, directory: flags.to });
    else output.line(`shard ${shardId} up to index ${index} is in ${flags.to} on the host at ${api}`);
  } finally {
    client.close();
  }
}
