/** Journals that nobody has written in good faith: what they cost is bounded by their length. */
import { getUint64, setUint64 } from "../../../lib/serialize/bytes.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { crc32 } from "node:zlib";
import { DamagedFileError, StorageError } from "../../../lib/errors.ts";
import { packRecord } from "../../../lib/serialize/record.ts";
import { disk } from "../../../lib/files/file.ts";
import { PAGE_ENTRIES } from "../../../lib/storage/journal/offset_page.ts";
import { BlockWriter } from "../../../lib/storage/journal/block_writer.ts";
import { FileStorage } from "../../../lib/storage/file_storage.ts";
import {
  BLOCK_HEAD,
  BLOCK_TRAILER,
  BlockKind,
  encodeHeader,
  ENTRY_HEAD,
  HEADER_SIZE,
} from "../../../lib/storage/journal/format.ts";
import { PAGE_SIZE } from "../../../lib/storage/journal/index.ts";
import { verify } from "../../../lib/maintenance/verify.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";

const LARGEST = Number.MAX_SAFE_INTEGER;

/** Writes a journal of one transaction. */
function write(
  path: string,
  next: number,
  records: readonly [number, Uint8Array][],
): void {
  const file = disk.open(path, { write: true, create: true });
  try {
    file.write(encodeHeader({ database: new Uint8Array(16), packs: 0 }), 0);
    const length = records.reduce(
      (sum, [, record]) => sum + ENTRY_HEAD + record.length,
      BLOCK_HEAD + BLOCK_TRAILER,
    );
    const writer = new BlockWriter(file, {
      kind: BlockKind.transaction,
      count: records.length,
      offset: HEADER_SIZE,
      length,
      tid: 1,
      next,
      notes: 0,
    });
    for (const [, record] of records) writer.putEntry(record, 1, 0);
    writer.finish();
  } finally {
    file.close();
  }
}

