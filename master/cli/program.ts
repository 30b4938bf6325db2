/**
 * The verbs of the `drumline` command and their options. Each action is in a file of its own; here is only what is
 * typed and how it is passed on. Answers an exit code; failures are told in one line (failure.ts).
 */
import { Command, Option } from "commander";
import { parseDuration } from "../../shared/config/index.js";
import { OpError } from "../../shared/errors.js";
import { AdminClient } from "./admin-client.js";
import { runConfigPrint } from "./config-print.js";
import type { CheckDiskFlags, DataFlags, ImportFlags, ShrinkFlags } from "./data.js";
import { type ExportFlags, exportShard } from "./export.js";
import { EXIT, failureOf } from "./failure.js";
import type { InitFlags } from "./init.js";
import { type KvCall, type KvFlags, runKv } from "./kv.js";
import { masterAddresses } from "./masters.js";
import { Output } from "./output.js";
import type { BrokerFlags } from "./run-broker.js";
import { addSettings, type Flags } from "./settings.js";
import { type CreateFlags, createShard, type ListFlags, listShards, showShard } from "./shard.js";
import { type OperationFlags, showEvents, showHosts, showOperations, showStatus } from "./show.js";
import { programVersion } from "./version.js";

interface GlobalFlags {
  readonly json?: boolean;
  readonly config?: string;
  readonly master?: string;
  readonly timeout: string;
}

/** What every action gets. */
interface Call {
  readonly output: Output;
  readonly configPath: string | undefined;
  readonly timeoutMs: number;
  /** A client of the masters; closed when the action is done. */
  readonly admin: AdminClient;
}

/** A number is the exit code. */
type Action = (call: Call) => unknown;

export async function runCli(args: readonly string[]): Promise<number> {
  const state = { code: EXIT.ok as number };
  const program = buildProgram((code) => {
    state.code = code;
  });
  try {
    await program.parseAsync(args, { from: "user" });
    return state.code;
  } catch (error) {
    const failure = failureOf(error);
    if (failure === undefined) throw error;
    process.stderr.write(failure.lines);
    return failure.exitCode;
  }
}

type Done = (code: number) => void;

function buildProgram(done: Done): Command {
  const program = new Command("drumline")
    .description("Multi-group Raft for Node.js, with masters that place and repair")
    .version(programVersion(), "--version", "print the version")
    .option("--json", "answers as JSON lines on stdout")
    .addOption(
      new Option("--config <file>", "configuration file (default: drumline.yaml, if it is there)").env(
        "DRUMLINE_CONFIG",
      ),
    )
    .addOption(new Option("--master <host:port>", "API of a master; several with commas").env("DRUMLINE_MASTER"))
    .addOption(new Option("--timeout <duration>", "how long a call may take").default("10s"))
    .showSuggestionAfterError(true)
    .exitOverride()
    // Failures are told by failure.ts, in one form.
    .configureOutput({ writeErr: () => {} });
  const run = (action: Action) => async () => done((await perform(program, action)) ?? EXIT.ok);
  addRunVerbs(program, run);
  addOperateVerbs(program, run);
  addShardVerbs(program, run);
  addKvVerbs(program, run);
  addDataVerbs(program, run);
  return program;
}

type Run = (action: Action) => () => Promise<void>;

async function perform(program: Command, action: Action): Promise<number | undefined> {
  const flags = program.opts<GlobalFlags>();
  const timeoutMs = parseDuration(flags.timeout);
  if (timeoutMs === undefined || timeoutMs <= 0) {
    throw new OpError(
      "DL_ERR_INVALID_ARGUMENT",
      `timeout is ${JSON.stringify(flags.timeout)}, expected one such as 10s`,
    );
  }
  const { config: configPath } = flags;
  const made: { admin: AdminClient | undefined } = { admin: undefined };
  const call: Call = {
    output: new Output(flags.json === true),
    configPath,
    timeoutMs,
    get admin() {
      made.admin ??= new AdminClient({ addresses: masterAddresses(flags.master, configPath), timeoutMs });
      return made.admin;
    },
  };
  try {
    const result = await action(call);
    return typeof result === "number" ? result : undefined;
  } finally {
    made.admin?.close();
  }
}

