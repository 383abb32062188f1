/**
 * What holds for every storage: packs, also while others commit.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ObjectNotFoundError, StorageError } from "../errors.ts";
import { type Oid, recordReferences } from "../serialize/record.ts";
import { store, textOf, textRecord } from "./records.ts";
import type { Suite } from "./suite.ts";

/** Registers the tests. */
export function testPacking({ test, options: { remote } }: Suite): void {
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
}
