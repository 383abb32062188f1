/**
 * What a planted bug is: one text in one file of `lib/` that is replaced by
 * another, and the tests that should notice.
 *
 * @module
 */

/** A small bug. */
export interface Mutant {
  /** What is wrong then, for people. */
  readonly bug: string;
  /** The file, from the project's root. */
  readonly file: string;
  /** The text to replace, which must be in the file once. */
  readonly find: string;
  /** What to put in its place. */
  readonly replace: string;
  /** The tests to run for it, if those of its part are too slow or elsewhere. */
  readonly tests?: readonly string[];
}

/** Bugs in one part of the code. */
export interface MutantList {
  /** The part, for people. */
  readonly part: string;
  /** The tests that are run for each bug, without their folder and `_test.ts`: the quickest first. */
  readonly tests: readonly string[];
  /** The bugs. */
  readonly mutants: readonly Mutant[];
}

/**
 * Returns the text of a file with a bug in it.
 *
 * @throws {Error} if the text to replace is not in the file, or more than once.
 */
export function plant({ file, find, replace }: Mutant, text: string): string {
  const at = text.indexOf(find);
  if (at < 0) throw new Error(`${file} has no ${JSON.stringify(find)}`);
  if (text.indexOf(find, at + 1) >= 0) {
    throw new Error(`${file} has ${JSON.stringify(find)} more than once`);
  }
  return text.slice(0, at) + replace + text.slice(at + find.length);
}

/**
 * Returns the file of tests of a name, in whatever folder of `tests/` it is.
 *
 * @throws {Error} if there is none.
 */
export function testFile(name: string): string {
  const find = (folder: string): string | undefined => {
    for (const entry of Deno.readDirSync(folder)) {
      const path = `${folder}/${entry.name}`;
      if (entry.name === `${name}_test.ts`) return path;
      const found = entry.isDirectory ? find(path) : undefined;
      if (found !== undefined) return found;
    }
    return undefined;
  };
  const path = find("tests");
  if (path === undefined) throw new Error(`there are no tests named ${name}`);
  return path;
}
