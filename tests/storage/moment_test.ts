import { assertEquals, assertThrows } from "@std/assert";
import { StorageError } from "../../lib/errors.ts";
import { MemoryStorage } from "../../lib/storage/memory_storage.ts";
import { cutOff, now, tidOf, timeOf } from "../../lib/storage/moment.ts";
import { store, textRecord } from "../../lib/testing/records.ts";

/** Does something while the clock says this. */
function at(milliseconds: number, act: () => void): void {
  const { now } = Date;
  Date.now = () => milliseconds;
  try {
    act();
  } finally {
    Date.now = now;
  }
}

Deno.test("a Date is after all transactions of its millisecond, and before the next", () => {
  at(1_000_000, () => {
    using storage = new MemoryStorage();
    using session = storage.session();
    const tids = [0, 1, 2].map((i) => store(session, textRecord(i, "new")));
    assertEquals(tids, [1_000_000_000, 1_000_000_001, 1_000_000_002]);
    for (const tid of tids) {
      assertEquals(timeOf(tid), new Date(1_000_000));
      assertEquals(tidOf(new Date(1_000_000)) >= tid, true);
      assertEquals(tidOf(new Date(999_999)) < tid, true);
      assertEquals(tidOf(tid), tid);
    }
    assertEquals(tidOf(new Date(1_000_000)) < tidOf(new Date(1_000_001)), true);
  });
  for (
    const wrong of [-1, 0.5, NaN, Infinity, new Date(-1000), new Date(NaN)]
  ) {
    assertThrows(() => tidOf(wrong), StorageError, "Cannot go to");
  }
});

Deno.test("a pack keeps as long as it is told to", () => {
  const day = 86_400_000;
  at(1000 * day, () => {
    const kept = (keep: string) => (now() - cutOff(keep)) / 1000;
    assertEquals(kept("90s"), 90_000);
    assertEquals(kept("30m"), 30 * 60_000);
    assertEquals(kept("12 h"), day / 2);
    assertEquals(kept("7d"), 7 * day);
    assertEquals(kept("0.5d"), day / 2);
    assertEquals(kept("0s"), 0);
    // What was before 1970 cannot be kept.
    assertEquals(cutOff("1001d"), 0);
    for (const wrong of ["", "7", "d", "7 weeks", "-1d", "1d2h", "1e3s"]) {
      assertThrows(
        () => cutOff(wrong as `${number}d`),
        StorageError,
        "write a time as in",
      );
    }
  });
});
