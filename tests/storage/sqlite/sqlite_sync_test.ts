/** Whether SQLite is told to bring each commit to the disk. */
import { assertEquals } from "@std/assert";
import { SqliteDatabase } from "../../../lib/storage/sqlite/database.ts";
import { loadSqlite } from "../../../lib/storage/sqlite/library.ts";
import { inDirectory } from "../../support/dhara.ts";

Deno.test("commits to SQLite wait for the disk unless they need not", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/x.sqlite`;
    const sqlite = await loadSqlite(path);
    const level = (options: { sync?: boolean }) => {
      const database = new SqliteDatabase(sqlite, path, options);
      try {
        return Object.values(database.get("PRAGMA synchronous")!)[0];
      } finally {
        database.close();
      }
    };
    // 2 is FULL; with 1, NORMAL, a crash of the machine may take the last commits.
    assertEquals(level({}), 2);
    assertEquals(level({ sync: true }), 2);
    assertEquals(level({ sync: false }), 1);
  });
});
