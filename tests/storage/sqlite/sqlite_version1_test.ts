/** SQLite files with the tables of version 1, which are brought up to date. */
import { Database } from "../../support/sqlite.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { crc32 } from "node:zlib";
import {
  DamagedFileError,
  ObjectNotFoundError,
  StorageError,
} from "../../../lib/errors.ts";
import { SqliteDatabase } from "../../../lib/storage/sqlite/database.ts";
import type { SqliteClass } from "../../../lib/storage/sqlite/library.ts";
import { SCHEMAS } from "../../../lib/storage/sqlite/schema.ts";
import { SqliteStorage, verify } from "../../../mod.ts";
import { beforeWriting, watched } from "../../support/sqlite_watched.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";

const fast = { sync: false };

/** A file of version 1: 3 was removed by a pack, 4 has a revision that nobody can read. */
async function made(
  use: (path: string) => Promise<void>,
  damage = "",
): Promise<void> {
  const directory = Deno.makeTempDirSync();
  try {
    const path = `${directory}/x.sqlite`;
    const database = new Database(path);
    database.exec("PRAGMA auto_vacuum = INCREMENTAL");
    for (const [, , , sql] of SCHEMAS[1]!) database.exec(sql);
    database.exec(`
      INSERT INTO dhara VALUES (0, 600, 40, 15, 0);
      PRAGMA application_id = ${0x44485241};
      PRAGMA user_version = 1;
      PRAGMA journal_mode = WAL;
      BEGIN;`);
    const insert = database.prepare("INSERT INTO revision VALUES (?, ?, ?, ?)");
    const add = (
      oid: number,
      tid: number,
      text: string,
      links: number[] = [],
    ) => {
      const [, record] = textRecord(oid, text, links);
      insert.run(oid, tid, crc32(record), record);
    };
    add(0, 10, "root", [1, 2]);
    add(1, 10, "one");
    add(2, 20, "two");
    add(0, 20, "root, again", [1, 2, 4]);
    add(3, 20, "garbage");
    add(4, 20, "four");
    insert.run(3, 30, 0, null);
    add(2, 40, "two, again");
    for (let oid = 5; oid < 600; oid++) add(oid, 40, "many");
    if (damage !== "") database.exec(damage);
    database.exec("COMMIT");
    database.close();
    await use(path);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test("a SQLite file of version 1 is brought up to date, with all that is in it", async () => {
  await made(async (path) => {
    const error = await assertRejects(
      () => SqliteStorage.open(path, { readonly: true }),
      StorageError,
      "open it once for writing",
    );
    assert(!(error instanceof DamagedFileError));
    await assertRejects(() => verify(path), StorageError, "for writing");
    for (const again of [false, true]) {
      using storage = await SqliteStorage.open(path, fast);
      using past = storage.session({ at: 25 });
      assertEquals(past.tid, 20);
      assertEquals(textOf(past, 2), "two");
      assertEquals(textOf(past, 3), "garbage");
      assertThrows(() => past.load(5), ObjectNotFoundError);
      using session = storage.session();
      assertEquals(textOf(session, 0), "root, again");
      if (!again) {
        assertEquals(session.tid, 40);
        assertEquals(textOf(session, 2), "two, again");
        store(session, textRecord(2, "two, once more"));
      }
      assertEquals(textOf(session, 1), "one");
      assertEquals(textOf(session, 2), "two, once more");
      assertEquals(textOf(session, 599), "many");
      assertThrows(() => session.load(3), ObjectNotFoundError);
      assert(session.allocate(1)[0]! >= 600);
    }
    const report = await verify(path);
    assertEquals(report.damage, []);
    assertEquals([report.good, report.objects, report.reachable], [
      true,
      599,
      4,
    ]);
    {
      using storage = await SqliteStorage.open(path, fast);
      storage.pack();
      assertEquals(storage.pack().records, 4);
    }
    // A pack forgets what another one has removed long ago.
    const database = new Database(path);
    const { n } = database.prepare(
      "SELECT count(*) AS n FROM revision WHERE oid = 3",
    ).get() as { n: number };
    database.close();
    assertEquals(n, 0);
    assertEquals((await verify(path)).good, true);
  });
});

Deno.test("several processes may bring a SQLite file of version 1 up to date at once", async () => {
  await made(async (path) => {
    const program = `${path}.ts`;
    Deno.writeTextFileSync(
      program,
      `import { SqliteStorage } from ${
        JSON.stringify(import.meta.resolve("../../../mod.ts"))
      };
      using storage = await SqliteStorage.open(Deno.args[0]);
      using session = storage.session();
      console.log(session.tid, session.load(2).length);`,
    );
    const map = import.meta.resolve("@std/assert").startsWith("jsr:") ? [] : [
      `--import-map=${import.meta.resolve("../../../tools/registry/npm.json")}`,
    ];
    const options = ["-q", "-A", "--no-check", "--no-lock", ...map];
    const outputs = await Promise.all(
      [1, 2, 3].map(() =>
        new Deno.Command(Deno.execPath(), {
          args: ["run", ...options, program, path],
          stdin: "null",
        }).output()
      ),
    );
    for (const { stdout, stderr } of outputs) {
      assertEquals(
        new TextDecoder().decode(stdout),
        "40 22\n",
        new TextDecoder().decode(stderr),
      );
    }
  });
});

Deno.test("a SQLite file of version 1 that another process has just brought up to date is fine", async () => {
  await made(async (path) => {
    await watched(() => {
      const Class = Database as unknown as SqliteClass;
      beforeWriting(
        () => new SqliteDatabase(Class, path, fast).close(),
        () => new SqliteDatabase(Class, path, fast).close(),
      );
      return Promise.resolve();
    });
    using storage = await SqliteStorage.open(path, fast);
    using session = storage.session();
    assertEquals(textOf(session, 2), "two, again");
  });
});

Deno.test("what was damaged in a SQLite file of version 1 stays so", async () => {
  await made(async (path) => {
    {
      using storage = await SqliteStorage.open(path, fast);
      using session = storage.session();
      assertEquals(textOf(session, 0), "root, again");
      assertThrows(() => session.load(4), DamagedFileError, "object #4");
    }
    const report = await verify(path);
    assertEquals(report.damageCount, 1);
    assertEquals(report.unreadable, 1);
  }, "UPDATE revision SET crc = crc + 1 WHERE oid = 4");
});

for (
  const [what, damage] of [
    ["counts its numbers wrong", "UPDATE dhara SET next = 3"],
    ["has gone back", "UPDATE dhara SET tid = 30"],
    [
      "has a number that is too large",
      "UPDATE dhara SET tid = 9007199254740993",
    ],
    ["has no row of its own", "DELETE FROM dhara"],
    [
      "has a trigger",
      "CREATE TRIGGER t AFTER INSERT ON revision BEGIN SELECT 1; END",
    ],
  ] as const
) {
  Deno.test(`a SQLite file of version 1 that ${what} is refused, and stays as it is`, async () => {
    await made(async (path) => {
      for (let i = 0; i < 2; i++) {
        await assertRejects(() => SqliteStorage.open(path), DamagedFileError);
      }
      const database = new Database(path);
      const { n } = database.prepare("SELECT count(*) AS n FROM revision")
        .get() as { n: number };
      assertEquals(n, 603);
      assertEquals(
        { ...database.prepare("PRAGMA user_version").get() as object },
        { user_version: 1 },
      );
      database.close();
    }, damage);
  });
}
