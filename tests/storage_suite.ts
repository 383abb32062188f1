/** What holds for every storage, and for a client of a server in front of one. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  DharaError,
  ObjectNotFoundError,
  ReadConflictError,
  ReadonlyError,
  StorageClosedError,
  StorageError,
  UndoError,
} from "../lib/errors.ts";
import {
  type Oid,
  packRecord,
  recordData,
  recordReferences,
} from "../lib/serialize/record.ts";
import {
  type Changed,
  isHistorical,
  type Session,
  type Storage,
} from "../lib/storage/storage.ts";

/** One storage to try, empty. */
export interface Trial {
  storage: Storage;
  /** Closes the storage, and opens it again with what it holds. */
  reopen?(): Storage | Promise<Storage>;
  /** Cleans up; the storage may be closed already. */
  dispose(): void | Promise<void>;
}

export interface SuiteOptions {
  /** Whether an old revision can always be read; true by default. Else `ReadConflictError` is fine. */
  keepsRevisions?: boolean;
  /** Whether an object that a pack removed may be stored anew; true by default. */
  storesRemoved?: boolean;
  /** Whether it is a server that packs, in its own steps, and reads its own clock; false by default. */
  remote?: boolean;
  /** Whether it reads moments of the past, though it tells no history; false by default. */
  readsPast?: boolean;
}

/** Makes a record whose data is a text. */
export function textRecord(
  oid: Oid,
  text: string,
  references: Oid[] = [],
): [Oid, Uint8Array] {
  return [oid, packRecord(oid, new TextEncoder().encode(text), references)];
}

/** Returns the text in an object's record. */
export function textOf(session: Session, oid: Oid): string {
  return new TextDecoder().decode(recordData(session.load(oid)));
}

/** Commits what must not conflict, and returns the tid. */
export function store(
  session: Session,
  ...records: (readonly [Oid, Uint8Array])[]
): number {
  const result = session.commit(records);
  assert("tid" in result, `conflict: ${JSON.stringify(result)}`);
  return result.tid;
}

function sorted(oids: readonly Oid[] | Changed): Changed {
  if (typeof oids === "string") return oids;
  return [...oids].sort((a, b) => a - b);
}

