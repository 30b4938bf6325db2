/**
 * Makes a runnable copy of the compiled tree with one source file changed. Only the changed file is compiled
 * (transpiled, without types): a mutant takes milliseconds, not a build.
 */
import { existsSync } from "node:fs";
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import type { Mutant } from "./mutant.js";

export interface Trees {
  /** Repository root: sources, node_modules. */
  readonly root: string;
  /** Compiled tree to copy from. */
  readonly compiled: string;
  /** Where copies are made; below the root, so that packages resolve. */
  readonly target: string;
}

/** `find` is not in its file exactly once. */
export class StaleMutantError extends Error {
  override readonly name = "StaleMutantError";
}

/** The source with the mutation; throws StaleMutantError when `find` does not match exactly once. */
export function mutate(mutant: Mutant, source: string): string {
  const parts = source.split(mutant.find);
  if (parts.length !== 2) {
    throw new StaleMutantError(`mutant ${mutant.id}: find matches ${parts.length - 1} times in ${mutant.file}`);
  }
  return parts.join(mutant.replace);
}

/** Returns the folder of the mutated tree. */
export async function buildMutant(mutant: Mutant, trees: Trees): Promise<string> {
  const source = mutate(mutant, await readFile(join(trees.root, mutant.file), "utf8"));
  const folder = await copyTree(mutant.id, trees);
  const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true };
  const { outputText } = ts.transpileModule(source, { compilerOptions, fileName: mutant.file });
  await writeFile(join(folder, compiledName(mutant.file)), outputText);
  return folder;
}

/** The tree as it is, under `name`. */
export async function copyTree(name: string, trees: Trees): Promise<string> {
  const folder = join(trees.target, name);
  await rm(folder, { recursive: true, force: true });
  const filter = (path: string): boolean => path.endsWith(".js") || !basename(path).includes(".");
  await cp(trees.compiled, folder, { recursive: true, filter });
  return folder;
}

export function compiledName(source: string): string {
  return source.replace(/\.ts$/, ".js");
}

/** Those of the checkout that this very file was compiled from. */
export function findTrees(): Trees {
  const compiled = join(dirname(fileURLToPath(import.meta.url)), "../..");
  let root = compiled;
  while (!existsSync(join(root, "package.json"))) {
    if (dirname(root) === root) throw new Error("no package.json above the compiled tree");
    root = dirname(root);
  }
  return { root, compiled, target: join(root, `.build/mutants-${process.pid}`) };
}
