/** The files that a pack of a journal makes and removes: its own, and no others. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { DamagedFileError, StorageError } from "../../../lib/errors.ts";
import { disk } from "../../../lib/files/file.ts";
import { FileStorage, openOn } from "../../../lib/storage/file_storage.ts";
import {
  BLOCK_HEAD,
  BlockKind,
  decodeBlockHead,
  decodeHeader,
  HEADER_SIZE,
  POINTERS,
} from "../../../lib/storage/journal/format.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";

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

/** Opens a database with "one" as its root and something to be dropped. */
function make(path: string): FileStorage {
  const storage = new FileStorage(path);
  using session = storage.session();
  store(session, textRecord(0, "one"), textRecord(1, "garbage"));
  return storage;
}

function rootOf(path: string): string {
  using storage = new FileStorage(path, { readonly: true });
  using session = storage.session();
  return textOf(session, 0);
}

/** What may stand where a pack wants to write, and is not the journal's own. */
const OTHERS: Record<string, (path: string) => void> = {
  "a text": (path) => Deno.writeTextFileSync(path, "precious"),
  "another database": (path) => make(path).close(),
  "a packed database": (path) => {
    using storage = make(path);
    storage.pack();
  },
  "what a pack of another database has left": (path) => {
    leaveOver(path.replace(/[^.]*$/, "other"));
    Deno.renameSync(path.replace(/[^.]*$/, "other.pack"), path);
  },
  "a directory": (path) => Deno.mkdirSync(path),
  "zeros": (path) => Deno.writeFileSync(path, new Uint8Array(5000)),
};

/** Makes a database that was left while it was packed; returns whether it took so many steps. */
function leaveOver(path: string, steps = 1): boolean {
  const copy = `${path}.copy`;
  using storage = make(path);
  using session = storage.session();
  const oids = session.allocate(1000);
  store(
    session,
    textRecord(0, "one", oids),
    ...oids.map((oid) => textRecord(oid, "x".repeat(200))),
  );
  const pack = storage.packInSteps();
  let taken = 0;
  while (taken < steps && !pack.next().done) {
    if (disk.identity(`${path}.pack`) === undefined) break;
    Deno.copyFileSync(`${path}.pack`, copy);
    taken++;
  }
  pack.return();
  Deno.renameSync(copy, `${path}.pack`);
  return taken === steps;
}

for (const [what, put] of Object.entries(OTHERS)) {
  for (const options of [{}, { prepack: true }]) {
    const end = "prepack" in options ? "prepack" : "pack";
    test(`pack() does not remove ${what} at PATH.${end}`, (path, directory) => {
      using storage = make(path);
      const other = `${path}.${end}`;
      put(other);
      const names = namesIn(directory);
      const bytes = Deno.statSync(other).isFile && Deno.readFileSync(other);
      assertThrows(() => storage.pack(options), StorageError, "Cannot pack");
      assertEquals(namesIn(directory), names);
      if (bytes) assertEquals(Deno.readFileSync(other), bytes);
      using session = storage.session();
      store(session, textRecord(0, "two"));
      Deno.renameSync(other, `${other}.moved`);
      storage.pack(options);
      assertEquals(rootOf(path), "two");
    });
  }
}

for (const end of ["pack", "prepack"]) {
  test(`pack() does not remove a database at PATH.${end} that is open`, (path) => {
    using storage = make(path);
    // Even if it is a state of the same one.
    Deno.copyFileSync(path, `${path}.${end}`);
    {
      using other = new FileStorage(`${path}.${end}`);
      using session = other.session();
      const error = assertThrows(
        () => storage.pack({ prepack: end === "prepack" }),
        StorageError,
        "which this process has open",
      );
      assert(error.message.includes(`${path}.${end}`), error.message);
      store(session, textRecord(0, "precious"));
    }
    assertEquals(rootOf(`${path}.${end}`), "precious");
  });
}

