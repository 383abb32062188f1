/**
 * What holds for every storage: what packs have removed, to those who may know it still.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  DharaError,
  ObjectNotFoundError,
  ReadConflictError,
  StorageError,
} from "../errors.ts";
import { type Oid, recordReferences } from "../serialize/record.ts";
import { store, textOf, textRecord } from "./records.ts";
import type { Suite } from "./suite.ts";

/** Registers the tests. */
export function testRemoving(
  { test, options: { keepsRevisions, storesRemoved, remote } }: Suite,
): void {
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
}
