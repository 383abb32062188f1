/** What a journal asks of the real file system so that nothing is lost, and in which order. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { StorageError } from "../../lib/errors.ts";
import { FileStorage, openOn } from "../../lib/storage/file_storage.ts";
import { POINTERS } from "../../lib/storage/journal/format.ts";
import { Faults } from "../support/faulty_files.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";

/** Notes what is asked of the system while something is done: `write test.dhara`, `sync .`. */
function watch(directory: string, act: () => void): string[] {
  const log: string[] = [];
  // What was opened before is the journal.
  const paths = new WeakMap<Deno.FsFile, string>();
  const nameOf = (path: string | URL) =>
    `${path}`.replace(/\/$/, "") === directory
      ? "."
      : `${path}`.slice(directory.length + 1);
  const file = Deno.FsFile.prototype;
  const { openSync, renameSync, linkSync, removeSync } = Deno;
  const { syncSync, syncDataSync, writeSync, truncateSync, seekSync } = file;
  const places = new WeakMap<Deno.FsFile, number>();
  Deno.openSync = (path, options) => {
    const opened = openSync(path, options);
    paths.set(opened, nameOf(path));
    return opened;
  };
  Deno.renameSync = (from, to) => {
    log.push(`rename ${nameOf(from)} ${nameOf(to)}`);
    renameSync(from, to);
  };
  Deno.linkSync = (from, to) => {
    log.push(`link ${nameOf(from)} ${nameOf(to)}`);
    linkSync(from, to);
  };
  Deno.removeSync = (path, options) => {
    log.push(`remove ${nameOf(path)}`);
    removeSync(path, options);
  };
  file.seekSync = function (offset, whence) {
    places.set(this, Number(offset));
    return seekSync.call(this, offset, whence);
  };
  file.writeSync = function (bytes) {
    const isPointer = POINTERS.some((at) => at === places.get(this));
    log.push(`${isPointer ? "pointer" : "write"} ${paths.get(this) ?? "x"}`);
    return writeSync.call(this, bytes);
  };
  file.truncateSync = function (length) {
    log.push(`truncate ${paths.get(this) ?? "x"}`);
    truncateSync.call(this, length);
  };
  file.syncSync = function () {
    log.push(`sync ${paths.get(this) ?? "x"}`);
    syncSync.call(this);
  };
  file.syncDataSync = function () {
    log.push(`sync ${paths.get(this) ?? "x"}`);
    syncDataSync.call(this);
  };
  try {
    act();
  } finally {
    Object.assign(Deno, { openSync, renameSync, linkSync, removeSync });
    Object.assign(file, {
      syncSync,
      syncDataSync,
      writeSync,
      truncateSync,
      seekSync,
    });
  }
  return log;
}

function test(
  name: string,
  run: (path: string, directory: string) => void,
): void {
  // Elsewhere directories are not synced.
  const ignore = Deno.build.os === "windows";
  Deno.test({
    name,
    ignore,
    fn() {
      const directory = Deno.realPathSync(Deno.makeTempDirSync());
      try {
        run(`${directory}/x`, directory);
      } finally {
        Deno.removeSync(directory, { recursive: true });
      }
    },
  });
}

test(
  "a new journal and its name are on the disk before it is used",
  (path, directory) => {
    let storage: FileStorage;
    const log = watch(directory, () => storage = new FileStorage(path));
    assertEquals(log, ["write x", "sync x", "sync ."]);
    storage!.close();
  },
);

test(
  "what opening finds, and its name, are on the disk before it is shown",
  (path, directory) => {
    {
      using storage = new FileStorage(path, { sync: false });
      using session = storage.session();
      store(session, textRecord(0, "one"));
    }
    let storage: FileStorage;
    const log = watch(directory, () => storage = new FileStorage(path));
    assertEquals(log, ["sync x", "sync ."]);
    storage!.close();
    // Also if it is only a header.
    Deno.truncateSync(path, 1536);
    const again = watch(directory, () => storage = new FileStorage(path));
    assertEquals(again, ["write x", "sync x", "sync ."]);
    storage!.close();
  },
);

test("a commit is on the disk when it is confirmed", (path, directory) => {
  using storage = new FileStorage(path);
  using session = storage.session();
  for (let i = 0; i < 3; i++) {
    const log = watch(directory, () => store(session, textRecord(0, `${i}`)));
    assertEquals(log, ["write x", "sync x"]);
  }
  // In pieces, all of them before the sync.
  const log = watch(
    directory,
    () => session.commit([textRecord(1, "x".repeat(5_000_000))]),
  );
  assertEquals(log.slice(0, 3), ["write x", "write x", "sync x"]);
});

test(
  "an index is on the disk before the header leads to it",
  (path, directory) => {
    const storage = new FileStorage(path, { sync: false });
    const session = storage.session();
    let log = watch(
      directory,
      () => store(session, textRecord(0, "x".repeat(1_100_000))),
    );
    assertEquals(log, ["write x", "write x", "sync x", "pointer x"]);
    store(session, textRecord(1, "x".repeat(100_000)));
    log = watch(directory, () => storage.close());
    assertEquals(log, ["write x", "sync x", "pointer x"]);
  },
);

test(
  "closing brings to the disk what was committed without sync",
  (path, directory) => {
    const storage = new FileStorage(path, { sync: false });
    const session = storage.session();
    store(session, textRecord(0, "one"));
    assertEquals(watch(directory, () => storage.close()), ["sync x"]);
  },
);

