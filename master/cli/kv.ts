/**
 * `drumline kv`: reads and writes keys of a shard of the app kv. Where the shard is, the masters say; with --api one
 * host is asked directly, and no master is needed.
 */
import {
  decodeKvAnswer,
  decodeKvNumber,
  encodeKvCommand,
  encodeKvQuery,
  type KvCommand,
  KvStatus,
  kvBytes,
} from "../../nodehost/apps/index.js";
import { type Route, ShardClient } from "../../nodehost/client/index.js";
import { OpError } from "../../shared/errors.js";
import { MASTER_SERVICE } from "../../shared/wire/index.js";
import type { AdminClient } from "./admin-client.js";
import { EXIT } from "./failure.js";
import type { Output } from "./output.js";
import { shardIdOf } from "./shard.js";

export interface KvFlags {
  readonly api?: string;
  readonly stale?: boolean;
  readonly expect?: string;
  readonly absent?: boolean;
}

export interface KvCall {
  readonly verb: "put" | "get" | "delete" | "cas" | "append";
  readonly shard: string;
  readonly key: string;
  readonly value: string;
  readonly flags: KvFlags;
  readonly timeoutMs: number;
}

/** Resolves to the exit code: 1 when the key is not there, or the comparison failed. */
export async function runKv(output: Output, admin: AdminClient, call: KvCall): Promise<number> {
  const { api } = call.flags;
  const route = api === undefined ? routeOf(admin) : () => Promise.resolve([api]);
  const client = new ShardClient(route);
  try {
    const shardId = await shardOf(admin, call);
    if (call.verb !== "get") return await write(output, client, shardId, call);
    const hosts = call.flags.stale === true ? await route(shardId) : [];
    return await get(output, client, { shardId, call, near: hosts[0] });
  } finally {
    client.close();
  }
}

async function shardOf(admin: AdminClient, { shard, flags }: KvCall): Promise<number> {
  if (flags.api === undefined || /^\d{1,15}$/.test(shard)) return await shardIdOf(admin, shard);
  throw new OpError("DL_ERR_INVALID_ARGUMENT", `shard is ${shard}, expected its id: names are known to masters only`);
}

/** Hosts that run the shard, its leader first. */
export function routeOf(admin: AdminClient): Route {
  return async (shardId) => {
    const [shard, { hosts }] = await Promise.all([
      admin.call(MASTER_SERVICE.getShard, { shardId }),
      admin.call(MASTER_SERVICE.listHosts, {}),
    ]);
    const replicas = [...shard.replicas].sort((a, b) => Number(b.isLeader ?? false) - Number(a.isLeader ?? false));
    const addresses = replicas.map((r) => hosts.find((h) => h.hostId === r.hostId)?.apiAddress ?? "");
    return addresses.filter((address) => address !== "");
  };
}

interface Get {
  readonly shardId: number;
  readonly call: KvCall;
  /** The one host to ask for whatever it has; undefined = read linearizably. */
  readonly near: string | undefined;
}

async function get(output: Output, client: ShardClient, { shardId, call, near }: Get): Promise<number> {
  const { key, timeoutMs } = call;
  const query = encodeKvQuery({ op: "get", key: kvBytes(key) });
  const bytes = await (near === undefined
    ? client.read(shardId, query, { timeoutMs })
    : client.host(near).read(shardId, query, { timeoutMs, stale: true }));
  const answer = bytes === undefined ? undefined : decodeKvAnswer(bytes);
  const value = answer?.found === true ? new TextDecoder().decode(answer.bytes) : null;
  if (output.json) output.object({ shardId, key, found: value !== null, value });
  else if (value !== null) output.line(value);
  else output.note(`key ${key} is not there`);
  return value === null ? EXIT.failed : EXIT.ok;
}

async function write(output: Output, client: ShardClient, shardId: number, call: KvCall): Promise<number> {
  const { key, timeoutMs } = call;
  const answer = await client.propose(shardId, encodeKvCommand(commandOf(call)), { timeoutMs });
  const status = STATUS_TEXT[answer.value] ?? `status ${answer.value}`;
  const done = answer.value === KvStatus.Ok;
  const extra = extraOf(call, answer);
  if (output.json) output.object({ shardId, key, status, index: answer.index, ...extra });
  else if (done) output.line(status);
  else output.note(`${status}${extra.value === undefined ? "" : `: the value is ${extra.value}`}`);
  return done ? EXIT.ok : EXIT.failed;
}

const STATUS_TEXT: Readonly<Record<number, string>> = {
  [KvStatus.Ok]: "ok",
  [KvStatus.NotFound]: "notFound",
  [KvStatus.CompareFailed]: "compareFailed",
  [KvStatus.Malformed]: "malformed",
  [KvStatus.TooBig]: "tooBig",
};

interface Extra {
  readonly length?: number;
  readonly value?: string;
}

function extraOf({ verb }: KvCall, answer: { readonly value: number; readonly data: Uint8Array }): Extra {
  if (answer.data.length === 0) return {};
  if (verb === "append" && answer.value === KvStatus.Ok) return { length: decodeKvNumber(answer.data) };
  if (verb === "cas") return { value: new TextDecoder().decode(answer.data) };
  return {};
}

function commandOf({ verb, key, value, flags }: KvCall): KvCommand {
  const bytes = kvBytes(key);
  if (bytes.length > 0xffff)
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `key of ${bytes.length} bytes, at most 65535`);
  switch (verb) {
    case "delete":
      return { op: "delete", key: bytes };
    case "cas": {
      if ((flags.expect === undefined) === (flags.absent !== true)) {
        throw new OpError("DL_ERR_INVALID_ARGUMENT", "cas needs --expect VALUE or --absent");
      }
      const expected = flags.expect === undefined ? undefined : kvBytes(flags.expect);
      return { op: "compareAndSet", key: bytes, expected, value: kvBytes(value) };
    }
    case "append":
      return { op: "append", key: bytes, value: kvBytes(value) };
    default:
      return { op: "put", key: bytes, value: kvBytes(value) };
  }
}
