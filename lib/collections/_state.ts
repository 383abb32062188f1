/**
 * What lists and sets store: their items, and beside them the fields of a class
 * that extends them.
 *
 * @module
 */
import { ClassError, DecodeError } from "../errors.ts";
import type { PersistentObject } from "../persistent/persistent.ts";

/** Returns the state to store. */
export function stateOf(
  object: PersistentObject,
  items: unknown[],
): Record<string, unknown> {
  if (Object.hasOwn(object, "items")) {
    throw new ClassError(
      `Cannot store ${object._p_className}: its items are stored under the name items, so that it can have no field of that name`,
    );
  }
  return { ...object, items };
}

/** Gives an object the fields of a stored state, and returns the items. */
export function takeState(
  object: PersistentObject,
  { items, ...fields }: Record<string, unknown>,
): unknown[] {
  if (!Array.isArray(items)) throw new DecodeError("the state has no items");
  for (const name of Object.keys(fields)) {
    // Not assigned: the name may be __proto__.
    Object.defineProperty(object, name, {
      value: fields[name],
      writable: true,
      enumerable: true,
      configurable: true,
    });
  }
  return items;
}
