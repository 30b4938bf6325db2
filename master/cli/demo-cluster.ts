/**
 * The processes of a deployment on this machine: broker, masters, NodeHosts. Starts them, kills them, starts them
 * again on their old directories, and stops all in order. Knows processes and addresses only, nothing of shards.
 * Used by the demo and by the end-to-end tests.
 */
import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { HostClient } from "../../nodehost/client/index.js";
import { errorText } from "../../shared/errors.js";
import { MasterControl } from "./demo-masters.js";
import { childEnvironment, DrumlineProcess, freePortTriples } from "./demo-process.js";
import { DemoFailure } from "./demo-wait.js";

export interface ClusterOptions {
  readonly directory: string;
  readonly downAfterMs: number;
  /** The CLI; default: the one beside this file. */
  readonly program?: string;
  /** A NATS server that runs already; default: `drumline broker` is started. */
  readonly nats?: string;
}

/** One master or NodeHost; the process behind it changes when it is started again. */
export interface Member {
  /** "master-1", "host-3". */
  readonly name: string;
  readonly dataDir: string;
  /** Masters only; hosts take free ports. */
  readonly ports: number;
  process: DrumlineProcess;
  raftAddress: string;
  apiAddress: string;
  /** Of hosts, as they report it. */
  hostId: string;
}

const BESIDE = fileURLToPath(new URL("./main.js", import.meta.url));

