/**
 * What holds for every storage: notes, the past, undoing, and opening again.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  ObjectNotFoundError,
  ReadonlyError,
  StorageError,
  UndoError,
} from "../errors.ts";
import { isHistorical, type Storage } from "../storage/storage.ts";
import { store, textOf, textRecord } from "./records.ts";
import type { Suite } from "./suite.ts";

/** Registers the tests. */
export function testRemembering({ test }: Suite): void {
  test("it has the methods of a history if it says so", (storage) => {
    assertEquals(isHistorical(storage), storage.features.history);
  });

  test(
    "notes are kept with their transactions, or refused",
    async (storage, trial) => {
      const session = storage.session();
      const notes = { note: "why", user: "ada" };
      const record = textRecord(0, "root");
      if (!storage.features.notes) {
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
        if (!isHistorical(storage)) return;
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
      if (!storage.features.past) {
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
    assertEquals("invalid" in result && result.invalid, [1]);
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
      if (!storage.features.keep) {
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
        if (isHistorical(storage)) {
          assertEquals(
            [...storage.transactions()].map(({ tid }) => tid),
            tids.slice(first + 1).reverse(),
          );
        }
        if (!storage.features.past) return;
        for (const [i, at] of tids.entries()) {
          if (i < first) {
            const error = assertThrows(
              () => storage.session({ at }),
              StorageError,
            );
            if (isHistorical(storage)) {
              assert(error.message.includes(`${tids[first]} (`), error.message);
            }
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
      if (storage.features.past) {
        using early = storage.session({ at: tids[0]! });
        assertEquals(textOf(early, 1), "1");
      }
      storage.pack({ keep: tids[1]! });
      check(storage, 1);
      const again = trial.reopen === undefined ? storage : await trial.reopen();
      check(again, 1);
      again.pack({ keep: tids[3]! });
      check(again, 3);
      using late = again.session();
      assertThrows(() => late.load(1), ObjectNotFoundError);
      again.pack();
      if (isHistorical(again)) check(again, 4);
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
