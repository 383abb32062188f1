/** Every bit of a small SQLite file, and some of a larger one. */
import { assert } from "@std/assert";
import { flip, makeSample, type Outcome } from "../support/sqlite_bits.ts";

for (
  const [what, more, step] of [
    ["every bit of a small file", 0, 1],
    // A prime, so that all bits of a byte take part.
    ["bits of a file with inner pages", 70, 53],
  ] as const
) {
  Deno.test(`no flipped bit of a SQLite file makes it read wrong unnoticed, or take a commit after it was noticed: ${what}`, async () => {
    const directory = Deno.makeTempDirSync();
    try {
      const path = `${directory}/bits.sqlite`;
      const sample = await makeSample(path, more);
      const outcomes: Partial<Record<Outcome, number>> = {};
      for (let bit = 0; bit < 8 * sample.bytes.length; bit += step) {
        const outcome = await flip(path, sample, bit);
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      }
      console.log(`${8 * sample.bytes.length} bits`, outcomes);
      assert(outcomes.seen! > 0 && outcomes.refused! > 0);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}
