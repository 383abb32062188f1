/** The caches of a journal keep what is used. */
import { assertEquals } from "@std/assert";
import type { OpenFile } from "../../../lib/files/file.ts";
import { Recent } from "../../../lib/storage/journal/recent.ts";
import {
  CHUNK,
  ChunkReader,
} from "../../../lib/storage/journal/chunk_reader.ts";
import { PAGE_ENTRIES } from "../../../lib/storage/journal/offset_page.ts";
import { JournalIndex, PAGE_SIZE } from "../../../lib/storage/journal/index.ts";

Deno.test("Recent keeps what is used, and no more than it may", () => {
  const recent = new Recent<string>(10);
  for (let i = 0; i < 1000; i++) {
    if (i > 0) assertEquals(recent.get(-1), "used");
    else recent.set(-1, "used");
    recent.set(i, `${i}`);
    assertEquals(recent.get(i), `${i}`);
  }
  let kept = 0;
  for (let i = 0; i < 1000; i++) if (recent.get(i) !== undefined) kept++;
  assertEquals(kept, 9);
});

Deno.test("Recent throws out what was not used for longest, whatever is done", () => {
  const seed = Math.floor(Math.random() * 2 ** 31) + 1;
  console.log(`seed ${seed}`);
  let state = seed % 2147483647;
  const random = (n: number) => (state = (state * 48271) % 2147483647) % n;
  for (const most of [1, 2, 5]) {
    const recent = new Recent<number>(most);
    // In the order of use, the last one used last.
    const model = new Map<number, number>();
    for (let i = 0; i < 10_000; i++) {
      const key = random(8);
      const value = model.get(key);
      const what = random(4);
      if (what === 0) {
        recent.delete(key);
        model.delete(key);
      } else if (what === 1) {
        recent.set(key, i);
        model.delete(key);
        if (model.size === most) model.delete([...model.keys()][0]!);
        model.set(key, i);
      } else {
        assertEquals(recent.get(key), value);
        if (value === undefined) continue;
        model.delete(key);
        model.set(key, value);
      }
    }
  }
});

Deno.test("what a journal reads again and again stays in memory, whatever else is read", () => {
  let reads: number[] = [];
  const file = {
    read(into: Uint8Array, offset: number) {
      reads.push(offset / CHUNK);
      return into.length;
    },
  } as unknown as OpenFile;
  const reader = new ChunkReader(file);
  const end = 5000 * CHUNK;
  for (let i = 1; i < 3000; i++) {
    reader.bytes(0, 10, end);
    reader.bytes(i * CHUNK, 10, end);
  }
  assertEquals(reads.filter((number) => number === 0).length, 1);
  // The others are read once each, and the last ones are still there.
  assertEquals(reads.length, 3000);
  reads = [];
  for (let i = 2900; i < 3000; i++) reader.bytes(i * CHUNK, 10, end);
  assertEquals(reads, []);
});

Deno.test("a page of the index that is used again and again is read once", () => {
  // Pages as they are in a file.
  const pages = 3000;
  const file = new Uint8Array(0);
  let bytes = file;
  const writer = new JournalIndex(() => undefined);
  for (let page = 0; page < pages; page++) {
    writer.prepare(page * PAGE_ENTRIES);
    writer.set(page * PAGE_ENTRIES, page + 1);
  }
  const { directory } = writer.write(
    {
      write(piece: Uint8Array, offset: number) {
        if (bytes.length === 0) {
          bytes = new Uint8Array(pages * (PAGE_SIZE + 16) + 1000);
        }
        bytes.set(piece, offset);
        return piece.length;
      },
    } as unknown as OpenFile,
    { offset: 0, tid: 1, next: pages * PAGE_ENTRIES, previous: 0 },
  );
  const reads = new Map<number, number>();
  const index = new JournalIndex((offset, length) => {
    reads.set(offset, (reads.get(offset) ?? 0) + 1);
    return bytes.subarray(offset, offset + length);
  }, directory);
  for (let page = 1; page < pages; page++) {
    assertEquals(index.get(0), 1);
    assertEquals(index.get(page * PAGE_ENTRIES), page + 1);
  }
  assertEquals([...new Set(reads.values())], [1]);
});

Deno.test("a block of the index holds what was changed since the one before", () => {
  let bytes = 0;
  const file = {
    write(piece: Uint8Array) {
      bytes += piece.length;
      return piece.length;
    },
  } as unknown as OpenFile;
  const index = new JournalIndex(() => undefined);
  const write = () => {
    bytes = 0;
    const { cost } = index;
    const at = { offset: 0, tid: 1, next: 10 * PAGE_ENTRIES, previous: 0 };
    index.take(index.write(file, at).directory);
    assertEquals(bytes, cost);
    return cost;
  };
  for (let page = 0; page < 5; page++) index.set(page * PAGE_ENTRIES, 1);
  const five = write();
  assertEquals(index.cost, five - 5 * PAGE_SIZE);
  index.set(3 * PAGE_ENTRIES + 1, 2);
  assertEquals(write(), five - 4 * PAGE_SIZE);
  assertEquals(write(), five - 5 * PAGE_SIZE);
  assertEquals(index.get(3 * PAGE_ENTRIES), 1);
  assertEquals(index.get(3 * PAGE_ENTRIES + 1), 2);
});
