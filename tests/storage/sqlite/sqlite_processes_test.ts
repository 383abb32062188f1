/**
 * What processes on one SQLite file owe each other. Two storages on a file are
 * as far apart as two processes: they share nothing but the file.
 */
import { Database } from "../../support/sqlite.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  DamagedFileError,
  ObjectNotFoundError,
  ReadConflictError,
  StorageError,
  StorageLockedError,
} from "../../../lib/errors.ts";
import { SqliteStorage, verify } from "../../../mod.ts";
import { beforeWriting, watched } from "../../support/sqlite_watched.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";

const fast = { sync: false };
const DAY = 24 * 60 * 60 * 1000;

function test(name: string, run: (path: string) => Promise<void>): void {
  Deno.test(`processes on a SQLite file: ${name}`, async () => {
    const directory = Deno.makeTempDirSync();
    try {
      await watched(() => run(`${directory}/x.sqlite`));
      assertEquals((await verify(`${directory}/x.sqlite`)).good, true);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}

test("numbers are given back at closing only if nobody has taken others since", async (path) => {
  const a = await SqliteStorage.open(path, fast);
  using b = await SqliteStorage.open(path, fast);
  using one = a.session();
  using two = b.session();
  const used = [...one.allocate(3), ...two.allocate(3)];
  store(
    two,
    textRecord(0, "root"),
    ...used.slice(3).map((oid) => textRecord(oid, "two's")),
  );
  a.close();
  using c = await SqliteStorage.open(path, fast);
  using three = c.session();
  const others = [...three.allocate(300), ...two.allocate(300)];
  assertEquals(new Set([...used, ...others]).size, 606);
  for (const oid of used.slice(3)) assertEquals(textOf(three, oid), "two's");
});

test("numbers that are used without being asked for are not given out", async (path) => {
  using a = await SqliteStorage.open(path, fast);
  using one = a.session();
  assertEquals(one.allocate(2), [0, 1]);
  store(one, textRecord(0, "root"), textRecord(3, "not asked for"));
  assertEquals(one.allocate(2), [4, 5]);
});

test("the root's number is given out until there is a root", async (path) => {
  {
    using storage = await SqliteStorage.open(path, fast);
    using session = storage.session();
    assertEquals(session.allocate(2), [0, 1]);
  }
  {
    using storage = await SqliteStorage.open(path, fast);
    using session = storage.session();
    assertEquals(session.allocate(2), [0, 2]);
  }
  using storage = await SqliteStorage.open(path, fast);
  using session = storage.session();
  store(session, textRecord(0, "root"));
  assertEquals(session.allocate(2), [3, 4]);
});

test("numbers that are taken while another gives his back are his own", async (path) => {
  const a = await SqliteStorage.open(path, fast);
  using b = await SqliteStorage.open(path, fast);
  using one = a.session();
  using two = b.session();
  store(one, textRecord(one.allocate(1)[0]!, "root"));
  let taken: number[] = [];
  beforeWriting(() => taken = two.allocate(3), () => a.close());
  using c = await SqliteStorage.open(path, fast);
  using three = c.session();
  const all = [...taken, ...three.allocate(300), ...two.allocate(300)];
  assertEquals(new Set(all).size, 603);
});

test("what is linked just before the last step of a pack stays", async (path) => {
  using a = await SqliteStorage.open(path, fast);
  using b = await SqliteStorage.open(path, fast);
  using one = a.session();
  store(
    one,
    textRecord(0, "root", [1]),
    textRecord(1, "one"),
    textRecord(2, "loose", [3]),
    textRecord(3, "too"),
  );
  using two = b.session();
  beforeWriting(
    () => {
      store(two, textRecord(0, "root", [1, 2, 4]), textRecord(4, "new"));
    },
    () => {
      a.pack();
    },
  );
  one.sync();
  assertEquals([0, 1, 2, 3, 4].map((oid) => textOf(one, oid)), [
    "root",
    "one",
    "loose",
    "too",
    "new",
  ]);
  assertEquals([0, 2, 3].map((oid) => textOf(two, oid)), [
    "root",
    "loose",
    "too",
  ]);
});

test("what is unlinked just before the last step of a pack does no harm", async (path) => {
  using a = await SqliteStorage.open(path, fast);
  using b = await SqliteStorage.open(path, fast);
  using one = a.session();
  store(
    one,
    textRecord(0, "root", [1]),
    textRecord(1, "one"),
    textRecord(2, "loose"),
  );
  using two = b.session();
  beforeWriting(
    () => {
      store(two, textRecord(0, "root"));
    },
    () => {
      a.pack();
    },
  );
  one.sync();
  assertEquals(textOf(one, 1), "one");
  assertThrows(() => one.load(2), ObjectNotFoundError);
  a.pack();
  one.sync();
  assertThrows(() => one.load(1), ObjectNotFoundError);
});

test("a session older than what a pack has forgotten is told to open anew", async (path) => {
  using a = await SqliteStorage.open(path, fast);
  using b = await SqliteStorage.open(path, fast);
  using one = a.session();
  store(
    one,
    textRecord(0, "root", [1]),
    textRecord(1, "one"),
    textRecord(2, "loose"),
    textRecord(3, "loose, too"),
  );
  using old = b.session();
  using idle = b.session();
  const { now } = Date;
  try {
    a.pack(); // It removes 2 and 3.
    one.sync();
    // Somebody still had 3.
    store(one, textRecord(0, "root", [1, 3]), textRecord(3, "back"));
    using fresh = b.session();
    const start = now();
    // Less than a week later, everybody can still learn of it.
    Date.now = () => start + 6 * DAY;
    a.pack();
    assertEquals([...idle.sync()].sort(), [0, 2, 3]);
    Date.now = () => start + 8 * DAY;
    store(one, textRecord(1, "one, again"));
    a.pack();
    for (const _ of [1, 2]) {
      const error = assertThrows(
        () => old.sync(),
        StorageError,
        "open a new one",
      );
      assert(!(error instanceof DamagedFileError));
      assertThrows(
        () => old.commit([textRecord(0, "over it")]),
        StorageError,
        "open a new one",
      );
      assertThrows(() => old.load(2), ReadConflictError);
      assertThrows(() => old.has(2), ReadConflictError);
    }
    // Who has moved since then goes on.
    assertEquals(idle.sync(), [1]);
    assertEquals(fresh.sync(), [1]);
    assertThrows(() => fresh.load(2), ObjectNotFoundError);
    store(fresh, textRecord(0, "root, again", [1, 3]));
  } finally {
    Date.now = now;
  }
  using later = b.session();
  assertEquals(textOf(later, 0), "root, again");
  assertEquals(later.has(2), false);
  assertEquals(textOf(later, 3), "back");
  // The number may be used by whoever still has it.
  store(later, textRecord(2, "anew"));
  assertEquals(textOf(later, 2), "anew");
});

test("a pack leaves those who are told not to keep it no snapshot, and says so", async (path) => {
  using a = await SqliteStorage.open(path, fast);
  using one = a.session();
  store(one, textRecord(0, "root", [1]), textRecord(1, "one"));
  using idle = a.session({ letsGo: true });
  store(one, textRecord(1, "one, again"));
  a.pack();
  assertThrows(() => idle.load(1), ReadConflictError);
  assertEquals(textOf(idle, 0), "root");
  assertThrows(() => idle.load(9), ObjectNotFoundError);
  assertEquals(idle.sync(), [1]);
  assertEquals(textOf(idle, 1), "one, again");
});

test("what a pack has removed cannot be linked by whoever learned of it long ago", async (path) => {
  using a = await SqliteStorage.open(path, fast);
  using b = await SqliteStorage.open(path, fast);
  using one = a.session();
  store(
    one,
    textRecord(0, "root"),
    textRecord(1, "loose"),
    textRecord(2, "loose, too"),
  );
  using two = b.session();
  a.pack();
  one.sync();
  assertEquals([...two.sync()].sort(), [1, 2]);
  for (let i = 0; i < 3; i++) store(two, textRecord(0, `root ${i}`));
  assertThrows(
    () => two.commit([textRecord(0, "root", [1])]),
    StorageError,
    "refers to object #1, which nothing referred to",
  );
  // What is stored anew, in the same commit or by somebody else, may be linked.
  store(two, textRecord(0, "root", [1]), textRecord(1, "anew"));
  one.sync();
  store(one, textRecord(2, "anew, too"));
  two.sync();
  store(two, textRecord(0, "root", [1, 2]));
});

test("a commit that meets a pack's news for the first time checks its references too", async (path) => {
  using a = await SqliteStorage.open(path, fast);
  using b = await SqliteStorage.open(path, fast);
  using one = a.session();
  store(one, textRecord(0, "root"), textRecord(1, "loose"));
  using two = b.session();
  a.pack();
  assertThrows(
    () =>
      two.commit([textRecord(0, "root", [1])], {
        accessed: (oid) => oid === 0,
      }),
    StorageError,
    "refers to object #1",
  );
});

test("who cannot get in says so, and nothing is half done", async (path) => {
  {
    using storage = await SqliteStorage.open(path, fast);
    using session = storage.session();
    store(session, textRecord(0, "root"));
  }
  // Somebody reads the file for long, as verify() does.
  const reader = new Database(path, { readonly: true });
  reader.exec("BEGIN");
  reader.prepare("SELECT count(*) FROM object").get();
  await assertRejects(
    () => SqliteStorage.open(path, { ...fast, timeout: 20 }),
    StorageLockedError,
    "try again",
  );
  {
    using another = await SqliteStorage.open(path, { readonly: true });
    using session = another.session();
    assertEquals(textOf(session, 0), "root");
  }
  reader.exec("ROLLBACK");
  reader.close();
  using a = await SqliteStorage.open(path, { ...fast, timeout: 20 });
  using b = await SqliteStorage.open(path, { ...fast, timeout: 20 });
  using one = a.session();
  const writer = new Database(path);
  writer.exec("BEGIN IMMEDIATE");
  assertThrows(() => one.allocate(1), StorageLockedError);
  assertThrows(() => one.commit([textRecord(0, "no")]), StorageLockedError);
  assertThrows(() => a.pack(), StorageLockedError);
  // Closing does not wait to give numbers back.
  a.close();
  writer.exec("ROLLBACK");
  writer.close();
  using two = b.session();
  assertEquals(textOf(two, 0), "root");
  store(two, textRecord(0, "yes"));
});
