/** What loads SQLite, where, and with which permissions. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { StorageError } from "../../../lib/errors.ts";
import {
  loadSqlite,
  type SqliteClass,
} from "../../../lib/storage/sqlite/library.ts";
import { Database as NodeDatabase } from "../../../lib/storage/sqlite/node.ts";
import { SqliteStorage, verify } from "../../../mod.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";
import { Database } from "../../support/sqlite.ts";

function test(
  name: string,
  run: (directory: string) => void | Promise<void>,
  ignore = false,
): void {
  Deno.test({
    name: `SQLite ${name}`,
    ignore,
    async fn() {
      const directory = Deno.makeTempDirSync();
      try {
        await run(directory);
      } finally {
        Deno.removeSync(directory, { recursive: true });
      }
    },
  });
}

test("is the first library that loads", async () => {
  const fails = () => Promise.reject(new Error("no"));
  const one = { Database: class One extends NodeDatabase {} };
  const two = { Database: class Two extends NodeDatabase {} };
  const load = (libraries: Parameters<typeof loadSqlite>[1]) =>
    loadSqlite("x.sqlite", libraries);
  assertEquals(
    await load({
      one: () => Promise.resolve(one),
      two: () => Promise.resolve(two),
    }),
    one.Database,
  );
  assertEquals(
    await load({ one: fails, two: () => Promise.resolve(two) }),
    two.Database,
  );
});

test("that cannot be loaded says why, down to the last cause", async () => {
  const deep = new Error("Failed to load", {
    cause: new Error("Cannot download", {
      cause: new TypeError("certificate has expired\nat somewhere"),
    }),
  });
  const error = await assertRejects(
    () =>
      loadSqlite("x.sqlite", {
        one: () => Promise.reject(deep),
        two: () => Promise.reject("not there"),
      }),
    StorageError,
  );
  assertEquals(
    error.message,
    "Cannot open x.sqlite: SQLite cannot be loaded (one: Failed to load, since Cannot download, since certificate has expired; two: not there)",
  );
  assert(error.cause instanceof AggregateError);
  assertEquals(error.cause.errors, [deep, "not there"]);
});

test("gives the same answers, whichever library it is", (directory) => {
  const options = { readonly: false, create: true, int64: true };
  const classes = [Database, NodeDatabase] as unknown as SqliteClass[];
  for (const [i, Class] of classes.entries()) {
    const path = `${directory}/${i}.sqlite`;
    const database = new Class(path, options);
    database.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, b BLOB)");
    const insert = database.prepare("INSERT INTO t (n, b) VALUES (?, ?)");
    const bytes = new Uint8Array([1, 2, 3]);
    insert.run(2 ** 53 - 1, bytes);
    insert.run(-1, new Uint8Array());
    insert.run(2 ** 40, null);
    bytes.fill(9);
    const all = database.prepare(
      "SELECT n, b, typeof(n) AS t FROM t WHERE id >= ? ORDER BY id",
    );
    const rows = (all.all(1) as Record<string, unknown>[]).map((row) => ({
      ...row,
    }));
    assertEquals(rows, [
      { n: 2 ** 53 - 1, b: new Uint8Array([1, 2, 3]), t: "integer" },
      { n: -1, b: new Uint8Array(), t: "integer" },
      { n: 2 ** 40, b: null, t: "integer" },
    ]);
    assertEquals(
      database.prepare("SELECT n FROM t WHERE id = ?").get(99),
      undefined,
    );
    assertThrows(() => database.exec("nonsense"), Error, "syntax error");
    assertThrows(
      () => database.prepare("SELECT x FROM t"),
      Error,
      "no such column",
    );
    // A number that is too large is a bigint or an error, and never a number.
    database.exec("INSERT INTO t (id, n) VALUES (50, 9007199254740993)");
    let large: unknown;
    try {
      large = (all.all(50) as Record<string, unknown>[])[0]!["n"];
    } catch (error) {
      assert(String(error).includes("too large to be represented"));
      large = 1n;
    }
    assertEquals(typeof large, "bigint");
    database.exec("BEGIN IMMEDIATE");
    const other = new Class(path, options);
    assertThrows(() => other.exec("BEGIN IMMEDIATE"), Error, "is locked");
    other.close();
    other.close();
    database.exec("ROLLBACK");
    database.close();
    const reader = new Class(path, { ...options, readonly: true });
    assertThrows(() => reader.exec("DELETE FROM t"), Error, "readonly");
    reader.close();
    assertThrows(
      () =>
        new Class(`${directory}/none.sqlite`, { ...options, readonly: true }),
      Error,
      "unable to open",
    );
  }
});

async function make(path: string): Promise<void> {
  using storage = await SqliteStorage.open(path);
  using session = storage.session();
  store(session, textRecord(0, "root"));
}

test("leaves one file behind, whoever is the last to close it", async (directory) => {
  const path = `${directory}/x.sqlite`;
  const files = () => [...Deno.readDirSync(directory)].map(({ name }) => name);
  {
    using first = await SqliteStorage.open(path);
    using second = await SqliteStorage.open(path);
    using session = second.session();
    store(session, textRecord(0, "root"));
    first.close();
    assertEquals(files().sort(), ["x.sqlite", "x.sqlite-shm", "x.sqlite-wal"]);
    store(session, textRecord(0, "root, again"));
  }
  assertEquals(files(), ["x.sqlite"]);
  {
    using storage = await SqliteStorage.open(path, { readonly: true });
    using session = storage.session();
    assertEquals(textOf(session, 0), "root, again");
    assertEquals(files(), ["x.sqlite"]);
    // Who only reads sees what somebody who comes later writes.
    using writer = await SqliteStorage.open(path);
    using other = writer.session();
    store(other, textRecord(0, "once more"));
    assertEquals(textOf(session, 0), "root, again");
    assertEquals(session.sync(), [0]);
    assertEquals(textOf(session, 0), "once more");
    writer.close();
    assertEquals(textOf(session, 0), "once more");
  }
  assertEquals((await verify(path)).good, true);
});

/** Runs a program with few permissions, as another user where that is needed, and returns what it prints. */
async function run(
  directory: string,
  permissions: string[],
  code: string,
  options: { uid?: number; cwd?: string } = {},
): Promise<string> {
  const program = Deno.makeTempFileSync({ suffix: ".ts" });
  Deno.chmodSync(program, 0o644);
  Deno.writeTextFileSync(
    program,
    `import { SqliteStorage, verify } from ${
      JSON.stringify(import.meta.resolve("../../../mod.ts"))
    };
    const path = Deno.args[0];
    try {
      ${code}
    } catch (error) {
      console.log(String(error));
    }`,
  );
  const map = import.meta.resolve("@std/assert").startsWith("jsr:") ? [] : [
    `--import-map=${import.meta.resolve("../../../tools/registry/npm.json")}`,
  ];
  const command = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-q",
      "--no-check",
      "--no-lock",
      "--no-prompt",
      "--cached-only",
      ...map,
      ...permissions,
      program,
      `${directory}/x.sqlite`,
    ],
    stdin: "null",
    ...options,
  });
  const { stdout, stderr } = await command.output();
  Deno.removeSync(program);
  return new TextDecoder().decode(stdout).trim() ||
    new TextDecoder().decode(stderr);
}

