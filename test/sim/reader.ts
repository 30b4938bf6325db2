/** The log reader a simulated core gets: durable entries, sometimes only after a fetch. */
import type { LogReader } from "../../nodehost/raft/types.js";
import type { EntryBlock } from "../../shared/codec/block.js";
import type { Index, Term } from "../../shared/types/ids.js";
import type { SimNode } from "./model.js";
import { EventKind } from "./queue.js";

export class SimReader implements LogReader {
  readonly #node: SimNode;
  #fetching = false;
  #fetched = false;

  constructor(node: SimNode) {
    this.#node = node;
  }

  slice(first: Index, last: Index, maxBytes: number): readonly EntryBlock[] | "pending" | "compacted" {
    const { disk, world, random } = this.#node;
    if (first < disk.log.first) return "compacted";
    if (!this.#fetched && world.faults && random.chance(world.options.fetchPending)) return this.#fetch();
    this.#fetched = false;
    const blocks = disk.log.slice(first, last, maxBytes);
    return blocks.length > 0 ? blocks : this.#fetch();
  }

  term(index: Index): Term | undefined {
    return this.#node.disk.log.term(index);
  }

  #fetch(): "pending" {
    if (this.#fetching) return "pending";
    this.#fetching = true;
    const { world, random } = this.#node;
    world.after(1 + random.int(10), EventKind.Fetch, this.#node, () => {
      this.#fetching = false;
      this.#fetched = true;
      this.#node.entriesFetched();
    });
    return "pending";
  }
}
