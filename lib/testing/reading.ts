/**
 * What holds for every storage: numbers, loads, and what is no number or is closed.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  ObjectNotFoundError,
  StorageClosedError,
  StorageError,
} from "../errors.ts";
import {
  type Oid,
  packRecord,
  recordData,
  recordReferences,
} from "../serialize/record.ts";
import type { Session } from "../storage/storage.ts";
import { equal, store, textOf, textRecord } from "./records.ts";
import type { Suite } from "./suite.ts";

/** Registers the tests. */
export function testReading(
  { test, options: { keepsRevisions } }: Suite,
): void {
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

  test("records without data", (storage) => {
    using session = storage.session();
    store(session, textRecord(0, "", [1, 0, 1]), textRecord(1, ""));
    assertEquals(session.load(1).length, 12);
    assertEquals(recordReferences(session.load(0)), [1, 0, 1]);
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

  test("a number that was not allocated is not given out later", (storage) => {
    using session = storage.session();
    session.allocate(1);
    store(session, textRecord(0, "root"), textRecord(500, "from elsewhere"));
    const oids = session.allocate(600);
    assertEquals(oids.includes(500), false);
    assertEquals(textOf(session, 500), "from elsewhere");
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
}
