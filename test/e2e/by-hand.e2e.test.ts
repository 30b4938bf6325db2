/**
 * The walk-through of README.md ("By hand"), command by command as written there, but for ports and a shorter
 * down-after; with `drumline broker` and with nats-server.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { freePortTriples } from "../../master/cli/demo-process.js";
import type { Limit } from "../../master/cli/demo-wait.js";
import { skipWithoutNatsServer, startNatsServer } from "../../shared/bus/testing/nats-server.js";
import { limitOf, ROOT, tempDir } from "./kit.js";
import { type OpenCommand, Terminals } from "./kit-terminal.js";

interface Shards {
  readonly shards: readonly {
    readonly shardId: number;
    readonly state: string;
    readonly reason: string;
    readonly replicas: readonly { readonly hostId: string; readonly running: boolean }[];
  }[];
}

interface Hosts {
  readonly hosts: readonly { readonly hostId: string; readonly state: string; readonly raftAddress: string }[];
}

interface Operations {
  readonly operations: readonly { readonly kind: string; readonly state: string; readonly shardId: number }[];
}

/** Where the broker is, and every port of the README as a free one. */
interface Places {
  readonly brokerPort: number | undefined;
  readonly nats: string;
  readonly ports: ReadonlyMap<string, number>;
}

test("by hand with drumline broker", async (t) => {
  const [brokerPort = 0] = await freePortTriples(1);
  await walkThrough(t, { brokerPort, nats: `nats://127.0.0.1:${brokerPort}` });
});

test("by hand with nats-server", { skip: skipWithoutNatsServer() }, async (t) => {
  const server = await startNatsServer();
  t.after(() => server.stop());
  await walkThrough(t, { brokerPort: undefined, nats: `nats://127.0.0.1:${server.port}` });
});