function addRunVerbs(program: Command, run: Run): void {
  program
    .command("demo")
    .description("a whole deployment on this machine that loses a host and repairs itself")
    .option("--hosts <number>", "NodeHosts", "5")
    .option("--shards <number>", "shards", "16")
    .option("--voters <number>", "voters per shard", "3")
    .option("--once", "end after the check instead of staying up")
    .option("--down-after <duration>", "silence after which a host is replaced", "5s")
    .option("--keep <dir>", "keep data and logs in this directory")
    .action((flags: DemoFlags) => run(({ output }) => demo(output, flags))());
  program
    .command("broker")
    .description("embedded message broker, for development only")
    .option("--host <host>", "address to bind", "127.0.0.1")
    .option("--port <port>", "port; 0 = any", "4222")
    .action((flags: BrokerFlags) =>
      run(async ({ output }) => {
        const { runBroker } = await import("./run-broker.js");
        return await runBroker(output, flags);
      })(),
    );
  program
    .command("init")
    .description("make a deployment: writes its id and its masters to drumline.yaml")
    .requiredOption("--masters <list>", "Raft port or host:port of each master, with commas")
    .option("--nats <list>", "NATS servers, with commas", "nats://127.0.0.1:4222")
    .option("--down-after <duration>", "silence after which the replicas of a host are replaced")
    .action((flags: InitFlags) =>
      run(async ({ output, configPath }) => {
        const { runInit } = await import("./init.js");
        runInit(output, flags, configPath);
      })(),
    );
  addSettings(program.command("master").description("run a master"), "master").action((flags: Flags) =>
    run(async ({ output, configPath }) => {
      const { runMaster } = await import("./run-master.js");
      return await runMaster(output, flags, configPath);
    })(),
  );
  addSettings(program.command("nodehost").description("run a NodeHost"), "nodehost").action((flags: Flags) =>
    run(async ({ output, configPath }) => {
      const { runNodeHost } = await import("./run-nodehost.js");
      return await runNodeHost(output, flags, configPath);
    })(),
  );
}

interface DemoFlags {
  readonly hosts: string;
  readonly shards: string;
  readonly voters: string;
  readonly once?: boolean;
  readonly downAfter: string;
  readonly keep?: string;
}

async function demo(output: Output, flags: DemoFlags): Promise<number> {
  const downAfterMs = parseDuration(flags.downAfter);
  if (downAfterMs === undefined) {
    throw new OpError("DL_ERR_INVALID_ARGUMENT", `down-after is ${flags.downAfter}, expected a duration such as 5s`);
  }
  const options = {
    hosts: numberFlag("hosts", flags.hosts, 64),
    shards: numberFlag("shards", flags.shards, 1_000),
    voters: numberFlag("voters", flags.voters, 7),
    once: flags.once === true,
    json: output.json,
    downAfterMs,
    keep: flags.keep,
  };
  const { runDemo } = await import("./demo.js");
  return await runDemo(options);
}

function numberFlag(name: string, text: string, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= max) return value;
  throw new OpError("DL_ERR_INVALID_ARGUMENT", `${name} is ${JSON.stringify(text)}, expected 1 to ${max}`);
}

function addOperateVerbs(program: Command, run: Run): void {
  program
    .command("status")
    .description("masters, hosts, shards, and why nothing happens if nothing does")
    .action(run(({ output, admin }) => showStatus(output, admin)));
  const host = program.command("host").description("hosts");
  host
    .command("list")
    .description("all hosts, their state and why")
    .action(run(({ output, admin }) => showHosts(output, admin)));
  const op = program.command("op").description("operations of the masters");
  op.command("list")
    .description("open operations")
    .option("--all", "finished ones too")
    .option("--shard <id>", "only those of one shard")
    .action((flags: OperationFlags) => run(({ output, admin }) => showOperations(output, admin, flags))());
  program
    .command("events")
    .description("what happened lately")
    .option("--after <sequence>", "only later ones")
    .action((flags: { after?: string }) => run(({ output, admin }) => showEvents(output, admin, flags))());
  const config = program.command("config").description("configuration");
  const print = config
    .command("print [kind]")
    .description("settings of a nodehost (default) or master, with their origin");
  addSettings(print, "nodehost").action((kind: string | undefined, flags: Flags) =>
    run(({ output, configPath }) => runConfigPrint(output, kind ?? "nodehost", flags, configPath))(),
  );
}