const READ = `
  using storage = await SqliteStorage.open(path, { readonly: true });
  using session = storage.session();
  console.log(session.load(0).length, (await verify(path)).good);`;

test("reads with --allow-read alone, and writes with --allow-write for the file", async (directory) => {
  const path = `${directory}/x.sqlite`;
  const write = `
    using storage = await SqliteStorage.open(path);
    using session = storage.session();
    const oid = session.allocate(2)[1];
    const record = new Uint8Array(12);
    record[7] = oid;
    console.log("tid" in session.commit([[oid, record]]));`;
  const may = [`--allow-read=${path},${directory}`, `--allow-write=${path}`];
  assertEquals(await run(directory, may, write), "true");
  Deno.removeSync(path);
  await make(path);
  const before = Deno.readFileSync(path);
  assertEquals(
    await run(directory, [`--allow-read=${path}`], READ),
    "16 true",
  );
  assertEquals(Deno.readFileSync(path), before);
  assertEquals(
    [...Deno.readDirSync(directory)].map(({ name }) => name).sort(),
    ["x.sqlite"],
  );
  const refused = await run(directory, [`--allow-read=${path}`], write);
  assert(refused.includes("Cannot open"), refused);
  assert(refused.includes("--allow-write"), refused);
  const none = await run(directory, [], READ);
  assert(none.startsWith("StorageError: Cannot open"), none);
});

test(
  "reads where nobody may write",
  async (directory) => {
    const path = `${directory}/x.sqlite`;
    await make(path);
    Deno.chmodSync(path, 0o444);
    Deno.chmodSync(directory, 0o555);
    try {
      // A user whom the file does not belong to, if this one may do everything.
      const user = Deno.uid() === 0 ? { uid: 65534 } : {};
      const trial = await run(directory, ["-A"], "console.log(1);", user);
      if (trial !== "1") {
        console.log(`not tried, since another user cannot run Deno: ${trial}`);
        return;
      }
      assertEquals(await run(directory, ["-A"], READ, user), "16 true");
    } finally {
      Deno.chmodSync(directory, 0o755);
    }
  },
  Deno.build.os === "windows",
);

test("syncs every commit, unless it is told not to", async (directory) => {
  const { prototype } = Database as unknown as {
    prototype: { exec(sql: string): unknown };
  };
  const { exec } = prototype;
  const seen = new Set<{ prepare(sql: string): { get(): unknown } }>();
  prototype.exec = function (sql: string) {
    seen.add(this as never);
    return exec.call(this, sql);
  };
  try {
    for (
      const [options, level] of [[{}, 2], [{ sync: true }, 2], [{
        sync: false,
      }, 1]] as const
    ) {
      seen.clear();
      using storage = await SqliteStorage.open(`${directory}/x`, options);
      using session = storage.session();
      store(session, textRecord(0, "root"));
      const [database] = seen;
      assertEquals(seen.size, 1);
      const pragma = (name: string) => ({
        ...database!.prepare(`PRAGMA ${name}`).get() as object,
      });
      // With a write-ahead log, 2 (FULL) syncs it at each commit, 1 (NORMAL) now and then.
      assertEquals(pragma("synchronous"), { synchronous: level });
      assertEquals(pragma("journal_mode"), { journal_mode: "wal" });
    }
  } finally {
    prototype.exec = exec;
  }
});
