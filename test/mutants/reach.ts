/** Which compiled files a program loads: what a layer cannot reach it cannot catch. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

/** Paths, relative to `compiled`, of all files that `entry` imports, directly or not, itself included. */
export function reachOf(compiled: string, entry: string): ReadonlySet<string> {
  const reached = new Set<string>();
  const waiting = [entry];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (reached.has(path) || !existsSync(join(compiled, path))) continue;
    reached.add(path);
    const text = readFileSync(join(compiled, path), "utf8");
    for (const [, specifier = ""] of text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)) {
      waiting.push(relative(compiled, join(compiled, dirname(path), specifier)));
    }
  }
  return reached;
}
