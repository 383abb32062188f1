/**
 * A persistent object with the interface of `Map`.
 *
 * @module
 */
import { DecodeError } from "../errors.ts";
import { registerClass } from "../persistent/classes.ts";
import {
  announceWrap,
  bareGhost,
  PersistentObject,
} from "../persistent/persistent.ts";
import { iterate } from "./iterate.ts";
import { ENTRIES, withProperties } from "./properties.ts";
import { slotWithin } from "./stamp.ts";

/** The bare object behind the proxy; its entries are missing in a ghost. */
interface Bare<K, V> extends PersistentObject {
  [ENTRIES]: Map<K, V> | undefined;
}

function bare<K, V>(object: PersistentObject): Bare<K, V> {
  return object as Bare<K, V>;
}

function read<K, V>(dict: PersistentDict<K, V>): Map<K, V> {
  const slot = slotWithin(dict);
  slot.noteAccess();
  return bare<K, V>(slot.target)[ENTRIES]!;
}

function change<K, V>(dict: PersistentDict<K, V>): Map<K, V> {
  const slot = slotWithin(dict);
  slot.noteChange();
  return bare<K, V>(slot.target)[ENTRIES]!;
}

function checkFunction(value: unknown): void {
  if (typeof value !== "function") {
    throw new TypeError(`Cannot call ${String(value)}: it is not a function`);
  }
}

/**
 * A persistent object with the interface of `Map`: any keys, in the order in
 * which they were added. It is stored as one record, and notes every change by
 * itself.
 *
 * **Properties.** String keys can be used as properties, too: `dict["a"]`,
 * `dict["a"] = 1`, `"a" in dict`, `delete dict["a"]`, `Object.keys(dict)`,
 * `{ ...dict }`. Not so for names that every dict has, such as `size`, `get`,
 * `toString`, `constructor` or `__proto__`, and for names that begin with
 * `_p_`: as properties they are what they are on every object, they cannot be
 * assigned or deleted, and `Object.keys` leaves them out. As keys they are as
 * good as any: `dict.set("size", 1)`. A number in brackets is a string there,
 * as with every object: `dict[1]` is `dict.get("1")`. A symbol in brackets is a
 * property of the object in memory, and not stored. A field of a class that
 * extends it is a key.
 *
 * TypeScript knows the properties of a connection's root. To use those of
 * another dict, say so in its type: `PersistentDict<string, number> &
 * Record<string, any>`.
 *
 * **Loops.** An iterator sees what is added and deleted meanwhile, as that of a
 * `Map`. After an `abort()`, or a `commit()` that brought changes of others, it
 * goes on in what the dict holds then, after the key that it gave last.
 *
 * **Values.** Plain objects, arrays, `Map`s and `Set`s inside it are stored
 * with it but not watched: call `_p_noteChange()` after changing one in place.
 *
 * @example
 * ```ts
 * import { Connection, MemoryStorage, PersistentDict } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * using connection = new Connection(new MemoryStorage());
 * const ages = new PersistentDict<string, number>([["Ada", 36]]);
 * connection.root["ages"] = ages;
 * connection.commit();
 *
 * ages.set("Grace", 85);
 * assertEquals(ages._p_status, "unsaved");
 * assertEquals([...ages.keys()], ["Ada", "Grace"]);
 * assertEquals(connection.root["ages"]["Grace"], 85);
 * ```
 *
 * @typeParam K The type of the keys.
 * @typeParam V The type of the values.
 */
