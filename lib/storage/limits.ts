/**
 * How much a storage takes, whatever its kind.
 *
 * @module
 */
import { StorageError } from "../errors.ts";
import { isOid, type Oid } from "../serialize/record.ts";

/** How many numbers are given out at once at most: an answer must fit in memory. */
export const MOST_NUMBERS = 1_000_000;

/**
 * How far above the numbers in use a committed one may be. Each number that
 * stands alone costs a page of the index, so leaps must not be free.
 */
export const LONGEST_LEAP = 2 ** 24;

/** No number is larger. */
export const LARGEST_OID: Oid = Number.MAX_SAFE_INTEGER;

/** Whether a value can be the number of an object that is stored: one number must be free after it. */
export function isStorableOid(value: unknown): value is Oid {
  return isOid(value) && value !== LARGEST_OID;
}

/**
 * Checks how many numbers somebody asks for.
 *
 * @throws {StorageError} if it is no number of numbers, or too many at once.
 */
export function checkCount(count: number): void {
  if (Number.isInteger(count) && count >= 0 && count <= MOST_NUMBERS) return;
  throw new StorageError(
    `Cannot allocate ${count} numbers: ask for 0 to ${MOST_NUMBERS}`,
  );
}

/**
 * Returns the first number that is free after a commit.
 *
 * @throws {StorageError} if a record leaps too far beyond the numbers that were given out.
 */
export function nextAfter(oids: Iterable<Oid>, free: Oid): Oid {
  let next = free;
  for (const oid of oids) if (oid >= next) next = oid + 1;
  if (next - free <= LONGEST_LEAP) return next;
  throw new StorageError(
    `Cannot commit object #${
      next - 1
    }: numbers from ${free} on are free; allocate them first`,
  );
}
