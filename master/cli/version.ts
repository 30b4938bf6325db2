/** The version of this program, from its own package.json. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

export function programVersion(): string {
  const path = createRequire(import.meta.url).resolve("drumline/package.json");
  const parsed: unknown = JSON.parse(readFileSync(path, "utf8"));
  const version = typeof parsed === "object" && parsed !== null && "version" in parsed ? parsed.version : undefined;
  return typeof version === "string" ? version : "unknown";
}
