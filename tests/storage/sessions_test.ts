/** What sessions keep from being forgotten, and for how long. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  DharaError,
  ReadConflictError,
  StorageClosedError,
  StorageError,
} from "../../lib/errors.ts";
import { disk, type Files } from "../../lib/files/file.ts";
import { nextTid } from "../../lib/storage/moment.ts";
import { Sessions } from "../../lib/storage/snapshots.ts";
import { type FileStorage, openOn } from "../../lib/storage/file_storage.ts";
import { MemoryStorage } from "../../lib/storage/memory_storage.ts";
import type { Session, Storage } from "../../lib/storage/storage.ts";
import { Connection } from "../../mod.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";

/** A file system that counts what is open. */
class CountingFiles {
  open = 0;
  readonly files: Files = {
    ...disk,
    open: (path, options) => {
      const file = disk.open(path, options);
      this.open++;
      const close = file.close.bind(file);
      file.close = () => {
        this.open--;
        close();
      };
      return file;
    },
  };
}

function test(
  name: string,
  run: (storage: FileStorage, counting: CountingFiles) => void,
): void {
  Deno.test(name, () => {
    const directory = Deno.makeTempDirSync();
    const counting = new CountingFiles();
    try {
      const { files } = counting;
      const storage = openOn(files, `${directory}/test.dhara`);
      try {
        using session = storage.session();
        store(
          session,
          textRecord(0, "root", [1, 2]),
          textRecord(1, "first"),
          textRecord(2, "first"),
        );
        session.close();
        run(storage, counting);
      } finally {
        storage.close();
      }
      assertEquals(counting.open, 0);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}

function change(storage: Storage, text: string): void {
  using session = storage.session();
  store(session, textRecord(1, text));
}

test(
  "sessions that let go keep no file that a pack replaced",
  (storage, counting) => {
    const idle: Session[] = [];
    for (let i = 0; i < 20; i++) {
      const session = storage.session({ letsGo: true });
      assertEquals(textOf(session, 1), i === 0 ? "first" : `change ${i - 1}`);
      idle.push(session);
      change(storage, `change ${i}`);
      storage.pack();
      assertEquals(counting.open, 1);
    }
    // What was changed is refused, what was not is as before; however often it is asked.
    for (const session of [...idle, ...idle]) {
      const { tid } = session;
      const error = assertThrows(() => session.load(1), ReadConflictError);
      assertEquals(error.oids, [1]);
      assert(error.message.includes("a pack of"), error.message);
      assertThrows(() => session.has(1), ReadConflictError);
      assertEquals(textOf(session, 2), "first");
      assertEquals([session.has(2), session.has(3)], [true, false]);
      assertEquals(session.tid, tid);
    }
    for (const session of idle) {
      assertEquals(session.sync(), [1]);
      assertEquals(textOf(session, 1), "change 19");
    }
  },
);

test("a session that lets go reads its snapshot as long as it is there", (storage) => {
  using session = storage.session({ letsGo: true });
  change(storage, "second");
  assertEquals(textOf(session, 1), "first");
  for (const _ of storage.packInSteps()) {
    // Until the last step everything is there. A pack that is given up takes nothing.
    assertEquals(textOf(session, 1), "first");
    break;
  }
  assertEquals(textOf(session, 1), "first");
  // One that is at the end of the changes is not behind after a pack, either.
  session.sync();
  storage.pack();
  change(storage, "third");
  assertEquals(textOf(session, 1), "second");
  assertEquals(session.has(1), true);
});

test(
  "a session that does not let go keeps its snapshot, and is given back",
  (storage, counting) => {
    const sessions = [0, 1, 2].map(() => storage.session());
    const past = storage.session({ at: sessions[0]!.tid, letsGo: true });
    change(storage, "second");
    storage.pack();
    assertEquals(counting.open, 2);
    for (const session of [...sessions, past]) {
      assertEquals(textOf(session, 1), "first");
    }
    const [moves, closed, commits] = sessions as [Session, Session, Session];
    moves.sync();
    closed.close();
    past.close();
    assertEquals(counting.open, 2);
    const result = commits.commit([textRecord(2, "mine")], {
      accessed: (oid) => oid === 2,
    });
    assert("tid" in result);
    assertEquals(counting.open, 1);
  },
);

test(
  "a connection that is closed keeps nothing, nor does one that could not be made",
  (storage, counting) => {
    // The root there is nothing that a connection can read.
    for (let i = 0; i < 3; i++) {
      assertThrows(() => new Connection(storage), DharaError);
    }
    change(storage, "second");
    storage.pack();
    assertEquals(counting.open, 1);

    using memory = new MemoryStorage();
    using made = new Connection(memory);
    made.root["hello"] = "world";
    made.commit();
    using from = memory.session();
    using session = storage.session();
    store(session, [0, from.load(0)]);
    session.close();
    const connections = [0, 1].map(() => new Connection(storage));
    for (const connection of connections) {
      assertEquals(connection.root["hello"], "world");
    }
    change(storage, "third");
    storage.pack();
    assertEquals(counting.open, 2);
    for (const connection of connections) connection.close();
    assertEquals(counting.open, 1);
  },
);

Deno.test("a MemoryStorage drops at a pack what only sessions that let go would read", () => {
  using storage = new MemoryStorage();
  using writer = storage.session();
  const oids = Array.from({ length: 100 }, (_, i) => i + 1);
  const idle: Session[] = [];
  for (let i = 0; i < 10; i++) {
    store(
      writer,
      textRecord(0, "root", oids),
      ...oids.map((oid) => textRecord(oid, `${i}`)),
    );
    idle.push(storage.session({ letsGo: i % 2 === 0 }));
  }
  store(writer, ...oids.map((oid) => textRecord(oid, "last")));
  // One revision for each moment that is read, and none of the root's but these.
  assertEquals(storage.recordCount, 1 + 9 + 100 + 10 * 100);
  storage.pack();
  assertEquals(storage.recordCount, 1 + 4 + 100 + 5 * 100);
  idle.forEach((session, i) => {
    if (i % 2 === 0) assertThrows(() => session.load(7), ReadConflictError);
    else assertEquals(textOf(session, 7), `${i}`);
  });
  // In whatever order they leave.
  for (const i of [3, 9, 0, 5, 8, 1, 2, 4, 6, 7]) idle[i]!.close();
  assertEquals(storage.recordCount, 101);
  assertEquals(textOf(writer, 7), "last");
});

Deno.test("a MemoryStorage keeps no revision for a moment that nobody reads any more", () => {
  using storage = new MemoryStorage();
  using stays = storage.session();
  const writer = storage.session();
  store(writer, textRecord(0, "root"), textRecord(1, "first"));
  store(writer, textRecord(1, "second"));
  writer.close();
  assert(
    "tid" in stays.commit([textRecord(1, "third")], { accessed: () => false }),
  );
  assertEquals(storage.recordCount, 2);
  // Nor does it hold on to their bytes.
  using follows = storage.session();
  using other = storage.session();
  const text = "x".repeat(100_000);
  const before = Deno.memoryUsage().external;
  for (let i = 0; i < 12_000; i++) {
    follows.sync();
    other.sync();
    store(follows, textRecord(1, text));
  }
  assertEquals(storage.recordCount, 4);
  const used = Deno.memoryUsage().external - before;
  // It would be 1.2 GB; what waits to be collected on a busy machine is less.
  assert(used < 1_000_000_000, `${used} bytes`);
});

Deno.test("a session that was closed keeps nothing in the log of changes", () => {
  let tid = 0;
  const sessions = new Sessions({
    name: "the storage",
    readonly: false,
    tid: () => tid,
    snapshot: () => ({
      tid,
      load: () => undefined,
      has: () => false,
      length: () => 0,
      release() {},
    }),
    holds: () => false,
    append: () => ++tid,
  }, 0);
  const writer = sessions.open();
  for (let i = 0; i < 100; i++) {
    const gone = sessions.open({ letsGo: i % 2 === 0 });
    const records: [number, Uint8Array][] = writer.allocate(1000)
      .map((oid) => textRecord(oid, "new"));
    assert("tid" in writer.commit(records));
    assertEquals(gone.commit(records), {
      invalid: records.map(([oid]) => oid),
      newest: tid,
    });
    gone.close();
  }
  const { capacity } = sessions.log;
  assert(capacity < 10_000, `${capacity}`);
});

Deno.test("tids end with the safe integers", () => {
  const last = Number.MAX_SAFE_INTEGER;
  assertEquals(nextTid(last - 1), last);
  assertThrows(() => nextTid(last), StorageError, "no more numbers");
});

Deno.test("what packs removed is remembered as long as somebody may know it, and no longer", () => {
  using storage = new MemoryStorage();
  const remember = (oid: number) => {
    using session = storage.session();
    store(session, textRecord(0, "root", [oid]), textRecord(oid, "object"));
    const knows = storage.session();
    assertEquals(textOf(knows, oid), "object");
    store(session, textRecord(0, "root"));
    session.close();
    storage.pack();
    return knows;
  };
  const link = (session: Session, oid: number) => {
    session.sync();
    return session.commit([textRecord(0, "root", [oid])]);
  };
  const knowsOne = remember(1);
  const knowsTwo = remember(2);
  // A session of after the packs cannot know them: to it they are as good as never there.
  using late = storage.session();
  assert("tid" in link(late, 1));
  for (
    const [session, oid] of [[knowsOne, 1], [knowsOne, 2], [
      knowsTwo,
      2,
    ]] as const
  ) {
    assertThrows(() => link(session, oid), StorageError, "a pack has removed");
  }
  knowsOne.close();
  const knowsThree = remember(3);
  assertThrows(() => link(knowsTwo, 2), StorageError, "a pack has removed");
  assertThrows(() => link(knowsTwo, 3), StorageError, "a pack has removed");
  assertThrows(() => link(knowsThree, 3), StorageError, "a pack has removed");
  for (const session of [knowsTwo, knowsThree]) session.close();
  assert("tid" in link(late, 0));
});

test("a closed session has no part in a pack", (storage, counting) => {
  for (let i = 0; i < 3; i++) storage.session({ letsGo: true }).close();
  using reads = storage.session();
  change(storage, "second");
  storage.pack();
  assertEquals(counting.open, 2);
  assertEquals(textOf(reads, 1), "first");
  reads.sync();
  assertEquals(counting.open, 1);
});

test("after a second pack a session knows what was changed after the first", (storage) => {
  using session = storage.session({ letsGo: true });
  change(storage, "second");
  storage.pack();
  assertThrows(() => session.load(1), ReadConflictError);
  assertEquals(textOf(session, 2), "first");
  using other = storage.session();
  store(other, textRecord(2, "second"));
  storage.pack();
  for (const oid of [1, 2]) {
    assertThrows(() => session.load(oid), ReadConflictError);
    assertThrows(() => session.has(oid), ReadConflictError);
  }
  assertEquals(new Set<unknown>(session.sync()), new Set([1, 2]));
});

test("a session that is closed while it takes the records stores none", (storage) => {
  const { size } = storage;
  const session = storage.session();
  function* records(close: () => void) {
    yield textRecord(1, "not this");
    close();
  }
  assertThrows(
    () => session.commit(records(() => session.close())),
    StorageClosedError,
    "the session on",
  );
  assertEquals(storage.size, size);
  using another = storage.session();
  assertEquals(textOf(another, 1), "first");
  assertThrows(
    () => another.commit(records(() => storage.close())),
    StorageClosedError,
    "the storage was closed",
  );
  assertEquals(Deno.statSync(storage.path).size, size);
});

/** Sessions on nothing but numbers, of which the first `next` are given out. */
function sessionsOfNothing(next: number): Sessions {
  let tid = 0;
  return new Sessions({
    name: "nothing",
    readonly: false,
    tid: () => tid,
    snapshot: () => ({
      tid,
      load: () => undefined,
      has: () => false,
      length: () => 0,
      release() {},
    }),
    holds: () => false,
    append: () => ++tid,
  }, next);
}

Deno.test("a closed session keeps nothing in the log of changes", () => {
  const sessions = sessionsOfNothing(0);
  const writer = sessions.open();
  for (let i = 0; i < 3; i++) {
    const closed = sessions.open();
    store(writer, textRecord(i, "new"));
    closed.close();
  }
  for (let oid = 0; oid < 5000; oid++) store(writer, textRecord(oid, "new"));
  assert(sessions.log.capacity <= 2048, `${sessions.log.capacity}`);
});

Deno.test("the root's number that nobody used is given out once, and not after it was stored", () => {
  const allocated = sessionsOfNothing(3).open();
  assertEquals(allocated.allocate(2), [0, 3]);
  assertEquals(allocated.allocate(2), [4, 5]);
  const stored = sessionsOfNothing(3).open();
  store(stored, textRecord(0, "root"));
  assertEquals(stored.allocate(2), [3, 4]);
});

Deno.test("a session that is far behind is told each object that was changed, once", () => {
  const sessions = sessionsOfNothing(0);
  const behind = [0, 1000, 2500].map((at) => ({
    at,
    session: sessions.open(),
  }));
  const writer = sessions.open();
  for (let oid = 0; oid < 3000; oid++) {
    for (const { at, session } of behind) if (at === oid) session.sync();
    store(writer, textRecord(oid, "new"));
  }
  for (let i = 0; i < 10_000; i++) store(writer, textRecord(0, `${i}`));
  assert(sessions.log.capacity <= 8000, `${sessions.log.capacity}`);
  for (const { at, session } of behind) {
    const told = [...session.sync() as number[]].sort((a, b) => a - b);
    const since = Array.from({ length: 3000 - at }, (_, i) => at + i);
    assertEquals(told, at === 0 ? since : [0, ...since]);
  }
});

test("a session of the past has only what was there then", (storage) => {
  using session = storage.session();
  const at = session.tid;
  store(session, textRecord(3, "later"));
  using past = storage.session({ at });
  assertEquals([2, 3, 4].map((oid) => past.has(oid)), [true, false, false]);
  assertEquals([2, 3, 4].map((oid) => session.has(oid)), [true, true, false]);
});

test("what is linked again in any step of a pack is not told to be gone", (storage) => {
  for (let step = 0;; step++) {
    const oid = 10 + step;
    using session = storage.session();
    store(
      session,
      textRecord(0, "root", [1, 2]),
      textRecord(oid, "garbage"),
      textRecord(3, "gone"),
    );
    using other = storage.session();
    let steps = 0;
    let gone = false;
    for (const _ of storage.packInSteps()) {
      if (steps++ !== step) continue;
      using looks = storage.session();
      gone = !looks.has(oid);
      if (!gone) store(session, textRecord(0, "root", [1, 2, oid]));
    }
    if (gone) return assert(step > 1);
    const told = new Set<unknown>(other.sync());
    assertEquals([0, 3, oid].map((one) => told.has(one)), [true, true, false]);
    assertEquals(textOf(other, oid), "garbage");
  }
});
