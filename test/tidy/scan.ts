/** Reads the repository for the tidy tests: files, their text without comments and strings, their imports. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, posix } from "node:path";

export const ROOT = dirname(createRequire(import.meta.url).resolve("drumline/package.json"));

const CODE_FOLDERS = ["shared", "nodehost", "master", "test", "deploy", "examples"];
const TEXT_FOLDERS = [...CODE_FOLDERS, "proto", "docs", ".ci"];
const NOT_OURS = new Set(["node_modules", "gen", "dist", ".build", "coverage"]);

/** Paths from the root, sorted. */
function walk(folder: string): string[] {
  if (!existsSync(join(ROOT, folder))) return [];
  const found: string[] = [];
  for (const item of readdirSync(join(ROOT, folder), { withFileTypes: true })) {
    const path = `${folder}/${item.name}`;
    if (item.isDirectory() && !NOT_OURS.has(item.name)) found.push(...walk(path));
    else if (item.isFile()) found.push(path);
  }
  return found.sort();
}

export function codeFiles(): string[] {
  return CODE_FOLDERS.flatMap(walk).filter((path) => /\.(ts|mjs|cjs)$/.test(path));
}

/** Everything that people read: code, protocols, documents, scripts. */
export function textFiles(): string[] {
  // In a linked working tree .git is a file.
  const generated = new Set(["package-lock.json", ".git"]);
  const top = readdirSync(ROOT, { withFileTypes: true }).filter((item) => item.isFile() && !generated.has(item.name));
  const below = TEXT_FOLDERS.flatMap(walk).filter((path) =>
    /\.(ts|mjs|cjs|proto|md|yaml|yml|json|conf|service|sh|html|css)$|\/run$/.test(path),
  );
  return [...top.map((item) => item.name), ...below];
}

export function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

export function isTest(path: string): boolean {
  return /(\.test|(^|\/|-)suite|\/test-[\w-]+)\.ts$|\/testing\//.test(path) || path.startsWith("test/");
}

/** Comments blanked out; strings and line numbers stay. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/[^\n]*/g, (match) => match.replace(/[^\n]/g, " "));
}

/** Code with comments and the insides of strings blanked out; line numbers stay. */
export function codeOnly(text: string): string {
  const pattern = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`/g;
  return text.replace(pattern, (match) => match.replace(/[^\n]/g, " "));
}

export interface Import {
  /** As written. */
  readonly specifier: string;
  /** Source path from the root for relative imports (".ts" for ".js"), else the specifier. */
  readonly target: string;
  readonly line: number;
}

/** Static and dynamic imports and re-exports. */
export function importsOf(path: string, text: string): Import[] {
  const pattern = /(?:\bfrom\s*|\bimport\s*\(\s*|^\s*import\s+)"([^"]+)"/gm;
  return [...withoutComments(text).matchAll(pattern)].map((match) => {
    const specifier = match[1] ?? "";
    const resolved = posix.join(posix.dirname(path), specifier).replace(/\.js$/, ".ts");
    const line = text.slice(0, match.index).split("\n").length;
    return { specifier, target: specifier.startsWith(".") ? resolved : specifier, line };
  });
}

/** "path:line: what" for every line that matches. */
export function findLines(path: string, text: string, pattern: RegExp, what: string): string[] {
  return text.split("\n").flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${what}`] : []));
}
