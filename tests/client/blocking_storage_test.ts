/** A storage in a worker: what crosses to it and back. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  BlockingStorage,
  Connection,
  packRecord,
  PersistentDict,
  PersistentList,
  ReadonlyError,
  StorageClosedError,
  StorageError,
  WriteConflictError,
} from "../../mod.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";
import { Buffer } from "node:buffer";
import { inDirectory, MAP } from "../support/dhara.ts";
import type { DelayedOptions } from "../support/delayed_storage.ts";

const MODULE = import.meta.resolve("../support/delayed_storage.ts");

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
      "Cannot use delayed_storage.ts: the storage was closed",
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
    const mod = import.meta.resolve("../../mod.ts");
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
