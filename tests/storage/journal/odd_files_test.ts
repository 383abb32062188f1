/** Journals that are very large, have odd names, or come from the future. */
import { viewOf } from "../../../lib/serialize/bytes.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ReadonlyError, StorageError } from "../../../lib/errors.ts";
import { MAX_RECORD_BYTES } from "../../../lib/serialize/extensions.ts";
import { disk } from "../../../lib/files/file.ts";
import { FileStorage, openOn } from "../../../lib/storage/file_storage.ts";
import { Journal } from "../../../lib/storage/journal/journal.ts";
import {
  BlockKind,
  encodeBlockHead,
  HEADER_SIZE,
} from "../../../lib/storage/journal/format.ts";
import { checkRecords } from "../../../lib/storage/check_records.ts";
import { createJournal } from "../../../lib/storage/journal/open.ts";
import { SimulatedDisk } from "../../support/simulated_disk.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";

const NO_METADATA = new Uint8Array();

function test(
  name: string,
  run: (directory: string) => void | Promise<void>,
): void {
  Deno.test(name, async () => {
    const directory = await Deno.makeTempDir();
    try {
      await run(directory);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

test("a journal beyond 4 GiB is as any other", (directory) => {
  const path = `${directory}/large.dhara`;
  const end = 5 * 2 ** 30 + 12_345;
  {
    // A file with a hole, which takes no room on the disk: it is in an index
    // block that is good for nothing, and so is passed over.
    const file = disk.open(path, { write: true, createNew: true });
    const header = { database: new Uint8Array(16), packs: 0 };
    createJournal(disk, file, path, header);
    const hole = encodeBlockHead({
      kind: BlockKind.index,
      count: 0,
      offset: HEADER_SIZE,
      length: end - HEADER_SIZE,
      tid: 0,
      next: 0,
      notes: 0,
    });
    file.write(hole, HEADER_SIZE);
    file.truncate(end);
    const journal = new Journal(file, path, header);
    journal.end = end;
    journal.append(
      new Map([
        textRecord(0, "root", [1, 2]),
        textRecord(1, "one"),
        textRecord(3, "garbage"),
      ]),
      1000,
      4,
      NO_METADATA,
    );
    journal.writeIndex();
    journal.release();
  }
  {
    using storage = new FileStorage(path);
    assert(storage.size > end);
    using session = storage.session();
    assertEquals(session.tid, 1000);
    assertEquals(textOf(session, 1), "one");
    using old = storage.session();
    store(
      session,
      textRecord(1, "one, later"),
      textRecord(2, "x".repeat(3_000_000)),
    );
    // By the offset of the revision before.
    assertEquals(textOf(old, 1), "one");
    store(session, textRecord(1, "one, later still"));
  }
  for (const readonly of [true, false]) {
    using storage = new FileStorage(path, { readonly });
    using session = storage.session();
    assertEquals(textOf(session, 1), "one, later still");
    assertEquals(textOf(session, 2).length, 3_000_000);
    assertEquals(textOf(session, 3), "garbage");
  }
  // A commit that was not written to its end, at such an offset.
  const { size } = Deno.statSync(path);
  Deno.truncateSync(path, size + 500);
  using storage = new FileStorage(path);
  assertEquals(storage.size, size);
  storage.pack();
  assert(storage.size < 4_000_000);
  using session = storage.session();
  assertEquals(textOf(session, 1), "one, later still");
});

test("a journal may have any name that a file may have", (directory) => {
  const names = [
    "two words.dhara",
    "Größe 数据 🗄.dhara",
    "50% #1?.dhara",
    "-rf",
    ".hidden",
    ...(Deno.build.os === "windows" ? [] : ["new\nline", 'quo"te', "back\\"]),
  ];
  for (const name of names) {
    const path = `${directory}/${name}`;
    {
      using storage = new FileStorage(path);
      using session = storage.session();
      store(session, textRecord(0, name));
      storage.pack();
    }
    using storage = new FileStorage(path, { create: false });
    using session = storage.session();
    assertEquals(textOf(session, 0), name);
  }
  assertEquals([...Deno.readDirSync(directory)].length, names.length);
});

test("a name that is too long to pack is an error, and commits go on", (directory) => {
  const path = `${directory}/${"x".repeat(252)}`;
  {
    using storage = new FileStorage(path);
    using session = storage.session();
    store(session, textRecord(0, "root"));
    assertThrows(
      () => storage.pack(),
      StorageError,
      "the file is as it was",
    );
    store(session, textRecord(0, "root, later"));
  }
  using storage = new FileStorage(path);
  using session = storage.session();
  assertEquals(textOf(session, 0), "root, later");
  assertThrows(
    () => new FileStorage(`${directory}/${"x".repeat(300)}`),
    StorageError,
    "Cannot open",
  );
});

test("tids go on growing when the clock was in the future", (directory) => {
  const path = `${directory}/future.dhara`;
  const future = (Date.now() + 10 * 365 * 86_400_000) * 1000;
  {
    const file = disk.open(path, { write: true, createNew: true });
    const header = { database: new Uint8Array(16), packs: 0 };
    createJournal(disk, file, path, header);
    const journal = new Journal(file, path, header);
    journal.append(new Map([textRecord(0, "root")]), future, 1, NO_METADATA);
    journal.release();
  }
  let last = future;
  for (let round = 0; round < 3; round++) {
    using storage = new FileStorage(path);
    using session = storage.session();
    assertEquals(session.tid, last);
    last = store(session, textRecord(0, `${round}`));
    assertEquals(last, future + 2 * round + 1);
    storage.pack();
    session.sync();
    assertEquals(session.tid, last);
    last = store(session, textRecord(0, `${round}, packed`));
  }
});

test("who only reads sees one moment, however much is committed and packed", (directory) => {
  const path = `${directory}/test.dhara`;
  using storage = new FileStorage(path);
  using session = storage.session();
  store(session, textRecord(0, "0", [1]), textRecord(1, "one"));
  using reader = new FileStorage(path, { readonly: true });
  using reading = reader.session();
  for (let i = 1; i < 20; i++) {
    session.sync();
    store(session, textRecord(0, `${i}`, [1]));
    if (i % 5 === 0) storage.pack();
    using late = new FileStorage(path, { readonly: true });
    using looking = late.session();
    assertEquals(textOf(looking, 0), `${i}`);
    assertEquals(textOf(reading, 0), "0");
    assertEquals(textOf(reading, 1), "one");
    assertEquals(reading.sync(), []);
    assertThrows(
      () => looking.commit([textRecord(0, "no")]),
      ReadonlyError,
    );
  }
});

Deno.test("a record of 1 GiB is taken, and none of a byte more", () => {
  // Nothing is ever put into it, so it takes no memory.
  const bytes = new Uint8Array(MAX_RECORD_BYTES + 1);
  const view = viewOf(bytes);
  view.setUint32(8, MAX_RECORD_BYTES - 12);
  const largest = bytes.subarray(0, MAX_RECORD_BYTES);
  assertEquals(checkRecords([[0, largest]]).get(0)?.length, 2 ** 30);
  view.setUint32(8, MAX_RECORD_BYTES - 11);
  using storage = openOn(new SimulatedDisk(), "x");
  using session = storage.session();
  const { size } = storage;
  assertThrows(
    () => session.commit([[0, bytes]]),
    StorageError,
    "Cannot commit object #0: its record has 1073741825 bytes, and 1073741824 are the most",
  );
  assertEquals(storage.size, size);
});

Deno.test("numbers that committed records may refer to are not given out again after a crash", () => {
  const files = new SimulatedDisk();
  let storage = openOn(files, "x");
  let session = storage.session();
  // It commits references to numbers whose objects it never stores.
  const given = session.allocate(20);
  store(session, textRecord(0, "root", given));
  const unused = session.allocate(20);
  files.crash(() => false);
  storage = openOn(files, "x");
  session = storage.session();
  const again = session.allocate(30);
  assertEquals(again.filter((oid) => given.includes(oid)), []);
  // Nothing that is stored knows these.
  assert(again.some((oid) => unused.includes(oid)));
  storage.close();
});
