/**
 * Takes an application's module as it was imported (the import itself is the caller's) and returns its app, checked:
 * a host must say what is wrong with a module when it starts, not when the master first asks for a shard of it.
 */
import { errorText, isOpError, OpError } from "../../shared/errors.js";
import type { App } from "../rsm/index.js";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const METHODS = {
  memory: ["update", "lookup", "saveSnapshot", "recoverFromSnapshot", "close"],
  onDisk: ["open", "update", "lookup", "sync", "prepareSnapshot", "saveSnapshot", "recoverFromSnapshot", "close"],
  concurrent: ["update", "lookup", "prepareSnapshot", "saveSnapshot", "recoverFromSnapshot", "close"],
} as const;

/**
 * The app exported as `app` by a module's namespace object. DL_ERR_APP_INVALID names what is missing. The machines
 * that the returned app makes are checked when they are made.
 */
export function appFromModule(namespace: unknown, file: string): App {
  const app = fieldOf(namespace, "app");
  if (typeof app !== "object" || app === null)
    throw invalid(file, `export "app" is ${kindOf(app)}, expected an object`);
  const name = fieldOf(app, "name");
  if (typeof name !== "string" || !NAME.test(name)) {
    throw invalid(file, `app.name is ${kindOf(name)}, expected 1 to 64 letters, digits, ".", "_" or "-"`);
  }
  const kind = fieldOf(app, "kind");
  if (kind !== "memory" && kind !== "concurrent" && kind !== "onDisk") {
    throw invalid(file, `app.kind is ${kindOf(kind)}, expected "memory", "concurrent" or "onDisk"`);
  }
  if (typeof fieldOf(app, "create") !== "function") {
    throw invalid(file, `app.create is ${kindOf(fieldOf(app, "create"))}, expected a function (shardId, replicaId)`);
  }
  if (!isApp(app)) throw invalid(file, "app has not the required form");
  return checkedApp(app, file);
}

function checkedApp(app: App, file: string): App {
  const checked = <M>(make: () => M): M => {
    let machine: M;
    try {
      machine = make();
    } catch (error) {
      throw isOpError(error) ? error : invalid(file, `app.create threw: ${errorText(error)}`);
    }
    const missing = METHODS[app.kind].filter((method) => typeof fieldOf(machine, method) !== "function");
    if (missing.length > 0) throw invalid(file, `a machine of app "${app.name}" has no ${missing.join(", ")}`);
    return machine;
  };
  const { name } = app;
  switch (app.kind) {
    case "memory":
      return { name, kind: app.kind, create: (shard, replica) => checked(() => app.create(shard, replica)) };
    case "concurrent":
      return { name, kind: app.kind, create: (shard, replica) => checked(() => app.create(shard, replica)) };
    case "onDisk":
      return { name, kind: app.kind, create: (shard, replica, at) => checked(() => app.create(shard, replica, at)) };
  }
}

/** True for what `appFromModule` has looked at field by field. */
function isApp(value: object): value is App {
  return "name" in value && "kind" in value && "create" in value;
}

function fieldOf(value: unknown, name: string): unknown {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return undefined;
  return name in value ? Reflect.get(value, name) : undefined;
}

function kindOf(value: unknown): string {
  if (value === undefined) return "missing";
  return typeof value === "string" ? JSON.stringify(value.slice(0, 80)) : value === null ? "null" : `a ${typeof value}`;
}

function invalid(file: string, what: string): OpError {
  return new OpError("DL_ERR_APP_INVALID", `${file}: ${what}`);
}
