/** What documents name exists: linked files, paths in backquotes, npm scripts, packages and where they are imported. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join, posix } from "node:path";
import { test } from "node:test";
import { MUTANTS } from "../mutants/bank.js";
import { codeFiles, importsOf, ROOT, read, textFiles } from "./scan.js";

const documents = textFiles().filter((path) => path.endsWith(".md"));
const files = codeFiles();

function exists(path: string): boolean {
  return existsSync(join(ROOT, path));
}

/** Text outside of code blocks. */
function prose(path: string): string {
  return read(path).replace(/^```[\s\S]*?^```/gm, "");
}

test("the documents are there", () => {
  for (const path of ["README.md", "ARCHITECTURE.md", "RELIABILITY.md", "CONTRIBUTING.md", "CHANGELOG.md"]) {
    assert.ok(documents.includes(path), path);
  }
});

test("links between documents lead somewhere", () => {
  const broken = documents.flatMap((path) =>
    [...prose(path).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link = ""]) => {
      if (/^[a-z]+:/.test(link)) return [];
      const [file = "", anchor] = link.split("#");
      const target = file === "" ? path : posix.join(posix.dirname(path), file);
      if (!exists(target)) return [`${path}: ${link}`];
      return anchor === undefined || anchorsOf(target).has(anchor) ? [] : [`${path}: ${link}`];
    }),
  );
  assert.deepEqual(broken, []);
});

/** As GitHub makes them of headings. */
function anchorsOf(path: string): Set<string> {
  const headings = [...prose(path).matchAll(/^#+ (.*)$/gm)].map(([, text = ""]) => text);
  return new Set(
    headings.map((text) =>
      text
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

/** A path from the root; a file name alone may be that of any file. */
test("files that documents name exist", () => {
  const names = new Set(files.map((path) => posix.basename(path)));
  const missing = documents.flatMap((path) =>
    [...prose(path).matchAll(/`([\w./-]+\.(?:ts|mjs|cjs|proto|md|json))`/g)].flatMap(([, named = ""]) => {
      const beside = posix.join(posix.dirname(path), named);
      const isThere = exists(named) || exists(beside) || files.some((file) => file.endsWith(`/${named}`));
      return isThere || (!named.includes("/") && names.has(named)) ? [] : [`${path}: ${named}`];
    }),
  );
  const data = /: (\w+ )?(host|addresses|fence)\.json$|: x(\.\w+)?\.test\.ts$/;
  assert.deepEqual(
    missing.filter((line) => !data.test(line)),
    [],
  );
});

test("npm scripts that documents name exist", () => {
  const { scripts }: { scripts: Record<string, string> } = JSON.parse(read("package.json"));
  for (const path of documents) {
    for (const [, name = ""] of read(path).matchAll(/\bnpm run ([a-z:-]+)/g)) {
      assert.ok(scripts[name] !== undefined, `${path}: npm run ${name}`);
    }
  }
});

test("RELIABILITY.md lists every planted bug exactly once, and every invariant of the simulator", () => {
  const page = read("RELIABILITY.md");
  const [, table = ""] = page.split("| planted bug |");
  const rows = [...(table.split("\n\n")[0] ?? "").matchAll(/^\| `([\w-]+)` \|/gm)].map(([, id = ""]) => id);
  assert.deepEqual(rows.sort(), MUTANTS.map(({ id }) => id).sort(), "rows of the table, ids of the bank");
  for (const path of files.filter((name) => /^test\/sim\/invariants\/(r\d+|oracle)\.ts$/.test(name))) {
    assert.ok(page.includes(`| \`${path}\` |`), path);
  }
});

test("docs/dependencies.md has every package, its version, and where it is imported", () => {
  const manifest: { dependencies: Record<string, string>; devDependencies: Record<string, string> } = JSON.parse(
    read("package.json"),
  );
  const page = read("docs/dependencies.md");
  const rows = new Map(
    [...page.matchAll(/^\| `([^`]+)` \| (\S+) \| .* \| (.*) \|$/gm)].map(([, name = "", version = "", where = ""]) => [
      name,
      { version, where },
    ]),
  );
  const wanted = { ...manifest.dependencies, ...manifest.devDependencies };
  assert.deepEqual([...rows.keys()].sort(), Object.keys(wanted).sort());
  const importers = (name: string): string[] =>
    files.filter((path) =>
      importsOf(path, read(path)).some(({ specifier }) => specifier === name || specifier.startsWith(`${name}/`)),
    );
  for (const [name, version] of Object.entries(wanted)) {
    const row = rows.get(name);
    assert.equal(row?.version, version, name);
    const named = [...(row?.where.matchAll(/`([^`]+\.ts)`/g) ?? [])].map(([, path = ""]) => path);
    const real = importers(name);
    for (const path of named) assert.ok(real.includes(path), `${name} is not imported by ${path}`);
    if (named.length === 0) assert.deepEqual(real, [], `${name} is imported, docs/dependencies.md names no file`);
  }
});