test(
  "what an interrupted pack has left goes away with the next, whenever it ended",
  (path, directory) => {
    for (let steps = 1; steps < 20; steps++) {
      leaveOver(path, steps);
      const left = Deno.readFileSync(`${path}.pack`);
      // It is no database that anybody could have worked with.
      for (const readonly of [true, false]) {
        assertThrows(
          () =>
            new FileStorage(`${path}.pack`, { readonly, repair: !readonly }),
          StorageError,
          "the next one makes it anew",
        );
      }
      assertEquals(Deno.readFileSync(`${path}.pack`), left);
      // Its header was not written to its end.
      for (
        const bytes of [
          left,
          left.slice(0, 700).fill(0, 36),
          left.subarray(0, 0),
        ]
      ) {
        Deno.writeFileSync(`${path}.pack`, bytes);
        using storage = new FileStorage(path);
        storage.pack();
        assertEquals(namesIn(directory), ["test.dhara"]);
      }
      Deno.removeSync(path);
    }
  },
);

test(
  "a pack that ended just after the renaming has made a database like any other",
  (path, directory) => {
    using storage = make(path);
    const pack = storage.packInSteps();
    while (!pack.next().done) {
      if (disk.identity(`${path}.pack`) === undefined) break;
      Deno.copyFileSync(`${path}.pack`, `${path}.copy`);
    }
    const other = `${path}.copy`;
    assert(decodeHeader(Deno.readFileSync(other)).packing);
    // Who only reads changes nothing.
    assertEquals(rootOf(other), "one");
    assert(decodeHeader(Deno.readFileSync(other)).packing);
    {
      using storage = new FileStorage(other);
      const { packing, packs, good } = decodeHeader(Deno.readFileSync(other));
      assertEquals([packing, packs, good], [false, 1, true]);
      storage.pack();
    }
    assertEquals(decodeHeader(Deno.readFileSync(other)).packs, 2);
    assert(!decodeHeader(Deno.readFileSync(path)).packing);
    assertEquals(namesIn(directory), ["test.dhara", "test.dhara.copy"]);
  },
);

for (const replaced of [true, false]) {
  test(
    `a pack whose file was ${
      replaced ? "replaced" : "removed"
    } ends in an error`,
    (path, directory) => {
      using storage = make(path);
      const pack = storage.packInSteps();
      pack.next();
      Deno.removeSync(`${path}.pack`);
      if (replaced) make(`${path}.pack`).close();
      assertThrows(
        () => [...pack],
        StorageError,
        "somebody has removed",
      );
      assertEquals(namesIn(directory), [
        "test.dhara",
        ...(replaced ? ["test.dhara.pack"] : []),
      ]);
      using session = storage.session();
      store(session, textRecord(0, "two"));
      assertEquals(rootOf(path), "two");
    },
  );
}

test(
  "PATH.prepack is replaced by the state before the next pack, and can be used",
  (path, directory) => {
    using storage = make(path);
    using reader = storage.session();
    // It goes on reading the file as it was before the packs.
    assertEquals(textOf(reader, 0), "one");
    using session = storage.session();
    for (const text of ["two", "three", "four"]) {
      session.sync();
      store(session, textRecord(0, text));
      const before = Deno.readFileSync(path);
      storage.pack({ prepack: true });
      assertEquals(Deno.readFileSync(`${path}.prepack`), before);
      assertEquals(namesIn(directory), ["test.dhara", "test.dhara.prepack"]);
      // Nobody holds it any more, though somebody still reads it.
      using old = new FileStorage(`${path}.prepack`);
      using looking = old.session();
      assertEquals(textOf(looking, 0), text);
    }
    assertEquals(textOf(reader, 0), "one");
  },
);

test("a file that appears as PATH.prepack while a pack runs is not replaced", (path) => {
  using storage = make(path);
  const pack = storage.packInSteps({ prepack: true });
  pack.next();
  Deno.writeTextFileSync(`${path}.prepack`, "precious");
  assertThrows(() => [...pack], StorageError, "is in the way");
  assertEquals(Deno.readTextFileSync(`${path}.prepack`), "precious");
  assertEquals(rootOf(path), "one");
});

/** Runs a test where there are modes and owners. */
function testAccess(name: string, run: (path: string) => void): void {
  if (Deno.build.os === "windows") return;
  test(name, run);
}

function accessOf(path: string): unknown {
  const { mode, uid, gid } = Deno.statSync(path);
  return { mode: mode! & 0o777, uid, gid };
}