function test(name: string, run: (path: string) => Promise<void> | void): void {
  Deno.test(name, async () => {
    const directory = await Deno.makeTempDir();
    try {
      await run(`${directory}/test.dhara`);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

/** Makes sure that doing something takes no more memory than that. */
async function within(
  megabytes: number,
  act: () => unknown,
): Promise<void> {
  const before = Deno.memoryUsage();
  let most = 0;
  const look = () => {
    const now = Deno.memoryUsage();
    most = Math.max(
      most,
      now.heapUsed + now.external - before.heapUsed - before.external,
    );
  };
  for await (const _ of (await act() ?? []) as Iterable<unknown>) look();
  look();
  assert(most < megabytes * 1e6, `${most / 1e6} MB`);
}

const NOTHING = new Uint8Array();

test("objects whose numbers are far apart take memory in proportion to the file", async (path) => {
  const count = 40_000;
  const far = (i: number) => i * 2 ** 37 + i;
  const nowhere = Array.from({ length: count }, (_, i) => far(i + 1) + 2 ** 30);
  write(path, far(count) + 1, [
    [0, packRecord(0, NOTHING, nowhere)],
    ...Array.from(
      { length: count },
      (_, i): [number, Uint8Array] => [
        far(i + 1),
        packRecord(far(i + 1), NOTHING, []),
      ],
    ),
  ]);
  const { size } = Deno.statSync(path);
  assert(size < 2e6);
  // It is 300 MB and more if each stands in an array of its own.
  for (const indexInMemory of [false, true]) {
    await within(60, () => {
      using storage = new FileStorage(path, { indexInMemory });
      using session = storage.session();
      for (let i = 1; i <= count; i++) session.load(far(i));
      session.allocate(1);
      return [];
    });
    assertEquals(Deno.statSync(path).size, size);
  }
  await within(60, async () => {
    const report = await verify(path);
    assertEquals(report.objects, count + 1);
    assertEquals(report.danglingCount, count);
    return [];
  });
  {
    using storage = new FileStorage(path);
    // The root is all that is kept.
    await within(60, () => storage.packInSteps());
    using session = storage.session();
    assertEquals(session.has(0), true);
    assertEquals(session.has(far(1)), false);
  }
  assert(Deno.statSync(path).size < 1e6);
});

for (const next of [LARGEST, LARGEST - 1, LARGEST - 2]) {
  test(`where the numbers are used up to ${next}, nothing new is made, and all else goes on`, async (path) => {
    write(path, next, [
      [0, packRecord(0, NOTHING, [next - 1])],
      [next - 1, packRecord(next - 1, NOTHING, [])],
    ]);
    for (let round = 0; round < 2; round++) {
      {
        using storage = new FileStorage(path);
        using session = storage.session();
        assertThrows(() => session.allocate(3), StorageError, "no more");
        assertEquals(session.has(next - 1), true);
        assertEquals(session.has(LARGEST), false);
        session.commit([[0, packRecord(0, NOTHING, [0, next - 1])]]);
        storage.pack();
        assertEquals(session.load(next - 1).length, 12);
        session.sync();
        assertEquals(session.load(next - 1).length, 12);
      }
      assertEquals((await verify(path)).damage, []);
    }
  });
}

/** Makes a journal of objects that end up in two pages of the index, and changes the first one's bytes. */
function withPage(
  path: string,
  change: (first: DataView, second: DataView) => void,
): void {
  {
    using storage = new FileStorage(path);
    using session = storage.session();
    const oids = [0, 1, 2, PAGE_ENTRIES];
    store(
      session,
      ...oids.map((oid) => textRecord(oid, "x".repeat(50_000))),
    );
  }
  const bytes = Deno.readFileSync(path);
  // The pages are the last in the block, which is the last in the file.
  const [first, second] = [2, 1].map((n) =>
    new DataView(
      bytes.buffer,
      bytes.length - BLOCK_TRAILER - n * PAGE_SIZE,
      PAGE_SIZE,
    )
  ) as [DataView, DataView];
  assertEquals([getUint64(first, 4), getUint64(second, 4)], [0, 1]);
  change(first, second);
  const page = new Uint8Array(first.buffer, first.byteOffset, PAGE_SIZE);
  first.setUint32(0, crc32(page.subarray(4)));
  Deno.writeFileSync(path, bytes);
}

test("an index that leads to another object is damage", (path) => {
  withPage(path, (first) => {
    setUint64(first, 12 + 8, getUint64(first, 12 + 16));
  });
  using storage = new FileStorage(path);
  using session = storage.session();
  assertEquals(textOf(session, 2).length, 50_000);
  assertThrows(() => session.load(1), DamagedFileError, "another object");
});

test("a page of the index that is another one is damage", (path) => {
  withPage(path, (first, second) => {
    for (let at = 0; at < PAGE_SIZE; at++) {
      first.setUint8(at, second.getUint8(at));
    }
  });
  const damaged = () => {
    using storage = new FileStorage(path);
    using session = storage.session();
    session.load(1);
  };
  assertThrows(damaged, DamagedFileError, "the index is damaged");
});

test("a record whose bytes have changed is damage, also where only the index is read", (path) => {
  withPage(path, () => {});
  const bytes = Deno.readFileSync(path);
  const offset = bytes.lastIndexOf("x".charCodeAt(0), 120_000);
  bytes[offset]! ^= 1;
  Deno.writeFileSync(path, bytes);
  using storage = new FileStorage(path);
  using session = storage.session();
  const lost = [0, 1, 2, PAGE_ENTRIES].filter((oid) => {
    try {
      session.load(oid);
      return false;
    } catch (error) {
      assert(error instanceof DamagedFileError, `${error}`);
      assert(error.message.includes("its checksum is wrong"), error.message);
      return true;
    }
  });
  assertEquals(lost, [2]);
});

test("once a load has met damage, nothing is committed on top of it", (path) => {
  withPage(path, () => {});
  const good = Deno.readFileSync(path);
  const bytes = good.slice();
  const offset = bytes.lastIndexOf("x".charCodeAt(0), 120_000);
  bytes[offset]! ^= 1;
  Deno.writeFileSync(path, bytes);
  {
    using storage = new FileStorage(path);
    using session = storage.session();
    assertThrows(() => session.load(2), DamagedFileError, "checksum");
    const refused = assertThrows(
      () => store(session, textRecord(1, "on top")),
      DamagedFileError,
      "nothing was stored",
    );
    assertEquals(refused.path, path);
    assertEquals((refused.cause as DamagedFileError).offset, refused.offset);
    // What is whole can still be read and saved.
    assertEquals(textOf(session, 0).length, 50_000);
  }
  assertEquals(Deno.readFileSync(path), bytes);
  Deno.writeFileSync(path, good);
  using storage = new FileStorage(path);
  using session = storage.session();
  store(session, textRecord(1, "restored"));
  assertEquals(textOf(session, 1), "restored");
});

test("an object whose number was never given out is damage", (path) => {
  write(path, 5, [textRecord(0, "root"), textRecord(5, "five")]);
  assertThrows(() => new FileStorage(path), DamagedFileError, "cannot be");
});

test("what was cut off when opening is not read in place of what comes there", (path) => {
  let size: number;
  {
    using storage = new FileStorage(path);
    using session = storage.session();
    store(session, textRecord(0, "root"));
    store(session, textRecord(1, "y".repeat(3000)));
    size = storage.size;
  }
  Deno.truncateSync(path, size - 5);
  using storage = new FileStorage(path);
  using session = storage.session();
  store(session, textRecord(1, "z".repeat(1000)));
  assertEquals(textOf(session, 1), "z".repeat(1000));
});
