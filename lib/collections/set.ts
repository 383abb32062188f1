/**
 * A persistent `Set`.
 *
 * @module
 */
import { registerClass } from "../persistent/classes.ts";
import {
  announceWrap,
  bareGhost,
  PersistentObject,
} from "../persistent/persistent.ts";
import { MEMBER_TRAPS } from "../persistent/traps.ts";
import * as content from "./content.ts";
import { bare, CONTENT, stateOf, takeState } from "./content.ts";
import { iterate } from "./iterate.ts";
import { wrapCollection } from "./stamp.ts";

function read<T>(set: PersistentSet<T>): Set<T> {
  return content.read(set);
}

function change<T>(set: PersistentSet<T>): Set<T> {
  return content.change(set);
}

/**
 * A persistent object with the interface of `Set`, in the order of insertion.
 * Every change is noted. Set algebra (`union` and the like) gives plain `Set`s.
 * A class that extends it may have fields, which are stored too.
 *
 * @example
 * ```ts
 * import { Connection, MemoryStorage, PersistentSet } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * using connection = new Connection(new MemoryStorage());
 * const tags = connection.root["tags"] = new PersistentSet(["a", "b"]);
 * tags.add("c");
 * connection.commit();
 * assertEquals([...tags.intersection(new Set(["c", "d"]))], ["c"]);
 * ```
 *
 * @typeParam T The type of the members.
 */
export class PersistentSet<T = unknown> extends PersistentObject
  implements Set<T> {
  /** Makes a set with the given members. */
  constructor(items?: Iterable<T> | null) {
    announceWrap();
    super();
    bare<Set<T>>(this)[CONTENT] = new Set(items);
    return wrapCollection(this, MEMBER_TRAPS);
  }

  /** Makes the blank object that loading starts from. */
  static override _p_create(
    this: { prototype: PersistentObject },
  ): PersistentObject {
    const blank = bareGhost(this.prototype);
    bare(blank)[CONTENT] = undefined;
    return wrapCollection(blank, MEMBER_TRAPS);
  }

  /** Returns what is stored. */
  override _p_getState(): Record<string, unknown> {
    return stateOf(this, [...bare<Set<T>>(this)[CONTENT]!]);
  }

  /** Takes what was stored. */
  override _p_setState(state: Record<string, unknown>): void {
    bare(this)[CONTENT] = new Set(takeState(this, state));
  }

  /** Drops the members from memory. */
  override _p_clearState(): void {
    super._p_clearState();
    bare(this)[CONTENT] = undefined;
  }

  /** How many members there are. */
  get size(): number {
    return read(this).size;
  }

  /** Returns whether a value is a member. */
  has(value: T): boolean {
    return read(this).has(value);
  }

  /** Adds a member. */
  add(value: T): this {
    if (!read(this).has(value)) change(this).add(value);
    return this;
  }

  /** Removes a member, and returns whether it was one. */
  delete(value: T): boolean {
    return read(this).has(value) && change(this).delete(value);
  }

  /** Removes all members. */
  clear(): void {
    if (read(this).size > 0) change(this).clear();
  }

  /** Calls a function for each member. */
  forEach(
    // deno-lint-ignore no-explicit-any
    work: (value: T, again: T, set: any) => void,
    thisArg?: unknown,
  ): void {
    const values = iterate(() => read(this), ([value]) => value);
    if (typeof work !== "function") {
      throw new TypeError(`${String(work)} is not a function`);
    }
    for (const value of values) work.call(thisArg, value, value, this);
  }

  /** Goes through the members, in the order of insertion. */
  values(): SetIterator<T> {
    return iterate(() => read(this), ([value]) => value);
  }

  /** Goes through the members, like `values()`. */
  keys(): SetIterator<T> {
    return this.values();
  }

  /** Goes through the members, each as a pair with itself. */
  entries(): SetIterator<[T, T]> {
    return iterate(() => read(this), (entry) => entry);
  }

  /** Goes through the members, in the order of insertion. */
  [Symbol.iterator](): SetIterator<T> {
    return this.values();
  }

  /** Returns the members of this set and of another one. */
  union<U>(other: ReadonlySetLike<U>): Set<T | U> {
    return read(this).union(other);
  }

  /** Returns the members that another set has too. */
  intersection<U>(other: ReadonlySetLike<U>): Set<T & U> {
    return read(this).intersection(other);
  }

  /** Returns the members that another set does not have. */
  difference<U>(other: ReadonlySetLike<U>): Set<T> {
    return read(this).difference(other);
  }

  /** Returns the members that only one of this set and another one has. */
  symmetricDifference<U>(other: ReadonlySetLike<U>): Set<T | U> {
    return read(this).symmetricDifference(other);
  }

  /** Returns whether another set has all members of this one. */
  isSubsetOf(other: ReadonlySetLike<unknown>): boolean {
    return read(this).isSubsetOf(other);
  }

  /** Returns whether this set has all members of another one. */
  isSupersetOf(other: ReadonlySetLike<unknown>): boolean {
    return read(this).isSupersetOf(other);
  }

  /** Returns whether this set and another one have no member in common. */
  isDisjointFrom(other: ReadonlySetLike<unknown>): boolean {
    return read(this).isDisjointFrom(other);
  }

  /** Returns an array of the members, for `JSON.stringify`. */
  toJSON(): T[] {
    return [...read(this)];
  }

  /** What `Object.prototype.toString` shows. */
  get [Symbol.toStringTag](): string {
    return "PersistentSet";
  }
}

registerClass("PersistentSet", PersistentSet);
