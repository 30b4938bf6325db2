/** House rules that the linter cannot check. Every failure names file and line. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LAYERS, layerOf, ONE_DOOR, packageOf, SIDE_DOORS } from "./layers.js";
import { codeFiles, codeOnly, findLines, importsOf, isTest, read, textFiles } from "./scan.js";

const LINES_MAX = 400;
const LINE_LENGTH_MAX = 120;
const ts = codeFiles().filter((path) => path.endsWith(".ts"));
const product = ts.filter((path) => !isTest(path));

function none(problems: readonly string[]): void {
  assert.equal(problems.length, 0, `\n${problems.join("\n")}`);
}

test("the scan sees the sources", () => {
  assert.ok(product.length > 50 && product.includes("shared/errors.ts"));
  for (const { folder } of LAYERS) assert.ok(!folder.startsWith("/"), folder);
});

test("files have at most 400 lines of at most 120 characters", () => {
  none(
    codeFiles().flatMap((path) => {
      const lines = read(path).trimEnd().split("\n");
      const long = lines.findIndex((line) => line.length > LINE_LENGTH_MAX && !/https?:\/\/|biome-ignore/.test(line));
      return [
        ...(lines.length > LINES_MAX ? [`${path}: ${lines.length} lines`] : []),
        ...(long >= 0 ? [`${path}:${long + 1}: longer than ${LINE_LENGTH_MAX} characters`] : []),
      ];
    }),
  );
});

test("every file begins with a comment that says what it is", () => {
  none(codeFiles().filter((path) => !/^(#![^\n]*\n)?(\/\*\*|\/\/)/.test(read(path))));
});

test("imports stay within their layer", () => {
  none(
    product.flatMap((path) => {
      const layer = layerOf(path);
      if (layer === undefined) return [`${path}: in no layer`];
      return importsOf(path, read(path)).flatMap(({ specifier, target, line }) => {
        const isOurs = specifier.startsWith(".");
        const name = packageOf(specifier);
        const fits = isOurs
          ? layer.may.some((prefix) => target.startsWith(prefix))
          : layer.packages.includes(name) || (name.startsWith("node:") && layer.packages.includes("node:*"));
        return fits ? [] : [`${path}:${line}: ${layer.folder} may not import ${isOurs ? target : specifier}`];
      });
    }),
  );
});

/** The one place that picks the real parts. */
const COMPOSITION_ROOT = "nodehost/api/compose.ts";

