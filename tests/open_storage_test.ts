import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  Connection,
  FileStorage,
  openStorage,
  SqliteStorage,
  StorageClosedError,
  StorageError,
} from "../mod.ts";

function test(name: string, run: (directory: string) => Promise<void>) {
  Deno.test(name, async () => {
    const directory = await Deno.makeTempDir();
    try {
      await run(directory);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

test("openStorage() makes what the name says", async (directory) => {
  for (const name of ["a.sqlite", "a.SQLITE3", "a.db"]) {
    using storage = await openStorage(`${directory}/${name}`);
    assert(storage instanceof SqliteStorage);
  }
  for (const name of ["a.dhara", "a", "sqlite"]) {
    using storage = await openStorage(`${directory}/${name}`);
    assert(storage instanceof FileStorage);
  }
  for (const name of ["b.dhara", "b.sqlite"]) {
    const path = `${directory}/${name}`;
    for (const options of [{ create: false }, { readonly: true }]) {
      await assertRejects(
        () => openStorage(path, options),
        StorageError,
        "there is no such file",
      );
    }
  }
});

test("openStorage() goes by the first bytes, not by the name", async (directory) => {
  (await SqliteStorage.open(`${directory}/a.dhara`)).close();
  new FileStorage(`${directory}/a.sqlite`).close();
  using sqlite = await openStorage(`${directory}/a.dhara`);
  assert(sqlite instanceof SqliteStorage);
  using journal = await openStorage(`${directory}/a.sqlite`);
  assert(journal instanceof FileStorage);
  Deno.writeTextFileSync(`${directory}/empty`, "");
  using empty = await openStorage(`${directory}/empty`);
  assert(empty instanceof FileStorage);
});

test("openStorage() says what an unknown file is", async (directory) => {
  const path = `${directory}/file`;
  const files: [string, string][] = [
    ["SHELF-1\n\0\0", "it is a file of Durus"],
    ["DFS20\0\0\0", "it is a file of Durus"],
    ["FS21\0\0\0", "it is a file of ZODB"],
    ["\x1f\x8b\x08\0\0", "it is a gzip file"],
    ["PK\x03\x04\0\0", "it is a zip file"],
    ["\x28\xb5\x2f\xfd\0", "it is a Zstandard file"],
    ['{"dhara":"export","version":1}\n', "it is an export as text"],
    ['  [1, 2, "three"]', "it looks like JSON"],
    ["Dear diary,\nnothing happened today\n", "it looks like text"],
    ["SQLite format 3\0" + "\x01".repeat(84), "database of another program"],
    ["\0".repeat(50), "nothing but zeros"],
    ["\x7fELF\x02\x01\x01\0", "nobody here knows what it is"],
    ["DHARA-9\n", "it looks like text"],
  ];
  for (const [content, what] of files) {
    const bytes = Uint8Array.from(content, (char) => char.charCodeAt(0));
    Deno.writeFileSync(path, bytes);
    const error = await assertRejects(
      () => openStorage(path),
      StorageError,
      what,
    );
    assert(error.message.startsWith(`Cannot open ${path}: `));
    assertEquals(Deno.readFileSync(path), bytes);
  }
  await assertRejects(() => openStorage(directory), StorageError, "regular");
  await assertRejects(() => openStorage(""), StorageError, "path is empty");
});

test("openStorage() does not repair SQLite files", async (directory) => {
  await assertRejects(
    () => openStorage(`${directory}/a.sqlite`, { repair: true }),
    StorageError,
    "it is a SQLite database",
  );
});

test("Connection.open() closes the storage with itself", async (directory) => {
  for (const name of ["a.sqlite", "a.dhara"]) {
    const path = `${directory}/${name}`;
    const connection = await Connection.open<Record<string, number>>(path, {
      cacheSize: 10,
      sync: false,
    });
    connection.root["count"] = 1;
    connection.commit();
    connection.close();
    try {
      connection.storage.session();
      throw new Error("it is still open");
    } catch (error) {
      assert(error instanceof StorageClosedError);
    }
    using again = await Connection.open(path, { readonly: true });
    assertEquals(again.root["count"], 1);
    await assertRejects(() => Connection.open(path, { cacheSize: 0 }));
    using other = await Connection.open(path);
    assertEquals(other.root["count"], 1);
  }
});

Deno.test("openStorage() says that the folder of a new file is missing", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    for (const name of ["x.dhara", "x.sqlite"]) {
      await assertRejects(
        () => openStorage(`${directory}/missing/${name}`),
        StorageError,
        "the folder that it should be in is not there",
      );
    }
    assertEquals([...Deno.readDirSync(directory)], []);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
