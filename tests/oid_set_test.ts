import { assertEquals } from "@std/assert";
import { OidQueue } from "../lib/storage/oid_queue.ts";
import { OidSet } from "../lib/storage/oid_set.ts";

Deno.test("OidSet holds what a Set holds", () => {
  const set = new OidSet();
  const model = new Set<number>();
  let oid = 1;
  for (let i = 0; i < 20_000; i++) {
    oid = (oid * 16807) % 2147483647;
    // Close together, far apart, and above 32 bits.
    const number = [oid % 3000, oid, oid * 4_000_000][i % 3]!;
    assertEquals(set.has(number), model.has(number));
    assertEquals(set.add(number), !model.has(number));
    model.add(number);
    assertEquals(set.has(number), true);
    if (i % 4 > 0) continue;
    const other = [oid % 3000, number][i % 2]! - i % 3;
    if (other < 0) continue;
    assertEquals(set.delete(other), model.delete(other));
    assertEquals(set.has(other), false);
  }
  for (let i = 0; i < 3000; i++) assertEquals(set.has(i), model.has(i));
  for (const number of model) assertEquals(set.delete(number), true);
  for (const number of model) assertEquals(set.has(number), false);
  assertEquals(set.has(Number.MAX_SAFE_INTEGER), false);
  assertEquals(set.add(Number.MAX_SAFE_INTEGER), true);
  assertEquals(set.has(Number.MAX_SAFE_INTEGER - 1), false);
});

Deno.test("OidSet goes from a list to bits, wherever it is", () => {
  for (const base of [0, 4090, 2 ** 32 - 20, Number.MAX_SAFE_INTEGER - 40]) {
    const set = new OidSet();
    for (let n = 1; n <= 20; n++) {
      assertEquals(set.add(base + 2 * n), true);
      assertEquals(set.add(base + 2 * n), false);
      for (let i = 0; i <= 40; i++) {
        assertEquals(set.has(base + i), i % 2 === 0 && i > 0 && i <= 2 * n);
      }
    }
    assertEquals(set.delete(base + 1), false);
    assertEquals(set.delete(base + 2), true);
    assertEquals(set.delete(base + 2), false);
    assertEquals([set.has(base + 2), set.has(base + 4)], [false, true]);
  }
});

Deno.test("OidQueue gives back what it was given, in order", () => {
  const queue = new OidQueue();
  assertEquals(queue.shift(), undefined);
  let first = 0;
  let next = 0;
  // It grows and shrinks to nothing, at and around the length of its pieces.
  for (const count of [1, 4095, 4096, 4097, 10_000, 1, 8192]) {
    for (let i = 0; i < count; i++) queue.push(next++);
    for (let i = 0; i < count - 1; i++) assertEquals(queue.shift(), first++);
    queue.push(next++);
    assertEquals(queue.isEmpty, false);
    while (first < next) assertEquals(queue.shift(), first++);
    assertEquals(queue.isEmpty, true);
    assertEquals(queue.shift(), undefined);
  }
});
