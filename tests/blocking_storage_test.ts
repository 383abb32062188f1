/** A storage in a worker: what crosses to it and back, and what happens when it is in trouble. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  BlockingStorage,
  ConflictError,
  Connection,
  DamagedFileError,
  ObjectNotFoundError,
  packRecord,
  PersistentDict,
  PersistentList,
  ReadConflictError,
  ReadonlyError,
  ServerUnavailableError,
  StorageClosedError,
  StorageError,
  UndoError,
  WriteConflictError,
} from "../mod.ts";
import { store, textOf, textRecord } from "../lib/testing/records.ts";
import { Buffer } from "node:buffer";
import { inDirectory, MAP } from "./_dhara.ts";
import type { DelayedOptions, TROUBLES } from "./_delayed_storage.ts";

const MODULE = import.meta.resolve("./_delayed_storage.ts");

type Trouble = keyof typeof TROUBLES;

function open(
  options: DelayedOptions = {},
  timeout?: number,
): Promise<BlockingStorage> {
  const limit = timeout === undefined ? {} : { timeout };
  return BlockingStorage.open(MODULE, { options, ...limit });
}

/** A module whose text is given. */
function moduleOf(text: string): string {
  return `data:text/javascript,${encodeURIComponent(text)}`;
}

/** How many threads this process has. */
function threads(): number {
  return [...Deno.readDirSync("/proc/self/task")].length;
}

Deno.test("a connection works on a storage in a worker", async () => {
  using storage = await open({ delay: 1 });
  using ada = new Connection(storage);
  using bob = new Connection(storage);
  ada.root["names"] = new PersistentList(["Ada"]);
  ada.commit();
  bob.abort();
  assertEquals([...bob.root["names"]], ["Ada"]);
  ada.root["names"].push("Grace");
  bob.root["names"].push("Bob");
  ada.commit();
  const error = assertThrows(() => bob.commit(), WriteConflictError);
  assertEquals(error.oids.length, 1);
  bob.abort();
  bob.transact(() => bob.root["names"].push("Bob"));
  ada.abort();
  assertEquals([...ada.root["names"]], ["Ada", "Grace", "Bob"]);
});

Deno.test("a commit that others do not stand in the way of asks what was accessed", async () => {
  using storage = await open();
  using ada = new Connection(storage);
  ada.root["a"] = new PersistentDict();
  ada.root["b"] = new PersistentDict();
  ada.commit();
  using bob = new Connection(storage);
  bob.root["b"]["x"] = 1;
  ada.root["a"]["x"] = 1;
  ada.commit();
  bob.commit();
  assertEquals(bob.root["a"]["x"], 1);
});

Deno.test("each question of accessed is about the right number, and its errors come out", async () => {
  using storage = await open();
  using a = storage.session();
  using b = storage.session();
  const oids = [0, 1, 2 ** 20];
  store(a, ...oids.map((oid) => textRecord(oid, "a")));
  const asked: number[] = [];
  const result = b.commit([textRecord(5, "b")], {
    accessed: (oid) => {
      asked.push(oid);
      return false;
    },
  });
  assert("tid" in result);
  assertEquals(asked.sort((x, y) => x - y), oids);
  store(a.sync() && a, textRecord(0, "again"));
  assertThrows(
    () =>
      b.commit([textRecord(5, "c")], {
        accessed: () => {
          throw new RangeError("out of luck");
        },
      }),
    RangeError,
    "out of luck",
  );
  // It may not ask the storage meanwhile: that waits for it.
  const large = textRecord(5, "c".repeat(3_000_000));
  assertThrows(
    () => b.commit([large], { accessed: (oid) => a.has(oid) }),
    StorageError,
    "it is busy",
  );
  let tried = 0;
  const refused = b.commit([large], {
    accessed(oid) {
      assertThrows(() => a.has(oid), StorageError, "it is busy");
      tried++;
      return true;
    },
  });
  assertEquals(["invalid" in refused, tried], [true, 1]);
  b.sync();
  assertEquals([textOf(b, 5), textOf(b, 0)], ["b", "again"]);
});

