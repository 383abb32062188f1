/**
 * Every bit of a small journal is changed, and it is cut at every length:
 * nothing wrong is read, `verify` names it, and what is committed on top of
 * what opening lets pass can be read.
 */
import { assert, assertEquals } from "@std/assert";
import { DharaError, ObjectNotFoundError } from "../../lib/errors.ts";
import { type FileStorage, openOn } from "../../lib/storage/file_storage.ts";
import { JournalVerifier } from "../../lib/storage/journal/verify.ts";
import type { Session } from "../../lib/storage/storage.ts";
import type { VerifyReport } from "../../lib/maintenance/verify.ts";
import { SimulatedDisk } from "../support/simulated_disk.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";

const PATH = "x";
const OIDS = [0, 1, 2, 3, 4, 5, 6, 7, 1030];

/** What all objects are at a moment; `undefined` where there is none. */
type State = (string | undefined)[];

/** Everything that a journal tells. */
interface Told {
  /** What it holds, by the tid. */
  states: Map<number, State>;
  newest: number;
  /** The transactions, the newest first. */
  transactions: string[];
}

function diskOf(bytes: Uint8Array): SimulatedDisk {
  const disk = new SimulatedDisk();
  const file = disk.open(PATH, { create: true });
  file.write(bytes, 0);
  file.close();
  return disk;
}

function bytesOf(disk: SimulatedDisk): Uint8Array {
  const file = disk.open(PATH, {});
  const bytes = new Uint8Array(file.size());
  file.read(bytes, 0);
  return bytes;
}

function stateOf(session: Session): State {
  return OIDS.map((oid) => {
    try {
      return textOf(session, oid);
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return undefined;
      throw error;
    }
  });
}

function tell(storage: FileStorage): Told {
  using session = storage.session();
  const newest = session.tid;
  const states = new Map([[newest, stateOf(session)]]);
  const transactions: string[] = [];
  for (const { tid, note, user, records } of storage.transactions()) {
    transactions.push(`${tid} ${note} ${user} ${records}`);
    using past = storage.session({ at: tid });
    states.set(tid, stateOf(past));
  }
  for (const oid of OIDS) {
    try {
      transactions.push(
        ...[...storage.history(oid)].map(({ tid, note }) =>
          `${oid} ${tid} ${note}`
        ),
      );
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) throw error;
    }
  }
  return { states, newest, transactions };
}

function verifyOf(disk: SimulatedDisk): VerifyReport {
  const steps = new JournalVerifier(disk.open(PATH, {}), PATH).run();
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** Does something that may fail with an error of ours; returns whether it did not. */
function fine(where: string, act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if (error instanceof DharaError) return false;
    throw new Error(where, { cause: error });
  }
}

/** A journal with copies of a pack, several index blocks, notes, and revisions. */
function make(): Uint8Array {
  const disk = new SimulatedDisk();
  {
    using storage = openOn(disk, PATH);
    using session = storage.session();
    session.allocate(1031);
    store(
      session,
      textRecord(0, "root", [1, 2, 3, 1030]),
      ...[1, 2, 3, 1030].map((oid) => textRecord(oid, `object ${oid}`, [0])),
    );
    storage.pack();
    session.commit([textRecord(1, "one, later", [0])], {
      note: "a change",
      user: "ada",
    });
    store(
      session,
      textRecord(2, "two, later"),
      textRecord(4, "four"),
      textRecord(0, "root, later", [1, 2, 3, 4, 1030]),
    );
    session.allocate(1);
  }
  {
    using storage = openOn(disk, PATH);
    using session = storage.session();
    store(session, textRecord(1, "one, later still", [0]));
    session.commit([textRecord(3, "three, at last")], { note: "the last" });
  }
  return bytesOf(disk);
}

const bytes = make();
const right = (() => {
  using storage = openOn(diskOf(bytes), PATH);
  return tell(storage);
})();

