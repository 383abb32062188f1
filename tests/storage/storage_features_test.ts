/** What a storage says that it can do is what it does. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  ObjectNotFoundError,
  StorageClosedError,
  StorageError,
} from "../../lib/errors.ts";
import { ClientStorage } from "../../lib/client/client_storage.ts";
import { readonlyView } from "../../lib/cli/readonly.ts";
import { FileStorage, FileStorage2 } from "../../lib/storage/file_storage.ts";
import { MemoryStorage } from "../../lib/storage/memory_storage.ts";
import { SqliteStorage } from "../../lib/storage/sqlite_storage.ts";
import { isHistorical, type Storage } from "../../lib/storage/storage.ts";
import { ServerWorker } from "../support/server_worker.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";

const storages: Record<string, (path: string) => Storage | Promise<Storage>> = {
  MemoryStorage: () => new MemoryStorage(),
  FileStorage: (path) => new FileStorage(path),
  FileStorage2: (path) => new FileStorage2(path),
  SqliteStorage: (path) => SqliteStorage.open(path),
};

function test(
  what: string,
  run: (storage: Storage) => Promise<void> | void,
): void {
  for (const [name, open] of Object.entries(storages)) {
    Deno.test(`${name}: ${what}`, async () => {
      const directory = await Deno.makeTempDir();
      try {
        using storage = await open(`${directory}/test.sqlite`);
        await run(storage);
      } finally {
        await Deno.remove(directory, { recursive: true });
      }
    });
  }
}

/** Whether it does something, or refuses it as it should. */
function can(act: () => unknown): boolean {
  try {
    act();
    return true;
  } catch (error) {
    assert(error instanceof StorageError, `${error}`);
    return false;
  }
}

function check(storage: Storage): void {
  using session = storage.session();
  const first = store(session, textRecord(0, "first"));
  const second = store(session, textRecord(0, "second"));
  const notes = can(() => session.commit([textRecord(1, "")], { note: "x" }));
  const past = can(() => storage.session({ at: first }).close());
  assertEquals(can(() => session.load(0, first)), past);
  const keep = can(() => storage.pack({ keep: second }));
  const prepack = can(() => storage.pack({ prepack: true }));
  const history = isHistorical(storage);
  assertEquals(
    { notes, past, history, keep, prepack },
    { ...storage.features },
  );
}

test("its features are what it can do", check);

Deno.test("ClientStorage: its features are what it can do", async () => {
  await using server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port });
  const { features } = storage;
  assertEquals(Object.values(features), [false, false, false, false, false]);
  using session = storage.session();
  const [root] = session.allocate(1);
  const first = store(session, textRecord(root!, "first"));
  store(session, textRecord(root!, "second"));
  assertEquals(textOf(session, root!), "second");
  assert(!can(() => session.load(root!, first)));
  assert(!can(() => storage.session({ at: first })));
  assert(!can(() => session.commit([textRecord(1, "")], { note: "x" })));
  assert(!can(() => storage.pack({ keep: "1d" })));
  assert(!can(() => storage.pack({ prepack: true })));
});

test("an older state of an object is loaded, but none later than the snapshot", (storage) => {
  using session = storage.session();
  using late = storage.session();
  const first = store(session, textRecord(0, "first"));
  const second = store(session, textRecord(0, "second"), textRecord(1, "new"));
  late.sync();
  const third = store(session, textRecord(0, "third"));
  // The snapshot's own moment needs no past.
  assertEquals(textOf(session, 0), "third");
  assertEquals(session.load(0, third), session.load(0));
  assertThrows(() => late.load(0, third), StorageError);
  for (const at of [-1, 0.5, NaN, Infinity]) {
    assertThrows(() => session.load(0, at), StorageError);
  }
  if (!storage.features.past) return;
  const text = (at: number) => new TextDecoder().decode(session.load(0, at));
  assert(text(first).includes("first"));
  assert(text(second).includes("second"));
  assert(text(second + 0).includes("second"));
  assertThrows(() => session.load(1, first), ObjectNotFoundError);
  assert(session.load(1, second).length > 0);
  assertThrows(() => session.load(-1, first), ObjectNotFoundError);
  assertEquals(textOf(late, 0), "second");
});

test("a commit that is refused tells the newest transaction", (storage) => {
  using session = storage.session();
  using other = storage.session();
  store(session, textRecord(0, "first"));
  other.sync();
  store(session, textRecord(0, "second"));
  const newest = store(session, textRecord(1, "one"));
  const result = other.commit([textRecord(0, "mine")]);
  assertEquals(result, { invalid: [0, 1], newest });
});

