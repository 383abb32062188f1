/** How a SQLite file is opened, used and left. */
import { assertEquals, assertThrows } from "@std/assert";
import { SqliteDatabase } from "../../../lib/storage/sqlite/database.ts";
import { loadSqlite } from "../../../lib/storage/sqlite/library.ts";
import { SqliteStorage, StorageError } from "../../../mod.ts";
import { inDirectory } from "../../support/dhara.ts";
import { store, textRecord } from "../../../lib/testing/records.ts";

Deno.test("SQLite waits for others as long as it is told", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/x.sqlite`;
    const sqlite = await loadSqlite(path);
    for (const options of [{}, { timeout: 1234 }]) {
      const database = new SqliteDatabase(sqlite, path, options);
      const [found] = Object.values(database.get("PRAGMA busy_timeout")!);
      database.close();
      assertEquals(found, options.timeout ?? 30_000);
    }
  });
});

Deno.test("who is the last to close a SQLite file leaves it without a log", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/x.sqlite`;
    const storage = await SqliteStorage.open(path);
    storage.close();
    // Its header says how it is read: 2 would be with a log.
    assertEquals([...Deno.readFileSync(path).subarray(18, 20)], [1, 1]);
    assertEquals([...Deno.readDirSync(directory)].length, 1);
  });
});

Deno.test({
  name: "a commit to a SQLite file that was removed is refused",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inDirectory(async (directory) => {
      const path = `${directory}/x.sqlite`;
      using storage = await SqliteStorage.open(path);
      using session = storage.session();
      store(session, textRecord(0, "root"));
      Deno.renameSync(path, `${path}.gone`);
      assertThrows(
        () => session.commit([textRecord(0, "lost")]),
        StorageError,
        "the file was removed",
      );
      Deno.renameSync(`${path}.gone`, path);
      store(session, textRecord(0, "kept"));
    }),
});

Deno.test("a file that is not a SQLite database is closed again", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/text`;
    Deno.writeTextFileSync(path, "text ".repeat(1000));
    let closed = 0;
    class Watched extends (await loadSqlite(path)) {
      override close(): void {
        closed++;
        super.close();
      }
    }
    assertThrows(
      () => new SqliteDatabase(Watched, path, {}),
      StorageError,
      "not a SQLite database",
    );
    assertEquals(closed, 1);
  });
});
