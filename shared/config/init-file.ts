/**
 * The `drumline.yaml` that `drumline init` writes: the birth certificate of a deployment.
 * It is the default of --config for masters and NodeHosts.
 */
import { stringify } from "yaml";
import type { Random } from "../env/env.js";

export interface InitFile {
  readonly deploymentId: number;
  readonly masters: readonly string[];
  readonly nats: readonly string[];
}

export function initFileText(init: InitFile): string {
  const header =
    "# One Drumline deployment. Give every master and NodeHost this file; never make a second one for it.\n";
  return header + stringify(init);
}

/** Random in 1 … 2^53 − 1, so that two deployments never meet by chance. */
export function newDeploymentId(random: Pick<Random, "hex">): number {
  const id = Number.parseInt(random.hex(7).slice(0, 13), 16);
  return Math.max(1, id);
}
