import { assert } from "@std/assert";
import { LISTS } from "../../tools/mutants/lists.ts";
import { plant, testFile } from "../../tools/mutants/mutant.ts";

for (const { part, tests, mutants } of LISTS) {
  Deno.test(`every bug to plant in ${part} has its place in the code`, () => {
    for (const name of [tests, ...mutants.map((m) => m.tests ?? [])].flat()) {
      assert(Deno.statSync(testFile(name)).isFile);
    }
    for (const mutant of mutants) {
      const text = Deno.readTextFileSync(mutant.file);
      assert(plant(mutant, text) !== text, `${mutant.file}: ${mutant.bug}`);
    }
  });
}
