/** What somebody else does to the file of a journal while it is open. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { StorageError } from "../../../lib/errors.ts";
import { FileStorage } from "../../../lib/storage/file_storage.ts";
import type { Session } from "../../../lib/storage/storage.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";

const sync = [true, false];

/** Runs a test with an open storage that holds "one" as its root. */
function test(
  name: string,
  run: (
    t: { path: string; storage: FileStorage; session: Session; sync: boolean },
  ) => void,
): void {
  for (const synced of sync) {
    Deno.test(`${name}${synced ? "" : ", without sync"}`, () => {
      const directory = Deno.makeTempDirSync();
      const path = `${directory}/test.dhara`;
      try {
        using storage = new FileStorage(path, { sync: synced });
        using session = storage.session();
        store(session, textRecord(0, "one"));
        run({ path, storage, session, sync: synced });
      } finally {
        Deno.removeSync(directory, { recursive: true });
      }
    });
  }
}

/** Makes sure that no commit is confirmed, and that what is there can be read. */
function assertRefused(session: Session, message: string): void {
  const { tid } = session;
  for (let attempt = 0; attempt < 2; attempt++) {
    const error = assertThrows(
      () => session.commit([textRecord(0, "two")]),
      StorageError,
      message,
    );
    assert(error.message.includes("nothing was stored"), error.message);
    assertEquals(session.tid, tid);
    assertEquals(textOf(session, 0), "one");
  }
}

test("a file that was removed takes no commit", ({ path, session, storage }) => {
  Deno.removeSync(path);
  assertRefused(session, "the file was removed");
  assertThrows(() => storage.undo(session.tid), StorageError);
});

test("a file that another one has replaced takes no commit", ({ path, session, sync }) => {
  {
    using other = new FileStorage(`${path}.other`, { sync });
    using session = other.session();
    store(session, textRecord(0, "other"));
  }
  Deno.renameSync(`${path}.other`, path);
  assertRefused(session, "another one was put in its place");
  // That one is not touched, and can be opened beside it.
  using storage = new FileStorage(path);
  using other = storage.session();
  assertEquals(textOf(other, 0), "other");
});

test("a file that somebody else has appended to takes no commit until that is cut off", ({ path, session, storage }) => {
  const { size } = storage;
  Deno.writeTextFileSync(path, "a line\n", { append: true });
  assertRefused(
    session,
    `it has ${size + 7} bytes and should have ${size}`,
  );
  Deno.truncateSync(path, size);
  store(session, textRecord(0, "two"));
  assertEquals(textOf(session, 0), "two");
});

test("a file that somebody else has cut takes no commit", ({ path, session, storage }) => {
  const { size } = storage;
  Deno.truncateSync(path, size - 1);
  assertThrows(
    () => session.commit([textRecord(0, "two")]),
    StorageError,
    `it has ${size - 1} bytes and should have ${size}`,
  );
});

test("a file that got another name while it is open goes on under that", ({ path, session, storage }) => {
  const moved = `${path}.moved`;
  Deno.renameSync(path, moved);
  store(session, textRecord(0, "two"));
  // What has the name now is somebody else's.
  Deno.writeTextFileSync(path, "not ours");
  assertThrows(
    () => storage.pack(),
    StorageError,
    "another file in its place",
  );
  store(session, textRecord(0, "three"));
  storage.close();
  assertEquals(Deno.readTextFileSync(path), "not ours");
  using again = new FileStorage(moved);
  using looking = again.session();
  assertEquals(textOf(looking, 0), "three");
});

test("a file goes on as long as it has any name", ({ path, session }) => {
  Deno.linkSync(path, `${path}.second`);
  Deno.removeSync(path);
  store(session, textRecord(0, "two"));
  Deno.removeSync(`${path}.second`);
  assertThrows(
    () => session.commit([textRecord(0, "three")]),
    StorageError,
    "the file was removed",
  );
});

test("closing a file that somebody has appended to adds no index to it", ({ path, session, storage }) => {
  store(session, textRecord(1, "x".repeat(100_000)));
  const { size } = storage;
  Deno.writeTextFileSync(path, "a line\n".repeat(10), { append: true });
  storage.close();
  assertEquals(Deno.statSync(path).size, size + 70);
  // Nothing that was confirmed is lost.
  assertThrows(() => new FileStorage(path), StorageError, "repair");
  using again = new FileStorage(path, { repair: true });
  using looking = again.session();
  assertEquals(textOf(looking, 1), "x".repeat(100_000));
});