/** What follows `npx drumline` in the code blocks of "By hand", comments left out: before and after the kill. */
function readmeCommands(): { readonly before: string[]; readonly after: string[] } {
  const text = readFileSync(join(ROOT, "README.md"), "utf8");
  const section = text.split("\n## By hand\n")[1]?.split("\n## ")[0] ?? "";
  const [before = "", after = ""] = section.split("`kill -9`");
  const commandsIn = (part: string): string[] =>
    [...part.matchAll(/^npx drumline ([^#\n]+)/gm)].map((match) => (match[1] ?? "").trim().replaceAll(/ +/g, " "));
  return { before: commandsIn(before), after: commandsIn(after) };
}

async function placesOf(words: readonly string[], rest: Omit<Places, "ports">): Promise<Places> {
  const named = [...new Set(words.flatMap((line) => line.match(/\b7\d\d0\b/g) ?? []))];
  const free = await freePortTriples(named.length);
  return { ...rest, ports: new Map(named.map((port, i) => [port, free[i] ?? 0])) };
}

function adapted(words: string, { brokerPort, nats, ports }: Places): string {
  const moved = words.replaceAll(/\b7\d\d0\b/g, (port) => String(ports.get(port) ?? port));
  if (words.startsWith("init ")) return `${moved.replace(/--down-after \w+/, "--down-after 5s")} --nats ${nats}`;
  return words === "broker" ? `broker --port ${brokerPort}` : moved;
}

async function walkThrough(t: TestContext, rest: Omit<Places, "ports">): Promise<void> {
  const limit = limitOf(t, 120_000);
  const terminals = new Terminals(await tempDir(t));
  t.after(() => terminals.close());
  const { before, after } = readmeCommands();
  const places = await placesOf(before, rest);
  const open = new Map<string, OpenCommand>();
  for (const words of before) {
    if (words === "broker" && places.brokerPort === undefined) continue;
    const typed = adapted(words, places);
    if (/^(broker|master|nodehost)\b/.test(words)) {
      const command = terminals.open(typed);
      open.set(words, command);
      await command.ready(limit);
    } else if (words === "status") await awaitHosts(terminals, limit);
    else await typeIn(terminals, typed);
  }
  const isOpen = (verb: string): number => [...open.keys()].filter((words) => words.startsWith(verb)).length;
  assert.deepEqual([isOpen("master"), isOpen("nodehost")], [3, 4]);
  await refusesSecondInit(terminals, before, places);

  const dead = await killHostOfShard1(terminals, { limit, open, places });
  assert.equal(await typeIn(terminals, "kv get 1 greeting"), "hello\n");
  await typeIn(terminals, "kv put 1 later world");
  await limit.until("status shows the host down", async () => /1 down/.test(await typeIn(terminals, "status")));
  await limit.until("all shards healthy again", () => isHealthy(terminals));
  const answers = new Map<string, string>();
  for (const words of after) answers.set(words, await typeIn(terminals, adapted(words, places)));
  assert.equal(answers.get("kv get 1 greeting"), "hello\n");
  assert.match(answers.get("host list") ?? "", new RegExp(`${dead} +down`));
  assert.match(answers.get("op list --all") ?? "", /replace +done/);
  const { operations } = await asked<Operations>(terminals, "op list --all");
  assert.ok(operations.some((operation) => operation.kind === "replace" && operation.shardId === 1));
  const { shards } = await asked<Shards>(terminals, "shard list");
  for (const shard of shards) {
    assert.equal(shard.replicas.length, 3);
    assert.ok(!shard.replicas.some((replica) => replica.hostId === dead), `shard ${shard.shardId} is still on ${dead}`);
  }
  assert.equal(await typeIn(terminals, "kv get 1 later"), "world\n");

  for (const command of [...open.values()].reverse()) {
    if (!command.running) continue;
    command.signal("SIGTERM");
    assert.equal(await command.exited, 0, command.output);
  }
}

/** Runs to its end with exit code 0; resolves to stdout. */
async function typeIn(terminals: Terminals, words: string): Promise<string> {
  const { code, stdout, stderr } = await terminals.run(words);
  assert.equal(code, 0, `${words}: ${stderr}`);
  return stdout;
}

async function asked<T>(terminals: Terminals, words: string): Promise<T> {
  return JSON.parse(await typeIn(terminals, `${words} --json`)) as T;
}

async function awaitHosts(terminals: Terminals, limit: Limit): Promise<void> {
  await limit.until("status shows 4 hosts up", async () => {
    const { stdout, stderr } = await terminals.run("status");
    if (/hosts +4 up/.test(stdout)) return true;
    throw new Error(`${stdout}${stderr}`);
  });
}

async function refusesSecondInit(terminals: Terminals, before: readonly string[], places: Places): Promise<void> {
  const init = before.find((words) => words.startsWith("init ")) ?? "";
  const { code, stderr } = await terminals.run(adapted(init, places));
  assert.equal(code, 1);
  assert.match(stderr, /^drumline: DL_ERR_FILE_EXISTS: .*\ntry: /);
}

async function isHealthy(terminals: Terminals): Promise<boolean> {
  const { shards } = await asked<Shards>(terminals, "shard list");
  const bad = shards.filter((shard) => shard.state !== "healthy" || shard.replicas.some((replica) => !replica.running));
  if (bad.length > 0) throw new Error(bad.map((s) => `${s.shardId} ${s.state}: ${s.reason}`).join("; "));
  return true;
}

interface KillContext {
  readonly limit: Limit;
  readonly open: ReadonlyMap<string, OpenCommand>;
  readonly places: Places;
}

/** kill -9 of a host with a replica of shard 1, once all is well; resolves to its host id. */
async function killHostOfShard1(terminals: Terminals, { limit, open, places }: KillContext): Promise<string> {
  await limit.until("all shards healthy", () => isHealthy(terminals));
  const { shards } = await asked<Shards>(terminals, "shard list");
  const { hosts } = await asked<Hosts>(terminals, "host list");
  const dead = shards.find((shard) => shard.shardId === 1)?.replicas[0]?.hostId ?? "";
  const address = hosts.find((host) => host.hostId === dead)?.raftAddress ?? "";
  const victim = [...open].find(([words]) => {
    const port = /^nodehost .*--ports (\d+)/.exec(words)?.[1] ?? "";
    return `127.0.0.1:${places.ports.get(port)}` === address;
  })?.[1];
  assert.ok(victim !== undefined, `nobody was started at ${address}`);
  victim.signal("SIGKILL");
  await victim.exited;
  return dead;
}