/** Registers the tests for one kind of storage. */
export function storageSuite(
  name: string,
  make: () => Trial | Promise<Trial>,
  {
    keepsRevisions = true,
    storesRemoved = true,
    remote = false,
    readsPast = false,
  }: SuiteOptions = {},
): void {
  function test(
    what: string,
    run: (storage: Storage, trial: Trial) => void | Promise<void>,
  ): void {
    Deno.test(`${name}: ${what}`, async () => {
      const trial = await make();
      try {
        await run(trial.storage, trial);
      } finally {
        await trial.dispose();
      }
    });
  }

  /** Reads an old revision, which some storages cannot. */
  function assertOld(session: Session, oid: Oid, text: string): void {
    if (keepsRevisions) return assertEquals(textOf(session, oid), text);
    try {
      assertEquals(textOf(session, oid), text);
    } catch (error) {
      if (!(error instanceof ReadConflictError)) throw error;
      assertEquals(error.oids.includes(oid), true);
    }
  }

  test("numbers begin with 0, and nobody gets one twice", (storage) => {
    using a = storage.session();
    using b = storage.session();
    const first = a.allocate(3);
    assertEquals(first[0], 0);
    const all = [...first, ...b.allocate(2), ...a.allocate(1)];
    assertEquals(new Set(all).size, 6);
    assert(all.every((oid) => Number.isSafeInteger(oid) && oid >= 0));
    assertEquals(a.allocate(0), []);
  });

  test("an empty storage has no object", (storage) => {
    using session = storage.session();
    const error = assertThrows(() => session.load(0), ObjectNotFoundError);
    assertEquals(error.oid, 0);
    assertThrows(() => session.load(7), ObjectNotFoundError);
    assertEquals(session.sync(), []);
  });

  test("what was committed can be loaded, by everybody", (storage) => {
    using session = storage.session();
    const [root, child] = session.allocate(2) as [Oid, Oid];
    const record = textRecord(root, "root", [child]);
    store(session, record, textRecord(child, "child"));
    assertEquals(session.load(root), record[1]);
    assertEquals(textOf(session, child), "child");
    using other = storage.session();
    assertEquals(other.load(root), record[1]);
    assertEquals(recordReferences(other.load(root)), [child]);
    assertThrows(() => other.load(99), ObjectNotFoundError);
  });

  test("loadMany() returns the records in the order asked for", (storage) => {
    using session = storage.session();
    const oids = session.allocate(4);
    store(session, ...oids.map((oid) => textRecord(oid, `object ${oid}`)));
    using other = storage.session();
    const asked = [oids[2]!, oids[0]!, oids[3]!, oids[0]!];
    assertEquals(
      other.loadMany(asked).map((record) =>
        new TextDecoder().decode(recordData(record))
      ),
      asked.map((oid) => `object ${oid}`),
    );
    assertEquals(other.loadMany([]), []);
    assertThrows(() => other.loadMany([oids[1]!, 1234]), ObjectNotFoundError);
  });

  test("a tid is a time in microseconds and grows", (storage) => {
    using session = storage.session();
    const before = (Date.now() - 60_000) * 1000;
    const first = store(session, textRecord(0, "1"));
    assertEquals(session.tid, first);
    const second = store(session, textRecord(0, "2"));
    assert(second > first);
    assertEquals(session.tid, second);
    assert(first > before && second < (Date.now() + 60_000) * 1000);
    using other = storage.session();
    assertEquals(other.tid, second);
  });

  test("a commit without records stores nothing", (storage) => {
    using session = storage.session();
    using other = storage.session();
    const tid = session.tid;
    assertEquals(session.commit([]), { tid, changed: [] });
    store(other, textRecord(0, "by another"));
    assertEquals(session.commit([]), { tid, changed: [] });
    assertEquals(session.sync(), [0]);
    assertEquals(session.tid, other.tid);
  });

  test("a session sees what others commit after sync()", (storage) => {
    using a = storage.session();
    store(a, textRecord(0, "old"), textRecord(1, "same"));
    using b = storage.session();
    store(a, textRecord(0, "new"), textRecord(2, "more"));
    store(a, textRecord(0, "newest"));
    assertOld(b, 0, "old");
    assertEquals(textOf(b, 1), "same");
    assertEquals(sorted(b.sync()), [0, 2]);
    assertEquals(b.tid, a.tid);
    assertEquals(textOf(b, 0), "newest");
    assertEquals(textOf(b, 2), "more");
    assertEquals(b.sync(), []);
  });

  test("a session reads its snapshot, whatever others commit", (storage) => {
    using writer = storage.session();
    const sessions: Session[] = [];
    for (let i = 0; i < 5; i++) {
      store(writer, textRecord(0, `root ${i}`), textRecord(1, `other ${i}`));
      sessions.push(storage.session());
    }
    // The first three move on, in another order than they came.
    sessions[1]!.sync();
    sessions[0]!.close();
    sessions[2]!.sync();
    store(writer, textRecord(0, "root 5"));
    assertOld(sessions[3]!, 0, "root 3");
    assertOld(sessions[3]!, 1, "other 3");
    assertOld(sessions[1]!, 0, "root 4");
    assertOld(sessions[4]!, 0, "root 4");
    assertEquals(textOf(writer, 0), "root 5");
    for (const session of sessions) session.close();
  });

  test("an object that is newer than the snapshot is not there", (storage) => {
    using a = storage.session();
    store(a, textRecord(0, "root"));
    using b = storage.session();
    store(a, textRecord(1, "new"));
    const error = assertThrows(() => b.load(1));
    assert(
      error instanceof ObjectNotFoundError ||
        (!keepsRevisions && error instanceof ReadConflictError),
      String(error),
    );
    b.sync();
    assertEquals(textOf(b, 1), "new");
  });

  test("a commit after another's names what that changed", (storage) => {
    using a = storage.session();
    store(a, textRecord(0, "0"), textRecord(1, "1"), textRecord(2, "2"));
    using b = storage.session();
    const tid = b.tid;
    store(a, textRecord(0, "0 by a"), textRecord(1, "1 by a"));
    const result = b.commit([textRecord(2, "2 by b")]);
    assert("invalid" in result);
    assertEquals(sorted(result.invalid), [0, 1]);
    // Nothing was stored, and the snapshot is where it was.
    assertEquals(b.tid, tid);
    assertOld(b, 0, "0");
    using c = storage.session();
    assertEquals(textOf(c, 2), "2");
    // It says the same again, until sync() moves the snapshot.
    const again = b.commit([textRecord(2, "2 by b")]);
    assert("invalid" in again);
    assertEquals(sorted(again.invalid), [0, 1]);
    assertEquals(sorted(b.sync()), [0, 1]);
    assertEquals(textOf(b, 0), "0 by a");
    store(b, textRecord(2, "2 by b"));
    assertEquals(textOf(b, 2), "2 by b");
    assertEquals(a.sync(), [2]);
    assertEquals(textOf(a, 2), "2 by b");
  });

  test("a session's own commits are no news to it", (storage) => {
    using session = storage.session();
    store(session, textRecord(0, "1"));
    store(session, textRecord(0, "2"));
    assertEquals(session.sync(), []);
    assertEquals(textOf(session, 0), "2");
  });

  test("a commit with a bad record stores nothing of it", (storage) => {
    using session = storage.session();
    store(session, textRecord(0, "good"));
    const good = textRecord(1, "one");
    const bad: (readonly [Oid, Uint8Array])[][] = [
      [good, [2, textRecord(3, "of another object")[1]]],
      [good, textRecord(1, "twice")],
      [good, [2, new Uint8Array(5)]],
      [good, [2, textRecord(2, "cut")[1].subarray(0, 14)]],
      [good, [2, new Uint8Array([...textRecord(2, "long")[1], 0])]],
    ];
    for (const records of bad) {
      const error = assertThrows(
        () => session.commit(records),
        StorageError,
        "Cannot commit object #",
      );
      assert(!(error instanceof StorageClosedError), String(error));
      using other = storage.session();
      assertThrows(() => other.load(1), ObjectNotFoundError);
      assertEquals(other.tid, session.tid);
    }
    assertEquals(textOf(session, 0), "good");
    store(session, good);
    assertEquals(textOf(session, 1), "one");
  });

  test("what is no number of an object, or of numbers, is refused", (storage) => {
    using session = storage.session();
    store(session, textRecord(0, "root"));
    for (const oid of [-1, 0.5, NaN, Infinity, 2 ** 53]) {
      const error = assertThrows(
        () => session.load(oid),
        ObjectNotFoundError,
        `Cannot load object #${oid}: there is no such object`,
      );
      assertEquals(error.oid, oid);
      assertThrows(() => session.loadMany([0, oid, 0]), ObjectNotFoundError);
      assertThrows(
        () => session.commit([[oid, textRecord(0, "root")[1]]]),
        StorageError,
        `Cannot commit object #${oid}: `,
      );
    }
    for (const count of [-1, 0.5, NaN, Infinity, 1e9]) {
      assertThrows(
        () => session.allocate(count),
        StorageError,
        `Cannot allocate ${count} numbers: ask for 0 to `,
      );
    }
    assertEquals(textOf(session, 0), "root");
  });

  test("a commit whose records fail on the way stores nothing", (storage) => {
    using session = storage.session();
    assertThrows(
      () =>
        session.commit(function* () {
          yield textRecord(0, "root");
          throw new RangeError("no more");
        }()),
      RangeError,
    );
    assertThrows(() => session.load(0), ObjectNotFoundError);
    store(session, textRecord(0, "root"));
  });

  test("the bytes given to commit() remain the caller's", (storage) => {
    using session = storage.session();
    const [oid, record] = textRecord(0, "before");
    store(session, [oid, record]);
    record.fill(0xee);
    using other = storage.session();
    assertEquals(textOf(other, 0), "before");
    const loaded = other.load(0);
    for (let i = 0; i < 50; i++) store(session, textRecord(i, `${i}`));
    assertEquals(new TextDecoder().decode(recordData(loaded)), "before");
  });

  test("a number that was not allocated is not given out later", (storage) => {
    using session = storage.session();
    session.allocate(1);
    store(session, textRecord(0, "root"), textRecord(500, "from elsewhere"));
    const oids = session.allocate(600);
    assertEquals(oids.includes(500), false);
    assertEquals(textOf(session, 500), "from elsewhere");
  });

  test("a record of several megabytes", (storage) => {
    using session = storage.session();
    const data = new Uint8Array(5_000_000);
    for (let i = 0; i < data.length; i++) data[i] = (i * 31 + (i >> 8)) & 255;
    store(
      session,
      textRecord(0, "root", [1]),
      [1, packRecord(1, data, [0])],
      textRecord(2, "small"),
    );
    using other = storage.session();
    const record = other.load(1);
    assertEquals(recordReferences(record), [0]);
    assertEquals(equal(recordData(record), data), true);
    assertEquals(textOf(other, 2), "small");
  });

  test("a transaction of many records", (storage) => {
    using session = storage.session();
    const count = 20_000;
    const oids = session.allocate(count);
    store(session, ...oids.map((oid) => textRecord(oid, `text ${oid}`)));
    using other = storage.session();
    for (let i = 0; i < count; i += 997) {
      assertEquals(textOf(other, oids[i]!), `text ${oids[i]}`);
    }
    const some = oids.slice(5000, 5100);
    assertEquals(
      other.loadMany(some).map((record) => recordData(record).length),
      some.map((oid) => `text ${oid}`.length),
    );
  });

  test("records without data", (storage) => {
    using session = storage.session();
    store(session, textRecord(0, "", [1, 0, 1]), textRecord(1, ""));
    assertEquals(session.load(1).length, 12);
    assertEquals(recordReferences(session.load(0)), [1, 0, 1]);
  });

  test("a closed session is of no use, and others go on", (storage) => {
    const session = storage.session();
    using other = storage.session();
    store(session, textRecord(0, "root"));
    session.close();
    session.close();
    assertThrows(() => session.load(0), StorageClosedError);
    assertThrows(() => session.loadMany([0]), StorageClosedError);
    assertThrows(() => session.sync(), StorageClosedError);
    assertThrows(() => session.allocate(1), StorageClosedError);
    assertThrows(
      () => session.commit([textRecord(0, "no")]),
      StorageClosedError,
    );
    other.sync();
    assertEquals(textOf(other, 0), "root");
    store(other, textRecord(0, "yes"));
  });

  test("a closed storage is of no use", (storage) => {
    const session = storage.session();
    store(session, textRecord(0, "root"));
    storage.close();
    storage.close();
    assertThrows(() => session.load(0), StorageClosedError);
    assertThrows(() => session.sync(), StorageClosedError);
    assertThrows(
      () => session.commit([textRecord(0, "no")]),
      StorageClosedError,
    );
    session.close();
    assertThrows(() => storage.session(), StorageClosedError);
    assertThrows(() => storage.pack(), StorageClosedError);
  });

  test("pack() packs at once, packInSteps() in steps", (storage) => {
    using session = storage.session();
    store(session, textRecord(0, "root"), textRecord(1, "garbage"));
    for (const options of [{ keep: "7 weeks" }, { keep: NaN }]) {
      assertThrows(() => storage.pack(options), StorageError, "Cannot");
      assertThrows(() => storage.packInSteps(options), StorageError, "Cannot");
    }
    const steps = storage.packInSteps();
    using before = storage.session();
    assertEquals(textOf(before, 1), "garbage");
    const { records } = storage.pack();
    if (!remote) assertEquals(records, 1);
    using after = storage.session();
    assertThrows(() => after.load(1), ObjectNotFoundError);
    session.sync();
    store(session, textRecord(2, "more garbage"));
    for (const _ of steps);
    session.sync();
    assertEquals(textOf(session, 0), "root");
    assertThrows(() => session.load(2), ObjectNotFoundError);
  });

  test("pack() of an empty storage changes nothing", (storage) => {
    storage.pack();
    using session = storage.session();
    assertEquals(session.allocate(1), [0]);
    store(session, textRecord(0, "root"));
    storage.pack();
    session.sync();
    assertEquals(textOf(session, 0), "root");
  });

  test("pack() drops what cannot be reached from the root", (storage) => {
    using session = storage.session();
    store(
      session,
      textRecord(0, "root", [1, 3, 77]), // 77 never was there
      textRecord(1, "one", [2, 0]),
      textRecord(2, "two", [1]),
      textRecord(3, "three", [3]),
      textRecord(4, "four", [5, 0]),
      textRecord(5, "five", [4]),
    );
    store(session, textRecord(2, "two, again", [1]));
    storage.pack();
    using other = storage.session();
    for (const oid of [4, 5, 77]) {
      assertThrows(() => other.load(oid), ObjectNotFoundError);
    }
    assertEquals(
      [0, 1, 2, 3].map((oid) => textOf(other, oid)),
      ["root", "one", "two, again", "three"],
    );
    assertEquals(recordReferences(other.load(0)), [1, 3, 77]);
    store(other, textRecord(0, "root again", [1]));
    storage.pack();
    other.sync();
    assertThrows(() => other.load(3), ObjectNotFoundError);
    assertEquals(textOf(other, 0), "root again");
    assertEquals(textOf(other, 2), "two, again");
  });

  test("numbers are not used again after pack()", (storage) => {
    using session = storage.session();
    const oids = session.allocate(10);
    store(session, textRecord(0, "root"), textRecord(oids[9]!, "garbage"));
    storage.pack();
    session.sync();
    const more = session.allocate(10);
    assertEquals(new Set([...oids, ...more]).size, 20);
  });

  test("pack() takes over what is committed while it runs", (storage) => {
    using session = storage.session();
    const count = 3000;
    const oids = session.allocate(count);
    store(
      session,
      textRecord(0, "root", oids.slice(1)),
      ...oids.slice(1).map((oid) => textRecord(oid, `${oid} `.repeat(40))),
    );
    const expected = new Map<Oid, string>();
    let links: Oid[] = oids.slice(1);
    for (const _ of storage.packInSteps()) {
      session.sync();
      const [fresh, beyond] = session.allocate(2) as [Oid, Oid];
      const changed = links[expected.size % links.length]!;
      links = [...links, fresh];
      store(
        session,
        textRecord(changed, "changed"),
        textRecord(beyond, "beyond", [0]),
        textRecord(fresh, "fresh", [beyond]),
        textRecord(0, "root", links),
      );
      expected.set(changed, "changed").set(fresh, "fresh");
      expected.set(beyond, "beyond");
    }
    assert(expected.size > 0);
    session.sync();
    store(session, textRecord(1, "after"));
    expected.set(1, "after");
    using other = storage.session();
    for (const reader of [session, other]) {
      assertEquals(recordReferences(reader.load(0)), links);
      for (const oid of links) {
        assertEquals(
          textOf(reader, oid),
          expected.get(oid) ?? `${oid} `.repeat(40),
        );
      }
      for (const [oid, text] of expected) {
        assertEquals(textOf(reader, oid), text);
      }
    }
  });

  test("garbage that is linked again while pack() runs stays", (storage) => {
    if (remote) return;
    using session = storage.session();
    const oids = session.allocate(2000).slice(3);
    store(
      session,
      textRecord(0, "root", oids),
      textRecord(1, "garbage", [2]),
      textRecord(2, "more garbage"),
      ...oids.map((oid) => textRecord(oid, "x".repeat(500))),
    );
    let step = 0;
    for (const _ of storage.packInSteps()) {
      if (step++ > 0) continue;
      session.sync();
      store(session, textRecord(0, "root", [...oids, 1]));
    }
    assert(step > 1, "it was all one step");
    session.sync();
    assertEquals(textOf(session, 1), "garbage");
    assertEquals(textOf(session, 2), "more garbage");
  });

  test("pack() can be given up", (storage) => {
    using session = storage.session();
    const oids = session.allocate(3000);
    store(
      session,
      textRecord(0, "root", oids),
      ...oids.slice(1).map((oid) => textRecord(oid, "y".repeat(300))),
    );
    for (const _ of storage.packInSteps()) break;
    session.sync();
    store(session, textRecord(0, "root", []));
    storage.pack();
    session.sync();
    assertEquals(textOf(session, 0), "root");
    assertThrows(() => session.load(oids[5]!), ObjectNotFoundError);
  });

  test("a session's snapshot outlives a pack", (storage) => {
    using a = storage.session();
    store(a, textRecord(0, "root", [1]), textRecord(1, "one"));
    using b = storage.session();
    store(a, textRecord(0, "root, alone"));
    storage.pack();
    if (keepsRevisions) {
      assertEquals(textOf(a, 1), "one");
      assertEquals(textOf(b, 0), "root");
      assertEquals(textOf(b, 1), "one");
    }
    assertEquals(new Set<unknown>(b.sync()).has(0), true);
    assertEquals(textOf(b, 0), "root, alone");
    assertThrows(() => b.load(1), ObjectNotFoundError);
  });

  test("what pack() removed cannot be linked again", (storage) => {
    using a = storage.session();
    using b = storage.session();
    store(
      a,
      textRecord(0, "root"),
      textRecord(1, "garbage"),
      textRecord(2, "good"),
    );
    b.sync();
    assertEquals(textOf(b, 1), "garbage");
    store(a, textRecord(0, "root", [2]));
    b.sync();
    storage.pack();
    // To a session that may have read it, the object was changed.
    const result = b.commit([textRecord(2, "good", [1])]);
    assert("invalid" in result);
    assertEquals(result.invalid.includes(1), true);
    assertEquals(new Set<unknown>(b.sync()).has(1), true);
    // A program may still have it in its hands, without looking into it.
    assertThrows(() => b.commit([textRecord(2, "good", [1])]), DharaError);
    using c = storage.session();
    assertEquals(recordReferences(c.load(2)), []);
    if (!storesRemoved) return;
    // Stored anew it may be there again.
    store(b, textRecord(2, "good", [1]), textRecord(1, "no garbage"));
    a.sync();
    assertEquals(textOf(a, 1), "no garbage");
    store(b, textRecord(0, "root", [1, 2]));
  });

  test("what several packs removed cannot be linked, by whoever may know it", (storage) => {
    using a = storage.session();
    using b = storage.session();
    store(
      a,
      textRecord(0, "root", [1, 2, 3]),
      ...[1, 2, 3].map((oid) => textRecord(oid, "object")),
    );
    b.sync();
    assertEquals(textOf(b, 1), "object");
    store(a, textRecord(0, "root", [2, 3]));
    storage.pack();
    using c = storage.session();
    assertEquals([1, 2].map((oid) => c.has(oid)), [false, true]);
    a.sync();
    store(a, textRecord(0, "root", [3]));
    storage.pack();
    // Each is told of all that was removed since it looked, once.
    const told = new Set<unknown>(b.sync());
    assertEquals([0, 1, 2, 3].map((oid) => told.has(oid)), [
      ...[true, true, true, false],
    ]);
    assertEquals(b.sync(), []);
    assertEquals(new Set<unknown>(c.sync()).has(2), true);
    // Their programs may hold the objects for as long as they live.
    for (const [session, oid] of [[b, 1], [b, 2], [c, 2]] as const) {
      assertThrows(() => session.load(oid), ObjectNotFoundError);
      if (remote) continue;
      assertThrows(
        () => session.commit([textRecord(3, "object", [oid])]),
        StorageError,
        `#${oid}, which nothing referred to and a pack has removed`,
      );
    }
    // Nothing stands in the way of what is there, or stored with it.
    store(b, textRecord(3, "object", [0, 3]));
    if (!storesRemoved) return;
    store(b, textRecord(3, "object", [2]), textRecord(2, "again"));
    b.sync();
    store(b, textRecord(0, "root", [2, 3]));
  });

  test("has() tells what is in the snapshot", (storage) => {
    const a = storage.session();
    using b = storage.session();
    assertEquals([0, 1].map((oid) => a.has(oid)), [false, false]);
    store(a, textRecord(0, "root", [1]), textRecord(1, "one"));
    assertEquals(
      [0, 1, 2, -1, 0.5, NaN, 2 ** 53].map((oid) => a.has(oid)),
      [true, true, false, false, false, false, false],
    );
    if (keepsRevisions) assertEquals(b.has(1), false);
    b.sync();
    assertEquals(b.has(1), true);
    store(a, textRecord(0, "root, alone"));
    storage.pack();
    if (keepsRevisions) assertEquals([a, b].map((s) => s.has(1)), [true, true]);
    a.sync();
    assertEquals([0, 1].map((oid) => a.has(oid)), [true, false]);
    a.close();
    assertThrows(() => a.has(0), StorageClosedError);
  });

  test("length() tells how long a record in the snapshot is", (storage) => {
    using a = storage.session();
    using b = storage.session();
    const long = "x".repeat(200_000);
    assertEquals(a.length(0), 0);
    store(a, textRecord(0, "root", [1, 2]), textRecord(1, "one"));
    store(a, textRecord(2, long));
    const lengths = (session: Session) =>
      [0, 1, 2, 3, -1, 0.5, NaN, 2 ** 53].map((oid) => session.length(oid));
    const sizes = [0, 1, 2].map((oid) => a.load(oid).length);
    assertEquals(lengths(a), [...sizes, 0, 0, 0, 0, 0]);
    if (keepsRevisions) assertEquals(lengths(b), [0, 0, 0, 0, 0, 0, 0, 0]);
    b.sync();
    store(a, textRecord(2, "short"));
    if (keepsRevisions) assertEquals(b.length(2), sizes[2]);
    b.sync();
    assertEquals(b.length(2), sizes[2]! - long.length + 5);
    store(a, textRecord(0, "root, alone"));
    storage.pack();
    a.sync();
    assertEquals([a.length(1), a.length(2)], [0, 0]);
    a.close();
    assertThrows(() => a.length(0), StorageClosedError);
  });

  test("a commit is told what others changed, if it accessed none of that", (storage) => {
    using a = storage.session();
    using b = storage.session();
    const accesses = (...oids: Oid[]) => ({
      accessed: (oid: Oid) => oids.includes(oid),
    });
    store(a, ...[0, 1, 2, 3].map((oid) => textRecord(oid, "first")));
    b.sync();
    for (const oid of [0, 1, 2, 3]) assertEquals(textOf(b, oid), "first");
    store(a, textRecord(1, "second"));
    store(a, textRecord(1, "third"), textRecord(3, "second"));
    const before = b.tid;
    // It has read what was changed.
    const refused = b.commit([textRecord(2, "no")], accesses(1, 2));
    assert("invalid" in refused, "nothing stood in the way");
    assertEquals(sorted(refused.invalid), [1, 3]);
    assertEquals(b.tid, before);
    assertEquals(textOf(b, 2), "first");
    if (keepsRevisions) assertEquals(textOf(b, 1), "first");
    // It has not.
    const stored = b.commit([textRecord(2, "mine")], accesses(0, 2));
    assert("tid" in stored, "something stood in the way");
    assertEquals(sorted(stored.changed), [1, 3]);
    assertEquals(b.tid, stored.tid);
    // It is told once, and reads what is there now.
    assertEquals(b.sync(), []);
    assertEquals([0, 1, 2, 3].map((oid) => textOf(b, oid)), [
      ...["first", "third", "mine", "second"],
    ]);
    // Without a word of what was accessed, everything was.
    a.sync();
    store(a, textRecord(0, "second"));
    const last = b.commit([textRecord(2, "no")]);
    assert("invalid" in last, "nothing stood in the way");
    assertEquals(last.invalid, [0]);
    a.sync();
    assertEquals(textOf(a, 2), "mine");
  });

  test("a session that lets go reads nothing wrong after a pack", (storage) => {
    using a = storage.session();
    const idle = storage.session({ letsGo: true });
    store(
      a,
      textRecord(0, "root", [1, 2, 3]),
      ...[1, 2, 3].map((oid) => textRecord(oid, "first")),
    );
    idle.sync();
    assertEquals([0, 1, 2, 3].map((oid) => textOf(idle, oid)), [
      ...["root", "first", "first", "first"],
    ]);
    const { tid } = idle;
    const current = storage.session({ letsGo: true });
    // What it has looked at before it is gone, and what it has not.
    store(a, textRecord(1, "second"), textRecord(0, "root", [1, 2]));
    storage.pack();
    a.sync();
    function check(oid: Oid, text: string): void {
      try {
        assertEquals([idle.has(oid), textOf(idle, oid)], [true, text]);
      } catch (error) {
        if (!(error instanceof ReadConflictError)) throw error;
        assert(error.oids.includes(oid));
      }
    }
    for (let i = 0; i < 3; i++) {
      assertEquals(idle.tid, tid);
      assertEquals([idle.has(2), textOf(idle, 2)], [true, "first"]);
      check(0, "root");
      check(1, "first");
      check(3, "first");
      const error = assertThrows(() => idle.load(4), DharaError);
      assert(
        error instanceof ObjectNotFoundError ||
          error instanceof ReadConflictError,
      );
      store(a, textRecord(1, `third ${i}`), textRecord(4 + i, "new"));
      if (i === 1) storage.pack();
      a.sync();
    }
    const result = idle.commit([textRecord(1, "no")]);
    assert("invalid" in result, "it did not find the conflict");
    for (const oid of [0, 1, 3, 4]) assert(result.invalid.includes(oid));
    const told = new Set<unknown>(idle.sync());
    for (const oid of [0, 1, 3, 4]) assert(told.has(oid), `#${oid}`);
    assertEquals(told.has(2), false);
    assertEquals([1, 2].map((oid) => textOf(idle, oid)), ["third 2", "first"]);
    assertThrows(() => idle.load(3), ObjectNotFoundError);
    store(idle, textRecord(2, "mine"));
    idle.close();
    current.close();
    storage.pack();
    a.sync();
    assertEquals(textOf(a, 2), "mine");
  });

  test("a clock that is wrong loses nothing", (storage) => {
    if (remote) return;
    using session = storage.session();
    const { now } = Date;
    try {
      const first = store(session, textRecord(0, "first"));
      // Set back, transactions go on from the last one.
      Date.now = () => 0;
      const second = store(session, textRecord(0, "second"));
      assert(second > first);
      // Ahead, up to where tids end.
      Date.now = () => Date.UTC(2250, 0);
      const third = store(session, textRecord(0, "third"));
      assert(third > second && Number.isSafeInteger(third));
      const end = Math.floor(Number.MAX_SAFE_INTEGER / 1000);
      for (
        const wrong of [end, Date.UTC(2256, 0), 1e13, 1e300, NaN, Infinity]
      ) {
        Date.now = () => wrong;
        for (let i = 0; i < 2; i++) {
          assertThrows(
            () => session.commit([textRecord(0, "no")]),
            StorageError,
            "set the clock right",
          );
        }
        assertEquals([session.tid, textOf(session, 0)], [third, "third"]);
        assertEquals(session.sync(), []);
      }
      // What is wrong with the time must not drop the history.
      assertThrows(() => storage.pack({ keep: "7d" }), StorageError);
      Date.now = now;
      const fourth = store(session, textRecord(0, "fourth"));
      assertEquals(fourth, third + 1);
      storage.pack();
      using other = storage.session();
      assertEquals([other.tid, textOf(other, 0)], [fourth, "fourth"]);
    } finally {
      Date.now = now;
    }
  });

  test(
    "notes are kept with their transactions, or refused",
    async (storage, trial) => {
      const session = storage.session();
      const notes = { note: "why", user: "ada" };
      const record = textRecord(0, "root");
      if (!isHistorical(storage)) {
        for (const options of [notes, { note: "why" }, { user: "ada" }]) {
          assertThrows(() => session.commit([record], options), StorageError);
        }
        assertThrows(() => session.load(0), ObjectNotFoundError);
        return;
      }
      assert("tid" in session.commit([record], notes));
      const first = session.tid;
      const second = store(session, textRecord(0, "root", [1]));
      // Without records there is no transaction.
      assertEquals(session.commit([], notes), { tid: second, changed: [] });
      function check(storage: Storage): void {
        assert(isHistorical(storage));
        const [newest, oldest, ...more] = [...storage.transactions()];
        assertEquals([newest?.tid, newest?.note, newest?.records], [
          second,
          undefined,
          1,
        ]);
        assertEquals([oldest?.tid, oldest?.note, oldest?.user], [
          first,
          "why",
          "ada",
        ]);
        assertEquals(oldest?.time, new Date(Math.floor(first / 1000)));
        assertEquals(more, []);
        assertEquals(
          [...storage.history(0)].map(({ tid, note }) => [tid, note]),
          [[second, undefined], [first, "why"]],
        );
      }
      check(storage);
      if (trial.reopen !== undefined) check(await trial.reopen());
    },
  );

  test(
    "a moment of the past can be read, or is refused",
    async (storage, trial) => {
      const session = storage.session();
      const tids: number[] = [];
      for (let i = 0; i < 5; i++) {
        tids.push(store(session, textRecord(i % 2, `text ${i}`)));
      }
      if (!isHistorical(storage) && !readsPast) {
        assertThrows(() => storage.session({ at: tids[2]! }), StorageError);
        return;
      }
      function check(storage: Storage): void {
        for (const [i, at] of tids.entries()) {
          using past = storage.session({ at });
          assertEquals(past.tid, at);
          assertEquals(textOf(past, i % 2), `text ${i}`);
          if (i > 0) assertEquals(textOf(past, 1 - i % 2), `text ${i - 1}`);
          assertEquals(past.sync(), []);
          assertThrows(
            () => past.commit([textRecord(0, "changed")]),
            ReadonlyError,
          );
          assertEquals(textOf(past, i % 2), `text ${i}`);
        }
      }
      check(storage);
      if (trial.reopen !== undefined) check(await trial.reopen());
    },
  );

  test("undo() brings back what was there, to all sessions", (storage) => {
    if (!isHistorical(storage)) return;
    using session = storage.session();
    using other = storage.session();
    store(session, textRecord(0, "root"), textRecord(1, "one"));
    const tid = store(session, textRecord(1, "wrong"), textRecord(2, "new"));
    store(session, textRecord(0, "root, later"));
    other.sync();
    const undone = storage.undo(tid, { note: "sorry" });
    assertEquals(textOf(session, 1), "wrong");
    assertEquals(session.sync(), [1]);
    const result = other.commit([textRecord(3, "three")]);
    assertEquals(result, { invalid: [1] });
    other.sync();
    for (const reader of [session, other]) {
      assertEquals(reader.tid, undone);
      assertEquals(textOf(reader, 0), "root, later");
      assertEquals(textOf(reader, 1), "one");
      assertEquals(textOf(reader, 2), "new");
    }
    const later = store(session, textRecord(1, "later"));
    const error = assertThrows(() => storage.undo(undone), UndoError);
    assertEquals([error.oids, error.tids], [[1], [later]]);
  });

  test(
    "pack() keeps the history since a moment, or refuses to",
    async (storage, trial) => {
      const session = storage.session();
      const tids: number[] = [];
      const links = [[1], [1, 2], [2], [], [3]];
      store(session, ...[1, 2, 3].map((oid) => textRecord(oid, `${oid}`)));
      for (const [i, references] of links.entries()) {
        tids.push(store(session, textRecord(0, `text ${i}`, references)));
      }
      if (readsPast) return; // It has a test of its own.
      if (!isHistorical(storage)) {
        assertThrows(() => storage.pack({ keep: tids[1]! }), StorageError);
        assertThrows(() => storage.pack({ keep: "1d" }), StorageError);
        storage.pack();
        return;
      }
      for (const keep of ["7", "-1d", "1y", "", "d", new Date(NaN), -1]) {
        assertThrows(
          () => storage.pack({ keep }),
          StorageError,
          "Cannot ",
        );
      }
      function check(storage: Storage, first: number): void {
        assert(isHistorical(storage));
        assertEquals(
          [...storage.transactions()].map(({ tid }) => tid),
          tids.slice(first + 1).reverse(),
        );
        for (const [i, at] of tids.entries()) {
          if (i < first) {
            const error = assertThrows(
              () => storage.session({ at }),
              StorageError,
            );
            assert(error.message.includes(`${tids[first]} (`), error.message);
            continue;
          }
          using past = storage.session({ at });
          assertEquals(textOf(past, 0), `text ${i}`);
          for (const oid of links[i]!) {
            assertEquals(
              textOf(past, oid),
              `${oid}`,
            );
          }
        }
      }
      storage.pack({ keep: "1h" });
      using early = storage.session({ at: tids[0]! });
      assertEquals(textOf(early, 1), "1");
      storage.pack({ keep: tids[1]! });
      check(storage, 1);
      const again = trial.reopen === undefined ? storage : await trial.reopen();
      check(again, 1);
      again.pack({ keep: tids[3]! });
      check(again, 3);
      using late = again.session();
      assertThrows(() => late.load(1), ObjectNotFoundError);
      again.pack();
      check(again, 4);
    },
  );

  test("reopening finds everything", async (storage, trial) => {
    if (trial.reopen === undefined) return;
    const session = storage.session();
    const oids = session.allocate(50);
    for (const oid of oids) store(session, textRecord(oid, `first ${oid}`));
    store(session, textRecord(7, "second"));
    const tid = session.tid;
    let again = await trial.reopen();
    let other = again.session();
    assertEquals(other.tid, tid);
    for (const oid of oids) {
      assertEquals(textOf(other, oid), oid === 7 ? "second" : `first ${oid}`);
    }
    const more = other.allocate(50);
    assertEquals(new Set([...oids, ...more]).size, 100);
    store(other, textRecord(0, "root", [7, more[49]!]));
    store(other, textRecord(more[49]!, "the last"));
    again.pack();
    again = await trial.reopen();
    other = again.session();
    assertEquals(textOf(other, 7), "second");
    assertEquals(textOf(other, more[49]!), "the last");
    assertThrows(() => other.load(8), ObjectNotFoundError);
    const third = other.allocate(50);
    assertEquals(new Set([...oids, ...more, ...third]).size, 150);
    other.close();
  });

  test(
    "a pack outlives reopening, with commits after it",
    async (storage, trial) => {
      if (trial.reopen === undefined) return;
      const session = storage.session();
      store(session, textRecord(0, "root", [1]), textRecord(1, "one"));
      storage.pack();
      session.sync();
      store(session, textRecord(1, "one, later"));
      const again = await trial.reopen();
      using other = again.session();
      assertEquals(textOf(other, 0), "root");
      assertEquals(textOf(other, 1), "one, later");
      assertEquals(other.tid, session.tid);
    },
  );
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
