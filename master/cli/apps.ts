/** The apps of a NodeHost process: built-in ones by name, others by the path of their module. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { appFromModule, builtinApps } from "../../nodehost/apps/index.js";
import type { App } from "../../nodehost/index.js";
import { errorText, OpError } from "../../shared/errors.js";

/** DL_ERR_APP_UNKNOWN, DL_ERR_APP_INVALID. */
export async function loadApps(wanted: readonly string[]): Promise<App[]> {
  const builtin = new Map(builtinApps({ giveWay }).map((app) => [app.name, app]));
  const apps = new Map<string, App>();
  for (const word of wanted) {
    const app = builtin.get(word) ?? (await appOfFile(word, [...builtin.keys()]));
    if (apps.has(app.name)) throw new OpError("DL_ERR_APP_INVALID", `${word}: app "${app.name}" is there already`);
    apps.set(app.name, app);
  }
  return [...apps.values()];
}

function giveWay(): Promise<void> {
  return new Promise((done) => {
    setImmediate(done);
  });
}

async function appOfFile(word: string, builtin: readonly string[]): Promise<App> {
  const path = resolve(word);
  if (!existsSync(path)) {
    throw new OpError("DL_ERR_APP_UNKNOWN", `${word} is neither a file nor one of ${builtin.join(", ")}`);
  }
  let namespace: unknown;
  try {
    namespace = await import(pathToFileURL(path).href);
  } catch (error) {
    throw new OpError("DL_ERR_APP_INVALID", `${word} cannot be loaded: ${errorText(error)}`, { cause: error });
  }
  return appFromModule(namespace, word);
}
