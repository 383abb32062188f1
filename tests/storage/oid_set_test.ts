import { assert, assertEquals } from "@std/assert";
import {
  OffsetPage,
  PAGE_BYTES,
  PAGE_ENTRIES,
} from "../../lib/storage/journal/offset_page.ts";
import { OffsetTable } from "../../lib/storage/journal/offset_table.ts";
import { OidQueue } from "../../lib/storage/oid_queue.ts";
import { OidSet } from "../../lib/storage/oid_set.ts";

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

Deno.test("OidSet gives up what is deleted, whether it holds few or many", () => {
  const set = new OidSet();
  const model = new Set<number>();
  let random = 1;
  for (let i = 0; i < 30_000; i++) {
    random = (random * 16807) % 2147483647;
    const number = [random % 100, 65536 * 5 + random % 1000][i % 2]!;
    if (random % 3 === 0) {
      assertEquals(set.delete(number), model.delete(number));
    } else {
      assertEquals(set.add(number), !model.has(number));
      model.add(number);
    }
    assertEquals(set.has(number), model.has(number));
  }
});

Deno.test("OidSet adds and takes out whole sets, and gives out the smallest", () => {
  let state = 7;
  const random = (n: number) => (state = (state * 48271) % 2147483647) % n;
  for (let round = 0; round < 200; round++) {
    // All in one piece, or in a few of them; few or many in each.
    const range = [300, 70_000, 200_000][round % 3]!;
    const [one, other] = [new OidSet(), new OidSet()];
    const [ones, others] = [new Set<number>(), new Set<number>()];
    for (let i = random(200); i > 0; i--) {
      const oid = random(range);
      one.add(oid);
      ones.add(oid);
    }
    for (let i = random(200); i > 0; i--) {
      const oid = random(range);
      if (ones.has(oid)) continue;
      other.add(oid);
      others.add(oid);
    }
    one.addOthers(other);
    const all = [...ones, ...others].sort((a, b) => a - b);
    for (const oid of all) assert(one.has(oid));
    if (round % 2 === 0) {
      one.deleteOthers(other);
      for (const oid of all) assertEquals(one.has(oid), ones.has(oid));
      assertEquals(
        one.takeSmallest(1000),
        all.filter((oid) => ones.has(oid)),
      );
    } else {
      const count = random(250);
      assertEquals(one.takeSmallest(count), all.slice(0, count));
      assertEquals(one.takeSmallest(1000), all.slice(count));
    }
    assertEquals(one.takeSmallest(1), []);
  }
});

Deno.test("OidSet holds what is added after the last of its neighbours was taken out", () => {
  const takeOut: ((set: OidSet) => void)[] = [
    (set) => set.delete(1),
    (set) => set.takeSmallest(1),
    (set) => {
      const others = new OidSet();
      others.add(1);
      set.deleteOthers(others);
    },
  ];
  for (const take of takeOut) {
    const set = new OidSet();
    set.add(1);
    take(set);
    assertEquals([set.has(1), set.add(2), set.has(2)], [false, true, true]);
    // Elsewhere, and back.
    assertEquals(set.has(2 ** 32), false);
    assertEquals([set.has(1), set.has(2), set.add(2)], [false, true, false]);
    assertEquals(set.takeSmallest(10), [2]);
  }
});

Deno.test("all numbers of a set can be gone through", () => {
  const oids = [2 ** 53 - 1, ...Array.from({ length: 200 }, (_, i) => 7 * i)];
  const set = new OidSet();
  for (const oid of [...oids, 70_000, ...oids]) set.add(oid);
  set.delete(70_000);
  assertEquals([...set].sort((a, b) => a - b), oids.sort((a, b) => a - b));
  assertEquals([...new OidSet()], []);
});

Deno.test("numbers far apart take no more memory than is in proportion", () => {
  const before = Deno.memoryUsage();
  const set = new OidSet();
  const table = new OffsetTable();
  const count = 100_000;
  for (let i = 1; i <= count; i++) {
    set.add(i * 2 ** 30);
    table.set(i * 2 ** 30, i);
  }
  const after = Deno.memoryUsage();
  const used = after.heapUsed + after.external - before.heapUsed -
    before.external;
  assert(used < 1000 * count, `${used} bytes`);
  for (let i = 1; i <= count; i++) {
    assert(set.has(i * 2 ** 30));
    assertEquals(table.get(i * 2 ** 30), i);
  }
  assertEquals(table.objects, count);
});

Deno.test("OffsetPage holds what an array holds, whether it holds few or many", () => {
  for (const most of [5, 32, 33, 34, PAGE_ENTRIES]) {
    const page = new OffsetPage();
    const model = new Array<number>(PAGE_ENTRIES).fill(0);
    let random = most;
    for (let i = 0; i < 3 * most; i++) {
      random = (random * 16807) % 2147483647;
      const place = (random % most) * Math.floor(PAGE_ENTRIES / most);
      assertEquals(page.get(place), model[place]);
      page.set(place, random * 1_000_000);
      model[place] = random * 1_000_000;
    }
    const bytes = new DataView(new ArrayBuffer(PAGE_BYTES + 7));
    page.copyTo(bytes, 7);
    const again = new OffsetPage(new DataView(bytes.buffer, 7));
    const places = [...model.keys()].filter((place) => model[place] !== 0);
    assertEquals(page.places(), places);
    assertEquals(again.places(), places);
    for (let place = 0; place < PAGE_ENTRIES; place++) {
      assertEquals(page.get(place), model[place]);
      assertEquals(again.get(place), model[place]);
    }
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
