/**
 * What a list or a set holds, where it hangs on the bare object, and what it
 * stores: its items, and beside them the fields of a class that extends it.
 *
 * @module
 */
import { ClassError, DecodeError } from "../errors.ts";
import { fieldsOf } from "../persistent/class_members.ts";
import { type PersistentObject, setFields } from "../persistent/persistent.ts";
import { slotOf } from "../persistent/slot.ts";
import { slotWithin } from "./stamp.ts";

/** The symbol under which the bare object holds its content. */
export const CONTENT: unique symbol = Symbol("dhara.content");

/** The bare object behind the proxy; its content is missing in a ghost. */
interface Bare<C> extends PersistentObject {
  [CONTENT]: C | undefined;
}

/** Returns the bare object of a collection. */
export function bare<C>(object: PersistentObject): Bare<C> {
  return slotOf(object)!.target as Bare<C>;
}

/** Notes an access, and returns the content. */
export function read<C>(object: PersistentObject): C {
  const slot = slotWithin(object);
  slot.noteAccess();
  return (slot.target as Bare<C>)[CONTENT]!;
}

/** Notes a change, and returns the content. */
export function change<C>(object: PersistentObject): C {
  const slot = slotWithin(object);
  slot.noteChange();
  return (slot.target as Bare<C>)[CONTENT]!;
}

/** Returns the state to store. */
export function stateOf(
  object: PersistentObject,
  items: unknown[],
): Record<string, unknown> {
  const target = bare(object);
  if (Object.hasOwn(target, "items")) {
    throw new ClassError(
      `Cannot store ${object._p_className}: its items are stored under the name items, so that it can have no field of that name`,
    );
  }
  return { ...fieldsOf(target), items };
}

/** Gives an object the fields of a stored state, and returns the items. */
export function takeState(
  object: PersistentObject,
  { items, ...fields }: Record<string, unknown>,
): unknown[] {
  if (!Array.isArray(items)) throw new DecodeError("the state has no items");
  setFields(bare(object), fields);
  return items;
}