// deno-lint-ignore no-explicit-any
export class PersistentDict<K = string, V = any> extends PersistentObject
  implements Map<K, V> {
  /** Makes a dict with the given entries. */
  constructor(entries?: Iterable<readonly [K, V]> | null) {
    announceWrap();
    super();
    bare<K, V>(this)[ENTRIES] = new Map(entries);
    return withProperties(this);
  }

  /** Makes a dict of arrays: of the items for which a function returns the same key. */
  static groupBy<K, T>(
    items: Iterable<T>,
    keyOf: (item: T, index: number) => K,
  ): PersistentDict<K, T[]> {
    return new this(Map.groupBy(items, keyOf));
  }

  /** Makes the blank dict that loading starts from. */
  static override _p_create(
    this: { prototype: PersistentObject },
  ): PersistentObject {
    const blank = bareGhost(this.prototype);
    bare(blank)[ENTRIES] = undefined;
    return withProperties(blank);
  }

  /** How many entries there are. */
  get size(): number {
    return read(this).size;
  }

  /** Returns the value of a key, or `undefined`. */
  get(key: K): V | undefined {
    return read(this).get(key);
  }

  /** Returns whether there is such a key. */
  has(key: K): boolean {
    return read(this).has(key);
  }

  /** Gives a key a value, and returns the dict. */
  set(key: K, value: V): this {
    change(this).set(key, value);
    return this;
  }

  /** Deletes a key, and returns whether it was there. */
  delete(key: K): boolean {
    return read(this).has(key) && change(this).delete(key);
  }

  /** Deletes all keys. */
  clear(): void {
    if (read(this).size > 0) change(this).clear();
  }

  /** Returns the value of a key, which it is given first if it is not there. */
  getOrInsert(key: K, value: V): V {
    const entries = read(this);
    if (entries.has(key)) return entries.get(key)!;
    this.set(key, value);
    return value;
  }

  /** Returns the value of a key; if it is not there it is given what `compute` returns first. */
  getOrInsertComputed(key: K, compute: (key: K) => V): V {
    const entries = read(this);
    checkFunction(compute);
    if (entries.has(key)) return entries.get(key)!;
    // As in a Map, where no key is -0.
    const value = compute(Object.is(key, -0) ? 0 as K : key);
    this.set(key, value);
    return value;
  }

  /** Calls a function with each value, its key and the dict. */
  forEach(
    callback: (value: V, key: K, dict: this) => void,
    thisArg?: unknown,
  ): void {
    const entries = this.entries();
    checkFunction(callback);
    const dict = slotWithin(this).self as this;
    for (const [key, value] of entries) {
      callback.call(thisArg, value, key, dict);
    }
  }

  /** Goes through pairs of key and value. */
  entries(): MapIterator<[K, V]> {
    return iterate(() => read(this), (entry) => entry);
  }

  /** Goes through the keys. */
  keys(): MapIterator<K> {
    return iterate(() => read(this), (entry) => entry[0]);
  }

  /** Goes through the values. */
  values(): MapIterator<V> {
    return iterate(() => read(this), (entry) => entry[1]);
  }

  /** Goes through pairs of key and value. */
  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.entries();
  }

  /**
   * Returns an object of the entries, for `JSON.stringify`: a key that is no
   * string is the text of it, as the name of a property would be. Where that
   * does not tell all keys apart, it returns an array of pairs instead, and so
   * it does if a key is an object.
   */
  toJSON(): Record<string, V> | [K, V][] {
    const entries = read(this);
    const names = new Set<string>();
    for (const key of entries.keys()) {
      if (typeof key === "object" || typeof key === "function") {
        if (key !== null) return [...entries];
      }
      names.add(String(key));
    }
    return names.size === entries.size
      ? Object.fromEntries(entries) as Record<string, V>
      : [...entries];
  }

  /** What `Object.prototype.toString` shows. */
  get [Symbol.toStringTag](): string {
    return "PersistentDict";
  }

  /** Returns what is stored. */
  override _p_getState(): Record<string, unknown> {
    // Noted nowhere: to look at it is not to read it.
    return { entries: bare<K, V>(slotWithin(this).target)[ENTRIES] };
  }

  /** Takes what was stored. */
  override _p_setState(state: Record<string, unknown>): void {
    const { entries } = state;
    if (!(entries instanceof Map)) {
      throw new DecodeError("its state has no Map of entries");
    }
    bare(slotWithin(this).target)[ENTRIES] = entries;
  }

  /** Drops the entries from memory. */
  override _p_clearState(): void {
    // Not cleared: an iterator may still have to tell where it was.
    bare(slotWithin(this).target)[ENTRIES] = undefined;
  }
}

registerClass("PersistentDict", PersistentDict);
