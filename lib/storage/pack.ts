/**
 * How packing goes, whatever it is that is packed: everything that can be
 * reached from the root is copied, in steps, and what is committed between the
 * steps is taken over.
 *
 * @module
 */
import { type Oid, recordReferences, ROOT_OID } from "../serialize/record.ts";
import { OidQueue } from "./oid_queue.ts";
import { OidSet } from "./oid_set.ts";
import type { Progress } from "./storage.ts";

/** What is packed, and where to. */
export interface PackWork {
  /** What was committed since the last look. Who commits adds to it. */
  readonly changed: Set<Oid>;
  /** Copies the newest record of an object and returns it; `undefined` if there is none. */
  copy(oid: Oid): Uint8Array | undefined;
  /** Goes through all objects that there are before packing. */
  oids(): Iterable<Oid>;
  /** Does what can be done before the last step, in steps. */
  prepare(): Iterable<void>;
  /**
   * The last step: what was copied takes the place of what was there. These
   * objects are gone.
   */
  finish(removed: readonly Oid[]): void;
}

/** Takes all steps of a pack, and returns what the last one told. */
export function packToEnd(steps: Iterable<Progress>): Progress {
  let last: Progress = { records: 0, bytes: 0 };
  for (const progress of steps) last = progress;
  return last;
}

/** A step ends after this many bytes or records: some milliseconds. */
const STEP_BYTES = 256 * 1024;
const STEP_RECORDS = 500;
const STEP_LOOKS = 20_000;

/** Packs. */
export function* pack(work: PackWork): Generator<Progress, void> {
  const seen = new OidSet();
  const queue = new OidQueue();
  const { changed } = work;
  let records = 0;
  let bytes = 0;
  let walked = false;
  let backlog = Infinity;
  let longer = 1;

  // Copies until the step is over; returns whether nothing is left to copy.
  function step(): boolean {
    walked ||= queue.isEmpty;
    if (walked) {
      // When commits bring more than a step copies, only longer steps come to an end.
      const left = queue.length + changed.size;
      if (left >= backlog) longer *= 2;
      backlog = left;
    }
    const mostRecords = records + longer * STEP_RECORDS;
    const mostBytes = bytes + longer * STEP_BYTES;
    while (records < mostRecords && bytes < mostBytes) {
      let oid = queue.shift();
      if (oid === undefined) {
        // What was committed meanwhile is copied, or copied again.
        [oid] = changed;
        if (oid === undefined) return true;
        seen.add(oid);
      }
      changed.delete(oid);
      const record = work.copy(oid);
      // A reference may lead nowhere, as it did before.
      if (record === undefined) continue;
      records++;
      bytes += record.length;
      for (const reference of recordReferences(record)) {
        if (seen.add(reference)) queue.push(reference);
      }
    }
    return false;
  }

  function* copyAll(): Generator<Progress> {
    while (!step()) yield { records, bytes };
  }

  seen.add(ROOT_OID);
  queue.push(ROOT_OID);
  yield* copyAll();

  const unseen: Oid[] = [];
  let looks = 0;
  for (const oid of work.oids()) {
    if (!seen.has(oid)) unseen.push(oid);
    if (++looks % STEP_LOOKS === 0) yield { records, bytes };
  }

  yield* copyAll();
  for (const _ of work.prepare()) yield { records, bytes };

  // Nothing can be committed from the end of `copyAll()` on, as nothing is yielded.
  yield* copyAll();
  work.finish(unseen.filter((oid) => !seen.has(oid)));
  yield { records, bytes };
}
