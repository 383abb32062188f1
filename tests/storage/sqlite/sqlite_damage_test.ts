/** SQLite files whose tables do not say what was committed. */
import { Database } from "../../support/sqlite.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  Connection,
  DamagedFileError,
  DharaError,
  SqliteStorage,
  StorageError,
  verify,
} from "../../../mod.ts";
import { flip, makeSample } from "../../support/sqlite_bits.ts";
import {
  changesChecksum,
  objectChecksum,
  revisionChecksum,
  stateChecksum,
} from "../../../lib/storage/sqlite/rows.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";

const fast = { sync: false };

function test(
  name: string,
  run: (path: string) => void | Promise<void>,
): void {
  Deno.test(`A SQLite file ${name}`, async () => {
    const directory = Deno.makeTempDirSync();
    try {
      await run(`${directory}/x.sqlite`);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}

/** Runs SQL behind the storage's back. */
function change(path: string, sql: string): void {
  const database = new Database(path);
  try {
    database.exec(sql);
  } finally {
    database.close();
  }
}

/** Makes a file in which the root and object 1 have been changed twice. */
async function make(path: string): Promise<number[]> {
  using storage = await SqliteStorage.open(path, fast);
  using session = storage.session();
  return ["first", "second", "third"].map((text) =>
    store(session, textRecord(0, text, [1]), textRecord(1, text))
  );
}

for (
  const [what, sql, message] of [
    [
      "without its root",
      "DELETE FROM object WHERE oid = 0",
      "its root is not there",
    ],
    [
      "without its root and all that is known of it",
      "DELETE FROM object WHERE oid = 0; DELETE FROM revision WHERE oid = 0",
      "its root is not there",
    ],
    ["that counts its numbers wrong", "UPDATE dhara SET next = 1", "numbers"],
    ["that has gone back", "UPDATE dhara SET tid = tid - 1", "damaged"],
    [
      "without its last transaction",
      "DELETE FROM changes WHERE tid = (SELECT tid FROM dhara)",
      "last transaction",
    ],
    ["without a row of its own", "DELETE FROM dhara", "damaged"],
    [
      "with a number that is too large",
      "UPDATE dhara SET next = 9007199254740993",
      "damaged",
    ],
    [
      "with an object whose number is too large",
      "UPDATE object SET oid = 9007199254740993 WHERE oid = 1",
      "damaged|numbers from 2 on are free",
    ],
    [
      "with a trigger",
      "CREATE TRIGGER t AFTER INSERT ON revision BEGIN DELETE FROM revision WHERE oid = NEW.oid; END",
      "a trigger t, which is not ours",
    ],
    [
      "with a view in place of a table",
      "ALTER TABLE revision RENAME TO r; CREATE VIEW revision AS SELECT * FROM r",
      "damaged|is not what it should be|not ours",
    ],
    [
      "with a view that never ends",
      "DROP TABLE dhara; CREATE VIEW dhara AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i AS id, i AS next, i AS tid, i AS cut, i AS forgotten, i AS root, i AS crc FROM n WHERE i > 1",
      "table dhara is not what it should be",
    ],
    [
      "without an index",
      "DROP INDEX revision_by_object",
      "index revision_by_object is not there",
    ],
    [
      "with another table",
      "CREATE TABLE song (name TEXT)",
      "a table song, which is not ours",
    ],
  ] as const
) {
  test(`${what} is not opened`, async (path) => {
    await make(path);
    change(path, sql);
    const before = Deno.readFileSync(path);
    for (const readonly of [true, false]) {
      const error = await assertRejects(
        () => SqliteStorage.open(path, { readonly }),
        DamagedFileError,
      );
      assert(
        message.split("|").some((part) => error.message.includes(part)),
        error.message,
      );
      await assertRejects(
        () => Connection.open(path, { readonly }),
        StorageError,
      );
    }
    // Nothing was made out of it, such as an empty root.
    assertEquals(content(path), content(path, before));
    const good = await verify(path).then(({ good }) => good, (error) => {
      assert(error instanceof DamagedFileError, String(error));
      return false;
    });
    assertEquals(good, false);
  });
}

for (
  const [column, by, message] of [
    ["next", -1, "says that numbers from 1 on are free"],
    ["tid", -1, "says that its last transaction is"],
    ["tid", 1, "says that its last transaction is"],
    ["cut", 2 ** 51, "says that packs have dropped what was before"],
    ["forgotten", 2 ** 51, "says that packs have dropped what was before"],
    ["root", -1, "says that there never was a root"],
    ["root", 1, "says that there never was a root"],
  ] as const
) {
  test(`whose ${column} is ${by} off with a good checksum is not opened`, async (path) => {
    await make(path);
    {
      const database = new Database(path, { int64: true });
      const row = database.prepare(
        "SELECT next, tid, cut, forgotten, root FROM dhara",
      ).get() as unknown as Parameters<typeof stateChecksum>[0];
      const state = { ...row, [column]: row[column] + by };
      database.exec(
        `UPDATE dhara SET ${column} = ${state[column]}, crc = ${
          stateChecksum(state)
        }`,
      );
      database.close();
    }
    await assertRejects(
      () => SqliteStorage.open(path),
      DamagedFileError,
      message,
    );
    assertEquals((await verify(path)).good, false);
  });
}

test("that says that its root was removed, with a good checksum, gets no other", async (path) => {
  await make(path);
  const database = new Database(path, { int64: true });
  const { tid } = database.prepare("SELECT tid FROM object WHERE oid = 0")
    .get() as { tid: number };
  database.exec(
    `UPDATE object SET revision = 0, crc = ${
      objectChecksum(0, tid, 0)
    } WHERE oid = 0`,
  );
  database.close();
  await assertRejects(
    () => Connection.open(path),
    DamagedFileError,
    "its root is not there",
  );
  assertEquals((await verify(path)).good, false);
});

test("whose transactions point past one another shows no older state", async (path) => {
  const [first, second, third] = await make(path) as [number, number, number];
  const database = new Database(path, { int64: true });
  const { oids } = database.prepare(
    `SELECT oids FROM changes WHERE tid = ${third}`,
  ).get() as { oids: Uint8Array };
  database.exec(
    `UPDATE changes SET before = ${first}, crc = ${
      changesChecksum(third, first, 0, oids)
    } WHERE tid = ${third}`,
  );
  database.close();
  using storage = await SqliteStorage.open(path, fast);
  assertThrows(() => storage.session({ at: second }), DamagedFileError, "lost");
});

test("whose newest record of the root says that it was removed gets no other", async (path) => {
  await make(path);
  const database = new Database(path, { int64: true });
  const { tid, before } = database.prepare(
    "SELECT tid, before FROM revision WHERE oid = 0 ORDER BY tid DESC LIMIT 1",
  ).get() as { tid: number; before: number };
  database.exec(
    `UPDATE revision SET record = NULL, crc = ${
      revisionChecksum(0, tid, before, null)
    } WHERE oid = 0 AND tid = ${tid}`,
  );
  database.close();
  await assertRejects(() => Connection.open(path), DamagedFileError, "#0");
  assertEquals((await verify(path)).good, false);
});

/** What the tables hold, whatever the bytes of the file are. */
function content(path: string, bytes?: Uint8Array): string {
  if (bytes !== undefined) {
    path += ".copy";
    Deno.writeFileSync(path, bytes);
  }
  const database = new Database(path, { readonly: true });
  try {
    return ["object", "revision", "changes"].map((table) => {
      const { n } = database.prepare(
        `SELECT count(*) AS n FROM ${table}`,
      ).get() as { n: number };
      return `${table} ${n}`;
    }).join();
  } finally {
    database.close();
  }
}

for (
  const [what, sql, oids] of [
    [
      "an older revision in place of the newest",
      "UPDATE object SET (tid, revision) = (SELECT tid, id FROM revision WHERE oid = 1 ORDER BY tid LIMIT 1) WHERE oid = 1",
      [1],
    ],
    [
      "an older record, with its checksum, in the newest revision",
      "UPDATE revision SET (crc, record) = (SELECT crc, record FROM revision WHERE oid = 1 ORDER BY tid LIMIT 1) WHERE oid = 1",
      [1],
    ],
    [
      "the newest revision lost",
      "DELETE FROM revision WHERE oid = 1 AND tid = (SELECT max(tid) FROM revision)",
      [1],
    ],
    ["the place of an object lost", "DELETE FROM object WHERE oid = 1", [1]],
    [
      "the record of another object",
      "UPDATE object SET revision = (SELECT revision FROM object WHERE oid = 0) WHERE oid = 1",
      [1],
    ],
    [
      "an object that is said to be removed",
      "UPDATE object SET revision = 0 WHERE oid = 1",
      [1],
    ],
    [
      "a checksum that is too large",
      "UPDATE revision SET crc = 9007199254740993 WHERE oid = 1",
      [1],
    ],
  ] as const
) {
  test(`with ${what} reads nothing wrong, and takes no commit after that`, async (path) => {
    await make(path);
    change(path, sql);
    {
      using storage = await SqliteStorage.open(path, fast);
      using session = storage.session();
      const { tid } = session;
      for (const oid of [0, 1]) {
        if (!(oids as readonly number[]).includes(oid)) {
          assertEquals(textOf(session, oid), "third");
        }
      }
      for (const oid of oids) {
        assertThrows(() => session.load(oid), DamagedFileError, path);
      }
      const error = assertThrows(
        () => session.commit([textRecord(0, "on top")]),
        DamagedFileError,
        "nothing was stored",
      );
      assert(error.cause instanceof DamagedFileError);
      assertThrows(() => storage.pack(), DamagedFileError);
      assertThrows(() => session.allocate(1000), DamagedFileError);
      assertEquals(session.sync(), []);
      assertEquals(session.tid, tid);
    }
    const report = await verify(path);
    assertEquals(report.good, false);
    assert(report.damageCount > 0);
  });
}

for (
  const [what, condition] of [
    ["the first", "tid = (SELECT min(tid) FROM revision WHERE oid = 1)"],
    [
      "the second",
      "tid = (SELECT before FROM revision WHERE oid = 1 ORDER BY tid DESC LIMIT 1)",
    ],
  ] as const
) {
  test(`without ${what} of three revisions does not show another one in its place`, async (path) => {
    const tids = await make(path);
    change(path, `DELETE FROM revision WHERE oid = 1 AND ${condition}`);
    using storage = await SqliteStorage.open(path, fast);
    using now = storage.session();
    assertEquals(textOf(now, 1), "third");
    const found = tids.slice(0, 2).map((at) => {
      using past = storage.session({ at });
      try {
        return [textOf(past, 1), past.has(1)];
      } catch (error) {
        assert(error instanceof DamagedFileError, String(error));
        assertThrows(() => past.has(1), DamagedFileError);
        return "damaged";
      }
    });
    // Without the second, it is not known that the first was before it.
    assertEquals(
      found,
      what === "the first"
        ? ["damaged", ["second", true]]
        : ["damaged", "damaged"],
    );
    assertEquals((await verify(path)).good, false);
  });
}

test("that shows damage at a commit does not take it", async (path) => {
  await make(path);
  using storage = await SqliteStorage.open(path, fast);
  using session = storage.session();
  change(path, "DELETE FROM object WHERE oid = 1");
  assertThrows(
    () => session.commit([textRecord(1, "as if new")]),
    DamagedFileError,
    "object #1",
  );
  assertThrows(
    () => session.commit([textRecord(0, "something else")]),
    DamagedFileError,
    "nothing was stored",
  );
});

test("that shows damage at a large commit does not take it", async (path) => {
  await make(path);
  using storage = await SqliteStorage.open(path, fast);
  using session = storage.session();
  const oids = session.allocate(100);
  change(path, "DELETE FROM object WHERE oid = 1");
  assertThrows(
    () =>
      session.commit([1, ...oids].map((oid) => textRecord(oid, "as if new"))),
    DamagedFileError,
    "object #1",
  );
});

test("that loses a transaction meanwhile tells nobody that nothing has changed", async (path) => {
  const tids = await make(path);
  using storage = await SqliteStorage.open(path, fast);
  using session = storage.session();
  {
    using other = await SqliteStorage.open(path, fast);
    using session = other.session();
    for (const text of ["fourth", "fifth"]) {
      tids.push(store(session, textRecord(1, text)));
    }
  }
  change(path, `DELETE FROM changes WHERE tid = ${tids[3]}`);
  assertThrows(
    () => session.sync(),
    DamagedFileError,
    `after transaction ${tids[2]}`,
  );
  assertThrows(
    () => session.commit([textRecord(1, "over it")]),
    DamagedFileError,
  );
});

test("that goes back in time answers no commit with what cannot be cleared", async (path) => {
  await make(path);
  const old = Deno.readFileSync(path);
  using storage = await SqliteStorage.open(path, fast);
  using session = storage.session();
  store(session, textRecord(1, "fourth"));
  {
    // The tables of before, under the hands of who has it open.
    const copy = `${path}.old`;
    Deno.writeFileSync(copy, old);
    change(
      path,
      `ATTACH '${copy}' AS old;
      ${
        ["dhara", "object", "revision", "changes"].map((table) =>
          `DELETE FROM main.${table}; INSERT INTO main.${table} SELECT * FROM old.${table};`
        ).join("\n")
      }`,
    );
  }
  assertThrows(
    () => session.commit([textRecord(1, "fifth")], { accessed: () => false }),
    DamagedFileError,
    "its last transaction was",
  );
  assertThrows(() => session.sync(), DamagedFileError);
});

test("whose root is lost is not emptied by a pack", async (path) => {
  await make(path);
  using storage = await SqliteStorage.open(path, fast);
  change(
    path,
    "DELETE FROM object WHERE oid = 0; DELETE FROM revision WHERE oid = 0",
  );
  assertThrows(() => storage.pack(), DamagedFileError, "its root is not there");
  assertEquals(content(path), "object 1,revision 3,changes 3");
});

test("with SQLite's statistics is as good as without", async (path) => {
  await make(path);
  change(path, "ANALYZE");
  using storage = await SqliteStorage.open(path, fast);
  using session = storage.session();
  assertEquals(textOf(session, 1), "third");
  assert((await verify(path)).good);
});

test("that was removed or replaced while it is open takes no commit", async (path) => {
  await make(path);
  using storage = await SqliteStorage.open(path, fast);
  using session = storage.session();
  for (const replace of [false, true]) {
    Deno.renameSync(path, `${path}.away`);
    if (replace) Deno.copyFileSync(`${path}.away`, path);
    const { tid } = session;
    const error = assertThrows(
      () => session.commit([textRecord(0, "lost")]),
      StorageError,
      "the file was removed, or another one was put in its place",
    );
    assert(error.message.includes("nothing was stored"));
    assertEquals(session.tid, tid);
    assertEquals(textOf(session, 0), "third");
    if (replace) Deno.removeSync(path);
    Deno.renameSync(`${path}.away`, path);
  }
  store(session, textRecord(0, "fourth"));
});

test("with a flipped bit reads nothing wrong unnoticed: a sample", async (path) => {
  const sample = await makeSample(path);
  const seed = Number(crypto.getRandomValues(new Uint32Array(1))[0]!);
  console.log(`seed ${seed}`);
  const bits = 8 * sample.bytes.length;
  for (let i = 0; i < 150; i++) {
    // A prime number of steps of a third of the file or so visits all of it.
    const bit = (seed + i * 11_939) % bits;
    try {
      await flip(path, sample, bit);
    } catch (error) {
      assert(!(error instanceof DharaError), String(error));
      throw error;
    }
  }
});