Deno.test("numbers beyond 32 bits cross", async () => {
  const module = moduleOf(`
    export default () => ({
      features: {},
      session: async () => ({
        tid: 2 ** 52,
        allocate: async () => [2 ** 51 + 1],
        commit: async (records, { accessed }) => ({
          tid: 2 ** 52,
          changed: [2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 51 + 1].filter(accessed),
        }),
        close: async () => {},
      }),
      pack: async () => ({ records: 0, bytes: 0 }),
      close: async () => {},
    })`);
  using storage = await BlockingStorage.open(module);
  using session = storage.session();
  assertEquals(session.tid, 2 ** 52);
  assertEquals(session.allocate(1), [2 ** 51 + 1]);
  const asked: number[] = [];
  session.commit([textRecord(0, "root")], {
    accessed: (oid) => asked.push(oid) > 2,
  });
  assertEquals(asked, [2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 51 + 1]);
});

Deno.test("errors cross: ours as ours, others as StorageError", async () => {
  async function thrown(trouble: Trouble): Promise<Error> {
    using storage = await open({ trouble });
    using session = storage.session();
    const error = assertThrows(() => session.has(13), Error);
    // The storage goes on.
    assertEquals(session.has(1), false);
    return error;
  }
  const missing = await thrown("ObjectNotFoundError");
  assert(missing instanceof ObjectNotFoundError, String(missing));
  assertEquals(missing.oid, 77);
  assertEquals(missing.message, new ObjectNotFoundError(77).message);

  const conflict = await thrown("ReadConflictError");
  assert(conflict instanceof ReadConflictError, String(conflict));
  assertEquals(conflict.message, "it is gone");
  assertEquals(conflict.name, "ReadConflictError");
  assertEquals([conflict.oids, conflict.classes], [[1, 2], ["A", "B"]]);
  // What happened in the worker, and where, is its cause.
  assert(conflict.cause instanceof Error, String(conflict.cause));
  assert(conflict.cause.stack?.includes("_delayed_storage"));

  const kind = await thrown("a kind of ReadConflictError");
  assert(kind instanceof ReadConflictError, String(kind));
  assertEquals(kind.oids, [3]);

  const write = await thrown("WriteConflictError");
  assert(write instanceof WriteConflictError, String(write));
  assertEquals(write.oids, [5]);

  const damaged = await thrown("DamagedFileError");
  assert(damaged instanceof DamagedFileError, String(damaged));
  assertEquals([damaged.path, damaged.offset], ["a.dhara", 42]);

  const undo = await thrown("UndoError");
  assert(undo instanceof UndoError, String(undo));
  assertEquals([undo.oids, undo.tids], [[1], [9, 8]]);

  const gone = await thrown("ServerUnavailableError");
  assert(gone instanceof ServerUnavailableError, String(gone));
  assertEquals(gone.message, "the net is down");

  const other = await thrown("TypeError");
  assertEquals([other.constructor, other.message], [
    StorageError,
    "that is no has()",
  ]);
  const text = await thrown("text");
  assertEquals([text.constructor, text.message], [StorageError, "only a text"]);

  const odd = await thrown("odd details");
  assert(odd instanceof ConflictError, String(odd));
  assertEquals([odd.message, odd.oids], ["odd", []]);

  const long = await thrown("a long message");
  assertEquals(long.message.length, 5_000_000);
});

Deno.test("a worker that ends says so at once, and what it said last", async () => {
  const troubles: [Trouble, string][] = [
    ["throws beside", "out of luck"],
    ["rejects beside", "out of luck"],
    ["process.exit", "it was ended from within"],
    ["Deno.exit", "it was ended from within"],
  ];
  for (const [trouble, words] of troubles) {
    using storage = await open({ trouble }, 30_000);
    using session = storage.session();
    const start = performance.now();
    for (let i = 0; i < 2; i++) {
      const error = assertThrows(() => session.has(13), StorageError);
      assertEquals(
        error.message,
        `Cannot use _delayed_storage.ts: its worker has ended: ${words}`,
      );
    }
    assertThrows(() => storage.session(), StorageError, words);
    assert(performance.now() - start < 15_000, "it waited for the time limit");
  }
});

