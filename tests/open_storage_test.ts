import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  ClassError,
  ClientStorage,
  Connection,
  FileStorage,
  openStorage,
  Persistent,
  ServerUnavailableError,
  type Session,
  SqliteStorage,
  StorageClosedError,
  StorageError,
} from "../mod.ts";
import { ServerWorker } from "./support/server_worker.ts";

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

test("openStorage() and Connection.open() take the address of a server", async (directory) => {
  const socket = `${directory}/socket`;
  await using onPort = await ServerWorker.start();
  await using _onSocket = await ServerWorker.start({ address: socket });
  for (const place of [`tcp:127.0.0.1:${onPort.port}`, `unix:${socket}`]) {
    using storage = await openStorage(place);
    assert(storage instanceof ClientStorage);
    using connection = await Connection.open(place);
    connection.root["x"] = 1;
    connection.commit();
    using other = new Connection(storage);
    assertEquals(other.root["x"], 1);
    for (
      const options of [{ readonly: true }, { repair: true }, { sync: false }]
    ) {
      await assertRejects(
        () => openStorage(place, options),
        StorageError,
        "for the server to say",
      );
    }
    await assertRejects(
      () => Connection.open(place, { at: new Date() }),
      StorageError,
      "through a server",
    );
  }
  for (const place of ["tcp:localhost", "tcp:", "unix:", "tcp:a:70000"]) {
    await assertRejects(
      () => openStorage(place),
      StorageError,
      "a server is tcp:HOST:PORT or unix:PATH",
    );
  }
  await assertRejects(
    () => openStorage(`unix:${directory}/nobody`),
    ServerUnavailableError,
  );
  assertEquals([...Deno.readDirSync(directory)].map(({ name }) => name), [
    "socket",
  ]);
});

test("new Connection() with the path of what is no journal names the way, and makes nothing", async (directory) => {
  (await SqliteStorage.open(`${directory}/is-sqlite`)).close();
  const before = [...Deno.readDirSync(directory)].length;
  for (
    const [place, why] of [
      [`${directory}/is-sqlite`, "it is a SQLite database"],
      [`${directory}/new.sqlite`, "a new file of that name is a SQLite"],
      [`${directory}/new.DB`, "a new file of that name is a SQLite"],
      ["tcp:127.0.0.1:2972", "it is the address of a server"],
      ["unix:/run/dhara.sock", "it is the address of a server"],
    ] as const
  ) {
    for (const options of [{}, { at: new Date() }]) {
      const { message } = assertThrows(
        () => new Connection(place, options),
        StorageError,
        why,
      );
      assert(
        message.includes(`use await Connection.open("${place}")`),
        message,
      );
    }
  }
  assertEquals([...Deno.readDirSync(directory)].length, before);
  // A journal of such a name is one.
  new FileStorage(`${directory}/odd.sqlite`).close();
  using connection = new Connection(`${directory}/odd.sqlite`);
  assert(connection.storage instanceof FileStorage);
});

test("A connection to the past, or for reading only, makes no file", async (directory) => {
  for (const name of ["a.dhara", "a.sqlite"]) {
    const path = `${directory}/${name}`;
    for (const options of [{ at: new Date() }, { readonly: true }]) {
      await assertRejects(
        () => Connection.open(path, options),
        StorageError,
        "there is no such file",
      );
    }
  }
  assertThrows(
    () => new Connection(`${directory}/a.dhara`, { at: new Date() }),
    StorageError,
    "there is no such file",
  );
  assertEquals([...Deno.readDirSync(directory)], []);
});

test("A connection that cannot be made gives the file back", async (directory) => {
  class Other extends Persistent {}
  const classes = { Other };
  for (const name of ["a.dhara", "a.sqlite"]) {
    const path = `${directory}/${name}`;
    (await Connection.open(path)).close();
    for (let i = 0; i < 2; i++) {
      await assertRejects(
        () => Connection.open(path, { rootClass: Other, classes }),
        ClassError,
        "its root is a PersistentDict",
      );
      if (name === "a.dhara") {
        assertThrows(
          () => new Connection(path, { rootClass: Other, classes }),
          ClassError,
          "its root is a PersistentDict",
        );
      }
    }
    using connection = await Connection.open(path);
    connection.root["x"] = 1;
    connection.commit();
  }
});

test("A connection gives its session back, and leaves the storage open that it was given", async (directory) => {
  for (const name of ["a.dhara", "a.sqlite"]) {
    using storage = await openStorage(`${directory}/${name}`);
    const open = new Set<Session>();
    const session = storage.session.bind(storage);
    storage.session = (options) => {
      const made = session(options);
      const close = made.close.bind(made);
      made.close = () => (open.delete(made), close());
      open.add(made);
      return made;
    };
    const connection = new Connection(storage);
    assertEquals(open.size, 1);
    connection.close();
    assertEquals(open.size, 0);
    class Other extends Persistent {}
    assertThrows(
      () => new Connection(storage, { rootClass: Other, classes: { Other } }),
      ClassError,
    );
    assertEquals(open.size, 0);
    using again = new Connection(storage);
    assertEquals(again.root.size, 0);
  }
});
