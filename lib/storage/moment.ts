/**
 * Moments in a database, as programs and people write them.
 *
 * @module
 */
import { StorageError } from "../errors.ts";
import type { PackOptions, Tid } from "./storage.ts";

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 };

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
  return Math.max(0, Math.floor((Date.now() / 1000 - seconds) * 1e6));
}
