/**
 * Moments as people write and read them: local time, or a tid.
 *
 * @module
 */
import type { Tid } from "../storage/storage.ts";
import { UsageError } from "./options.ts";

/**
 * Reads `2026-11-23`, `2026-11-23T10:00`, with a blank in place of the T, with
 * seconds, with `Z` or an offset; without one it is local time. A number is a
 * tid.
 *
 * @throws {UsageError} if it is nothing of the kind.
 */
export function parseMoment(text: string): Tid | Date {
  if (/^\d{5,16}$/.test(text) && Number.isSafeInteger(Number(text))) {
    return Number(text);
  }
  const found =
    /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?) ?(Z|[+-]\d\d:\d\d)?)?$/i
      .exec(text);
  if (found !== null) {
    const [, day, time = "00:00", zone = ""] = found;
    // Without a time of day `Date` would take it for UTC.
    const date = new Date(`${day}T${time}${zone.toUpperCase()}`);
    if (date.getTime() >= 0) return date;
  }
  throw new UsageError(
    `Cannot take --at ${text}: write a time as in 2026-11-23T10:00:00 (local, or with Z or an offset such as +01:00), or a transaction's number`,
  );
}

/** Returns a local time with its offset, to the millisecond. */
export function formatTime(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  const local = new Date(date.getTime() + minutes * 60_000).toISOString();
  const two = (n: number) => String(Math.floor(n)).padStart(2, "0");
  const zone = `${minutes < 0 ? "-" : "+"}${two(Math.abs(minutes) / 60)}:${
    two(Math.abs(minutes) % 60)
  }`;
  return local.replace("Z", zone);
}
