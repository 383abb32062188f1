/** History, time travel and undo, on the storages that have them. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  ConnectionError,
  ObjectNotFoundError,
  ReadonlyError,
  StorageClosedError,
  StorageError,
  UndoError,
} from "../../../lib/errors.ts";
import { Connection } from "../../../lib/connection/connection.ts";
import { Persistent } from "../../../lib/persistent/persistent.ts";
import { FileStorage } from "../../../lib/storage/file_storage.ts";
import { MemoryStorage } from "../../../lib/storage/memory_storage.ts";
import { isHistorical, type Session } from "../../../lib/storage/storage.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";
import { PersistentDict } from "../../../mod.ts";

/** Runs a test with a path in a directory of its own. */
function test(name: string, run: (path: string) => void): void {
  Deno.test(name, () => {
    const directory = Deno.makeTempDirSync();
    try {
      run(`${directory}/test.dhara`);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}

/** Commits texts, one transaction each, and returns their tids. */
function storeEach(session: Session, ...texts: string[]): number[] {
  return texts.map((text, i) => {
    const result = session.commit([textRecord(0, text)], {
      note: `note ${i}`,
      user: "ada",
    });
    assert("tid" in result);
    return result.tid;
  });
}

test("history() and transactions() tell what was committed, the newest first", (path) => {
  using storage = new FileStorage(path);
  assert(isHistorical(storage));
  assertEquals([...storage.transactions()], []);
  using session = storage.session();
  const first = store(
    session,
    textRecord(0, "root", [1]),
    textRecord(1, "one"),
  );
  const [second] = storeEach(session, "second");
  const { size } = storage;
  const third = store(session, textRecord(1, "a longer one"));
  const transactions = [...storage.transactions()];
  assertEquals(transactions.map(({ bytes: _, ...rest }) => rest), [
    { tid: third, time: new Date(third / 1000), records: 1 },
    {
      tid: second!,
      time: new Date(second! / 1000),
      records: 1,
      note: "note 0",
      user: "ada",
    },
    { tid: first, time: new Date(first / 1000), records: 2 },
  ]);
  assertEquals(transactions[0]!.bytes, storage.size - size);
  assertEquals([...storage.history(0)], [
    {
      tid: second!,
      time: new Date(second! / 1000),
      bytes: 18,
      note: "note 0",
      user: "ada",
    },
    { tid: first, time: new Date(first / 1000), bytes: 24 },
  ]);
  assertEquals([...storage.history(1)].map(({ tid }) => tid), [third, first]);
  assertThrows(() => [...storage.history(2)], ObjectNotFoundError);
  assertThrows(() => [...storage.history(-1)], ObjectNotFoundError);
});

test("a session at a moment reads what was there, and stays there", (path) => {
  using storage = new FileStorage(path);
  using writer = storage.session();
  const tids = storeEach(writer, "a", "b", "c");
  store(writer, textRecord(0, "d", [1]), textRecord(1, "one"));
  for (const [i, tid] of tids.entries()) {
    const moments = [tid, tids[i + 1]! - 1 || tid];
    for (const at of moments) {
      using session = storage.session({ at });
      assertEquals(session.tid, tid);
      assertEquals(textOf(session, 0), "abc"[i]);
      assertThrows(() => session.load(1), ObjectNotFoundError);
    }
  }
  using session = storage.session({ at: tids[1]! });
  store(writer, textRecord(0, "e"));
  assertEquals(session.sync(), []);
  assertEquals(session.tid, tids[1]);
  assertEquals(textOf(session, 0), "b");
  assertThrows(() => session.commit([textRecord(0, "x")]), ReadonlyError);
  assertThrows(() => session.allocate(1), ReadonlyError);
  assertEquals(session.commit([]), { tid: tids[1]!, changed: [] });
  using empty = storage.session({ at: tids[0]! - 1 });
  assertEquals(empty.tid, 0);
  assertThrows(() => empty.load(0), ObjectNotFoundError);
  // A date is the end of its millisecond; the future is now.
  for (
    const at of [
      new Date(writer.tid / 1000),
      new Date(Date.now() + 1e9),
      Number.MAX_SAFE_INTEGER,
    ]
  ) {
    using now = storage.session({ at });
    assertEquals(now.tid, writer.tid);
  }
  for (const at of [new Date(NaN), new Date(-5), -1, 0.5, NaN]) {
    assertThrows(() => storage.session({ at }), StorageError, "Cannot go to");
  }
});

test("a note or user that cannot be kept is refused, and nothing is stored", (path) => {
  using storage = new FileStorage(path);
  using session = storage.session();
  for (const note of ["x".repeat(65_537), 5 as unknown as string]) {
    assertThrows(
      () => session.commit([textRecord(0, "root")], { note }),
      StorageError,
      "the note must be",
    );
  }
  assertEquals(session.tid, 0);
  const note = "ü".repeat(65_536);
  session.commit([textRecord(0, "root")], { note, user: "" });
  session.commit([textRecord(0, "root")], { user: '\ud800 "\u2028\n\0' });
  assertEquals([...storage.transactions()].map((t) => [t.note, t.user]), [
    [undefined, '\ud800 "\u2028\n\0'],
    [note, ""],
  ]);
});

test("history reaches over index blocks and reopening", (path) => {
  const tids: number[] = [];
  const text = (i: number) => `${i} `.repeat(20_000);
  {
    using storage = new FileStorage(path, { sync: false });
    using session = storage.session();
    for (let i = 0; i < 100; i++) {
      session.commit([textRecord(i % 7, text(i))], { note: `note ${i}` });
      tids.push(session.tid);
    }
  }
  using storage = new FileStorage(path, { readonly: true });
  assertEquals(
    [...storage.transactions()].map(({ tid, note }) => [tid, note]),
    tids.map((tid, i) => [tid, `note ${i}`]).reverse(),
  );
  for (let i = 0; i < 100; i++) {
    using session = storage.session({ at: tids[i]! });
    assertEquals(session.tid, tids[i]);
    assertEquals(textOf(session, i % 7), text(i));
  }
  assertEquals(
    [...storage.history(3)].map(({ note }) => note),
    Array.from({ length: 14 }, (_, i) => `note ${3 + 7 * (13 - i)}`),
  );
});

test("transactions() goes on while others commit and pack, and ends with the storage", (path) => {
  const storage = new FileStorage(path);
  const session = storage.session();
  const tids = storeEach(session, "a", "b", "c");
  const list = storage.transactions();
  assertEquals(list.next().value?.tid, tids[2]);
  store(session, textRecord(0, "d"));
  storage.pack();
  assertEquals(list.next().value?.tid, tids[1]);
  storage.close();
  assertThrows(() => list.next(), StorageClosedError);
  // Nothing keeps the file locked.
  new FileStorage(path).close();
});

test("after a pack the past is gone, and says so", (path) => {
  using storage = new FileStorage(path);
  using session = storage.session();
  const tids = storeEach(session, "a", "b", "c");
  storage.pack();
  assertEquals([...storage.transactions()], []);
  const [revision, ...more] = storage.history(0);
  assertEquals([revision?.tid, revision?.note, more], [tids[2], undefined, []]);
  assertThrows(
    () => storage.session({ at: tids[1]! }),
    StorageError,
    `the oldest moment that can be read is ${tids[2]} (`,
  );
  assertThrows(
    () => storage.undo(tids[1]!),
    StorageError,
    "a pack has dropped",
  );
  using now = storage.session({ at: tids[2]! });
  assertEquals(textOf(now, 0), "c");
});

Deno.test("MemoryStorage has no history, and says so", () => {
  using storage = new MemoryStorage();
  assert(!isHistorical(storage));
  using session = storage.session();
  for (const options of [{ note: "why" }, { user: "ada" }]) {
    assertThrows(
      () => session.commit([textRecord(0, "root")], options),
      StorageError,
      "keeps no history",
    );
  }
  assertEquals(session.tid, 0);
  assertThrows(
    () => storage.session({ at: 5 }),
    StorageError,
    "Cannot go back in time",
  );
  for (const options of [{ keep: "7d" }, { prepack: true }]) {
    assertThrows(() => storage.pack(options), StorageError, "Cannot keep");
  }
});

class Account extends Persistent {
  balance = 0;
}
const classes = { Account };

test("a connection at a moment shows it, and changes nothing", (path) => {
  using storage = new FileStorage(path);
  using connection = new Connection(storage, { classes });
  const start = connection.tid;
  connection.root["ada"] = new Account();
  connection.commit();
  connection.transact(() => connection.root["ada"].balance = 10, {
    note: "pay day",
    user: "ada",
  });
  const then = connection.tid;
  connection.root["ada"].balance = 99;
  connection.root["bob"] = new Account();
  connection.commit({ note: "later" });
  assertEquals([...storage.transactions()].map(({ note }) => note), [
    "later",
    "pay day",
    undefined,
    undefined,
  ]);

  using past = new Connection(storage, { classes, at: then });
  assertEquals(past.tid, then);
  assertEquals(past.root["ada"].balance, 10);
  assertEquals(past.root["bob"], undefined);
  const why = "the connection shows the past";
  assertThrows(() => past.root["ada"].balance = 5, ReadonlyError, why);
  assertThrows(() => delete past.root["ada"], ReadonlyError, why);
  assertThrows(() => past.root.set("x", new Account()), ReadonlyError, why);
  assertEquals(past.hasChanges, false);
  assertEquals(past.root["ada"].balance, 10);
  past.commit();
  past.abort();
  assertEquals(past.tid, then);
  assertEquals(past.root["ada"].balance, 10);

  using beginning = new Connection(storage, { at: start });
  assertEquals(beginning.root.size, 0);
  const error = assertThrows(
    () => new Connection(storage, { at: start - 1 }),
    ConnectionError,
  );
  assertEquals(
    error.message,
    "Cannot show the database as of 0 (1970-01-01T00:00:00.000Z): there was no root object yet",
  );
});

test("a connection at a moment opens a path for reading only", (path) => {
  assertThrows(() => new Connection(path, { at: 5 }), StorageError, "no such");
  using connection = new Connection(path);
  connection.root["a"] = 1;
  connection.commit();
  using past = new Connection(path, { at: connection.tid });
  assertEquals(past.root["a"], 1);
  assert(past.root instanceof PersistentDict);
});

test("undo() brings back what was there, and can be undone", (path) => {
  using storage = new FileStorage(path);
  using connection = new Connection(storage, { classes });
  const { root } = connection;
  using other = new Connection(storage, { classes });
  root["ada"] = new Account();
  connection.commit();
  root["ada"].balance = 10;
  root["bob"] = new Account();
  connection.commit();
  const mistake = connection.tid;
  other.abort();
  assertEquals(other.root["ada"].balance, 10);

  const undone = storage.undo(mistake, { note: "no", user: "eve" });
  const [newest] = storage.transactions();
  assertEquals(
    [newest?.tid, newest?.note, newest?.user, newest?.records],
    [undone, "no", "eve", 2],
  );
  // A snapshot is a snapshot.
  assertEquals(root["ada"].balance, 10);
  connection.abort();
  assertEquals(root["ada"].balance, 0);
  assertEquals(root["bob"], undefined);
  other.root["ada"].balance = 20;
  assertThrows(() => other.commit(), Error, "somebody else has changed");
  other.abort();

  storage.undo(undone);
  connection.abort();
  assertEquals(root["ada"].balance, 10);
  assertEquals(root["bob"].balance, 0);
  // What is between is as if it had never been, so the first one can go too.
  storage.undo(mistake);
  connection.abort();
  assertEquals(root["ada"].balance, 0);
});

test("undo() tells which later change stands in the way", (path) => {
  using storage = new FileStorage(path);
  using session = storage.session();
  const records = [0, 1, 2].map((oid) => textRecord(oid, `${oid}`));
  const first = store(session, ...records);
  const second = store(session, textRecord(1, "b"), textRecord(2, "b"));
  const third = store(session, textRecord(1, "c"));
  const fourth = store(session, textRecord(1, "d"));
  const error = assertThrows(() => storage.undo(second), UndoError);
  assertEquals([error.oids, error.tids], [[1], [fourth, third]]);
  assert(
    error.message.startsWith(
      `Cannot undo transaction ${second} of ${path}: object #1 was changed later, by transaction ${fourth} (`,
    ),
    error.message,
  );
  assertEquals([...storage.transactions()].length, 4);
  storage.undo(fourth);
  storage.undo(third);
  storage.undo(second);
  session.sync();
  assertEquals([0, 1, 2].map((oid) => textOf(session, oid)), ["0", "1", "2"]);
  assertThrows(
    () => storage.undo(first),
    StorageError,
    "it has made all of its objects",
  );
  assertThrows(
    () => storage.undo(session.tid + 1e9),
    StorageError,
    "there is no such transaction",
  );
  assertThrows(() => storage.undo(NaN), StorageError, "Cannot go to");
  using reading = new FileStorage(path, { readonly: true });
  assertThrows(() => reading.undo(second), ReadonlyError);
});
