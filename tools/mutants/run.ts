/**
 * Plants bugs, one at a time, and sees whether the tests find them:
 *
 *     deno task mutants [--jobs N] [--whole] [WORD ...]
 *
 * Each bug is planted in a copy of the project, never in the project itself.
 * WORD chooses the bugs whose part, file or description has that word. With
 * `--whole` a bug that the tests of its part did not find is tried with all
 * tests. It ends with 1 if fewer than nine of ten bugs were found.
 *
 * @module
 */
import { LISTS } from "./lists.ts";
import { type Mutant, type MutantList, plant, testFile } from "./mutant.ts";

/** A run of tests that takes longer than this hangs, which is a way to notice. */
const LIMIT = 10 * 60_000;

/** What fewer found bugs than this part of all means: the tests are not good enough. */
const AIM = 0.9;

type Outcome = "found" | "hangs" | "SURVIVED";

interface Planted {
  readonly list: MutantList;
  readonly mutant: Mutant;
}

interface Arguments {
  readonly jobs: number;
  readonly whole: boolean;
  readonly words: readonly string[];
}

function parse(args: readonly string[]): Arguments {
  const words: string[] = [];
  let jobs = navigator.hardwareConcurrency;
  let whole = false;
  for (let i = 0; i < args.length; i++) {
    if (args[i] === "--jobs") jobs = Number(args[++i]);
    else if (args[i] === "--whole") whole = true;
    else words.push(args[i]!.toLowerCase());
  }
  if (!Number.isInteger(jobs) || jobs < 1) {
    console.error("--jobs takes how many bugs to try at once, 1 or more");
    Deno.exit(2);
  }
  return { jobs, whole, words };
}

function chosen(words: readonly string[]): Planted[] {
  const all = LISTS.flatMap((list) =>
    list.mutants.map((mutant) => ({ list, mutant }))
  );
  return all.filter(({ list, mutant }) => {
    const text = `${list.part} ${mutant.file} ${mutant.bug}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** Copies what git knows of the project, and what it does not ignore. */
async function copyProject(to: string): Promise<void> {
  const { stdout } = await new Deno.Command("git", {
    args: ["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
  }).output();
  for (const path of new TextDecoder().decode(stdout).split("\0")) {
    if (path === "") continue;
    const folder = path.slice(0, path.lastIndexOf("/") + 1);
    await Deno.mkdir(`${to}/${folder}`, { recursive: true });
    try {
      await Deno.copyFile(path, `${to}/${path}`);
    } catch (error) {
      // Deleted, and that is not committed yet.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** Runs tests in a copy of the project. */
async function test(
  copy: string,
  paths: readonly string[],
  map: readonly string[],
): Promise<Outcome> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "-q", "--no-check", "--fail-fast", ...map, ...paths],
    cwd: copy,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, LIMIT);
  const { success } = await child.status;
  clearTimeout(timer);
  return late ? "hangs" : success ? "SURVIVED" : "found";
}

function testsOf({ list, mutant }: Planted): string[] {
  return (mutant.tests ?? list.tests).map(testFile);
}

/** Tests that fail anyway would find every bug. */
async function passWithout(copy: string, planted: readonly Planted[]) {
  const all = [...new Set(planted.flatMap(testsOf))];
  if (await test(copy, all, map) === "SURVIVED") return;
  throw new Error(`these do not pass without a bug: ${all.join(" ")}`);
}

/** Tries one bug in a copy of the project, and takes it out again. */
async function tryOne(
  copy: string,
  planted: Planted,
  map: readonly string[],
  whole: boolean,
): Promise<Outcome> {
  const { mutant } = planted;
  const path = `${copy}/${mutant.file}`;
  const text = await Deno.readTextFile(path);
  await Deno.writeTextFile(path, plant(mutant, text));
  try {
    const outcome = await test(copy, testsOf(planted), map);
    return outcome === "SURVIVED" && whole
      ? await test(copy, ["tests/"], map)
      : outcome;
  } finally {
    await Deno.writeTextFile(path, text);
  }
}

async function importMap(): Promise<string[]> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", "tools/registry/choose.ts"],
  }).output();
  const text = new TextDecoder().decode(stdout).trim();
  return text === "" ? [] : [text];
}

const { jobs, whole, words } = parse(Deno.args);
const planted = chosen(words);
const map = await importMap();
const folder = await Deno.makeTempDir({ prefix: "dhara-mutants-" });
const outcomes = new Map<Planted, Outcome>();
const waiting = planted.values();
try {
  // Some tests start programs as somebody else.
  if (Deno.build.os !== "windows") await Deno.chmod(folder, 0o755);
  await copyProject(`${folder}/0`);
  await passWithout(`${folder}/0`, planted);
  await Promise.all(
    Array.from({ length: jobs }, async (_, i) => {
      const copy = `${folder}/${i}`;
      if (i > 0) await copyProject(copy);
      for (const item of waiting) {
        const start = Date.now();
        const outcome = await tryOne(copy, item, map, whole);
        outcomes.set(item, outcome);
        const seconds = ((Date.now() - start) / 1000).toFixed(0);
        const { file, bug } = item.mutant;
        console.log(`${outcome.padEnd(8)} ${seconds} s  ${file}: ${bug}`);
      }
    }),
  );
} finally {
  await Deno.remove(folder, { recursive: true });
}

console.log();
for (const list of LISTS) {
  const of = planted.filter((item) => item.list === list);
  if (of.length === 0) continue;
  const lost = of.filter((item) => outcomes.get(item) === "SURVIVED");
  console.log(`${list.part}: ${of.length - lost.length} of ${of.length} found`);
  for (const { mutant } of lost) console.log(`  not: ${mutant.bug}`);
}
const survived = [...outcomes.values()].filter((o) => o === "SURVIVED").length;
const found = planted.length - survived;
console.log(`${found} of ${planted.length} planted bugs found`);
if (planted.length === 0 || found < AIM * planted.length) Deno.exit(1);
