/** What becomes of a journal when something goes wrong. */
import { dirname } from "node:path";
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  DamagedFileError,
  DharaError,
  ObjectNotFoundError,
  StorageError,
} from "../../../lib/errors.ts";
import type { Oid } from "../../../lib/serialize/record.ts";
import { disk, type Files } from "../../../lib/files/file.ts";
import {
  type FileStorage,
  type FileStorageOptions,
  openOn,
} from "../../../lib/storage/file_storage.ts";
import {
  decodePointer,
  POINTERS,
} from "../../../lib/storage/journal/format.ts";
import { restorePoints } from "../../../lib/maintenance/restore.ts";
import { verify } from "../../../lib/maintenance/verify.ts";
import { Faults } from "../../support/faulty_files.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";

/** Runs a test with a path in a directory of its own. */
function test(
  name: string,
  run: (path: string) => void | Promise<void>,
): void {
  Deno.test(name, async () => {
    const directory = await Deno.makeTempDir();
    try {
      await run(`${directory}/test.dhara`);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

function open(
  path: string,
  options: FileStorageOptions = {},
  files: Files = disk,
): FileStorage {
  return openOn(files, path, options);
}

function flipped(bytes: Uint8Array, offset: number, mask = 0xff): Uint8Array {
  const copy = bytes.slice();
  copy[offset]! ^= mask;
  return copy;
}

function exists(path: string): boolean {
  return disk.identity(path) !== undefined;
}

/** What a storage holds after each of a few transactions, and where they end. */
interface History {
  ends: number[];
  tids: number[];
  states: Map<Oid, string>[];
}

/** Makes a journal of four transactions. */
function makeHistory(path: string): History {
  using storage = open(path);
  using session = storage.session();
  const history: History = {
    ends: [storage.size],
    tids: [0],
    states: [new Map()],
  };
  const transactions: [Oid, string][][] = [
    [[0, "root"], [1, "one"], [2, "two"]],
    [[1, "one, changed"]],
    [[0, "root, changed"], [3, "three"]],
    [[1, "one, changed again"], [4, "four"]],
  ];
  for (const transaction of transactions) {
    store(
      session,
      ...transaction.map(([oid, text]) => textRecord(oid, text, [1, 2])),
    );
    history.ends.push(storage.size);
    history.tids.push(session.tid);
    history.states.push(new Map([...history.states.at(-1)!, ...transaction]));
  }
  return history;
}

/** Makes sure that a storage holds exactly what it held after a transaction. */
function assertState(
  storage: FileStorage,
  history: History,
  number: number,
): void {
  using session = storage.session();
  assertEquals(session.tid, history.tids[number]);
  for (let oid = 0; oid < 6; oid++) {
    const text = history.states[number]!.get(oid);
    if (text !== undefined) assertEquals(textOf(session, oid), text);
    else assertThrows(() => session.load(oid), ObjectNotFoundError);
  }
}

test("the last transaction cut at any byte: the one before is there", (path) => {
  const history = makeHistory(path);
  const bytes = Deno.readFileSync(path);
  const [last, whole] = history.ends.slice(-2) as [number, number];
  assertEquals(bytes.length, whole);
  for (let size = last; size < whole; size++) {
    Deno.writeFileSync(path, bytes.subarray(0, size));
    using storage = open(path);
    assertState(storage, history, 3);
    assertEquals(Deno.statSync(path).size, last);
  }
  Deno.writeFileSync(path, bytes);
  using storage = open(path);
  assertState(storage, history, 4);
});

test("every beginning of a journal is a good database", (path) => {
  const history = makeHistory(path);
  const bytes = Deno.readFileSync(path);
  for (let size = 0; size <= bytes.length; size++) {
    Deno.writeFileSync(path, bytes.subarray(0, size));
    using storage = open(path, { readonly: true });
    const whole = history.ends.filter((end) => end <= size).length - 1;
    assertState(storage, history, Math.max(0, whole));
    // Nothing is cut off by who only reads.
    assertEquals(Deno.statSync(path).size, size);
  }
});

test("a journal that was cut before what its header leads to is damaged", async (path) => {
  const history = makeHistory(path);
  {
    using storage = open(path);
    using session = storage.session();
    const text = "x".repeat(70_000);
    store(session, textRecord(5, text));
    history.ends.push(storage.size);
    history.tids.push(session.tid);
    history.states.push(new Map([...history.states[4]!, [5, text]]));
  }
  const bytes = Deno.readFileSync(path);
  const index = Math.max(
    ...POINTERS.map((at) => decodePointer(bytes.subarray(at))?.offset ?? 0),
  );
  assert(index > history.ends[4]! + 70_000);
  const cuts: [number, number][] = [index, index - 1, 2000, 1536]
    .map((size) => [size, size]);
  for (const end of history.ends) cuts.push([end, end], [end + 20, end]);
  for (const [size, end] of cuts) {
    // Cut, or as long as it was, and its end was never written.
    for (const zeros of [0, bytes.length - size]) {
      const cut = new Uint8Array(size + zeros);
      cut.set(bytes.subarray(0, size));
      Deno.writeFileSync(path, cut);
      for (const readonly of [true, false]) {
        const error = assertThrows(
          () => open(path, { readonly }),
          DamagedFileError,
          "repair: true",
        );
        if (zeros > 0) continue;
        assert(error.offset <= end, `${error.offset}, ${end}`);
        assert(error.message.includes(`leads to byte ${index}`));
      }
      assertEquals(Deno.readFileSync(path), cut);
      assertThrows(
        () => [...restorePoints(path)],
        DamagedFileError,
        "Cannot read",
      );
      const { damage } = await verify(path);
      assert(damage.some(({ message }) => message.includes(`byte ${index}`)));
      const whole = history.ends.filter((end) => end <= size).length - 1;
      for (const repair of [true, false]) {
        using storage = open(path, { repair });
        assertState(storage, history, whole);
        if (!repair) continue;
        assert(storage.repairs.some(({ kind }) => kind === "index"));
      }
      assert((await verify(path)).good);
      for (const { name } of Deno.readDirSync(dirname(path))) {
        if (name.includes("tail")) Deno.removeSync(`${dirname(path)}/${name}`);
      }
    }
  }
  // Even the header is cut, and has a pointer: that was no empty database.
  const pointer = POINTERS.find((at) => decodePointer(bytes.subarray(at)))!;
  for (let size = pointer + 20; size < 1536; size += 50) {
    Deno.writeFileSync(path, bytes.subarray(0, size));
    assertThrows(() => open(path), DamagedFileError, "the header is cut off");
    assertEquals(Deno.statSync(path).size, size);
    assert(!(await verify(path)).good);
  }
  // Behind the index block nothing is missing but the index.
  Deno.writeFileSync(path, bytes);
  using storage = open(path);
  assertEquals(storage.size, bytes.length);
});

test("a transaction that was cut off leaves room for the next", (path) => {
  const history = makeHistory(path);
  const bytes = Deno.readFileSync(path);
  for (const missing of [1, 12, 13, 60, 150]) {
    Deno.writeFileSync(path, bytes.subarray(0, bytes.length - missing));
    {
      using storage = open(path);
      using session = storage.session();
      store(session, textRecord(1, "one, another way"));
    }
    using storage = open(path);
    using session = storage.session();
    assertEquals(textOf(session, 1), "one, another way");
    assertEquals(textOf(session, 0), "root, changed");
    assert(session.tid > history.tids[3]!);
    assertThrows(() => session.load(4), ObjectNotFoundError);
  }
});

test("what was never written, and is all zeros, is cut off", (path) => {
  const history = makeHistory(path);
  const bytes = Deno.readFileSync(path);
  const [last, whole] = history.ends.slice(-2) as [number, number];
  for (const zeros of [1, 47, 48, 100, 5000, 3_000_000]) {
    const longer = new Uint8Array(whole + zeros);
    longer.set(bytes);
    Deno.writeFileSync(path, longer);
    using storage = open(path);
    assertState(storage, history, 4);
    assertEquals(Deno.statSync(path).size, whole);
  }
  // The length was there before the bytes were.
  for (const from of [12, 30, whole - last - 48]) {
    Deno.writeFileSync(path, bytes.slice().fill(0, whole - from));
    using storage = open(path);
    assertState(storage, history, 3);
  }
});

test("any byte of the last transaction changed: it is damage, not cut off", (path) => {
  const history = makeHistory(path);
  const bytes = Deno.readFileSync(path);
  const [last, whole] = history.ends.slice(-2) as [number, number];
  for (let offset = last; offset < whole; offset++) {
    for (const mask of [0xff, 1 << (offset % 8)]) {
      const damaged = flipped(bytes, offset, mask);
      Deno.writeFileSync(path, damaged);
      const error = assertThrows(() => open(path), DamagedFileError);
      assertEquals(error.offset, last);
      assertEquals(error.path, path);
      assert(error.message.includes("--repair"), error.message);
      assertEquals(Deno.readFileSync(path), damaged);
    }
  }
});

/**
 * Changes each byte in turn: opening or loading must say so, or what is loaded
 * must be right.
 */
function assertNeverWrong(
  path: string,
  check: (storage: FileStorage) => void,
): { refused: number; fine: number } {
  const bytes = Deno.readFileSync(path);
  const counts = { refused: 0, fine: 0 };
  for (let offset = 0; offset < bytes.length; offset++) {
    Deno.writeFileSync(path, flipped(bytes, offset, 0xff >> (offset % 8)));
    try {
      using storage = open(path, { readonly: true });
      check(storage);
      counts.fine++;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      counts.refused++;
    }
  }
  Deno.writeFileSync(path, bytes);
  return counts;
}

test("any byte of a journal changed: nothing wrong is read", (path) => {
  const history = makeHistory(path);
  const counts = assertNeverWrong(
    path,
    (storage) => assertState(storage, history, 4),
  );
  // Only the room around the pointers does not count.
  const { ends } = history;
  assert(counts.refused >= ends.at(-1)! - 1536 + 36, JSON.stringify(counts));
});

test("any byte of a packed journal with an index changed: nothing wrong is read", (path) => {
  const history = makeHistory(path);
  {
    using storage = open(path);
    storage.pack();
  }
  // What cannot be reached is gone.
  for (const oid of [3, 4]) history.states[4]!.delete(oid);
  const { refused } = assertNeverWrong(
    path,
    (storage) => assertState(storage, history, 4),
  );
  assert(refused > 8192, `${refused}`);
});

test("damage in the middle of what must be read is an error with its place", (path) => {
  const history = makeHistory(path);
  const bytes = Deno.readFileSync(path);
  for (const number of [0, 1, 2]) {
    for (const place of [0, 10, 20, 44, 60, 90]) {
      const offset = history.ends[number]! + place;
      Deno.writeFileSync(path, flipped(bytes, offset));
      for (const readonly of [false, true]) {
        const error = assertThrows(
          () => open(path, { readonly }),
          DamagedFileError,
          `Cannot open ${path}: it is damaged at byte ${history.ends[number]}`,
        );
        assertEquals(error.offset, history.ends[number]);
      }
    }
  }
});

test("repair saves what it cuts off, and overwrites nothing", (path) => {
  const history = makeHistory(path);
  const bytes = Deno.readFileSync(path);
  const from = history.ends[2]!;
  const damaged = flipped(bytes, from + 70);
  const tails = [`${path}.tail-${from}`, `${path}.tail-${from}-1`];
  for (const tail of tails) {
    Deno.writeFileSync(path, damaged);
    assertThrows(() => open(path), DamagedFileError, `${path}.tail-${from}`);
    assertEquals(exists(tail), false);
    {
      using storage = open(path, { repair: true });
      assertState(storage, history, 2);
    }
    assertEquals(Deno.readFileSync(tail), damaged.slice(from));
    using storage = open(path);
    assertState(storage, history, 2);
    using session = storage.session();
    store(session, textRecord(0, "goes on"));
    assertEquals(textOf(session, 0), "goes on");
  }
  assertThrows(
    () => open(path, { repair: true, readonly: true }),
    StorageError,
    "reading only",
  );
});

test("repair of a good journal changes nothing", (path) => {
  const history = makeHistory(path);
  const bytes = Deno.readFileSync(path);
  {
    using storage = open(path, { repair: true });
    assertState(storage, history, 4);
  }
  assertEquals(Deno.readFileSync(path), bytes);
});

test("repair writes a damaged header and a damaged index anew", (path) => {
  const history = makeHistory(path);
  {
    using storage = open(path);
    storage.pack();
  }
  for (const oid of [3, 4]) history.states[4]!.delete(oid);
  const bytes = Deno.readFileSync(path);
  // In the header, and in the first page of the index.
  for (const offset of [20, bytes.length - 8000]) {
    Deno.writeFileSync(path, flipped(bytes, offset));
    assertThrows(() => {
      using storage = open(path, { readonly: true });
      assertState(storage, history, 4);
    }, DamagedFileError);
    {
      using storage = open(path, { repair: true });
      assertState(storage, history, 4);
    }
    using storage = open(path);
    assertState(storage, history, 4);
  }
});

test("without its pointers a journal is read from the beginning", (path) => {
  const history = makeHistory(path);
  {
    using storage = open(path);
    storage.pack();
  }
  for (const oid of [3, 4]) history.states[4]!.delete(oid);
  const bytes = Deno.readFileSync(path);
  const pointers = [512, 1024];
  assert(
    pointers.some((at) => bytes.subarray(at, at + 20).some((b) => b !== 0)),
  );
  for (const at of pointers) bytes.fill(0xee, at, at + 20);
  Deno.writeFileSync(path, bytes);
  using storage = open(path);
  assertState(storage, history, 4);
});

test("a packed journal that lacks its end is damage, not an older state", (path) => {
  makeHistory(path);
  {
    using storage = open(path);
    storage.pack();
  }
  const bytes = Deno.readFileSync(path);
  for (let size = 1536 + 1; size < bytes.length; size += 29) {
    Deno.writeFileSync(path, bytes.subarray(0, size));
    // Before the copied block is whole, nothing says that there was one.
    const error = assertThrowsOrEmpty(path);
    if (size > 2000) assert(error instanceof DamagedFileError, `${size}`);
  }
});

function assertThrowsOrEmpty(path: string): unknown {
  try {
    using storage = open(path, { readonly: true });
    using session = storage.session();
    assertEquals(session.tid, 0);
    return undefined;
  } catch (error) {
    if (!(error instanceof DharaError)) throw error;
    return error;
  }
}

test("making a journal can be interrupted anywhere", (path) => {
  open(path).close();
  const bytes = Deno.readFileSync(path);
  assertEquals(bytes.length, 1536);
  for (let size = 0; size < bytes.length; size += size < 50 ? 1 : 97) {
    Deno.writeFileSync(path, bytes.subarray(0, size));
    {
      using storage = open(path);
      using session = storage.session();
      assertEquals(session.allocate(1), [0]);
      store(session, textRecord(0, "root"));
    }
    using storage = open(path);
    using session = storage.session();
    assertEquals(textOf(session, 0), "root");
  }
});

test("a disk that is full: nothing is stored, and then it goes on", (path) => {
  const faults = new Faults();
  const storage = open(path, {}, faults.files);
  using session = storage.session();
  store(session, textRecord(0, "root"));
  const { size } = storage;
  const { tid } = session;
  for (const room of [0, 1, 47, 48, 100, 500_000]) {
    faults.room = room;
    const error = assertThrows(
      () =>
        session.commit([
          textRecord(1, "one"),
          textRecord(2, "x".repeat(9_000_000)),
        ]),
      StorageError,
      "make room on the disk and commit again",
    );
    assert((error.cause as Error).message.includes("No space left"));
    assertEquals(session.tid, tid);
    assertEquals(storage.size, size);
    assertEquals(Deno.statSync(path).size, size);
    assertThrows(() => session.load(1), ObjectNotFoundError);
    faults.room = Infinity;
    using other = storage.session();
    assertThrows(() => other.load(1), ObjectNotFoundError);
  }
  store(session, textRecord(1, "one"));
  storage.close();
  using again = open(path);
  using other = again.session();
  assertEquals(textOf(other, 0), "root");
  assertEquals(textOf(other, 1), "one");
});

test("writes and reads that do only a part are continued", (path) => {
  const faults = new Faults();
  faults.largestWrite = 7;
  faults.largestRead = 11;
  const text = "some text ".repeat(3000);
  {
    using storage = open(path, {}, faults.files);
    using session = storage.session();
    store(session, textRecord(0, "root", [1]), textRecord(1, text));
    storage.pack();
    session.sync();
    store(session, textRecord(2, "two"));
    assertEquals(textOf(session, 1), text);
  }
  for (const files of [faults.files, disk]) {
    using storage = open(path, {}, files);
    using session = storage.session();
    assertEquals(textOf(session, 1), text);
    assertEquals(textOf(session, 2), "two");
  }
});

test("a failed sync: nothing more is stored until the file is opened again", (path) => {
  const faults = new Faults();
  const storage = open(path, {}, faults.files);
  using session = storage.session();
  store(session, textRecord(0, "root"));
  faults.failSync = true;
  assertThrows(
    () => session.commit([textRecord(0, "lost?")]),
    StorageError,
    "syncing to the disk failed",
  );
  faults.failSync = false;
  assertEquals(textOf(session, 0), "root");
  const error = assertThrows(
    () => session.commit([textRecord(0, "again")]),
    StorageError,
    "open it again",
  );
  assert(error.cause !== undefined);
  using other = storage.session();
  assertEquals(textOf(other, 0), "root");
  storage.close();
  using again = open(path);
  using third = again.session();
  assertEquals(textOf(third, 0), "root");
  store(third, textRecord(0, "again"));
});

test("what cannot be cut off after a full disk stops commits, and is cut off later", (path) => {
  const faults = new Faults();
  const storage = open(path, {}, faults.files);
  using session = storage.session();
  store(session, textRecord(0, "root"));
  faults.room = 50;
  faults.failTruncate = true;
  assertThrows(() => session.commit([textRecord(0, "no")]), StorageError);
  faults.room = Infinity;
  faults.failTruncate = false;
  assertThrows(
    () => session.commit([textRecord(0, "no")]),
    StorageError,
    "open it again",
  );
  assertEquals(textOf(session, 0), "root");
  storage.close();
  using again = open(path);
  using other = again.session();
  assertEquals(textOf(other, 0), "root");
});

test("a commit is one write and one sync", (path) => {
  const faults = new Faults();
  using storage = open(path, {}, faults.files);
  using session = storage.session();
  for (const size of [1, 1000, 100_000]) {
    const { writes, syncs } = faults;
    store(session, textRecord(0, "a"), textRecord(1, "x".repeat(size)));
    assertEquals(faults.writes, writes + 1);
    assertEquals(faults.syncs, syncs + 1);
  }
});

test("without sync nothing is synced before closing", (path) => {
  const faults = new Faults();
  const storage = open(path, { sync: false }, faults.files);
  const { syncs } = faults;
  const session = storage.session();
  for (let i = 0; i < 10; i++) store(session, textRecord(0, `${i}`));
  assertEquals(faults.syncs, syncs);
  storage.close();
  assertEquals(faults.syncs, syncs + 1);
  using again = open(path);
  using other = again.session();
  assertEquals(textOf(other, 0), "9");
});

test("the index that cannot be written costs no commit", (path) => {
  const faults = new Faults();
  {
    using storage = open(path, { sync: false }, faults.files);
    using session = storage.session();
    for (let i = 0; i < 40; i++) {
      // Enough for the record, and not for the index that is due.
      faults.room = 100_300;
      store(session, textRecord(i, "x".repeat(100_000)));
    }
    faults.room = Infinity;
    store(session, textRecord(40, "the last"));
  }
  using storage = open(path);
  using session = storage.session();
  for (let i = 0; i < 40; i++) assertEquals(textOf(session, i).length, 100_000);
  assertEquals(textOf(session, 40), "the last");
});

test("opening reads the end of a large journal only", (path) => {
  {
    using storage = open(path, { sync: false });
    using session = storage.session();
    for (let round = 0; round < 20; round++) {
      store(
        session,
        ...Array.from(
          { length: 5000 },
          (_, i) => textRecord(i, `${round} ${i} `.repeat(10)),
        ),
      );
    }
    store(session, textRecord(17, "the last"));
  }
  const faults = new Faults();
  using storage = open(path, {}, faults.files);
  assert(storage.size > 10_000_000);
  assert(faults.bytesRead < storage.size / 10, `${faults.bytesRead}`);
  using session = storage.session();
  assertEquals(textOf(session, 17), "the last");
  for (let i = 0; i < 5000; i += 7) {
    if (i !== 17) assertEquals(textOf(session, i), `19 ${i} `.repeat(10));
  }
});

test("a pack that fails leaves everything as it was", (path) => {
  const faults = new Faults();
  using storage = open(path, {}, faults.files);
  using session = storage.session();
  const links = Array.from({ length: 2000 }, (_, i) => i + 1);
  store(
    session,
    textRecord(0, "root", links),
    ...links.map((oid) => textRecord(oid, `object ${oid} `.repeat(50))),
  );
  const { identity } = storageFile(path);
  function attempt(): void {
    assertThrows(() => storage.pack(), StorageError, "Cannot pack");
    assertEquals(exists(`${path}.pack`), false);
    assertEquals(storageFile(path).identity, identity);
  }
  for (const room of [0, 1000, 2000, 500_000]) {
    faults.room = room;
    attempt();
    faults.room = Infinity;
  }
  faults.failRename = true;
  attempt();
  faults.failRename = false;
  faults.failSync = true;
  attempt();
  faults.failSync = false;
  store(session, textRecord(1, "goes on"));
  storage.pack();
  assert(storageFile(path).identity !== identity);
  session.sync();
  assertEquals(textOf(session, 1), "goes on");
  assertEquals(textOf(session, 2000), "object 2000 ".repeat(50));
});

function storageFile(path: string): { identity: string | undefined } {
  return { identity: disk.identity(path) };
}