test("onCommit() tells of each commit, in order, and of nothing after it is stopped", async (storage) => {
  const told: string[] = [];
  const stop = storage.onCommit!(({ tid, oids, note }) =>
    told.push(`${tid}: ${oids} ${note}`)
  );
  using session = storage.session();
  const first = store(session, textRecord(0, "root"), textRecord(7, "seven"));
  // Nothing of the program runs in the middle of a commit.
  assertEquals(told, []);
  const options = storage.features.notes ? { note: "why" } : {};
  const result = session.commit([textRecord(7, "again")], options);
  assert("tid" in result);
  session.commit([]);
  await Promise.resolve();
  assertEquals(told, [
    `${first}: 0,7 undefined`,
    `${result.tid}: 7 ${options.note}`,
  ]);
  store(session, textRecord(7, "not told"));
  stop();
  stop();
  store(session, textRecord(7, "not told either"));
  await Promise.resolve();
  assertEquals(told.length, 2);
  storage.onCommit!(() => told.push("after the end"));
  store(session, textRecord(7, "the last"));
  storage.close();
  await Promise.resolve();
  assertEquals(told.length, 2);
  assertThrows(() => storage.onCommit!(() => {}), StorageClosedError);
});

test("two listeners are two, even if they are the same function", async (storage) => {
  let calls = 0;
  const listener = () => calls++;
  const stop = storage.onCommit!(listener);
  storage.onCommit!(listener);
  using session = storage.session();
  store(session, textRecord(0, "root"));
  await Promise.resolve();
  assertEquals(calls, 2);
  stop();
  store(session, textRecord(0, "root"));
  await Promise.resolve();
  assertEquals(calls, 3);
});

Deno.test("what is opened for looking only has the features of what it shows", () => {
  using storage = new MemoryStorage();
  assertEquals(readonlyView(storage).features, storage.features);
});

test("changes() tells the transactions after a moment, the oldest first", (storage) => {
  if (storage.changes === undefined) {
    assert(storage instanceof MemoryStorage);
    return;
  }
  using session = storage.session();
  assertEquals([...storage.changes(0)], []);
  const told: unknown[] = [];
  // More than are read at once, and more than one index block of a journal.
  for (let i = 0; i < 250; i++) {
    const oids = [i % 3, 100 + i];
    const options = storage.features.notes && i % 2 ? { note: `${i}` } : {};
    const records = oids.map((oid) => textRecord(oid, `${i}`));
    const result = session.commit(records, options);
    assert("tid" in result);
    told.push({ tid: result.tid, oids, ...options });
  }
  assertEquals([...storage.changes(0)], told);
  for (const i of [0, 1, 99, 100, 101, 248, 249]) {
    const { tid } = told[i] as { tid: number };
    assertEquals([...storage.changes(tid)], told.slice(i + 1));
    // Any moment will do.
    assertEquals([...storage.changes(tid - 1)], told.slice(i));
  }
  assertEquals([...storage.changes(Number.MAX_SAFE_INTEGER)], []);
  for (const since of [-1, 1.5, NaN]) {
    assertThrows(() => [...storage.changes!(since)], StorageError);
  }
  // What a pack has dropped is not passed over.
  const middle = told[100] as { tid: number };
  const last = told.at(-1) as { tid: number };
  storage.pack({ keep: middle.tid });
  assertEquals([...storage.changes(middle.tid)], told.slice(101));
  storage.pack();
  session.sync();
  if (storage instanceof SqliteStorage) {
    // It forgets what is older than a while.
    assertEquals([...storage.changes(0)], told);
  } else {
    assertThrows(() => [...storage.changes!(0)], StorageError, "pack has");
  }
  assertEquals([...storage.changes(last.tid)], []);
  const { tid } = session;
  const next = store(session, textRecord(0, "next"));
  assertEquals([...storage.changes(Math.max(tid, last.tid))], [
    { tid: next, oids: [0] },
  ]);
  if (storage instanceof SqliteStorage) {
    const { now } = Date;
    Date.now = () => now() + 1e12;
    try {
      storage.pack();
    } finally {
      Date.now = now;
    }
    assertThrows(() => [...storage.changes(0)], StorageError, "forgotten");
    assertEquals([...storage.changes(next)], []);
  }
  storage.close();
  assertThrows(() => [...storage.changes!(next)], StorageClosedError);
});