Deno.test("a worker that ended while nobody waited is told by the next use", async () => {
  const storage = await BlockingStorage.open(moduleOf(`
    export default () => {
      setTimeout(() => { throw new Error("out of luck") }, 20);
      return { session() {}, pack() {}, close() {} };
    }`));
  await new Promise((resolve) => setTimeout(resolve, 500));
  assertThrows(
    () => storage.session(),
    StorageError,
    "Cannot use the storage: its worker has ended: out of luck",
  );
  storage.close();
});

Deno.test("an answer that does not come is given up, and others go on", async () => {
  using storage = await open({ trouble: "never" }, 200);
  using session = storage.session();
  using other = storage.session();
  store(session, textRecord(0, "root"));
  for (let i = 0; i < 2; i++) {
    const { name } = assertThrows(
      () => session.has(13),
      StorageError,
      "Cannot go on with _delayed_storage.ts: no answer to has() came within 0.2 seconds",
    );
    assertEquals(name, "StorageError");
  }
  // What it was asked may still be under way: it is not asked for more.
  assertThrows(() => session.has(0), StorageError, "no answer to has() came");
  assertEquals(other.sync(), [0]);
  assertEquals(textOf(other, 0), "root");
  using third = storage.session();
  store(third, textRecord(0, "more"));
});

Deno.test("a pack may take longer than the time limit", async () => {
  using storage = await open({ packing: 400 }, 150);
  using session = storage.session();
  store(session, textRecord(0, "root"), textRecord(1, "garbage"));
  assertEquals(storage.pack().records, 1);
  session.sync();
  assertEquals(session.has(1), false);
});

Deno.test("an answer that comes too late is nobody's", async () => {
  using storage = await open({ trouble: "late" }, 150);
  using session = storage.session();
  using other = storage.session();
  assertThrows(() => session.has(13), StorageError, "no answer");
  const end = performance.now() + 400;
  for (let i = 1; performance.now() < end; i++) {
    store(other, textRecord(0, `${i}`));
    assertEquals(textOf(other, 0), `${i}`);
    assertEquals(other.has(7), false);
  }
});

Deno.test("a worker that stands still is given up after the time limit and some grace", async () => {
  const storage = await open({ trouble: "never lets go" }, 50);
  const session = storage.session();
  assertThrows(
    () => session.has(13),
    StorageError,
    "its worker has ended: it does not answer",
  );
  assertThrows(() => storage.session(), StorageError, "it does not answer");
  storage.close();
});

Deno.test("a module that cannot be used is told of at once", async () => {
  const modules: [string, string][] = [
    ["file:///nowhere/bucket.ts", "Cannot open bucket.ts: "],
    [moduleOf("export default ((("), "Cannot open the storage: "],
    [moduleOf(`throw new RangeError("out of luck")`), "out of luck"],
    [moduleOf("export const other = 1"), "default export is no function"],
    [moduleOf("export default () => ({})"), "it has no session()"],
    [moduleOf("export default () => undefined"), "it has no session()"],
    [
      moduleOf(`export default () => { throw new TypeError("no bucket") }`),
      "no bucket",
    ],
    [
      moduleOf(
        "import('node:process').then((p) => p.exit(1)); await new Promise(() => {})",
      ),
      "ended",
    ],
    ["bucket.ts", "Cannot open bucket.ts: give the URL of a module"],
  ];
  for (const [module, words] of modules) {
    const error = await assertRejects(
      () => BlockingStorage.open(module, { timeout: 30_000 }),
      StorageError,
      "Cannot open ",
    );
    assert(error.message.includes(words), error.message);
  }
});

