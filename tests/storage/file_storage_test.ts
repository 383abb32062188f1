import { assert, assertEquals, assertThrows } from "@std/assert";
import { crc32 } from "node:zlib";
import {
  DamagedFileError,
  ObjectNotFoundError,
  ReadonlyError,
  StorageClosedError,
  StorageError,
  StorageLockedError,
} from "../../lib/errors.ts";
import { Connection } from "../../mod.ts";
import { disk, type Files } from "../../lib/files/file.ts";
import {
  FileStorage,
  FileStorage2,
  type FileStorageOptions,
  openOn,
} from "../../lib/storage/file_storage.ts";
import {
  BLOCK_HEAD,
  BLOCK_TRAILER,
  BlockKind,
  ENTRY_HEAD,
} from "../../lib/storage/journal/format.ts";
import { BlockWriter } from "../../lib/storage/journal/block_writer.ts";
import { nextTid } from "../../lib/storage/moment.ts";
import { Faults } from "../support/faulty_files.ts";
import { testStorage } from "../../lib/testing/mod.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";

function suite(
  name: string,
  options: FileStorageOptions,
  files?: Files,
  type: typeof FileStorage = FileStorage,
) {
  testStorage(name, () => {
    const directory = Deno.makeTempDirSync();
    const path = `${directory}/test.dhara`;
    const open = () =>
      files === undefined
        ? new type(path, options)
        : openOn(files, path, options);
    let storage = open();
    return {
      storage,
      reopen() {
        storage.close();
        return storage = open();
      },
      dispose() {
        storage.close();
        Deno.removeSync(directory, { recursive: true });
      },
    };
  });
}

suite("FileStorage", {});
suite("FileStorage without sync", { sync: false });
suite("FileStorage2", {}, undefined, FileStorage2);
const parts = new Faults();
parts.largestWrite = 1000;
parts.largestRead = 999;
suite("FileStorage on a slow disk", { sync: false }, parts.files);

