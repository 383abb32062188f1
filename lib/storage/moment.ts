/**
 * Moments in a database, as programs and people write them.
 *
 * @module
 */
import { StorageError } from "../errors.ts";
import type { PackOptions, Tid } from "./storage.ts";

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 };

/**
 * No clock may say more. It leaves tids for a trillion transactions after it,
 * should a clock have been that far ahead once.
 */
const LATEST: Tid = Number.MAX_SAFE_INTEGER - 2 ** 40;

/**
 * Returns what the clock says, as a tid.
 *
 * @throws {StorageError} if a tid of that time could not be read again.
 */
export function now(): Tid {
  const milliseconds = Date.now();
  const tid = Math.floor(milliseconds * 1000);
  if (tid <= LATEST) return Math.max(tid, 0);
  const date = new Date(milliseconds);
  throw new StorageError(
    `Cannot tell the time: the clock says ${
      Number.isNaN(date.getTime()) ? milliseconds : date.toISOString()
    }, and times go to ${timeOf(LATEST).toISOString()}; set the clock right`,
  );
}

/**
 * Returns the last tid of a moment: a `Date` has milliseconds, each with room
 * for 1000 tids.
 */
export function tidOf(moment: Tid | Date): Tid {
  const tid = moment instanceof Date ? moment.getTime() * 1000 + 999 : moment;
  if (Number.isSafeInteger(tid) && tid >= 0) return tid;
  throw new StorageError(
    `Cannot go to ${
      moment instanceof Date ? "an invalid date" : `moment ${moment}`
    }: give a Date since 1970, or a tid`,
  );
}

/** Returns when a tid was given. */
export function timeOf(tid: Tid): Date {
  return new Date(Math.floor(tid / 1000));
}

/** Returns a tid as messages name it. */
export function describeTid(tid: Tid): string {
  return `${tid} (${timeOf(tid).toISOString()})`;
}

/** Returns the moment from which on a pack keeps everything. */
export function cutOff(keep: NonNullable<PackOptions["keep"]>): Tid {
  if (typeof keep !== "string") return tidOf(keep);
  const found = keep.match(/^(\d{1,9}(?:\.\d{1,9})?) ?([smhd])$/);
  if (found === null) {
    throw new StorageError(
      `Cannot keep ${
        JSON.stringify(keep)
      }: write a time as in "7d", "12h", "30m" or "90s"`,
    );
  }
  const seconds = Number(found[1]) * SECONDS[found[2] as "s" | "m" | "h" | "d"];
  return Math.max(0, Math.floor(now() - seconds * 1e6));
}

/**
 * Returns the tid of a transaction that follows another.
 *
 * @throws {StorageError} if there is none, or if the clock is wrong.
 */
export function nextTid(last: Tid): Tid {
  const tid = Math.max(now(), last + 1);
  if (Number.isSafeInteger(tid)) return tid;
  throw new StorageError(
    `Cannot number a transaction after ${last}: there are no more numbers; convert the database into a new one`,
  );
}