Deno.test("a storage that cannot be opened says so in an error of ours", async () => {
  const errors = import.meta.resolve("../lib/errors.ts");
  const error = await assertRejects(
    () =>
      BlockingStorage.open(
        moduleOf(`
        import { ServerUnavailableError } from ${JSON.stringify(errors)};
        export default (options) => {
          throw new ServerUnavailableError("no bucket at " + options.url);
        }`),
        { options: { url: "x:1" } },
      ),
    ServerUnavailableError,
  );
  assertEquals(error.message, "no bucket at x:1");
});

Deno.test("what cannot be given to a worker, and no time, is refused", async () => {
  await assertRejects(
    () => BlockingStorage.open(MODULE, { options: { f: () => 1 } }),
    StorageError,
    "Cannot open _delayed_storage.ts: ",
  );
  for (const timeout of [0, -1, NaN, "1" as unknown as number]) {
    await assertRejects(
      () => BlockingStorage.open(MODULE, { timeout }),
      StorageError,
      "timeout must be a number of milliseconds of 1 or more",
    );
  }
  await assertRejects(
    () =>
      BlockingStorage.open(
        moduleOf("export default () => new Promise(() => {})"),
        { timeout: 200 },
      ),
    StorageError,
    "Cannot open the storage: it does not answer",
  );
});

Deno.test("answers that make no sense are errors that say so", async () => {
  const open = (session: string) =>
    BlockingStorage.open(moduleOf(`
      const session = { tid: 1, close: async () => {}, ${session} };
      export default () => ({
        session: async () => session, pack: async () => ({}), close: async () => {},
      })`));
  using a = await open("load: async () => 'text'");
  assertThrows(() => a.session().load(0), StorageError, "is no Uint8Array");
  using b = await open("commit: async () => ({})");
  assertThrows(
    () => b.session().commit([textRecord(0, "root")]),
    StorageError,
    "neither tid nor invalid",
  );
  using c = await open("tid: undefined, sync: async () => []");
  assertThrows(() => c.session(), StorageError, "the tid of its session");
});

Deno.test("large records cross, and small ones after them", async () => {
  using storage = await open();
  using session = storage.session();
  using other = storage.session();
  const data = new Uint8Array(100 * 1024 * 1024);
  for (let i = 0; i < data.length; i += 4099) data[i] = i % 251;
  const record = packRecord(1, data, [0]);
  store(session, textRecord(0, "root", [1]), [1, record]);
  store(session, textRecord(2, "small"));
  other.sync();
  assertEquals(other.length(1), record.length);
  const loaded = other.load(1);
  assertEquals(loaded.length, record.length);
  // The one who has it may keep it.
  assertEquals(textOf(other, 2), "small");
  assertEquals(Buffer.compare(loaded, record), 0);
  const [small, large] = other.loadMany([2, 1]);
  assertEquals(small!.length, 17);
  assertEquals(Buffer.compare(large!, record), 0);
  assert(!(large!.buffer instanceof SharedArrayBuffer));
});

Deno.test("sessions are many, and each has its snapshot", async () => {
  const told = new Int32Array(new SharedArrayBuffer(8));
  using storage = await open({ told });
  using writer = storage.session();
  const sessions = Array.from({ length: 200 }, (_, i) => {
    store(writer, textRecord(0, `${i}`));
    return storage.session();
  });
  assertEquals(told[0], 201);
  for (const [i, session] of sessions.entries()) {
    assertEquals(textOf(session, 0), `${i}`);
  }
  for (const session of sessions) session.close();
  assertEquals(told[0], 1);
  assertThrows(() => sessions[0]!.load(0), StorageClosedError);
  assertEquals(textOf(writer, 0), "199");
});

