/** Packs that keep the history: nothing of it is lost, whatever happens. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  DharaError,
  ReadonlyError,
  StorageError,
  StorageLockedError,
} from "../../../lib/errors.ts";
import { disk, type Files, type OpenFile } from "../../../lib/files/file.ts";
import {
  FileStorage,
  FileStorage2,
  openOn,
} from "../../../lib/storage/file_storage.ts";
import {
  BLOCK_HEAD,
  BlockKind,
  decodeBlockHead,
  HEADER_SIZE,
} from "../../../lib/storage/journal/format.ts";
import type { HistoricalStorage } from "../../../lib/storage/storage.ts";
import { Faults } from "../../support/faulty_files.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";

/** Runs a test with a path in a directory of its own. */
function test(
  name: string,
  run: (path: string, directory: string) => void,
): void {
  Deno.test(name, () => {
    const directory = Deno.makeTempDirSync();
    try {
      run(`${directory}/test.dhara`, directory);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}

function namesIn(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
}

/** Commits three moments, of which each has another object behind the root. */
function makeMoments(storage: HistoricalStorage): number[] {
  using session = storage.session();
  store(session, ...[1, 2, 3].map((oid) => textRecord(oid, `object ${oid}`)));
  return [1, 2, 3].map((oid) => {
    session.commit([textRecord(0, `root ${oid}`, [oid])], { note: `${oid}` });
    return session.tid;
  });
}

/** Makes sure that the moments are there, as far as a storage says that they are. */
function assertMoments(storage: HistoricalStorage, tids: number[]): void {
  for (const [i, at] of tids.entries()) {
    using session = storage.session({ at });
    assertEquals(session.tid, at);
    assertEquals(textOf(session, 0), `root ${i + 1}`);
    assertEquals(textOf(session, i + 1), `object ${i + 1}`);
  }
  const transactions = [...storage.transactions()].slice(0, 2);
  assertEquals(transactions.map(({ tid, note }) => [tid, note]), [
    [tids[2], "3"],
    [tids[1], "2"],
  ]);
  assertEquals(
    [...storage.history(0)].map(({ tid }) => tid),
    tids.toReversed(),
  );
}

test(
  "pack({ prepack }) keeps the old file, in place of an older one",
  (path, directory) => {
    const storage = new FileStorage(path);
    const tids = makeMoments(storage);
    storage.pack({ keep: new Date(0), prepack: true });
    const before = Deno.readFileSync(path);
    storage.pack({ prepack: true });
    assertEquals(namesIn(directory), ["test.dhara", "test.dhara.prepack"]);
    assertEquals(Deno.readFileSync(`${path}.prepack`), before);
    assertThrows(() => storage.session({ at: tids[0]! }), StorageError);
    using session = storage.session();
    store(session, textRecord(0, "later"));
    assertEquals(Deno.readFileSync(`${path}.prepack`), before);
    // The lock is on the new one.
    assertThrows(() => new FileStorage(path), StorageLockedError);
    {
      using old = new FileStorage2(`${path}.prepack`);
      assertMoments(old, tids);
    }
    storage.pack();
    assertEquals(namesIn(directory), ["test.dhara", "test.dhara.prepack"]);
    storage.close();
  },
);

test(
  "pack({ prepack }) that fails leaves no second name",
  (path, directory) => {
    const faults = new Faults();
    using storage = openOn(faults.files, path);
    const tids = makeMoments(storage);
    for (const fault of ["failRename", "failDirectorySync"] as const) {
      faults[fault] = true;
      assertThrows(() => storage.pack({ prepack: true }), StorageError);
      faults[fault] = false;
      assertEquals(namesIn(directory), ["test.dhara"]);
    }
    assertMoments(storage, tids);
  },
);

test("a kept moment is there at every step of a pack, should it end there", (path) => {
  let tids: number[] = [];
  let checks = 0;
  /** A crash now leaves what a copy has. */
  function check(): void {
    if (tids.length === 0) return;
    const copy = `${path}.copy`;
    Deno.copyFileSync(path, copy);
    using storage = new FileStorage(copy);
    assertMoments(storage, tids);
    Deno.removeSync(copy);
    checks++;
  }
  function checked(file: OpenFile): OpenFile {
    return {
      identity: file.identity,
      size: () => file.size(),
      look: () => file.look(),
      read: (into, offset) => file.read(into, offset),
      write(bytes, offset) {
        check();
        return file.write(bytes, offset);
      },
      truncate: (size) => file.truncate(size),
      sync() {
        check();
        file.sync();
      },
      lock: () => file.lock(),
      unlock: () => file.unlock(),
      close: () => file.close(),
    };
  }
  const files: Files = { ...disk, open: (p, o) => checked(disk.open(p, o)) };
  for (
    const name of ["remove", "link", "rename", "syncDirectory"] as const
  ) {
    const act = disk[name] as (from: string, to: string) => void;
    files[name] = (from: string, to: string = "") => {
      check();
      act(from, to);
      check();
    };
  }
  const storage = openOn(files, path);
  tids = makeMoments(storage);
  checks = 0;
  const keep = tids[0]!;
  for (const _ of storage.packInSteps({ keep, prepack: true })) check();
  assert(checks > 15, `${checks}`);
  assertMoments(storage, tids);
  storage.close();
  using again = new FileStorage(path);
  assertMoments(again, tids);
  assertThrows(() => again.session({ at: keep - 1 }), StorageError);
});

test("any byte of a journal with a kept history changed: no wrong history is read", (path) => {
  let tids: number[];
  {
    using storage = new FileStorage(path);
    tids = makeMoments(storage);
    storage.pack({ keep: tids[0]! });
  }
  const bytes = Deno.readFileSync(path);
  const counts = { refused: 0, fine: 0 };
  for (let block = HEADER_SIZE; block < bytes.length;) {
    const bare = bytes.subarray(block, block + BLOCK_HEAD);
    const { kind, length } = decodeBlockHead(bare, block)!;
    // Most of an index block is zeros, and the tests of recovery have looked at it.
    const count = kind === BlockKind.index ? 200 : length;
    for (let at = block; at < block + count; at++) {
      const changed = bytes.slice();
      changed[at]! ^= 0xff;
      Deno.writeFileSync(path, changed);
      try {
        using storage = new FileStorage(path, { readonly: true });
        assertMoments(storage, tids);
        counts.fine++;
      } catch (error) {
        if (!(error instanceof DharaError)) throw error;
        counts.refused++;
      }
    }
    block += length;
  }
  assert(counts.refused > 600, JSON.stringify(counts));
});

test("a large transaction is taken over in steps, with commits in between", (path) => {
  using storage = new FileStorage(path, { sync: false });
  using session = storage.session();
  const oids = session.allocate(20_001).slice(1);
  const first = store(session, textRecord(0, "root"));
  store(
    session,
    textRecord(0, "root", oids),
    ...oids.map((oid) => textRecord(oid, `object ${oid} `.repeat(10))),
  );
  let steps = 0;
  for (const _ of storage.packInSteps({ keep: first })) {
    if (steps++ < 20) store(session, textRecord(1, `step ${steps}`));
  }
  assert(steps > 20, `${steps}`);
  using early = storage.session({ at: first });
  assertEquals(early.tid, first);
  using late = storage.session();
  assertEquals(textOf(late, 1), "step 20");
  assertEquals(textOf(late, 20_000), "object 20000 ".repeat(10));
  assertEquals([...storage.transactions()].length, 21);
  assertEquals([...storage.history(1)].length, 21);
});

test("a pack ends even if a commit larger than a step follows each step", (path) => {
  using storage = new FileStorage(path, { sync: false });
  using session = storage.session();
  store(session, textRecord(0, "root", [1]));
  let steps = 0;
  for (const _ of storage.packInSteps()) {
    assert(steps++ < 500, "it does not come to its end");
    store(session, textRecord(1, `${steps} `.repeat(200_000)));
  }
  session.sync();
  assertEquals(textOf(session, 1), `${steps} `.repeat(200_000));
});

test("a storage that was opened for reading only tells its history", (path) => {
  let tids: number[];
  {
    using storage = new FileStorage(path);
    tids = makeMoments(storage);
  }
  for (const type of [FileStorage, FileStorage2]) {
    using storage = new type(path, { readonly: true });
    assertMoments(storage, tids);
    assertThrows(() => storage.undo(tids[2]!), ReadonlyError);
    assertThrows(() => storage.pack({ keep: "1d" }), ReadonlyError);
  }
});

test("FileStorage2 reads its index when it is opened, and not again", (path) => {
  const oids = Array.from({ length: 3000 }, (_, i) => i * 700);
  {
    using storage = new FileStorage(path, { sync: false });
    using session = storage.session();
    store(
      session,
      ...oids.map((oid) => textRecord(oid, `${oid}`, oid === 0 ? oids : [])),
    );
    storage.pack();
  }
  /** Opens the file and loses its index. */
  function open(type: typeof FileStorage): FileStorage {
    const bytes = Deno.readFileSync(path);
    const storage = new type(path, { readonly: true });
    let block = HEADER_SIZE;
    for (let kind = 0; kind !== BlockKind.index;) {
      const head = decodeBlockHead(
        bytes.subarray(block, block + BLOCK_HEAD),
        block,
      )!;
      kind = head.kind;
      if (kind !== BlockKind.index) block += head.length;
    }
    const file = disk.open(path, { write: true });
    file.write(new Uint8Array(bytes.length - block), block);
    file.close();
    bytesBefore = bytes;
    return storage;
  }
  let bytesBefore = new Uint8Array();
  {
    using storage = open(FileStorage);
    using session = storage.session();
    assertThrows(() => session.loadMany(oids), StorageError, "the index is");
  }
  Deno.writeFileSync(path, bytesBefore);
  using storage = open(FileStorage2);
  using session = storage.session();
  for (const oid of oids) assertEquals(textOf(session, oid), `${oid}`);
});

test("numbers that were given out before a pack do not damage what it takes over", (path) => {
  for (const reopened of [false, true]) {
    const storage = new FileStorage(path);
    const session = storage.session();
    store(session, textRecord(0, "first"));
    const { tid } = session;
    store(session, textRecord(0, "second"));
    const last = session.allocate(50).at(-1)!;
    storage.pack({ keep: tid });
    store(session, textRecord(0, "third"));
    if (reopened) {
      storage.close();
    } else {
      // As if the program ended here.
      Deno.copyFileSync(path, `${path}.copy`);
      storage.close();
      Deno.renameSync(`${path}.copy`, path);
    }
    using again = new FileStorage(path);
    using other = again.session();
    assertEquals(textOf(other, 0), "third");
    assertEquals(other.allocate(1)[0]! > last, true);
    using past = again.session({ at: tid });
    assertEquals(textOf(past, 0), "first");
  }
});
