/**
 * Finding the root object of a database, and making it where there is none.
 *
 * @module
 */
import {
  ClassError,
  ConnectionError,
  ReadonlyError,
  WriteConflictError,
} from "../errors.ts";
import type { PersistentClass } from "../persistent/classes.ts";
import type { PersistentObject } from "../persistent/persistent.ts";
import { slotOf } from "../persistent/slot.ts";
import { ROOT_OID } from "../serialize/record.ts";
import { describeTid } from "../storage/moment.ts";
import type { Transactions } from "./transactions.ts";

/** What is to be found. */
export interface RootOptions {
  /** What the database is called in messages. */
  readonly name: string;
  /** The class that the root must have, if that was said. */
  readonly rootClass: PersistentClass | undefined;
  /** The class of a root that is made otherwise. */
  readonly otherwise: PersistentClass;
  /** Whether the past is shown, in which nothing is made. */
  readonly isPast: boolean;
}

/**
 * Returns the root object, which is made and stored if there is none.
 *
 * @throws {ConnectionError} if there was none at the moment that is shown.
 * @throws {ReadonlyError} if none can be made.
 * @throws {ClassError} if it is of another class.
 */
export function openRoot(
  transactions: Transactions,
  { name, rootClass, otherwise, isPast }: RootOptions,
): PersistentObject {
  let root = transactions.get(ROOT_OID);
  if (root === undefined && isPast) {
    throw new ConnectionError(
      `Cannot show the database as of ${
        describeTid(transactions.tid)
      }: there was no root object yet`,
    );
  }
  if (root === undefined) {
    const made = makeRoot(transactions, rootClass ?? otherwise);
    try {
      transactions.commit({});
      root = made;
    } catch (error) {
      if (error instanceof ReadonlyError) {
        throw new ReadonlyError(
          `Cannot open ${name}: nothing was ever stored in it, and it was opened for reading only, so no root object can be made`,
          { cause: error },
        );
      }
      // Somebody else may have made it in the meantime.
      if (!(error instanceof WriteConflictError)) throw error;
      transactions.abort();
      root = transactions.get(ROOT_OID)!;
    }
  }
  const found = root._p_className;
  if (rootClass !== undefined && !(root instanceof rootClass)) {
    throw new ClassError(
      `Cannot open the database: its root is a ${found}, not a ${rootClass.name}`,
    );
  }
  return root;
}

function makeRoot(
  { objects }: Transactions,
  type: PersistentClass,
): PersistentObject {
  const made = new type();
  try {
    objects.adopt(slotOf(made)!, ROOT_OID);
  } catch (cause) {
    if (!(cause instanceof ClassError)) throw cause;
    throw new ClassError(
      `Cannot make the root object: ${cause.message}`,
      { cause },
    );
  }
  return made;
}
