/**
 * Remembers, per host, the newest start that spoke to us, and refuses what cannot be a later one: an older directory
 * (restored from a copy), or a second process with the same identity. A stale or cloned host must not vote.
 */
import { OpError } from "../../shared/errors.js";
import type { HostId } from "../../shared/types/ids.js";
import type { Hello } from "../transport/port.js";

interface Known {
  readonly dataSetId: string;
  readonly counter: number;
  readonly nonce: string;
  /** Highest durable WAL sequence this start of it acknowledged. */
  sequence: number;
}

export class PeerRegister {
  readonly #self: { readonly hostId: HostId; readonly nonce: string; readonly deploymentId: number };
  readonly #known = new Map<HostId, Known>();

  constructor(self: { readonly hostId: HostId; readonly nonce: string; readonly deploymentId: number }) {
    this.#self = self;
  }

  /** Throws OpError to refuse: DEPLOYMENT_MISMATCH, HOST_CLONED, DATA_STALE. */
  check(hello: Hello): void {
    const { hostId, incarnation, deploymentId, dataSetId } = hello;
    if (deploymentId !== this.#self.deploymentId) {
      const what = `deployment ${deploymentId}, expected ${this.#self.deploymentId}`;
      throw new OpError("DL_ERR_DEPLOYMENT_MISMATCH", what);
    }
    if (hostId === this.#self.hostId && incarnation.nonce !== this.#self.nonce) {
      throw new OpError("DL_ERR_HOST_CLONED", `host ${hostId} is also this host`);
    }
    const known = this.#known.get(hostId);
    if (known !== undefined && known.dataSetId === dataSetId) this.#checkLater(hello, known);
    if (known?.nonce === incarnation.nonce) return;
    const sequence = hello.recoveredWalSequence;
    this.#known.set(hostId, { dataSetId, counter: incarnation.counter, nonce: incarnation.nonce, sequence });
  }

  /** The peer says that its log is durable up to here. */
  acknowledge(hostId: HostId, sequence: number): void {
    const known = this.#known.get(hostId);
    if (known !== undefined && sequence > known.sequence) known.sequence = sequence;
  }

  #checkLater(hello: Hello, known: Known): void {
    const { hostId, incarnation, recoveredWalSequence } = hello;
    if (incarnation.nonce === known.nonce) return;
    if (incarnation.counter === known.counter) {
      throw new OpError("DL_ERR_HOST_CLONED", `host ${hostId} start ${known.counter} was seen with another nonce`);
    }
    if (incarnation.counter < known.counter) {
      throw new OpError("DL_ERR_DATA_STALE", `host ${hostId} start ${incarnation.counter}, seen ${known.counter}`);
    }
    if (recoveredWalSequence < known.sequence) {
      const what = `host ${hostId} recovered log sequence ${recoveredWalSequence}, acknowledged ${known.sequence}`;
      throw new OpError("DL_ERR_DATA_STALE", what);
    }
  }
}
