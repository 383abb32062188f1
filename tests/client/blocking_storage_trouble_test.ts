/** A storage in a worker that is in trouble: what goes wrong there is told here, and at once. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  BlockingStorage,
  ConflictError,
  DamagedFileError,
  ObjectNotFoundError,
  ReadConflictError,
  ServerUnavailableError,
  StorageClosedError,
  StorageError,
  UndoError,
  WriteConflictError,
} from "../../mod.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";
import type { DelayedOptions, TROUBLES } from "../support/delayed_storage.ts";

const MODULE = import.meta.resolve("../support/delayed_storage.ts");

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
  assert(conflict.cause.stack?.includes("delayed_storage"));

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
        `Cannot use delayed_storage.ts: its worker has ended: ${words}`,
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
      "Cannot go on with delayed_storage.ts: no answer to has() came within 0.2 seconds",
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
  const errors = import.meta.resolve("../../lib/errors.ts");
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
    "Cannot open delayed_storage.ts: ",
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

Deno.test("an error in closing is told once, and the worker has ended", async () => {
  const storage = await BlockingStorage.open(moduleOf(`
    export default () => ({
      session() {}, pack() {}, close: async () => { throw new Error("not flushed") },
    })`));
  assertThrows(() => storage.close(), StorageError, "not flushed");
  storage.close();
  assertThrows(() => storage.session(), StorageClosedError);
});