test(
  "a packed file is on the disk before it takes the name, and the name before more is stored",
  (path, directory) => {
    using storage = new FileStorage(path);
    using session = storage.session();
    store(session, textRecord(0, "one"));
    for (const prepack of [false, true]) {
      const log = watch(directory, () => storage.pack({ prepack }));
      const rename = log.indexOf("rename x.pack x");
      const last = log.findLastIndex((one, i) =>
        i < rename && /^(write|pointer) x.pack$/.test(one)
      );
      assert(last >= 0, `${log}`);
      assert(log.slice(last, rename).includes("sync x.pack"), `${log}`);
      if (prepack) {
        const link = log.indexOf("link x x.prepack");
        assert(log.slice(link, rename).includes("sync ."), `${log}`);
      }
      assertEquals(log[rename + 1], "sync .");
    }
  },
);

test(
  "what a repair cuts off is on the disk beside the file before it is cut",
  (path, directory) => {
    let size: number;
    {
      using storage = new FileStorage(path);
      using session = storage.session();
      size = storage.size;
      store(session, textRecord(0, "one"));
    }
    const bytes = Deno.readFileSync(path);
    bytes[size + 70]! ^= 1;
    Deno.writeFileSync(path, bytes);
    const log = watch(
      directory,
      () => new FileStorage(path, { repair: true }).close(),
    );
    const tail = `x.tail-${size}`;
    const cut = log.indexOf("truncate x");
    const before = log.slice(0, cut).filter((one) => !one.endsWith(" x"));
    assertEquals(before, [`write ${tail}`, `sync ${tail}`, "sync ."]);
    assertEquals(log[cut + 1], "sync x");
  },
);

test(
  "what was not written to its end is cut off for good before more is added",
  (path, directory) => {
    {
      using storage = new FileStorage(path);
      using session = storage.session();
      store(session, textRecord(0, "one"));
    }
    Deno.writeFileSync(path, new Uint8Array(1000), { append: true });
    let storage: FileStorage;
    const log = watch(directory, () => storage = new FileStorage(path));
    assertEquals(log, ["truncate x", "sync x", "sync x", "sync ."]);
    storage!.close();
  },
);

test("a failed sync of an index stops commits, and the header does not lead to it", (path) => {
  const faults = new Faults();
  {
    using storage = openOn(faults.files, path, { sync: false });
    using session = storage.session();
    faults.failSync = true;
    // The commit itself needs no sync.
    store(session, textRecord(0, "x".repeat(1_100_000)));
    faults.failSync = false;
    for (let attempt = 0; attempt < 2; attempt++) {
      assertThrows(
        () => session.commit([textRecord(0, "two")]),
        StorageError,
        "syncing the index to the disk failed",
      );
    }
    assertEquals(textOf(session, 0).length, 1_100_000);
  }
  const pointers = Deno.readFileSync(path).subarray(512, 1536);
  assert(pointers.every((byte) => byte === 0));
  using storage = new FileStorage(path);
  using session = storage.session();
  assertEquals(textOf(session, 0).length, 1_100_000);
});

test("a directory that cannot be synced after a pack stops commits", (path) => {
  const faults = new Faults();
  let renamed = false;
  const files = {
    ...faults.files,
    rename(from: string, to: string) {
      faults.files.rename(from, to);
      renamed = true;
    },
    syncDirectory(name: string) {
      if (renamed) throw new Error("directory sync failed");
      faults.files.syncDirectory(name);
    },
  };
  using storage = openOn(files, path);
  using session = storage.session();
  store(session, textRecord(0, "one"));
  storage.pack();
  assert(renamed);
  assertThrows(
    () => session.commit([textRecord(0, "two")]),
    StorageError,
    "syncing the directory to the disk failed",
  );
});

test("a file that takes no more bytes has taken no commit", (path) => {
  using storage = new FileStorage(path);
  using session = storage.session();
  store(session, textRecord(0, "one"));
  const file = Deno.FsFile.prototype;
  const { writeSync } = file;
  file.writeSync = () => 0;
  try {
    assertThrows(
      () => session.commit([textRecord(0, "two")]),
      StorageError,
      "the file takes no more bytes; nothing was stored",
    );
  } finally {
    file.writeSync = writeSync;
  }
  assertEquals(textOf(session, 0), "one");
  store(session, textRecord(0, "three"));
});

test(
  "what is committed while a pack runs is on the disk before the packed file takes the name",
  (path, directory) => {
    using storage = new FileStorage(path);
    using session = storage.session();
    store(session, textRecord(0, "one"));
    // In each step but the last one.
    let commits = 0;
    const log = watch(directory, () => {
      for (const _ of storage.packInSteps()) {
        store(session, textRecord(0, `${commits++}`));
      }
    });
    assert(commits > 2);
    const rename = log.indexOf("rename x.pack x");
    const before = log.slice(0, rename);
    const last = before.findLastIndex((one) =>
      /^(write|pointer) x.pack$/.test(one)
    );
    assert(before.slice(last).includes("sync x.pack"), `${log}`);
    assert(
      before.lastIndexOf("write x") < last,
      "the last commit before the renaming was taken over",
    );
    assertEquals(textOf(session, 0), `${commits - 1}`);
  },
);
