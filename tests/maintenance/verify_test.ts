/** Whether verify finds what is wrong, and nothing where nothing is. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { StorageError } from "../../lib/errors.ts";
import { packRecord } from "../../lib/serialize/record.ts";
import { disk, type OpenFile } from "../../lib/files/file.ts";
import { BlockWriter } from "../../lib/storage/journal/block_writer.ts";
import { ChunkReader } from "../../lib/storage/journal/chunk_reader.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";
import { SqliteStorage } from "../../lib/storage/sqlite_storage.ts";
import type { Progress } from "../../lib/storage/storage.ts";
import {
  BLOCK_HEAD,
  type BlockHead,
  BlockKind,
  decodeBlockHead,
  encodeHeader,
  HEADER_SIZE,
  POINTERS,
} from "../../lib/storage/journal/format.ts";
import { PAGE_SIZE, readIndexBlock } from "../../lib/storage/journal/index.ts";
import { JournalVerifier } from "../../lib/storage/journal/verify.ts";
import { verify, type VerifyReport } from "../../lib/maintenance/verify.ts";
import { store, textRecord } from "../../lib/testing/records.ts";

function test(
  name: string,
  run: (path: string) => void | Promise<void>,
): void {
  Deno.test(name, async () => {
    const directory = await Deno.makeTempDir({ prefix: "dhara-test-" });
    try {
      await run(`${directory}/test.dhara`);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

/** Makes a journal with copies of a pack, several index blocks, and transactions after them. */
function makeJournal(path: string): void {
  {
    using storage = new FileStorage(path);
    using session = storage.session();
    store(
      session,
      textRecord(0, "root", [1, 2]),
      textRecord(1, "one"),
      textRecord(2, "two", [3, 1100]),
      textRecord(3, "three"),
      textRecord(4, "garbage"),
      textRecord(1100, "on another page", [0]),
    );
    storage.pack();
    session.sync();
    store(session, textRecord(1, "one, changed"));
    // Numbers that are given out and not used make closing write an index.
    session.allocate(5);
  }
  {
    using storage = new FileStorage(path);
    using session = storage.session();
    store(session, textRecord(1, "one, changed again"), textRecord(5, "new"));
    session.allocate(5);
  }
  using storage = new FileStorage(path);
  using session = storage.session();
  store(session, textRecord(3, "three, changed", [0, 5]));
  store(session, textRecord(1, "one, at last"), textRecord(6, "garbage"));
}

test("verify finds nothing wrong in a good journal, and counts", async (path) => {
  makeJournal(path);
  const report = await verify(path);
  assertEquals(report, {
    path,
    format: "journal",
    size: Deno.statSync(path).size,
    transactions: 4,
    records: 5 + 1 + 2 + 1 + 2,
    objects: 7,
    reachable: 6,
    unreachable: 1,
    unreadable: 0,
    damageCount: 0,
    danglingCount: 0,
    good: true,
    damage: [],
    dangling: [],
    notes: [],
  });
});

