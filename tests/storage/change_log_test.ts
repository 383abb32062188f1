import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ChangeLog, type Place } from "../../lib/storage/change_log.ts";

Deno.test("a ChangeLog tells every reader what was changed since it read", () => {
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        add: fc.array(fc.nat(300), { maxLength: 400, size: "max" }),
      }),
    },
    { weight: 3, arbitrary: fc.record({ read: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ close: fc.nat() }) },
    { weight: 2, arbitrary: fc.constant({ open: true }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100, size: "max" }), (steps) => {
      const log = new ChangeLog();
      const readers: { place: Place; news: Set<number> }[] = [];
      for (const step of steps) {
        if ("add" in step) {
          log.add(step.add);
          for (const { news } of readers) {
            for (const oid of step.add) news.add(oid);
          }
        } else if ("open" in step) {
          readers.push({ place: log.open(), news: new Set() });
        } else if (readers.length > 0) {
          const at = ("read" in step ? step.read : step.close) % readers.length;
          const { place, news } = readers[at]!;
          const told = log.since(place);
          assertEquals(new Set(told), news);
          assertEquals(told.length, news.size, "each once");
          assertEquals(log.isAtEnd(place), news.size === 0);
          const set = log.setSince(place);
          for (let oid = 0; oid < 300; oid++) {
            assertEquals(set.has(oid), news.has(oid));
          }
          if ("read" in step) {
            log.catchUp(place);
            news.clear();
            assertEquals(log.since(place), []);
          } else {
            log.close(place);
            readers.splice(at, 1);
          }
        }
      }
      for (const { place, news } of readers) {
        assertEquals(new Set(log.since(place)), news);
      }
    }),
    { numRuns: 100 },
  );
});

Deno.test("a ChangeLog grows with the objects that were changed, not with the changes", () => {
  const log = new ChangeLog();
  const idle = Array.from({ length: 50 }, () => log.open());
  const objects = 5000;
  for (let i = 0; i < 1_000_000; i++) log.add([i % objects]);
  assert(log.capacity <= 4 * objects, `${log.capacity}`);
  const all = Array.from({ length: objects }, (_, i) => i);
  for (const place of idle) {
    assertEquals(log.since(place).sort((a, b) => a - b), all);
  }
});

Deno.test("a ChangeLog forgets what everybody has read", () => {
  const log = new ChangeLog();
  const reader = log.open();
  const slow = log.open();
  for (let i = 0; i < 200_000; i++) {
    log.add([i]);
    log.catchUp(reader);
    if (i % 100 === 0) log.catchUp(slow);
  }
  assert(log.capacity <= 2048, `${log.capacity}`);
  // Who is gone keeps nothing.
  const gone = log.open();
  for (let i = 0; i < 100_000; i++) log.add([i]);
  assert(log.capacity > 50_000);
  for (const place of [gone, reader, slow]) log.close(place);
  for (let i = 0; i < 100_000; i++) log.add([i]);
  assert(log.capacity <= 2048, `${log.capacity}`);
});
