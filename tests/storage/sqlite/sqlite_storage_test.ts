import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  DamagedFileError,
  ObjectNotFoundError,
  ReadConflictError,
  ReadonlyError,
  StorageError,
  StorageLockedError,
} from "../../../lib/errors.ts";
import { recordReferences } from "../../../lib/serialize/record.ts";
import { SqliteStorage } from "../../../lib/storage/sqlite_storage.ts";
import { Connection } from "../../../mod.ts";
import { dhara, Running, startServer } from "../../support/dhara.ts";
import { testStorage } from "../../../lib/testing/mod.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";

testStorage("SqliteStorage", async () => {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/data.sqlite`;
  let storage = await SqliteStorage.open(path, { sync: false });
  return {
    storage,
    async reopen() {
      storage.close();
      return storage = await SqliteStorage.open(path, { sync: false });
    },
    dispose() {
      storage.close();
      Deno.removeSync(directory, { recursive: true });
    },
  };
});

function test(name: string, run: (path: string) => Promise<void>) {
  Deno.test(`SqliteStorage ${name}`, async () => {
    const directory = await Deno.makeTempDir();
    try {
      await run(`${directory}/data.sqlite`);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

const fast = { sync: false };

function packAll(storage: SqliteStorage) {
  storage.pack();
}

function importMap(): string[] {
  return import.meta.resolve("@std/assert").startsWith("jsr:") ? [] : [
    `--import-map=${import.meta.resolve("../../../tools/registry/npm.json")}`,
  ];
}

/** Two storages on one file are as far apart as two processes. */
test("serves many on one file", async (path) => {
  using a = await SqliteStorage.open(path, fast);
  using b = await SqliteStorage.open(path, fast);
  using one = a.session();
  using two = b.session();
  const [root] = one.allocate(3);
  assertEquals(root, 0);
  store(one, textRecord(0, "one", [1]), textRecord(1, "child"));
  assertThrows(() => two.load(0), ObjectNotFoundError);
  assertEquals([...two.sync()].sort(), [0, 1]);
  assertEquals(textOf(two, 0), "one");
  store(two, textRecord(0, "two"));
  assertEquals(textOf(one, 0), "one");
  const result = one.commit([textRecord(1, "late")]);
  assertEquals("invalid" in result && result.invalid, [0]);
  assertEquals(one.sync(), [0]);
  store(one, textRecord(1, "late"));
  const numbers = [...one.allocate(500), ...two.allocate(500)];
  numbers.push(...one.allocate(500), ...two.allocate(500));
  assertEquals(new Set(numbers).size, 2000);
});

test("adds up what two processes count", async (path) => {
  const times = 60;
  const run = async () => {
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-q",
        "-A",
        "--no-check",
        ...importMap(),
        import.meta.resolve("../../support/sqlite_counter.ts"),
        path,
        `${times}`,
      ],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).output();
    assert(success, new TextDecoder().decode(stderr));
  };
  // The file is made by both at once.
  await Promise.all([run(), run()]);
  using storage = await SqliteStorage.open(path);
  using connection = new Connection(storage);
  const counts = [...connection.root.values()];
  assertEquals(counts.sort((a, b) => a - b), [times, times, 2 * times]);
});

test("tells other processes what a pack has removed", async (path) => {
  using a = await SqliteStorage.open(path, fast);
  using b = await SqliteStorage.open(path, fast);
  using one = a.session();
  store(
    one,
    textRecord(0, "root", [1]),
    textRecord(1, "kept"),
    textRecord(2, "garbage"),
  );
  using two = b.session();
  using stays = b.session();
  assertEquals(textOf(two, 2), "garbage");
  packAll(a);
  one.sync();
  store(one, textRecord(1, "newer"));
  packAll(a);
  assertThrows(() => one.load(2), ObjectNotFoundError);
  assertEquals([...two.sync()].sort(), [1, 2]);
  assertThrows(() => two.load(2), ObjectNotFoundError);
  assertThrows(
    () => two.commit([textRecord(0, "root", [1, 2])]),
    StorageError,
    "refers to object #2, which nothing referred to",
  );
  // The first is what it was, or it says that it cannot know.
  assertEquals(textOf(stays, 0), "root");
  const error = assertThrows(() => stays.load(1), ReadConflictError);
  assertEquals(error.oids, [1]);
  assertEquals([...stays.sync()].sort(), [1, 2]);
  assertEquals(textOf(stays, 1), "newer");
});

test("packs while another process commits", async (path) => {
  using a = await SqliteStorage.open(path, fast);
  using b = await SqliteStorage.open(path, fast);
  using one = a.session();
  using two = b.session();
  const oids = one.allocate(1500);
  store(
    one,
    textRecord(0, "root", oids.slice(2)),
    ...oids.slice(1).map((oid) => textRecord(oid, "text")),
  );
  let steps = 0;
  for (const _ of a.packInSteps()) {
    two.sync();
    const links = recordReferences(two.load(0));
    if (steps === 0) links.push(1); // It was garbage.
    const [fresh] = two.allocate(1);
    store(
      two,
      textRecord(fresh!, "fresh"),
      textRecord(0, "root", [...links, fresh!]),
    );
    steps++;
  }
  assert(steps > 3);
  one.sync();
  const links = recordReferences(one.load(0));
  assertEquals(links.length, oids.length - 2 + steps + 1);
  for (const oid of links) {
    assertEquals(textOf(one, oid), oid <= oids.at(-1)! ? "text" : "fresh");
  }
});

test("ends a pack, though each step is followed by a commit larger than a step", async (path) => {
  using storage = await SqliteStorage.open(path, fast);
  using session = storage.session();
  const oids = Array.from({ length: 8 }, (_, i) => i + 1);
  const commit = (text: string) => {
    session.sync();
    store(
      session,
      textRecord(0, "root", oids),
      ...oids.map((oid) => textRecord(oid, text.repeat(300_000))),
    );
  };
  commit("-");
  let steps = 0;
  for (const _ of storage.packInSteps()) {
    commit(`${steps % 10}`);
    assert(++steps < 100, "it does not end");
  }
  session.sync();
  assertEquals(textOf(session, 8), `${(steps - 1) % 10}`.repeat(300_000));
});

test("gets smaller by packing", async (path) => {
  {
    using storage = await SqliteStorage.open(path, fast);
    using session = storage.session();
    store(session, textRecord(0, "root"));
    for (let i = 1; i < 300; i++) {
      store(session, textRecord(i, "x".repeat(5000)));
    }
  }
  const before = Deno.statSync(path).size;
  {
    using storage = await SqliteStorage.open(path, fast);
    packAll(storage);
  }
  assert(before > 1_000_000);
  {
    // Nobody reads the old snapshot now.
    using storage = await SqliteStorage.open(path, fast);
    packAll(storage);
  }
  assert(Deno.statSync(path).size < before / 5);
});

test("keeps old revisions until a pack, and no longer", async (path) => {
  using storage = await SqliteStorage.open(path, fast);
  using writer = storage.session();
  store(writer, textRecord(0, "first"));
  const early = storage.session();
  store(writer, textRecord(0, "second"));
  store(writer, textRecord(0, "third"));
  packAll(storage);
  assertEquals(textOf(early, 0), "first");
  early.close();
  writer.sync();
  packAll(storage);
  assertEquals(textOf(writer, 0), "third");
});

test("keeps what an old snapshot shows, however long ago it was stored", async (path) => {
  using storage = await SqliteStorage.open(path, fast);
  using writer = storage.session();
  store(writer, textRecord(0, "root", [1]), textRecord(1, "first"));
  store(writer, textRecord(1, "second"));
  const tid = store(writer, textRecord(0, "root, again", [1]));
  using early = storage.session();
  store(writer, textRecord(1, "third"));
  storage.pack();
  assertEquals(textOf(early, 1), "second");
  // A pack that keeps more cannot bring back what another one has dropped.
  storage.pack({ keep: "1d" });
  assertThrows(
    () => storage.session({ at: tid - 1 }),
    StorageError,
    "a pack has dropped",
  );
  using past = storage.session({ at: tid });
  assertEquals(textOf(past, 1), "second");
});

test("gives numbers that were not used back at closing", async (path) => {
  for (const expected of [[0, 1, 2], [0, 3, 4], [0, 5, 6]]) {
    using storage = await SqliteStorage.open(path, fast);
    using session = storage.session();
    assertEquals(session.allocate(3), expected);
  }
});

test("opened for reading refuses to write", async (path) => {
  await assertRejects(
    () => SqliteStorage.open(path, { readonly: true }),
    StorageError,
    "there is no such file",
  );
  await assertRejects(
    () => SqliteStorage.open(path, { create: false }),
    StorageError,
    "there is no such file",
  );
  using writer = await SqliteStorage.open(path);
  using session = writer.session();
  store(session, textRecord(0, "root"));
  using storage = await SqliteStorage.open(path, { readonly: true });
  assertEquals(storage.readonly, true);
  using reader = storage.session();
  assertEquals(textOf(reader, 0), "root");
  assertThrows(() => reader.commit([textRecord(0, "no")]), ReadonlyError);
  assertThrows(() => packAll(storage), ReadonlyError);
  store(session, textRecord(0, "more"));
  assertEquals(reader.sync(), [0]);
  assertEquals(textOf(reader, 0), "more");
});

test("refuses what is not its own", async (path) => {
  const open = () => SqliteStorage.open(path);
  Deno.writeTextFileSync(path, "This is no database, but a text. ".repeat(50));
  await assertRejects(open, StorageError, "it is not a SQLite database");
  assertEquals(Deno.readTextFileSync(path).slice(0, 7), "This is");
  Deno.removeSync(path);

  const { Database } = await import("../../support/sqlite.ts");
  const other = new Database(path);
  other.exec("CREATE TABLE song (name TEXT)");
  other.close();
  await assertRejects(
    open,
    StorageError,
    "it is a SQLite database of another program",
  );
  Deno.removeSync(path);

  (await open()).close();
  const newer = new Database(path);
  newer.exec("PRAGMA user_version = 4");
  newer.close();
  await assertRejects(open, StorageError, "its tables are of version 4");
  await assertRejects(() => SqliteStorage.open(""), StorageError, "empty");
  await assertRejects(
    () => SqliteStorage.open(path.replace("/data.sqlite", "")),
    StorageError,
    "it is not a regular file",
  );
});

test("finds damage", async (path) => {
  {
    using storage = await SqliteStorage.open(path);
    using session = storage.session();
    store(
      session,
      textRecord(0, "root", [1]),
      textRecord(1, "A text to be found again"),
    );
  }
  const bytes = Deno.readFileSync(path);
  const text = new TextDecoder("latin1").decode(bytes);
  bytes[text.indexOf("to be found")]! ^= 1;
  Deno.writeFileSync(path, bytes);
  {
    using storage = await SqliteStorage.open(path);
    using session = storage.session();
    assertEquals(textOf(session, 0), "root");
    const error = assertThrows(
      () => session.load(1),
      DamagedFileError,
      "the record of object #1 is damaged",
    );
    assertEquals(error.path, path);
    assertThrows(() => packAll(storage), DamagedFileError);
  }
  // Every page but the first is gone.
  bytes.fill(0xa5, 4096);
  Deno.writeFileSync(path, bytes);
  const error = await assertRejects(
    () => SqliteStorage.open(path),
    DamagedFileError,
    "restore it from a backup",
  );
  assert(error.cause instanceof Error);
});

test("waits for another writer, and not for ever", async (path) => {
  using storage = await SqliteStorage.open(path, { timeout: 20 });
  using session = storage.session();
  store(session, textRecord(0, "root"));
  const { Database } = await import("../../support/sqlite.ts");
  const other = new Database(path);
  try {
    other.exec("BEGIN IMMEDIATE");
    assertThrows(
      () => session.commit([textRecord(0, "late")]),
      StorageLockedError,
      "another process was writing all the time",
    );
    assertEquals(textOf(session, 0), "root");
    other.exec("ROLLBACK");
    store(session, textRecord(0, "at last"));
  } finally {
    other.close();
  }
  await assertRejects(
    () => SqliteStorage.open(path, { timeout: -1 }),
    StorageError,
    "timeout",
  );
});

test("is a file, whatever SQLite makes of its name", async (path) => {
  const directory = path.replace(/[^/]*$/, "");
  for (const name of [":memory:", "file:x?mode=memory"]) {
    (await SqliteStorage.open(directory + name)).close();
    assert(Deno.statSync(directory + name).isFile);
  }
});

test("is loaded by open(), not by importing the library", async (path) => {
  const directory = path.replace(/[^/]*$/, "");
  const module = `${directory}sqlite.ts`;
  Deno.writeTextFileSync(
    module,
    'console.log("SQLite was loaded"); throw new Error(); export const Database = 1;',
  );
  const map = (name: string) => import.meta.resolve(name);
  Deno.writeTextFileSync(
    `${directory}map.json`,
    JSON.stringify({
      imports: {
        "@db/sqlite": "./sqlite.ts",
        "@std/msgpack": map("@std/msgpack"),
      },
    }),
  );
  Deno.writeTextFileSync(
    `${directory}main.ts`,
    `import { SqliteStorage } from ${JSON.stringify(map("../../../mod.ts"))};
    console.log("imported");
    (await SqliteStorage.open(Deno.args[0])).close();
    console.log("opened");`,
  );
  const run = async (...permissions: string[]) => {
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-q",
        "--no-check",
        "--no-lock",
        "--no-prompt",
        ...permissions,
        `--import-map=${directory}map.json`,
        `${directory}main.ts`,
        path,
      ],
      stdin: "null",
    }).output();
    const text = new TextDecoder();
    return text.decode(stdout).trim() || text.decode(stderr);
  };
  // What is in Deno serves where the package fails, or is not allowed.
  assertEquals(await run("-A"), "imported\nSQLite was loaded\nopened");
  assertEquals(
    await run(`--allow-read=${directory}`, `--allow-write=${path}`),
    "imported\nopened",
  );
});

test("reads the past, as far as it is kept", async (path) => {
  using storage = await SqliteStorage.open(path, fast);
  const tids: number[] = [];
  {
    using session = storage.session();
    for (const text of ["first", "second", "third", "fourth"]) {
      tids.push(store(session, textRecord(0, text, [1]), textRecord(1, text)));
    }
    tids.push(store(session, textRecord(0, "alone")));
  }
  const textAt = (at: number) => {
    using past = storage.session({ at });
    assertEquals(past.sync(), []);
    assertThrows(() => past.commit([textRecord(0, "no")]), ReadonlyError);
    return `${textOf(past, 0)} ${textOf(past, 1)}`;
  };
  assertEquals(textAt(tids[0]!), "first first");
  assertEquals(textAt(tids[1]!), "second second");
  storage.pack({ keep: tids[2]! });
  assertThrows(() => textAt(tids[1]!), StorageError, "a pack has dropped");
  assertEquals(textAt(tids[2]!), "third third");
  assertEquals(textAt(tids[3]!), "fourth fourth");
  using now = storage.session();
  assertThrows(() => now.load(1), ObjectNotFoundError);
  assertThrows(
    () => storage.pack({ prepack: true }),
    StorageError,
    "packed in place",
  );
  assertThrows(
    () => now.commit([textRecord(0, "x")], { note: "n" }),
    StorageError,
    "it keeps no notes",
  );
});

test("can be served, looked at and packed from the command line", async (path) => {
  const { server, port } = await startServer(["--file", path]);
  const where = ["--port", port];
  const code = 'root["hello"] = "world"; connection.commit(); root["hello"]';
  const first = await dhara(["db", "client", ...where, "--eval", code]);
  assertEquals(first.stderr, "");
  // No lock keeps anybody out.
  const read = ["--file", path, "--eval", 'root["hello"]'];
  const second = await dhara(["db", "client", ...read]);
  assertEquals(second.stdout, first.stdout);
  const packed = await dhara(["db", "pack", "--file", path]);
  assertEquals(packed.stderr, "");
  assert(packed.stdout.startsWith(`Packed ${path}: `));
  await server.stop();
  using storage = await SqliteStorage.open(path);
  using connection = new Connection(storage);
  assertEquals(connection.root["hello"], "world");
});

test("loses nothing when its process is killed", async (path) => {
  const program = import.meta.resolve("../../support/sqlite_committer.ts");
  let last = 0;
  for (const more of [1, 19, 30, 45]) {
    const running = new Running(
      ["run", "-q", "-A", "--no-check", ...importMap(), program, path],
      {},
      Deno.execPath(),
    );
    await running.until(`${last + more}\n`);
    const { stdout } = await running.stop("SIGKILL");
    // The last line may be cut off.
    const said = Number(stdout.split("\n").at(-2));
    assert(said >= last + more);
    using storage = await SqliteStorage.open(path);
    using session = storage.session();
    const count = (oid: number) =>
      new DataView(session.load(oid).slice().buffer).getUint32(12);
    last = count(0);
    // One more may be there than was confirmed, whole.
    assert(last === said || last === said + 1, `${last} and ${said}`);
    for (let oid = 1; oid <= last; oid++) assertEquals(count(oid), oid);
    assertThrows(() => session.load(last + 1), ObjectNotFoundError);
  }
});