function test(
  name: string,
  run: (path: string, directory: string) => void | Promise<void>,
): void {
  Deno.test(name, async () => {
    const directory = await Deno.makeTempDir();
    try {
      await run(`${directory}/test.dhara`, directory);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

function namesIn(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
}

function make(path: string, ...texts: string[]): void {
  using storage = new FileStorage(path);
  using session = storage.session();
  store(session, ...texts.map((text, oid) => textRecord(oid, text)));
}

/** Runs code in another process, with the permissions given. */
function start(script: string, path: string, ...flags: string[]) {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      ...flags,
      "--no-prompt",
      "--no-check",
      "--no-config",
      new URL(script, import.meta.url).pathname,
      path,
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  return {
    pid: child.pid,
    async line(): Promise<string> {
      while (!text.includes("\n")) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
      }
      const [line] = text.split("\n");
      text = text.slice(line!.length + 1);
      return line!;
    },
    async end(): Promise<void> {
      await child.stdin.close();
      await reader.cancel();
      await child.status;
    },
  };
}

test("FileStorage refuses a file that is not a journal, and leaves it alone", (path) => {
  const files: [string, string][] = [
    ["SQLite format 3\0" + "x".repeat(100), "SQLite"],
    ["SHELF-1\n" + "x".repeat(100), "Durus"],
    ["DFS20\0" + "x".repeat(100), "Durus"],
    ["hello", "it is not a Dhara journal"],
    ["DHARA-2\n" + "x".repeat(5000), "it is not a Dhara journal"],
    ["\0".repeat(5000), "it is not a Dhara journal"],
  ];
  for (const [content, why] of files) {
    Deno.writeTextFileSync(path, content);
    for (const options of [{}, { repair: true }, { readonly: true }]) {
      const error = assertThrows(
        () => new FileStorage(path, options),
        StorageError,
        why,
      );
      assert(
        error.message.startsWith(
          `Cannot open ${path}: it is not a Dhara journal`,
        ),
        error.message,
      );
    }
    assertEquals(Deno.readTextFileSync(path), content);
  }
});

test("FileStorage refuses a journal of a later version", (path) => {
  make(path, "root");
  const bytes = Deno.readFileSync(path);
  const view = new DataView(bytes.buffer);
  view.setUint32(8, 2);
  Deno.writeFileSync(path, bytes);
  assertThrows(() => new FileStorage(path), DamagedFileError, "byte 0");
  view.setUint32(32, crc32(bytes.subarray(0, 32)));
  Deno.writeFileSync(path, bytes);
  assertThrows(
    () => new FileStorage(path, { repair: true }),
    StorageError,
    "version 2",
  );
  assertEquals(Deno.readFileSync(path), bytes);
});

test("FileStorage says what is wrong with a path", (path, directory) => {
  assertThrows(
    () => new FileStorage(path, { create: false }),
    StorageError,
    `Cannot open ${path}: there is no such file`,
  );
  assertThrows(
    () => new FileStorage(path, { readonly: true }),
    StorageError,
    "there is no such file",
  );
  assertThrows(
    () => new FileStorage(directory),
    StorageError,
    `Cannot open ${directory}: it is not a regular file`,
  );
  assertThrows(
    () => new FileStorage(`${directory}/no/where`),
    StorageError,
    "the folder that it should be in is not there",
  );
  assertThrows(() => new FileStorage(""), StorageError, "the path is empty");
  assertEquals(namesIn(directory), []);
});

test("FileStorage opened for reading only changes nothing and takes no lock", (path) => {
  make(path, "root", "one");
  const torn = new Uint8Array([...Deno.readFileSync(path), 1, 2, 3]);
  Deno.writeFileSync(path, torn);
  {
    using reading = new FileStorage(path, { readonly: true });
    using another = new FileStorage(path, { readonly: true });
    using session = reading.session();
    assertEquals(textOf(session, 1), "one");
    assertEquals(reading.readonly, true);
    assertThrows(
      () => session.commit([textRecord(0, "new")]),
      ReadonlyError,
      `Cannot commit to ${path}`,
    );
    assertEquals(session.commit([]), { tid: session.tid, changed: [] });
    assertThrows(() => reading.pack(), ReadonlyError);
    session.allocate(10);
    using other = another.session();
    assertEquals(textOf(other, 0), "root");
  }
  assertEquals(Deno.readFileSync(path), torn);
  using reading = new FileStorage(path, { readonly: true });
  using writing = new FileStorage(path);
  using session = writing.session();
  store(session, textRecord(0, "new"));
  using other = reading.session();
  assertEquals(textOf(other, 0), "root");
});

test(
  "FileStorage that is open in this process cannot be opened again for writing",
  (path, directory) => {
    const storage = new FileStorage(path);
    Deno.symlinkSync(path, `${directory}/link`);
    for (const name of [path, `${directory}/link`]) {
      const error = assertThrows(
        () => new FileStorage(name),
        StorageLockedError,
      );
      assertEquals(
        error.message,
        `Cannot open ${name} for writing: this process has it open`,
      );
    }
    storage.pack();
    assertThrows(() => new FileStorage(path), StorageLockedError);
    storage.close();
    new FileStorage(path).close();
  },
);

test("FileStorage that is open in another process cannot be opened for writing", async (path) => {
  const holder = start("../support/holder.ts", path, "-A");
  assertEquals(await holder.line(), "open");
  const error = assertThrows(() => new FileStorage(path), StorageLockedError);
  if (Deno.build.os === "linux") {
    assert(
      error.message.startsWith(
        `Cannot open ${path} for writing: process ${holder.pid} (`,
      ),
      error.message,
    );
    assert(error.message.includes("holder.ts"), error.message);
  }
  // Reading is fine.
  new FileStorage(path, { readonly: true }).close();
  const second = start("../support/holder.ts", path, "-A");
  const line = await second.line();
  assert(line.startsWith("StorageLockedError: Cannot open "), line);
  await second.end();
  await holder.end();
  new FileStorage(path).close();
});

test(
  "FileStorage needs no permission but for its directory",
  async (path, directory) => {
    const flags = [`--allow-read=${directory}`, `--allow-write=${directory}`];
    const holder = start("../support/holder.ts", path, ...flags);
    assertEquals(await holder.line(), "open");
    // Without `tryLock` only `/proc/locks` tells that it would wait for ever.
    if ("tryLockSync" in Deno.FsFile.prototype) {
      const second = start("../support/holder.ts", path, ...flags);
      const line = await second.line();
      assert(line.includes("another process has it open"), line);
      await second.end();
    }
    await holder.end();
  },
);

test("FileStorage without permission says so", async (path) => {
  const holder = start("../support/holder.ts", path);
  const line = await holder.line();
  assert(line.startsWith(`StorageError: Cannot open ${path}: `), line);
  await holder.end();
});

test("a packed FileStorage stays locked, and keeps who may read it", async (path) => {
  make(path, "root");
  Deno.chmodSync(path, 0o600);
  const storage = new FileStorage(path);
  const session = storage.session();
  storage.pack();
  assertEquals(Deno.statSync(path).mode! & 0o777, 0o600);
  session.sync();
  // Even with the old file closed.
  const other = start("../support/holder.ts", path, "-A");
  const line = await other.line();
  assert(line.startsWith("StorageLockedError"), line);
  await other.end();
  storage.close();
  const third = start("../support/holder.ts", path, "-A");
  assertEquals(await third.line(), "open");
  await third.end();
});

test("FileStorage that is replaced before the lock is taken opens the new file", (path) => {
  make(path, "old");
  const other = `${path}.other`;
  make(other, "new");
  let opened = 0;
  const files: Files = {
    ...disk,
    open(name, options) {
      const file = disk.open(name, options);
      if (++opened === 1) Deno.renameSync(other, path);
      return file;
    },
  };
  using storage = openOn(files, path);
  using session = storage.session();
  assertEquals(textOf(session, 0), "new");
  assertEquals(opened, 2);
});

test("FileStorage behind a link is packed where it is", (path, directory) => {
  make(path, "root", "garbage");
  Deno.mkdirSync(`${directory}/links`);
  const link = `${directory}/links/link`;
  Deno.symlinkSync(path, link);
  {
    using storage = new FileStorage(link);
    storage.pack();
  }
  assertEquals(Deno.lstatSync(link).isSymlink, true);
  assertEquals(namesIn(directory), ["links", "test.dhara"]);
  assertEquals(namesIn(`${directory}/links`), ["link"]);
  using storage = new FileStorage(path);
  using session = storage.session();
  assertEquals(textOf(session, 0), "root");
  assertThrows(() => session.load(1), ObjectNotFoundError);
});

function makeLarge(path: string): FileStorage {
  const storage = new FileStorage(path, { sync: false });
  using session = storage.session();
  const oids = session.allocate(3000).slice(1);
  store(
    session,
    textRecord(0, "root", oids),
    ...oids.map((oid) => textRecord(oid, `object ${oid} `.repeat(30))),
  );
  return storage;
}

test(
  "pack() of a FileStorage uses a file beside it, and one pack runs at a time",
  (path, directory) => {
    using storage = makeLarge(path);
    {
      const steps = storage.packInSteps();
      for (let i = 0; i < 3; i++) steps.next();
      Deno.copyFileSync(`${path}.pack`, `${path}.left`);
      steps.return();
      Deno.renameSync(`${path}.left`, `${path}.pack`);
    }
    const left = Deno.readFileSync(`${path}.pack`);
    // Nothing happens before the first step.
    const never = storage.packInSteps();
    assertEquals(Deno.readFileSync(`${path}.pack`), left);
    const steps = storage.packInSteps();
    assertEquals(steps.next().done, false);
    assertThrows(() => never.next(), StorageError, "another pack is under way");
    assertEquals(namesIn(directory), ["test.dhara", "test.dhara.pack"]);
    steps.return();
    assertEquals(namesIn(directory), ["test.dhara"]);
    let last = { records: 0, bytes: 0 };
    let count = 0;
    for (const progress of storage.packInSteps()) {
      assert(progress.records >= last.records && progress.bytes >= last.bytes);
      last = { ...progress };
      count++;
    }
    assertEquals(last.records, 3000);
    assert(count > 5, `${count} steps`);
    assertEquals(namesIn(directory), ["test.dhara"]);
    using session = storage.session();
    assertEquals(textOf(session, 2999), "object 2999 ".repeat(30));
  },
);

test(
  "closing a FileStorage gives up a pack that is under way",
  (path, directory) => {
    const storage = makeLarge(path);
    const steps = storage.packInSteps();
    steps.next();
    storage.close();
    assertEquals(namesIn(directory), ["test.dhara"]);
    assertThrows(() => steps.next(), StorageClosedError);
    using again = new FileStorage(path);
    using session = again.session();
    assertEquals(textOf(session, 1), "object 1 ".repeat(30));
  },
);

test(
  "pack() refuses when somebody has put another file in place of the journal",
  (path, directory) => {
    const storage = makeLarge(path);
    Deno.renameSync(path, `${path}.moved`);
    Deno.writeTextFileSync(path, "precious");
    assertThrows(() => storage.pack(), StorageError, "another file");
    assertEquals(Deno.readTextFileSync(path), "precious");
    storage.close();
    assertEquals(namesIn(directory), ["test.dhara", "test.dhara.moved"]);
  },
);

test("a pack makes the file smaller, and keeps its identity", (path) => {
  using storage = new FileStorage(path, { sync: false });
  using session = storage.session();
  for (let i = 0; i < 50; i++) store(session, textRecord(0, "x".repeat(5000)));
  const id = Deno.readFileSync(path).slice(12, 28);
  const { size } = storage;
  storage.pack();
  assert(storage.size < size / 4, `${storage.size} of ${size}`);
  assertEquals(storage.size, Deno.statSync(path).size);
  const header = Deno.readFileSync(path).slice(0, 36);
  assertEquals(header.slice(12, 28), id);
  assertEquals(new DataView(header.buffer).getUint32(28), 1);
});

test("a session reads the old file after a pack, until it moves on", (path) => {
  using storage = makeLarge(path);
  const early = storage.session();
  using writer = storage.session();
  store(writer, textRecord(0, "root", [1]), textRecord(1, "changed"));
  const tid = early.tid;
  storage.pack();
  storage.pack();
  store(writer.sync() && writer, textRecord(1, "changed again"));
  assertEquals(early.tid, tid);
  for (let oid = 1; oid < 3000; oid += 100) {
    assertEquals(textOf(early, oid), `object ${oid} `.repeat(30));
  }
  early.sync();
  assertEquals(textOf(early, 1), "changed again");
  assertThrows(() => early.load(101), ObjectNotFoundError);
  early.close();
});

test("numbers that were given out are not given out after reopening", (path) => {
  let oids: number[];
  {
    using storage = new FileStorage(path);
    using session = storage.session();
    store(session, textRecord(0, "root"));
    oids = session.allocate(100);
  }
  using storage = new FileStorage(path);
  using session = storage.session();
  const more = session.allocate(100);
  assertEquals(new Set([0, ...oids, ...more]).size, 201);
});

test("the root's number is given out again if no root was stored", (path) => {
  {
    using storage = new FileStorage(path);
    using session = storage.session();
    assertEquals(session.allocate(3), [0, 1, 2]);
  }
  using storage = new FileStorage(path);
  using session = storage.session();
  assertEquals(session.allocate(3), [0, 3, 4]);
  assertEquals(session.allocate(1), [5]);
});

test("a number far beyond those in use is refused", (path) => {
  using storage = new FileStorage(path);
  using session = storage.session();
  for (const oid of [2 ** 40, 2 ** 53 - 2]) {
    assertThrows(
      () => session.commit([textRecord(oid, "far")]),
      StorageError,
      `Cannot commit object #${oid}: numbers from 0 on are free`,
    );
  }
  store(session, textRecord(2 ** 24 - 1, "not so far"));
  assertEquals(textOf(session, 2 ** 24 - 1), "not so far");
  assertEquals(session.allocate(1), [2 ** 24]);
  for (const count of [-1, 1.5, NaN, 1e9]) {
    assertThrows(() => session.allocate(count), StorageError);
  }
});

test("notes that no Dhara has written are skipped", (path) => {
  make(path, "root");
  const notes = new TextEncoder().encode("from a later Dhara");
  const [oid, record] = textRecord(0, "new");
  const file = disk.open(path, { write: true });
  const offset = file.size();
  const tid = nextTid(Date.now() * 1000);
  const writer = new BlockWriter(file, {
    kind: BlockKind.transaction,
    count: 1,
    offset,
    length: BLOCK_HEAD + notes.length + ENTRY_HEAD + record.length +
      BLOCK_TRAILER,
    tid,
    next: 7,
    notes: notes.length,
  });
  writer.put(notes);
  writer.putEntry(record, tid, 0);
  writer.finish();
  file.close();
  using storage = new FileStorage(path);
  using session = storage.session();
  assertEquals(textOf(session, oid), "new");
  assertEquals(session.tid, tid);
  assertEquals(session.allocate(1), [7]);
});

Deno.test("a tid is later than the one before, whatever the clock says", () => {
  const future = (Date.now() + 1e9) * 1000;
  assertEquals(nextTid(future), future + 1);
  assert(nextTid(0) >= 1.7e15);
});

test("FileStorage with objects in many pages of the index", (path) => {
  const oids = Array.from({ length: 3000 }, (_, i) => i * 1500);
  {
    using storage = new FileStorage(path, { sync: false });
    using session = storage.session();
    store(session, ...oids.map((oid) => textRecord(oid, `${oid}`)));
  }
  {
    using storage = new FileStorage(path, { sync: false });
    using session = storage.session();
    for (const oid of oids) assertEquals(textOf(session, oid), `${oid}`);
    for (const oid of oids.filter((oid) => oid % 7 === 0)) {
      store(session, textRecord(oid, `again ${oid}`));
    }
  }
  using storage = new FileStorage(path);
  using session = storage.session();
  for (const oid of oids) {
    const text = oid % 7 === 0 ? `again ${oid}` : `${oid}`;
    assertEquals(textOf(session, oid), text);
  }
});

Deno.test("FileStorage gives its lock back though another thread is starting a process", async () => {
  const directory = Deno.makeTempDirSync();
  const worker = new Worker(
    "data:text/javascript," + encodeURIComponent(`
      const room = new Uint8Array(1e8).fill(1); // makes starting a process slow
      for (let i = 0; i < 100; i++) {
        await new Deno.Command(Deno.execPath(), { args: ["--version"] }).output();
      }
      postMessage(room.length);
    `),
    { type: "module" },
  );
  try {
    let done = false;
    const ended = new Promise<void>((resolve) => {
      worker.onmessage = () => resolve(void (done = true));
    });
    while (!done) {
      for (let i = 0; i < 20; i++) {
        new FileStorage(`${directory}/x.dhara`).close();
      }
      await new Promise((resolve) => setTimeout(resolve));
    }
    await ended;
  } finally {
    worker.terminate();
    Deno.removeSync(directory, { recursive: true });
  }
});

test("a connection to an empty file that is read-only says that it is empty", (path) => {
  Deno.writeTextFileSync(path, "");
  for (const make of [() => {}, () => new FileStorage(path).close()]) {
    make();
    const { size } = Deno.statSync(path);
    using storage = new FileStorage(path, { readonly: true });
    assertThrows(
      () => new Connection(storage),
      ReadonlyError,
      `Cannot open ${path}: nothing was ever stored in it`,
    );
    assertEquals(Deno.statSync(path).size, size);
  }
});
