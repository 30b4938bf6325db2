/**
 * A disk for the conformance check of on-disk machines: real directories below one that the caller gives and removes.
 * What a crash leaves is a copy of the files as they are: what is only in the memory of the process is lost, as when it
 * is killed. What the operating system has not written yet is not lost; for that a machine needs a simulated disk.
 */
import { cp, mkdir } from "node:fs/promises";
import * as path from "node:path";
import type { KitDisk } from "../rsm/index.js";

/** `directory` exists. */
export function kitDirectories(directory: string): KitDisk {
  let places = 0;
  const next = (): string => {
    places += 1;
    return path.join(directory, `machine-${places}`);
  };
  return {
    place: async () => {
      const dataDir = next();
      await mkdir(dataDir);
      return { dataDir };
    },
    crash: async (place) => {
      const dataDir = next();
      await cp(place.dataDir, dataDir, { recursive: true });
      return { dataDir };
    },
  };
}