/** Verifies bytes as if they were a file. */
function verifyBytes(bytes: Uint8Array): VerifyReport {
  const never = () => {
    throw new Error("verify changes nothing");
  };
  const file: OpenFile = {
    identity: "",
    size: () => bytes.length,
    look: never,
    read(into, offset) {
      const from = bytes.subarray(offset, offset + into.length);
      into.set(from);
      return from.length;
    },
    write: never,
    truncate: never,
    sync: never,
    lock: never,
    unlock: never,
    close: never,
  };
  const steps = new JournalVerifier(file, "bytes").run();
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** The blocks of a journal. */
function blocksOf(bytes: Uint8Array): BlockHead[] {
  const blocks: BlockHead[] = [];
  for (let at = HEADER_SIZE; at < bytes.length;) {
    const head = decodeBlockHead(bytes.subarray(at, at + BLOCK_HEAD), at)!;
    blocks.push(head);
    at += head.length;
  }
  return blocks;
}

/**
 * Which bytes mean nothing: what old index blocks hold after their heads, but
 * for the pages that the newest one leads to.
 */
function meaningless(path: string, bytes: Uint8Array): Set<number> {
  const indexes = blocksOf(bytes).filter(({ kind }) =>
    kind === BlockKind.index
  );
  const newest = indexes.pop()!;
  const found = new Set<number>();
  for (const { offset, length } of indexes) {
    for (let i = BLOCK_HEAD; i < length; i++) found.add(offset + i);
  }
  const file = disk.open(path, { write: false });
  const reader = new ChunkReader(file);
  const index = readIndexBlock(reader, newest.offset, bytes.length)!;
  file.close();
  for (const page of index.directory.values()) {
    for (let i = 0; i < PAGE_SIZE; i++) found.delete(page + i);
  }
  return found;
}

test("verify finds every byte that was changed; in old index blocks it is no damage", (path) => {
  makeJournal(path);
  const bytes = Deno.readFileSync(path);
  const kinds = blocksOf(bytes).map(({ kind }) => kind);
  const { transaction, copy, index } = BlockKind;
  assertEquals(kinds, [
    ...[copy, index, transaction, index, transaction, index],
    ...[transaction, transaction],
  ]);
  const old = meaningless(path, bytes);
  assert(old.size > 8000 && old.size < bytes.length - 16000, `${old.size}`);
  let every = 0;
  for (let offset = 0; offset < bytes.length; offset++) {
    // Every bit where there are no pages of the index, and of some of those.
    const all = every < 3000 && (offset < 3000 || !old.has(offset)) ||
      offset % 97 === 0;
    if (all) every++;
    const masks = all
      ? [1, 2, 4, 8, 16, 32, 64, 128, 255]
      : [1 << (offset % 8)];
    for (const mask of masks) {
      bytes[offset]! ^= mask;
      const where = `byte ${offset}, ${mask}`;
      if (offset < 8) {
        assertThrows(() => verifyBytes(bytes), StorageError, "not a Dhara");
      } else {
        const { good, damage, notes } = verifyBytes(bytes);
        assertEquals(good, old.has(offset), where);
        if (good) assert(notes[0]!.startsWith("An old index block"), where);
        else {
          const { offset: at, message } = damage[0]!;
          assert(at <= offset || message.includes("its page"), where);
        }
      }
      bytes[offset]! ^= mask;
    }
  }
});

test("repair leaves nothing for verify to find, where opening would fail", async (path) => {
  makeJournal(path);
  const bytes = Deno.readFileSync(path);
  const blocks = blocksOf(bytes);
  const [, second] = POINTERS;
  const newest = blocks.findLast(({ kind }) => kind === BlockKind.index)!;
  const [beforeLast, last] = blocks.slice(-2) as [BlockHead, BlockHead];
  for (
    const [offset, ...kinds] of [
      [20, "header"],
      [40, "header"],
      [POINTERS[0] + 3, "header"],
      [second + 3, "header"],
      [1400, "header"],
      [newest.offset + BLOCK_HEAD + 5, "index", "header"],
      [newest.offset + BLOCK_HEAD + 100, "index", "header"],
      [newest.offset + newest.length - 3, "index", "header"],
      [beforeLast.offset + 3, "cut", "index"],
      [beforeLast.offset + 60, "cut", "index"],
      [last.offset + 60, "cut", "index"],
    ] as [number, ...string[]][]
  ) {
    const damaged = bytes.slice();
    damaged[offset]! ^= 0x10;
    Deno.writeFileSync(path, damaged);
    assert(!(await verify(path)).good, `${offset}`);
    {
      using storage = new FileStorage(path, { repair: true });
      const found = storage.repairs.map(({ kind }) => kind);
      // Where the newest index is gone, its pointer goes, too.
      assert(
        found.every((kind) => kinds.includes(kind)) && found[0] === kinds[0],
        `${offset}: ${found}`,
      );
      for (const repair of storage.repairs) {
        if (repair.kind !== "cut") continue;
        assertEquals(repair.bytes, bytes.length - repair.offset);
        assertEquals(
          Deno.readFileSync(repair.saved!),
          damaged.slice(repair.offset),
        );
        Deno.removeSync(repair.saved!);
      }
    }
    const { good, damage } = await verify(path);
    assertEquals([good, damage], [true, []], `${offset}`);
    using storage = new FileStorage(path, { repair: true });
    assertEquals(storage.repairs, []);
  }
});

test("verify goes on after damage, and says which objects are lost", (path) => {
  makeJournal(path);
  const bytes = Deno.readFileSync(path);
  const [copy, , first, , second] = blocksOf(bytes) as BlockHead[];
  // The first entry of the copies is the root's.
  bytes[copy!.offset + BLOCK_HEAD + 40]! ^= 1;
  // Only an old revision of object 1 is in the first transaction.
  bytes[first!.offset + 2]! ^= 1;
  // Its newest revision is later, that of object 5 is here, with another number now.
  bytes[second!.offset + second!.length - 20]! ^= 1;
  const { damage, objects, dangling, unreadable } = verifyBytes(bytes);
  assertEquals(damage, [
    {
      offset: copy!.offset + BLOCK_HEAD,
      message: "the checksum of an entry is wrong, perhaps of object #0",
    },
    {
      offset: first!.offset,
      message: `there is no good block; the next one is at byte ${
        first!.offset + first!.length
      }`,
    },
    {
      offset: damage[2]!.offset,
      message: "the checksum of an entry is wrong, perhaps of object #4",
    },
    {
      offset: copy!.offset + BLOCK_HEAD,
      message: "object #0 cannot be loaded any more",
    },
  ]);
  assertEquals([objects, dangling, unreadable], [7, [], 1]);
});

test("verify finds references that lead nowhere, if they can be reached", async (path) => {
  {
    using storage = new FileStorage(path);
    using session = storage.session();
    session.allocate(10);
    store(
      session,
      textRecord(0, "root", [1, 7, 7]),
      textRecord(1, "one", [8, 9999, 0]),
      textRecord(2, "garbage", [9]),
    );
  }
  const { good, dangling, danglingCount, damage } = await verify(path);
  assertEquals([good, danglingCount, damage], [false, 3, []]);
  assertEquals(dangling, [
    { oid: 7, from: 0 },
    { oid: 8, from: 1 },
    { oid: 9999, from: 1 },
  ]);
});

test("a last transaction that was not written to its end is no damage", (path) => {
  makeJournal(path);
  const bytes = Deno.readFileSync(path);
  const last = blocksOf(bytes).at(-1)!;
  for (let end = last.offset + 1; end < bytes.length; end++) {
    const report = verifyBytes(bytes.subarray(0, end));
    assert(report.good && report.transactions === 3, `${end}`);
    assert(report.notes[0]!.includes(`from byte ${last.offset} on`));
  }
  // The same goes for a header.
  assert(verifyBytes(bytes.subarray(0, 0)).good);
  assert(verifyBytes(bytes.subarray(0, 100)).good);
});

/** Writes blocks as a journal with right checksums, whatever they say. */
function journalOf(
  ...blocks: {
    tid: number;
    next?: number;
    entries: {
      oid: number;
      tid?: number;
      previous?: number;
      data?: Uint8Array;
    }[];
  }[]
): Uint8Array {
  const parts: Uint8Array[] = [
    encodeHeader({ database: new Uint8Array(16), packs: 0 }),
  ];
  let end = HEADER_SIZE;
  const file = {
    write(bytes: Uint8Array) {
      parts.push(bytes.slice());
      return bytes.length;
    },
  } as unknown as OpenFile;
  for (const { tid, next = 10, entries } of blocks) {
    const records = entries.map(({ oid, data }) =>
      data ?? textRecord(oid, "text")[1]
    );
    const length = records.reduce((sum, { length }) => sum + 24 + length, 60);
    const writer = new BlockWriter(file, {
      kind: BlockKind.transaction,
      count: entries.length,
      offset: end,
      length,
      tid,
      next,
      notes: 0,
    });
    entries.forEach((entry, i) =>
      writer.putEntry(records[i]!, entry.tid ?? tid, entry.previous ?? 0)
    );
    end = writer.finish();
  }
  const bytes = new Uint8Array(end);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

Deno.test("verify finds what has right checksums and is wrong all the same", () => {
  const first = HEADER_SIZE + BLOCK_HEAD;
  const one = { tid: 5, entries: [{ oid: 0 }, { oid: 1 }] };
  const size = 24 + 16;
  const again = { oid: 0, previous: first };
  assert(verifyBytes(journalOf(one, { tid: 6, entries: [again] })).good);
  for (
    const [message, ...blocks] of [
      ["older than the one before", one, { tid: 5, entries: [again] }],
      ["older than the one before", one, { tid: 6, next: 9, entries: [again] }],
      ["at byte 0, and it is at byte 1584", one, {
        tid: 6,
        entries: [{ oid: 0 }],
      }],
      ["previous revision", one, {
        tid: 6,
        entries: [{ oid: 0, previous: first + size }],
      }],
      ["and it is nowhere", one, {
        tid: 6,
        entries: [{ oid: 2, previous: first }],
      }],
      ["wrong tid", { tid: 5, entries: [{ oid: 0, tid: 4 }] }],
      ["not given out", { tid: 5, next: 1, entries: [{ oid: 0 }, { oid: 1 }] }],
      ["not well-formed", {
        tid: 5,
        entries: [{
          oid: 0,
          data: packRecord(0, new Uint8Array(9), []).fill(1, 8, 12),
        }],
      }],
    ] as [string, ...Parameters<typeof journalOf>][]
  ) {
    const { good, damage } = verifyBytes(journalOf(...blocks));
    assert(!good);
    assert(damage[0]!.message.includes(message), damage[0]!.message);
  }
});

test("verify says why it cannot read a file", async (path) => {
  await assertRejects(
    () => verify(path),
    StorageError,
    `Cannot verify ${path}: there is no such file`,
  );
  Deno.writeTextFileSync(path, "something else");
  await assertRejects(() => verify(path), StorageError, "not a Dhara journal");
  Deno.removeSync(path);
  Deno.mkdirSync(path);
  await assertRejects(() => verify(path), StorageError, "not a regular file");
});

for (const format of ["journal", "sqlite"]) {
  test(`verify() of a ${format} tells how far it has come, in one shape`, async (path) => {
    const count = 4001;
    {
      using storage = format === "sqlite"
        ? await SqliteStorage.open(path)
        : new FileStorage(path);
      using session = storage.session();
      const oids = session.allocate(count);
      const text = "x".repeat(3000);
      const records = oids.map((oid, i) =>
        textRecord(oid, text, i + 1 < count ? [oids[i + 1]!] : [])
      );
      for (let i = 0; i < count; i += 100) {
        store(session, ...records.slice(i, i + 100));
      }
    }
    const told: Progress[] = [];
    const report = await verify(path, {
      onProgress: (progress) => told.push(progress),
    });
    assert(report.good);
    assertEquals(report.records, count);
    for (const phase of ["reading", "following"] as const) {
      const steps = told.filter((progress) => progress.phase === phase);
      assert(steps.length > 1, phase);
      let before: Progress = { records: 0, bytes: 0, fraction: 0 };
      for (const progress of steps) {
        const { records, bytes, fraction } = progress;
        assert(records >= before.records && records <= count);
        assert(bytes >= before.bytes && bytes > 0);
        assert(fraction! >= before.fraction! && fraction! <= 1);
        before = progress;
      }
      assert(before.records > count / 4 && before.fraction! > 0.25, phase);
    }
    // First the one, then the other.
    const phases = told.map(({ phase }) => phase);
    assertEquals(phases, [...phases].sort().reverse());
  });
}
