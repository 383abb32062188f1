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
  }
  for (let i = 0; i < 3000; i++) assertEquals(set.has(i), model.has(i));
  assertEquals(set.has(Number.MAX_SAFE_INTEGER), false);
  assertEquals(set.add(Number.MAX_SAFE_INTEGER), true);
  assertEquals(set.has(Number.MAX_SAFE_INTEGER - 1), false);
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
