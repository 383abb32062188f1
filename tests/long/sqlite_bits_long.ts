/** Every bit of a small SQLite file. */
import { assert } from "@std/assert";
import { flip, makeSample, type Outcome } from "../_sqlite_bits.ts";

Deno.test("no flipped bit of a SQLite file makes it read wrong unnoticed, or take a commit after it was noticed", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    const path = `${directory}/bits.sqlite`;
    const sample = await makeSample(path);
    const outcomes: Partial<Record<Outcome, number>> = {};
    for (let bit = 0; bit < 8 * sample.bytes.length; bit++) {
      const outcome = await flip(path, sample, bit);
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    }
    console.log(`${8 * sample.bytes.length} bits`, outcomes);
    assert(outcomes.seen! > 0 && outcomes.refused! > 0);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