export class DemoCluster {
  readonly masters: Member[] = [];
  readonly hosts: Member[] = [];
  readonly #options: ClusterOptions;
  #broker: DrumlineProcess | undefined;
  #brokerPort = 0;
  #nats: string;
  #control: MasterControl | undefined;
  #stopping: Promise<boolean> | undefined;
  #starts = 0;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#nats = options.nats ?? "";
  }

  get nats(): string {
    return this.#nats;
  }
  get configPath(): string {
    return join(this.#options.directory, "drumline.yaml");
  }
  /** Calls to the masters; whichever leads answers. */
  get control(): MasterControl {
    if (this.#control === undefined) throw new DemoFailure("masters are not started");
    return this.#control;
  }

  /** Broker, unless a NATS server was given. The same port again after a stop. */
  async startBroker(): Promise<void> {
    if (this.#options.nats !== undefined) return;
    const broker = this.#spawn("broker", ["broker", "--port", String(this.#brokerPort), "--json"]);
    this.#broker = broker;
    const { url } = await broker.ready();
    this.#nats = url;
    this.#brokerPort = Number(new URL(url).port);
  }

  async killBroker(): Promise<void> {
    await this.#broker?.kill();
  }

  async killMasters(): Promise<void> {
    await Promise.all(this.masters.map((master) => master.process.kill()));
  }

  /** Writes the configuration and starts so many masters. */
  async startMasters(count: number): Promise<void> {
    const bases = await freePortTriples(count);
    const list = bases.map((port) => `127.0.0.1:${port}`).join(",");
    await this.run(["init", "--masters", list, "--nats", this.#nats, "--config", this.configPath]);
    for (const [i, ports] of bases.entries()) {
      const name = `master-${i + 1}`;
      const dataDir = join(this.#options.directory, name);
      const process = this.#spawnMaster(name, dataDir, ports);
      this.masters.push({ name, dataDir, ports, process, raftAddress: "", apiAddress: "", hostId: "" });
    }
    await Promise.all(this.masters.map(awaitMember));
    this.#control = new MasterControl(this.masters.map((master) => master.apiAddress));
  }

  /** Starts so many hosts; resolves when all serve. */
  async startHosts(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const name = `host-${this.hosts.length + 1}`;
      const dataDir = join(this.#options.directory, name);
      const process = this.#spawnHost(name, dataDir);
      this.hosts.push({ name, dataDir, ports: 0, process, raftAddress: "", apiAddress: "", hostId: "" });
    }
    await Promise.all(this.hosts.map((host) => awaitHost(host)));
  }

  /** On what is in its directory. */
  async restartHost(host: Member, flags: readonly string[] = []): Promise<void> {
    host.process = this.#spawnHost(host.name, host.dataDir, flags);
    await awaitHost(host);
  }

  /** Another process with a directory of its own, which counts among the hosts from now on. */
  async startHostOn(dataDir: string): Promise<Member> {
    const name = `host-${this.hosts.length + 1}`;
    const process = this.#spawnHost(name, dataDir);
    const host = { name, dataDir, ports: 0, process, raftAddress: "", apiAddress: "", hostId: "" };
    this.hosts.push(host);
    await awaitHost(host);
    return host;
  }

  /** On its old data and ports. */
  async restartMaster(master: Member): Promise<void> {
    master.process = this.#spawnMaster(master.name, master.dataDir, master.ports);
    await awaitMember(master);
  }

  host(hostId: string): Member | undefined {
    return this.hosts.find((host) => host.hostId === hostId);
  }

  get liveHosts(): Member[] {
    return this.hosts.filter((host) => host.process.running);
  }

  /** One command of the CLI; resolves to its stdout. */
  async run(args: readonly string[]): Promise<string> {
    const { directory } = this.#options;
    try {
      const call = promisify(execFile)(process.execPath, [this.#program, ...args], {
        cwd: directory,
        env: childEnvironment(),
        timeout: 30_000,
      });
      return (await call).stdout;
    } catch (error) {
      throw new DemoFailure(`drumline ${args.join(" ")}: ${errorText(error)}`);
    }
  }

  /** Hosts, then masters, then the broker: nobody misses a service while it goes. True if all went in order. */
  stop(): Promise<boolean> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<boolean> {
    this.#control?.close();
    const hosts = await Promise.all(this.hosts.map((host) => host.process.stop()));
    const masters = await Promise.all(this.masters.map((master) => master.process.stop()));
    const broker = (await this.#broker?.stop()) ?? true;
    return [...hosts, ...masters, broker].every(Boolean);
  }

  /** What a user may try now. */
  hints(): string[] {
    const [master] = this.masters.filter((one) => one.process.running);
    const [host] = this.liveHosts;
    if (master === undefined || host === undefined) return [];
    const drumline = "npx drumline";
    const at = `--master ${master.apiAddress}`;
    return [
      `${drumline} status ${at}`,
      `${drumline} kv put 1 hello world ${at}`,
      `${drumline} kv get 1 hello ${at}`,
      `kill -9 ${host.process.pid}   # ${host.name}; then: ${drumline} status ${at}`,
    ];
  }

  get #program(): string {
    return this.#options.program ?? BESIDE;
  }

  #spawnMaster(name: string, dataDir: string, ports: number): DrumlineProcess {
    const args = ["master", "--config", this.configPath, "--data", dataDir, "--ports", String(ports)];
    return this.#spawn(name, [...args, "--down-after", `${this.#options.downAfterMs}ms`, "--json"]);
  }

  #spawnHost(name: string, dataDir: string, flags: readonly string[] = []): DrumlineProcess {
    const args = ["nodehost", "--config", this.configPath, "--data", dataDir, "--ports", "0", ...flags];
    return this.#spawn(name, [...args, "--down-after", `${this.#options.downAfterMs}ms`, "--json"]);
  }

  #spawn(name: string, args: readonly string[]): DrumlineProcess {
    const { directory } = this.#options;
    if (this.#stopping !== undefined) throw new DemoFailure("stopping");
    const logs = join(directory, "logs");
    mkdirSync(logs, { recursive: true });
    this.#starts += 1;
    const logPath = join(logs, `${name}.${this.#starts}.log`);
    return new DrumlineProcess({ name, args: [this.#program, ...args], logPath, cwd: directory });
  }
}

async function awaitMember(member: Member): Promise<void> {
  const { raftAddress, apiAddress } = await member.process.ready();
  member.raftAddress = raftAddress;
  member.apiAddress = apiAddress;
}

async function awaitHost(host: Member): Promise<void> {
  await awaitMember(host);
  const client = new HostClient(host.apiAddress);
  try {
    host.hostId = (await client.info()).hostId;
  } finally {
    client.close();
  }
}
