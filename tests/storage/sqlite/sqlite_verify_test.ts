import { Database } from "../../support/sqlite.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { SqliteStorage, StorageError, verify } from "../../../mod.ts";
import { changesChecksum } from "../../../lib/storage/sqlite/rows.ts";
import { store, textRecord } from "../../../lib/testing/records.ts";

/** A SQLite file with a root, two objects that it leads to, and one that nothing leads to. */
async function made(
  use: (path: string) => Promise<void>,
  damage?: string,
): Promise<void> {
  const directory = Deno.makeTempDirSync();
  try {
    const path = `${directory}/x.sqlite`;
    {
      using storage = await SqliteStorage.open(path);
      using session = storage.session();
      store(session, textRecord(0, "root", [1]), textRecord(1, "one", [2]));
      store(session, textRecord(2, "two"), textRecord(3, "garbage"));
      store(session, textRecord(2, "two, again"));
    }
    if (damage !== undefined) {
      const database = new Database(path);
      database.exec(damage);
      database.close();
    }
    await use(path);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test("verify() finds a SQLite file good, and counts what is in it", async () => {
  await made(async (path) => {
    const report = await verify(path);
    assertEquals(
      { ...report, size: 0 },
      {
        path,
        format: "sqlite",
        size: 0,
        transactions: 3,
        records: 5,
        objects: 4,
        reachable: 3,
        unreachable: 1,
        unreadable: 0,
        good: true,
        damage: [],
        damageCount: 0,
        dangling: [],
        danglingCount: 0,
        notes: [],
      },
    );
    assertEquals(report.size, Deno.statSync(path).size);
  });
});

for (
  const [what, damage, message] of [
    [
      "a record with other bytes",
      "UPDATE revision SET record = x'00' WHERE oid = 1",
      "the record of object #1 of transaction",
    ],
    [
      "a record under another number",
      "UPDATE revision SET oid = 7 WHERE oid = 3; UPDATE dhara SET next = 8",
      "the record of object #7 of transaction",
    ],
    [
      "an old revision with other bytes",
      "UPDATE revision SET crc = crc + 1 WHERE rowid = (SELECT min(rowid) FROM revision WHERE oid = 2)",
      "the record of object #2 of transaction",
    ],
    [
      "a number that is free",
      "UPDATE dhara SET next = 2",
      "the next free number 2",
    ],
    [
      "a transaction from the future",
      "UPDATE dhara SET tid = 5",
      "the last transaction is 5",
    ],
    [
      "an object without a record",
      "INSERT INTO object VALUES (50, 1, 1, 1)",
      "object #50 has no record at all",
    ],
    [
      "a number that is too large",
      "INSERT INTO changes VALUES (9007199254740993, 0, 0, 0, x'')",
      "the table changes has 1 rows with numbers that cannot be",
    ],
    [
      "a record that no transaction has",
      "INSERT INTO revision VALUES (70, 3, 1, 0, 0, x'00')",
      "the transactions since then have",
    ],
    [
      "a revision lost",
      "DELETE FROM revision WHERE rowid = (SELECT min(rowid) FROM revision WHERE oid = 2)",
      "the record of object #2 before that of transaction",
    ],
    [
      "the newest revision of an object that is not the newest",
      "UPDATE object SET revision = (SELECT min(rowid) FROM revision WHERE oid = 2) WHERE oid = 2",
      "where the newest record of object #2 is",
    ],
    [
      "a transaction lost",
      "DELETE FROM changes WHERE tid = (SELECT before FROM changes ORDER BY tid DESC LIMIT 1)",
      "is lost",
    ],
    [
      "what a transaction has changed changed",
      "UPDATE changes SET oids = x'0000000000000001'",
      "has changed is damaged",
    ],
    ["no root", "DELETE FROM revision WHERE oid = 0", "no root"],
  ] as const
) {
  Deno.test(`verify() finds ${what} in a SQLite file`, async () => {
    await made(async (path) => {
      const report = await verify(path);
      assert(!report.good);
      assert(report.damageCount > 0);
      assert(
        report.damage.some((place) => place.message.includes(message)),
        JSON.stringify(report.damage),
      );
    }, damage);
  });
}

Deno.test("verify() finds what the oldest snapshot of a packed SQLite file shows lost", async () => {
  await made(async (path) => {
    {
      using storage = await SqliteStorage.open(path);
      using session = storage.session();
      const { tid } = session;
      store(session, textRecord(1, "one, again", [2]));
      storage.pack({ keep: tid });
    }
    assert((await verify(path)).good);
    const database = new Database(path);
    // It is older than that snapshot, and nothing has changed the object before that.
    database.exec(
      "DELETE FROM revision WHERE rowid = (SELECT min(rowid) FROM revision WHERE oid = 1)",
    );
    database.close();
    const { good, damage } = await verify(path);
    assert(!good);
    assert(
      damage.some(({ message }) =>
        message.includes("the record of object #1 before that of transaction")
      ),
      JSON.stringify(damage),
    );
  });
});

Deno.test("verify() finds a transaction of a SQLite file that says wrongly what it has removed", async () => {
  await made(async (path) => {
    {
      using storage = await SqliteStorage.open(path);
      storage.pack();
    }
    assert((await verify(path)).good);
    const database = new Database(path, { int64: true });
    const { tid, before, oids } = database.prepare(
      "SELECT tid, before, oids FROM changes WHERE removed = 1",
    ).get() as { tid: number; before: number; oids: Uint8Array };
    database.exec(
      `UPDATE changes SET removed = 0, crc = ${
        changesChecksum(tid, before, 0, oids)
      } WHERE tid = ${tid}`,
    );
    database.close();
    const { good, damage } = await verify(path);
    assert(!good);
    assertEquals(damage.map(({ message }) => message), [
      `transaction ${tid} does not say rightly whether it has removed object #3`,
    ]);
  });
});

Deno.test("verify() finds a reference that leads nowhere in a SQLite file", async () => {
  await made(async (path) => {
    const report = await verify(path);
    assertEquals(report.good, false);
    assertEquals(report.dangling, [{ oid: 2, from: 1 }]);
    // The object itself and two transactions say that there should be a record.
    assert(report.damageCount > 0);
  }, "DELETE FROM revision WHERE oid = 2");
  await made(async (path) => {
    {
      using storage = await SqliteStorage.open(path);
      using session = storage.session();
      store(session, textRecord(1, "one", [2, 77]));
    }
    const report = await verify(path);
    assertEquals(report.good, false);
    assertEquals(report.dangling, [{ oid: 77, from: 1 }]);
    assertEquals(report.damageCount, 0);
  });
});

Deno.test("verify() hears SQLite's own complaints, or says that the file cannot be read", async () => {
  await made(async (path) => {
    const bytes = Deno.readFileSync(path);
    let found = 0;
    // Each page is overwritten in turn; what SQLite does not use is no damage.
    for (let page = 4096; page < bytes.length; page += 4096) {
      const damaged = bytes.slice();
      damaged.fill(0xff, page, page + 4096);
      Deno.writeFileSync(path, damaged);
      try {
        if (!(await verify(path)).good) found++;
      } catch (error) {
        assert(error instanceof StorageError, String(error));
        found++;
      }
    }
    assert(found >= bytes.length / 4096 - 2, `${found} pages`);
  });
});

Deno.test("verify() refuses a SQLite file of another program", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    const path = `${directory}/other.sqlite`;
    const database = new Database(path);
    database.exec("CREATE TABLE t (x)");
    database.close();
    await assertRejects(() => verify(path), StorageError, "SQLite");
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