/** Makes sure that what a storage tells is right, as far as it tells anything. */
function assertRight(where: string, disk: SimulatedDisk): void {
  fine(where, () => {
    using storage = openOn(disk, PATH, { readonly: true });
    const { transactions, states, newest } = tell(storage);
    assertEquals(newest, right.newest, where);
    assertEquals(transactions, right.transactions, where);
    for (const [tid, state] of states) {
      assertEquals(state, right.states.get(tid), where);
    }
  });
  // Each object for itself, since another one may be unreadable.
  for (const [i, oid] of OIDS.entries()) {
    fine(where, () => {
      using storage = openOn(disk, PATH, { readonly: true });
      using session = storage.session();
      let text: string | undefined;
      try {
        text = textOf(session, oid);
      } catch (error) {
        if (!(error instanceof ObjectNotFoundError)) throw error;
      }
      assertEquals(text, right.states.get(right.newest)![i], where);
    });
  }
}

Deno.test("every bit of a journal changed: nothing wrong is read, and verify names it", () => {
  const counts = { opened: 0, refused: 0, notes: 0 };
  for (let offset = 0; offset < bytes.length; offset++) {
    for (let bit = 0; bit < 8; bit++) {
      const where = `byte ${offset}, bit ${bit}`;
      const changed = bytes.slice();
      changed[offset]! ^= 1 << bit;
      const disk = diskOf(changed);
      assertRight(where, disk);
      fine(where, () => {
        const { good, notes } = verifyOf(disk);
        assert(
          !good || notes.some((note) => note.includes("damaged")),
          `verify finds nothing: ${where}`,
        );
        if (good) counts.notes++;
      });
      // What opening lets pass stays named, and what is added can be read.
      const opened = fine(where, () => {
        using storage = openOn(disk, PATH);
        using session = storage.session();
        session.commit([textRecord(6, "added")]);
      });
      if (opened) {
        counts.opened++;
        {
          using storage = openOn(disk, PATH);
          using session = storage.session();
          assertEquals(textOf(session, 6), "added", where);
        }
        const { good, notes } = verifyOf(disk);
        assert(
          !good || notes.some((note) => note.includes("damaged")),
          `a commit hides it: ${where}`,
        );
      } else {
        counts.refused++;
        assertEquals(bytesOf(disk), changed, `it was changed: ${where}`);
      }
      // A repair makes something of it that can be opened.
      const repaired = diskOf(changed);
      if (
        fine(where, () => {
          openOn(repaired, PATH, { repair: true }).close();
        })
      ) {
        using storage = openOn(repaired, PATH);
        using session = storage.session();
        session.commit([textRecord(7, "after the repair")]);
        assertEquals(textOf(session, 7), "after the repair", where);
      } else assert(offset < 12, `it cannot be repaired: ${where}`);
    }
  }
  console.log(JSON.stringify(counts));
  assert(counts.opened > 0 && counts.refused > 0 && counts.notes > 0);
});

Deno.test("a journal cut at every length: an earlier state of it, or damage", () => {
  const counts = { earlier: 0, refused: 0 };
  for (let size = 0; size < bytes.length; size++) {
    const where = `cut to ${size} bytes`;
    const disk = diskOf(bytes.subarray(0, size));
    const opened = fine(where, () => {
      using storage = openOn(disk, PATH, { readonly: true });
      const { states, newest } = tell(storage);
      assert(newest === 0 || right.states.has(newest), where);
      for (const [tid, state] of states) {
        if (tid > 0) assertEquals(state, right.states.get(tid), where);
        else assert(state.every((text) => text === undefined), where);
      }
    });
    const { good, damage } = verifyOf(disk);
    assertEquals(good, opened, `${where}: ${JSON.stringify(damage)}`);
    const added = fine(where, () => {
      using storage = openOn(disk, PATH);
      using session = storage.session();
      session.commit([textRecord(6, "added")]);
    });
    assertEquals(added, opened, where);
    if (added) {
      counts.earlier++;
      assert(verifyOf(disk).good, where);
      using storage = openOn(disk, PATH);
      using session = storage.session();
      assertEquals(textOf(session, 6), "added", where);
    } else {
      counts.refused++;
      assertEquals(bytesOf(disk), bytes.slice(0, size), where);
    }
  }
  console.log(JSON.stringify(counts));
  assert(counts.earlier > 0 && counts.refused > 0);
});
