/** Writing transactions to a journal, and bringing several to the disk at once. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { StorageError } from "../../../lib/errors.ts";
import { disk } from "../../../lib/files/file.ts";
import { FileStorage } from "../../../lib/storage/file_storage.ts";
import type { Journal } from "../../../lib/storage/journal/journal.ts";
import { openJournal } from "../../../lib/storage/journal/open.ts";
import { JournalPack } from "../../../lib/storage/journal/pack.ts";
import { verify } from "../../../mod.ts";
import { Faults } from "../../support/faulty_files.ts";
import { recordData } from "../../../lib/serialize/record.ts";
import { textOf, textRecord } from "../../../lib/testing/records.ts";

const NONE = new Uint8Array();

/** Runs a test with a journal that holds the root, as of tid 1. */
function test(
  name: string,
  run: (
    journal: Journal,
    given: { faults: Faults; path: string },
  ) => void | Promise<void>,
): void {
  Deno.test(name, async () => {
    const directory = Deno.makeTempDirSync();
    const path = `${directory}/test.dhara`;
    const faults = new Faults();
    const file = faults.files.open(path, { write: true, create: true });
    const journal = openJournal(faults.files, file, path, path, {
      readonly: false,
      repair: false,
      sync: true,
      indexInMemory: false,
    });
    try {
      journal.append(new Map([textRecord(0, "first")]), 1, 1, NONE);
      await run(journal, { faults, path });
    } finally {
      journal.release();
      Deno.removeSync(directory, { recursive: true });
    }
  });
}

function write(journal: Journal, tid: number, ...texts: string[]): void {
  const records = texts.map((text, oid) => textRecord(oid, text));
  journal.write(new Map(records), tid, 2, NONE);
}

function read(journal: Journal, oid: number, tid: number): string | undefined {
  const record = journal.load(oid, tid);
  return record && new TextDecoder().decode(recordData(record));
}

test(
  "what is written becomes visible all at once, with one sync",
  async (journal, { faults, path }) => {
    const { end } = journal;
    faults.syncs = 0;
    write(journal, 2, "second", "new");
    write(journal, 3, "third");
    write(journal, 4, "fourth", "newer");
    assertEquals(faults.syncs, 0);
    assertEquals([journal.tid, journal.end], [1, end]);
    assertEquals(read(journal, 0, 9), "first");
    assert(!journal.holds(1));
    journal.flush();
    assertEquals(faults.syncs, 1);
    assertEquals(journal.tid, 4);
    assertEquals(journal.end, Deno.statSync(path).size);
    const texts = [1, 2, 3, 4].map((tid) => read(journal, 0, tid));
    assertEquals(texts, ["first", "second", "third", "fourth"]);
    const others = [1, 2, 3, 4].map((tid) => read(journal, 1, tid));
    assertEquals(others, [undefined, "new", "new", "newer"]);
    // There is nothing to do any more.
    journal.flush();
    assertEquals(faults.syncs, 1);
    const { good, transactions } = await verify(path);
    assertEquals([good, transactions], [true, 4]);
  },
);

test("a transaction is later than those that wait", (journal) => {
  write(journal, 5, "second");
  assertThrows(() => write(journal, 5, "x"), StorageError, "cannot have");
  assertThrows(() => write(journal, 4, "x"), StorageError, "cannot have");
  journal.flush();
  assertEquals(read(journal, 0, 9), "second");
});

test(
  "a write that fails leaves what was written before it",
  async (journal, { faults, path }) => {
    write(journal, 2, "second");
    faults.room = 70;
    assertThrows(() => write(journal, 3, "third"), StorageError, "make room");
    faults.room = Infinity;
    write(journal, 4, "fourth");
    journal.flush();
    const texts = [1, 2, 3, 4].map((tid) => read(journal, 0, tid));
    assertEquals(texts, ["first", "second", "second", "fourth"]);
    assert((await verify(path)).good);
  },
);

test(
  "when the sync fails, all that waited is gone, and nothing is committed any more",
  (journal, { faults, path }) => {
    const { end } = journal;
    write(journal, 2, "second");
    write(journal, 3, "third");
    faults.failSync = true;
    assertThrows(() => journal.flush(), StorageError, "syncing to the disk");
    faults.failSync = false;
    assertEquals(read(journal, 0, 9), "first");
    assertEquals(Deno.statSync(path).size, end);
    assertThrows(() => write(journal, 4, "x"), StorageError, "earlier sync");
    // What waited is not brought back.
    journal.flush();
    assertEquals([journal.tid, journal.end], [1, end]);
  },
);

test(
  "closing brings to the disk what was written",
  (journal, { faults, path }) => {
    write(journal, 2, "second");
    faults.syncs = 0;
    journal.finish(2);
    assertEquals([faults.syncs, journal.tid], [1, 2]);
    using storage = new FileStorage(path, { readonly: true });
    using session = storage.session();
    assertEquals([session.tid, textOf(session, 0)], [2, "second"]);
  },
);

test(
  "a pack takes along what was written and not flushed",
  (journal, { path }) => {
    let packed: Journal | undefined;
    const pack = new JournalPack({
      files: disk,
      path,
      journal,
      next: 1,
      replace: (to) => packed = to,
    }, {});
    let tid = 2;
    for (const _ of pack.run()) {
      if (packed === undefined) write(journal, tid++, `at step ${tid}`);
    }
    assert(packed !== undefined);
    try {
      assert(tid > 3);
      assertEquals(packed.tid, tid - 1);
      assertEquals(read(packed, 0, tid), `at step ${tid}`);
    } finally {
      packed.release();
    }
  },
);
