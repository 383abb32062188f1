/**
 * What holds for every storage: commits, conflicts, and snapshots beside them.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  ObjectNotFoundError,
  ReadConflictError,
  StorageClosedError,
  StorageError,
} from "../errors.ts";
import { type Oid, recordData } from "../serialize/record.ts";
import type { Session } from "../storage/storage.ts";
import { sorted, store, textOf, textRecord } from "./records.ts";
import type { Suite } from "./suite.ts";

/** Registers the tests. */
export function testCommitting(
  { test, assertOld, options: { keepsRevisions, remote } }: Suite,
): void {
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
}