for (const mode of [0o600, 0o640, 0o666]) {
  testAccess(
    `packed files and saved tails have the access of the file: ${
      mode.toString(8)
    }`,
    (path) => {
      const other = { uid: 1234, gid: 2345 };
      const isRoot = Deno.uid() === 0;
      {
        using storage = make(path);
        using session = storage.session();
        store(session, textRecord(0, "two"));
      }
      Deno.chmodSync(path, mode);
      if (isRoot) Deno.chownSync(path, other.uid, other.gid);
      const access = accessOf(path);
      {
        // Also while it is written.
        const storage = new FileStorage(path);
        const pack = storage.packInSteps({ prepack: true });
        pack.next();
        assertEquals(accessOf(`${path}.pack`), access);
        for (const _ of pack);
        storage.close();
      }
      assertEquals(accessOf(path), access);
      assertEquals(accessOf(`${path}.prepack`), access);
      const bytes = Deno.readFileSync(path);
      bytes[bytes.length - 1]! ^= 1;
      bytes[1536]! ^= 1;
      Deno.writeFileSync(path, bytes);
      {
        // Also while it is written: nobody may look into it meanwhile.
        const seen: unknown[] = [];
        const files = {
          ...disk,
          open(name: string, options: Parameters<typeof disk.open>[1]) {
            const file = disk.open(name, options);
            const write = file.write.bind(file);
            if (name.includes(".tail-")) {
              file.write = (bytes, offset) => {
                seen.push(accessOf(name));
                return write(bytes, offset);
              };
            }
            return file;
          },
        };
        using storage = openOn(files, path, { repair: true });
        assertEquals(accessOf(storage.repairs[0]!.saved!), access);
        assert(seen.length > 0);
        for (const one of seen) assertEquals(one, access);
      }
      if (isRoot) assertEquals((access as { uid: number }).uid, other.uid);
    },
  );
}

test(
  "who may not give a file to its group gives that group no more than everybody",
  (path, directory) => {
    if (Deno.build.os === "windows") return;
    const other = `${directory}/other`;
    for (const file of [path, other]) Deno.writeTextFileSync(file, "text");
    const { chownSync, statSync } = Deno;
    let allowed = true;
    const given: unknown[] = [];
    Deno.chownSync = (name, uid, gid) => {
      if (!allowed) throw new Deno.errors.NotCapable("not allowed");
      given.push([name, uid, gid]);
    };
    // As if the file were another group's.
    const group = statSync(path).gid! + 1;
    Deno.statSync = (name) =>
      name === path ? { ...statSync(name), gid: group } : statSync(name);
    try {
      for (const [mode, without] of [[0o640, 0o600], [0o664, 0o644]] as const) {
        Deno.chmodSync(path, mode);
        allowed = true;
        disk.copyAccess(path, other);
        assertEquals(statSync(other).mode! & 0o7777, mode);
        assertEquals(given.pop(), [other, statSync(path).uid, group]);
        allowed = false;
        disk.copyAccess(path, other);
        assertEquals(statSync(other).mode! & 0o7777, without);
      }
    } finally {
      Object.assign(Deno, { chownSync, statSync });
    }
  },
);

test(
  "closing takes the file of a pack under way with it",
  (path, directory) => {
    const storage = make(path);
    const steps = storage.packInSteps();
    steps.next();
    assertEquals(namesIn(directory), ["test.dhara", "test.dhara.pack"]);
    storage.close();
    assertEquals(namesIn(directory), ["test.dhara"]);
  },
);

test("what a pack copied is nothing without the block after it, also without pointers", (path) => {
  {
    using storage = make(path);
    storage.pack();
  }
  const bytes = Deno.readFileSync(path);
  const head = decodeBlockHead(
    bytes.subarray(HEADER_SIZE, HEADER_SIZE + BLOCK_HEAD),
    HEADER_SIZE,
  );
  assertEquals(head?.kind, BlockKind.copy);
  bytes.fill(0, POINTERS[0], HEADER_SIZE);
  Deno.writeFileSync(path, bytes.subarray(0, HEADER_SIZE + head!.length));
  assertThrows(
    () => new FileStorage(path),
    DamagedFileError,
    "what a pack wrote ends too early",
  );
});
