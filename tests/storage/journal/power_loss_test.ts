/** What is left of a journal when the power fails, on a disk that loses all that was not synced. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  DamagedFileError,
  ObjectNotFoundError,
  StorageError,
} from "../../../lib/errors.ts";
import type { Oid } from "../../../lib/serialize/record.ts";
import { type FileStorage, openOn } from "../../../lib/storage/file_storage.ts";
import type { Session } from "../../../lib/storage/storage.ts";
import { SimulatedDisk } from "../../support/simulated_disk.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";

type Model = ReadonlyMap<Oid, string>;

const OIDS = Array.from({ length: 41 }, (_, i) => i);

const changes = fc.array(
  fc.record({
    oid: fc.nat(40),
    length: fc.oneof(fc.nat(200), fc.nat(5000), fc.nat(200_000)),
  }),
  { minLength: 1, maxLength: 10 },
);

/** What a program does before the power fails. */
const life = fc.record({
  commits: fc.array(fc.record({ changes, pack: fc.boolean() }), {
    maxLength: 12,
  }),
  /** How far a last pack gets. */
  packSteps: fc.oneof(fc.constant(0), fc.nat(8)),
  /** The commit in the middle of which the power fails. */
  last: changes,
});

/** Commits changes; returns what there is then. */
function change(
  session: Session,
  model: Model,
  changes: { oid: Oid; length: number }[],
  number: number,
  mayFail = false,
): Model {
  const next = new Map(model);
  if (!next.has(0)) next.set(0, "root");
  for (const { oid, length } of changes) {
    next.set(oid, `${number},${oid};`.repeat(Math.ceil(length / 6)));
  }
  const records = [...next]
    .filter(([oid, text]) => model.get(oid) !== text)
    // Everything can be reached from the root.
    .map(([oid, text]) => textRecord(oid, text, OIDS));
  try {
    session.sync();
    store(session, ...records);
  } catch (error) {
    if (!mayFail || !(error instanceof StorageError)) throw error;
  }
  return next;
}

function matches(storage: FileStorage, model: Model): boolean {
  using session = storage.session();
  return OIDS.every((oid) => {
    try {
      return textOf(session, oid) === model.get(oid);
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return !model.has(oid);
      throw error;
    }
  });
}

Deno.test("whatever the disk keeps when the power fails, no commit is lost", () => {
  fc.assert(
    fc.property(
      fc.array(life, { minLength: 1, maxLength: 3 }),
      fc.infiniteStream(fc.boolean()),
      (lives, coins) => {
        const files = new SimulatedDisk();
        let model: Model = new Map();
        let number = 0;
        for (const { commits, packSteps, last } of lives) {
          const storage = openOn(files, "x");
          const session = storage.session();
          for (const { changes, pack } of commits) {
            model = change(session, model, changes, number++);
            if (pack) storage.pack();
          }
          const steps = storage.packInSteps();
          for (let i = 0; i < packSteps; i++) if (steps.next().done) break;
          files.failing = true;
          const attempt = change(session, model, last, number++, true);
          files.failing = false;
          files.crash(() => coins.next().value as boolean);

          let again: FileStorage;
          try {
            again = openOn(files, "x");
          } catch (error) {
            // A commit that was not confirmed may look like damage. Then a
            // repair cuts off that, and nothing else.
            if (!(error instanceof DamagedFileError)) throw error;
            again = openOn(files, "x", { repair: true });
          }
          // The commit that failed may be there, all of it, or not at all.
          if (!matches(again, model)) {
            assertEquals(matches(again, attempt), true);
            model = attempt;
          }
          again.close();
        }
      },
    ),
    { numRuns: 60 },
  );
});