function addShardVerbs(program: Command, run: Run): void {
  const shard = program.command("shard").description("shards");
  shard
    .command("create")
    .description("create shards; the masters choose the hosts")
    .requiredOption("--app <name>", "app that the shards run, such as kv")
    .option("--voters <number>", "voters per shard", "3")
    .option("--non-voters <number>", "non-voting replicas per shard", "0")
    .option("--count <number>", "how many shards", "1")
    .option("--name <name>", "name; with --count, name-1, name-2, …")
    .option("--key <key>", "the same key again answers the same shards")
    .option("--dry-run", "shows where they would go")
    .action((flags: CreateFlags) => run(({ output, admin }) => createShard(output, admin, flags))());
  shard
    .command("list")
    .description("all shards, their state and why")
    .option("--unhealthy", "only those with something wrong")
    .option("--host <id>", "only those with a replica on this host")
    .action((flags: ListFlags) => run(({ output, admin }) => listShards(output, admin, flags))());
  shard
    .command("show <shard>")
    .description("one shard: what it has, what it lacks, what is being done, and why not more")
    .action((id: string) => run(({ output, admin }) => showShard(output, admin, id))());
  shard
    .command("export <shard>")
    .description("write a snapshot into a new directory on the machine of one of its hosts, to be imported elsewhere")
    .requiredOption("--to <dir>", "absolute path of the new directory")
    .option("--api <host:port>", "ask this host, without any master")
    .action((id: string, flags: ExportFlags) =>
      run(({ output, admin, timeoutMs }) => exportShard(output, admin, { shard: id, flags, timeoutMs }))(),
    );
}

function addDataVerbs(program: Command, run: Run): void {
  const data = program.command("data").description("data directories of stopped hosts");
  const place = (command: Command): Command =>
    command
      .requiredOption("--data <dir>", "data directory of the host")
      .option("--wal-dir <dir>", "its log, if that is elsewhere");
  place(data.command("inspect").description("what a directory holds, also a damaged one; changes nothing")).action(
    (flags: DataFlags) =>
      run(async ({ output }) => {
        const { runInspect } = await import("./data.js");
        return await runInspect(output, flags);
      })(),
  );
  place(data.command("shrink"))
    .description("after a loss of quorum: make this host's replica the only member of its shard")
    .requiredOption("--shard <id>", "the shard")
    .option("--replica <id>", "which one, if several replicas of the shard are here")
    .option("--target <host>", "where it is reached from now on, if elsewhere")
    .option("--dry-run", "only say what would be done (also without --yes)")
    .option("--yes", "do it")
    .action((flags: ShrinkFlags) =>
      run(async ({ output }) => {
        const { runShrink } = await import("./data.js");
        return await runShrink(output, flags);
      })(),
    );
  place(data.command("import"))
    .description("make a replica from an exported snapshot, as one of a new set of members")
    .requiredOption("--from <dir>", "directory of the export")
    .requiredOption("--replica <id>", "the replica that this host is to run: an id that was never used")
    .requiredOption("--members <list>", "all voters from now on: 11=host:port,12=host:port; the same on each host")
    .option("--lineage <number>", "at least so much, if the membership was forced after the export")
    .option("--replace", "remove what this host has of the shard")
    .option("--dry-run", "only say what would be done (also without --yes)")
    .option("--yes", "do it")
    .action((flags: ImportFlags) =>
      run(async ({ output }) => {
        const { runImport } = await import("./data.js");
        return await runImport(output, flags);
      })(),
    );
  data
    .command("checkdisk <dir>")
    .description("how fast and how honest the disk is, in words")
    .option("--for <duration>", "how long to measure", "4s")
    .action((dir: string, flags: CheckDiskFlags) =>
      run(async ({ output }) => {
        const { runCheckDisk } = await import("./data.js");
        return await runCheckDisk(output, dir, flags);
      })(),
    );
}

function addKvVerbs(program: Command, run: Run): void {
  const kv = program.command("kv").description("keys of a shard of the app kv");
  const act = (verb: KvCall["verb"], words: Words, flags: KvFlags) =>
    run(({ output, admin, timeoutMs }) => runKv(output, admin, { verb, ...words, flags, timeoutMs }))();
  const api = ["--api <host:port>", "ask this host, without any master"] as const;
  kv.command("get <shard> <key>")
    .description("read a key (linearizable)")
    .option(...api)
    .option("--stale", "whatever the nearest replica has")
    .action((shard: string, key: string, flags: KvFlags) => act("get", { shard, key, value: "" }, flags));
  kv.command("delete <shard> <key>")
    .description("delete a key")
    .option(...api)
    .action((shard: string, key: string, flags: KvFlags) => act("delete", { shard, key, value: "" }, flags));
  for (const verb of ["put", "append"] as const) {
    kv.command(`${verb} <shard> <key> <value>`)
      .description(verb === "put" ? "set a key" : "append to the value of a key")
      .option(...api)
      .action((shard: string, key: string, value: string, flags: KvFlags) => act(verb, { shard, key, value }, flags));
  }
  kv.command("cas <shard> <key> <value>")
    .description("set a key if it has the expected value")
    .option(...api)
    .option("--expect <value>", "the value it must have")
    .option("--absent", "it must not be there")
    .action((shard: string, key: string, value: string, flags: KvFlags) => act("cas", { shard, key, value }, flags));
}

interface Words {
  readonly shard: string;
  readonly key: string;
  readonly value: string;
}
