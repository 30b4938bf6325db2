/**
 * Hosts in network namespaces of their own, joined by a bridge that this process is on, too: so every test client can
 * reach every host while hosts cannot reach each other.
 *
 * A cut is a neighbour entry that points to a station that does not exist: what one host sends to another vanishes on
 * the wire, silently and in that direction only. No firewall is needed, and nothing is reset.
 */
import { type Cleanup, command } from "./cleanup.js";

const NOBODY = "02:00:00:00:de:ad";
const DEVICE = "eth0";

export class Namespaces {
  readonly #names: readonly string[];
  /** First three octets, of the range for tests of network equipment (RFC 2544). */
  readonly #net: string;
  readonly #cuts = new Set<string>();

  constructor(cleanup: Cleanup, count: number) {
    const { pid } = process;
    this.#net = `198.${18 + (pid % 2)}.${(pid >> 1) % 256}`;
    this.#names = Array.from({ length: count }, (_, i) => `drumline-${pid}-${i}`);
    const bridge = `dlb${pid}`;
    command("ip", "link", "add", bridge, "type", "bridge");
    cleanup.add(() => command("ip", "link", "del", bridge));
    command("ip", "addr", "add", `${this.#net}.254/24`, "dev", bridge);
    command("ip", "link", "set", bridge, "up");
    for (const [i, name] of this.#names.entries()) {
      const outside = `dlv${pid}n${i}`;
      command("ip", "netns", "add", name);
      cleanup.add(() => command("ip", "netns", "del", name));
      command("ip", "link", "add", outside, "type", "veth", "peer", "name", DEVICE, "netns", name);
      // A namespace may outlive its name for a moment; its link shall not.
      cleanup.add(() => command("ip", "link", "del", outside));
      command("ip", "link", "set", outside, "master", bridge, "up");
      command("ip", "-n", name, "addr", "add", `${this.address(i)}/24`, "dev", DEVICE);
      command("ip", "-n", name, "link", "set", DEVICE, "up");
      command("ip", "-n", name, "link", "set", "lo", "up");
    }
  }

  address(i: number): string {
    return `${this.#net}.${i + 1}`;
  }

  /** Words before a command that is to run on host i. */
  prefix(i: number): readonly string[] {
    return ["ip", "netns", "exec", this.#name(i)];
  }

  /** From now on nothing that host `from` sends to host `to` arrives. */
  cut(from: number, to: number): void {
    command("ip", "-n", this.#name(from), "neigh", "replace", this.address(to), "lladdr", NOBODY, ...PERMANENT);
    this.#cuts.add(`${from} ${to}`);
  }

  /** Undoes all cuts. */
  heal(): void {
    for (const cut of this.#cuts) {
      const [from = 0, to = 0] = cut.split(" ").map(Number);
      command("ip", "-n", this.#name(from), "neigh", "del", this.address(to), "dev", DEVICE);
    }
    this.#cuts.clear();
  }

  #name(i: number): string {
    const name = this.#names[i];
    if (name === undefined) throw new RangeError(`no namespace ${i}`);
    return name;
  }
}

const PERMANENT = ["dev", DEVICE, "nud", "permanent"] as const;