Deno.test("close() closes the storage and ends its worker", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  const told = new Int32Array(new SharedArrayBuffer(8));
  (await open()).close();
  const before = threads();
  // The system's own threads come and go, some ten of them.
  for (let i = 0; i < 20; i++) {
    const storage = await open({ told });
    const session = storage.session();
    storage.close();
    assertEquals(told[1], 1);
    assertThrows(
      () => session.load(0),
      StorageClosedError,
      "Cannot use _delayed_storage.ts: the storage was closed",
    );
    session.close();
    storage.close();
    await assertRejects(
      () => BlockingStorage.open(moduleOf("export default () => ({})")),
      StorageError,
    );
  }
  for (let i = 0; i < 400 && threads() > before + 15; i++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert(threads() <= before + 15, `${before} threads, then ${threads()}`);
});

Deno.test("an error in closing is told once, and the worker has ended", async () => {
  const storage = await BlockingStorage.open(moduleOf(`
    export default () => ({
      session() {}, pack() {}, close: async () => { throw new Error("not flushed") },
    })`));
  assertThrows(() => storage.close(), StorageError, "not flushed");
  storage.close();
  assertThrows(() => storage.session(), StorageClosedError);
});

Deno.test("what the storage cannot do is refused, what it can is passed on", async () => {
  await inDirectory(async (directory) => {
    using storage = await open({ path: `${directory}/a.dhara` });
    assertEquals(storage.features, {
      notes: true,
      past: true,
      history: false,
      keep: true,
      prepack: true,
    });
    using session = storage.session();
    const first = store(session, textRecord(0, "first"));
    session.commit([textRecord(0, "second")], { note: "why", user: "ada" });
    using past = storage.session({ at: new Date(Math.floor(first / 1000)) });
    assertThrows(() => past.commit([textRecord(0, "no")]), ReadonlyError);
    using early = storage.session({ at: first });
    assertEquals(textOf(early, 0), "first");
    assertEquals(session.load(0, first), early.load(0));
    storage.pack({ keep: first, prepack: true });
    assert(Deno.statSync(`${directory}/a.dhara.prepack`).isFile);
    storage.pack({ keep: new Date() });
  });
  using memory = await open();
  assertThrows(() => memory.session({ at: 0 }), StorageError, "no history");
  assertThrows(() => memory.packInSteps({ keep: "1d" }), StorageError);
  assertThrows(() => memory.packInSteps({ prepack: true }), StorageError);
});

Deno.test("a program that forgets close() ends, from source and in a bundle", async () => {
  await inDirectory(async (directory) => {
    const mod = import.meta.resolve("../mod.ts");
    const program = `${directory}/program.ts`;
    await Deno.writeTextFile(
      program,
      `import { BlockingStorage, Connection } from ${JSON.stringify(mod)};
      const storage = await BlockingStorage.open(${JSON.stringify(MODULE)});
      const connection = new Connection(storage);
      connection.root["x"] = 1;
      connection.commit();
      console.log(connection.root["x"]);`,
    );
    const deno = async (args: string[]) => {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args,
        env: { NO_COLOR: "1" },
        signal: AbortSignal.timeout(120_000),
      }).output();
      const decoder = new TextDecoder();
      return {
        code,
        stdout: decoder.decode(stdout),
        stderr: decoder.decode(stderr),
      };
    };
    const run = ["run", "-q", "-A", "--no-check", ...MAP];
    const plain = await deno([...run, program]);
    assertEquals([plain.code, plain.stdout], [0, "1\n"], plain.stderr);
    const bundle = `${directory}/bundle.js`;
    const made = await deno([
      ...["bundle", "-q", "--no-lock", "--minify", ...MAP],
      ...["--external", "@db/sqlite", "--output", bundle, program],
    ]);
    if (/client error|error sending request/.test(made.stderr)) {
      console.log("Not tested: the bundler cannot be downloaded");
      return;
    }
    assertEquals(made.code, 0, made.stderr);
    const bundled = await deno([...run, bundle]);
    assertEquals([bundled.code, bundled.stdout], [0, "1\n"], bundled.stderr);
  });
});
