/** docs/storages.md shows the code that the tests run, and all of it. */
import { assert, assertEquals } from "@std/assert";

function read(path: string): string {
  return Deno.readTextFileSync(new URL(`../../${path}`, import.meta.url));
}

/** The program that opens the bucket is run by the tests in other words. */
const OTHERS = ["using storage = await BlockingStorage.open("];

Deno.test("docs/storages.md shows the examples from their beginnings to their ends", () => {
  const blocks = [
    ...read("docs/storages.md").matchAll(/^```ts ignore\n(.*?)\n```$/gms),
  ].map(([, code]) => code!);
  const shown = new Set<string>();
  for (const name of ["folder", "bucket"]) {
    let rest = read(`examples/${name}_storage.ts`).trimEnd();
    for (const block of blocks) {
      if (!rest.startsWith(block)) continue;
      shown.add(block);
      rest = rest.slice(block.length).replace(/^\n+/, "");
    }
    assertEquals(rest, "", `${name}_storage.ts is not shown from here on`);
  }
  const tests = read("tests/client/own_storages_test.ts");
  for (const block of blocks) {
    assert(
      shown.has(block) || tests.includes(`\n${block}\n`) ||
        OTHERS.some((start) => block.startsWith(start)),
      `it is no part of the examples:\n${block}`,
    );
  }
});