test("folders of nodehost and master are entered by their doors", () => {
  const folderOf = (path: string) => path.split("/").slice(0, 2).join("/");
  // nodehost/index.ts and nodehost/testing.ts are doors themselves.
  const isInside = (path: string) => path.split("/").length > 2 && path !== COMPOSITION_ROOT;
  none(
    product.filter(isInside).flatMap((path) =>
      importsOf(path, read(path))
        .filter(({ target }) => /^(nodehost|master)\/[\w-]+\//.test(target) && folderOf(target) !== folderOf(path))
        .filter(({ target }) => !SIDE_DOORS.test(target))
        .map(({ target, line }) => `${path}:${line}: imports ${target}, not the index.ts of its folder`),
    ),
  );
});

test("packages that must be replaceable are named in one place", () => {
  none(
    product.flatMap((path) =>
      importsOf(path, read(path))
        .filter(({ specifier }) => ONE_DOOR[packageOf(specifier)]?.test(path) === false)
        .map(({ specifier, line }) => `${path}:${line}: imports ${specifier}`),
    ),
  );
});

const PURE_FOLDERS = /^(shared\/(types|codec)|nodehost\/(log|raft)|master\/(db|detect|plan))\//;
const PURE_FILES = /^shared\/(errors|limits|assert|config\/timing)\.ts$/;

/** Files of pure folders that may be asynchronous, each with its reason; the rest of the rule holds for them too. */
const ASYNC_IN_PURE = new Map([
  ["master/db/machine.ts", "implements the engine's snapshot methods, whose signatures are asynchronous"],
]);

test("pure folders are synchronous and know no clock, chance or console", () => {
  const asynchronous = /\b(async|await|Promise)\b/;
  const banned =
    /\b(setTimeout|setInterval|setImmediate|queueMicrotask|console|process|Buffer|Date|Math\.random|performance)\b/;
  none(
    product
      .filter((path) => PURE_FOLDERS.test(path) || PURE_FILES.test(path))
      .flatMap((path) => {
        const code = codeOnly(read(path));
        const waits = ASYNC_IN_PURE.has(path) ? [] : findLines(path, code, asynchronous, "not synchronous");
        return [...waits, ...findLines(path, code, banned, "not pure")];
      }),
  );
});

/** Each with its reason: everything else gets time, timers and chance from its Env. */
const REAL_TIME = new Map([
  ["shared/env/real-env.ts", "is the real environment"],
  ["shared/wire/grpc.ts", "deadlines of grpc-js are wall-clock times"],
  ["nodehost/client/shard-client.ts", "runs in applications, over real connections"],
  ["nodehost/client/host-client.ts", "runs in applications, over real connections"],
  ["nodehost/api/grpc-service.ts", "closes real connections"],
  ["nodehost/api/host-dir.ts", "writes the time for people"],
  ["nodehost/rsm/machine-driver.ts", "catches machines that use clock or chance"],
]);

test("only the Env knows time, timers and chance", () => {
  const banned = /\bDate\.now\b|\bnew Date\b|\bperformance\.now\b|\bset(Timeout|Interval)\b|\bMath\.random\b/;
  const free = (path: string) => REAL_TIME.has(path) || path.startsWith("master/cli/");
  none(
    product.filter((path) => !free(path)).flatMap((path) => findLines(path, codeOnly(read(path)), banned, "use Env")),
  );
});

test("modules hold no mutable state", () => {
  const banned = /^(export )?((let|var) |const \w+ = new (Map|Set|WeakMap|WeakSet)\b|const \w+(: \w+\[\])? = \[\];)/;
  none(product.flatMap((path) => findLines(path, read(path), banned, "mutable state of a module")));
});

test("no any, no silenced compiler, no EventEmitter", () => {
  none(
    ts
      .filter((path) => !path.startsWith("test/tidy/"))
      .flatMap((path) => {
        const code = codeOnly(read(path));
        return [
          ...findLines(path, code, /\bas any\b|:\s*any\b|<any\b|\bany\[\]/, "any"),
          ...findLines(path, read(path), /@ts-(ignore|nocheck)/, "silences the compiler"),
          ...findLines(path, code, /\bEventEmitter\b/, "use listeners or async iterators"),
          ...findLines(path, code, /^export default\b/, "default export"),
        ];
      }),
  );
});

test("nothing is left to do in comments", () => {
  const marks = new RegExp(`\\b(${["TO", "FIX", "XX"].map((start, i) => start + ["DO", "ME", "X"][i]).join("|")})\\b`);
  none(textFiles().flatMap((path) => findLines(path, read(path), marks, "do it or file an issue")));
});

test("no path of one machine, no document that is not in the repository", () => {
  const words = [
    ["", "work", ""],
    ["", "home", ""],
    ["", "root", ""],
    ["", "tmp", "brief"],
  ].map((parts) => parts.join("/"));
  const documents = ["DESIGN", "TOOLCHAIN"].map((name) => `${name}\\.md`);
  const pattern = new RegExp([...words.map((word) => `(?<![\\w.*-])${word}`), ...documents].join("|"));
  none(textFiles().flatMap((path) => findLines(path, read(path), pattern, "names this machine")));
});

test("tests are not narrowed, and skipped only with a reason", () => {
  none(
    ts
      .filter(isTest)
      .flatMap((path) => [
        ...findLines(
          path,
          codeOnly(read(path)),
          /\b(test|it|describe)\.(only|todo)\b|\bonly: true\b/,
          "narrows the run",
        ),
        ...findLines(
          path,
          codeOnly(read(path)),
          /\bskip: true\b|\b(test|it|describe)\.skip\b/,
          "skip without a reason",
        ),
      ]),
  );
});
