/**
 * A persistent `Map`.
 *
 * @module
 */
import { ClassError, DecodeError } from "../errors.ts";
import { registerClass } from "../persistent/classes.ts";
import { PersistentObject, wrap } from "../persistent/persistent.ts";
import { SLOT, type Slot } from "../persistent/slot.ts";
import { iterate, pick } from "./_iterate.ts";

const ENTRIES = Symbol("dhara.entries");

/** The bare object behind the proxy. */
interface Bare<K, V> extends PersistentObject {
  [SLOT]: Slot;
  [ENTRIES]: Map<K, V>;
}

// One trap of the proxy instead of two: the slot knows the bare object.
function read<K, V>(dict: PersistentDict<K, V>): Map<K, V> {
  const slot = (dict as unknown as Bare<K, V>)[SLOT];
  slot.noteAccess();
  return (slot.target as Bare<K, V>)[ENTRIES];
}

function change<K, V>(dict: PersistentDict<K, V>): Map<K, V> {
  const slot = (dict as unknown as Bare<K, V>)[SLOT];
  slot.noteChange();
  return (slot.target as Bare<K, V>)[ENTRIES];
}

/**
 * A persistent object with the interface of `Map`: entries in the order of
 * insertion, keys of any kind. Every change is noted.
 *
 * String keys can also be used as properties, as in `root["hello"]`,
 * `"hello" in root` and `delete root["hello"]`, and `Object.keys`, `for in`
 * and spread go through them. The names of the methods, and names that begin
 * with `_p_`, are not keys in this way: reading one gives the method and
 * assigning it fails; `get()`, `set()` and `delete()` take them like any other.
 *
 * @example
 * ```ts
 * import { Connection, MemoryStorage, PersistentDict } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * using connection = new Connection(new MemoryStorage());
 * const ages = connection.root["ages"] = new PersistentDict<string, number>();
 * ages.set("ada", 36).set("grace", 85);
 * connection.commit();
 * assertEquals([...ages.keys()], ["ada", "grace"]);
 * assertEquals(connection.root["ages"]["ada"], 36);
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
    super();
    (this as unknown as Bare<K, V>)[ENTRIES] = new Map(entries);
    return wrap(this, handler as unknown as ProxyHandler<this>);
  }

  /** Makes the blank object that loading starts from. */
  static override _p_create(
    this: { prototype: PersistentObject },
  ): PersistentObject {
    const bare = PersistentObject._p_create.call(this) as Bare<
      unknown,
      unknown
    >;
    bare[ENTRIES] = new Map();
    return wrap(bare, handler as unknown as ProxyHandler<typeof bare>);
  }

  /** Returns what is stored. */
  override _p_getState(): Record<string, unknown> {
    return { entries: (this as unknown as Bare<K, V>)[ENTRIES] };
  }

  /** Takes what was stored. */
  override _p_setState(state: Record<string, unknown>): void {
    const { entries } = state;
    if (!(entries instanceof Map)) {
      throw new DecodeError("the state of a dict has no entries");
    }
    (this as unknown as Bare<K, V>)[ENTRIES] = entries;
  }

  /** Drops the entries from memory. */
  override _p_clearState(): void {
    (this as unknown as Bare<K, V>)[ENTRIES] = new Map();
  }

  /** How many entries there are. */
  get size(): number {
    return read(this).size;
  }

  /** Returns the value of a key, or `undefined` if there is none. */
  get(key: K): V | undefined {
    return read(this).get(key);
  }

  /** Returns whether there is an entry of a key. */
  has(key: K): boolean {
    return read(this).has(key);
  }

  /** Sets the value of a key. */
  set(key: K, value: V): this {
    change(this).set(key, value);
    return this;
  }

  /** Removes the entry of a key, and returns whether there was one. */
  delete(key: K): boolean {
    return read(this).has(key) && change(this).delete(key);
  }

  /** Removes all entries. */
  clear(): void {
    if (read(this).size > 0) change(this).clear();
  }

  /** Returns the value of a key, after setting it to `value` if there is none. */
  getOrInsert(key: K, value: V): V {
    const entries = read(this);
    if (entries.has(key)) return entries.get(key)!;
    this.set(key, value);
    return value;
  }

  /** Returns the value of a key, after setting it to what `compute` returns if there is none. */
  getOrInsertComputed(key: K, compute: (key: K) => V): V {
    const entries = read(this);
    if (entries.has(key)) return entries.get(key)!;
    // As in a Map, the key that is stored is never -0.
    const value = compute(Object.is(key, -0) ? 0 as K : key);
    this.set(key, value);
    return value;
  }

  /** Calls a function for each entry. */
  forEach(
    // deno-lint-ignore no-explicit-any
    work: (value: V, key: K, dict: any) => void,
    thisArg?: unknown,
  ): void {
    for (const [key, value] of this) work.call(thisArg, value, key, this);
  }

  /** Goes through the entries, in the order of insertion. */
  entries(): MapIterator<[K, V]> {
    return iterate(() => read(this)) as unknown as MapIterator<[K, V]>;
  }

  /** Goes through the keys, in the order of insertion. */
  keys(): MapIterator<K> {
    return pick(this.entries(), ([key]) => key) as unknown as MapIterator<K>;
  }

  /** Goes through the values, in the order of insertion. */
  values(): MapIterator<V> {
    return pick(
      this.entries(),
      ([, value]) => value,
    ) as unknown as MapIterator<V>;
  }

  /** Goes through the entries, in the order of insertion. */
  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.entries();
  }

  /** Returns an object of the entries with string keys, for `JSON.stringify`. */
  toJSON(): Record<string, V> {
    const entries = read(this).entries();
    return Object.fromEntries(
      entries.filter(([key]) => typeof key === "string"),
    );
  }

  /** What `Object.prototype.toString` shows. */
  get [Symbol.toStringTag](): string {
    return "PersistentDict";
  }
}

type Target = Bare<string, unknown> & PersistentDict<string, unknown>;

/** Returns whether a name belongs to the class, so that it is no key. */
function isMember(target: object, key: string): boolean {
  return key in target || key.startsWith("_p_");
}

function refuse(what: string, target: Target, key: string, use: string): never {
  const name = JSON.stringify(key);
  throw new ClassError(
    `Cannot ${what} ${target._p_className}[${name}]: the class has a member of that name; use ${use} to have it as a key`,
  );
}

function hasSetter(target: object, key: string): boolean {
  for (let at = target; at !== null; at = Object.getPrototypeOf(at)) {
    const property = Object.getOwnPropertyDescriptor(at, key);
    if (property) return property.set !== undefined && key !== "__proto__";
  }
  return false;
}

function assign(target: Target, key: string, value: unknown): boolean {
  if (isMember(target, key)) {
    refuse("assign", target, key, `set(${JSON.stringify(key)}, ...)`);
  }
  target.set(key, value);
  return true;
}

/** Makes string keys properties. One handler serves all dicts. */
const handler: ProxyHandler<Target> = {
  get(target, key, receiver) {
    if (typeof key === "symbol" || key in target) {
      return Reflect.get(target, key, receiver);
    }
    return target.get(key);
  },
  set(target, key, value, receiver) {
    if (typeof key === "symbol" || receiver !== target[SLOT].self) {
      return Reflect.set(target, key, value, receiver);
    }
    // A setter of a class that extends this one.
    if (hasSetter(target, key)) {
      return Reflect.set(target, key, value, receiver);
    }
    return assign(target, key, value);
  },
  has(target, key) {
    return key in target || typeof key === "string" && target.has(key);
  },
  deleteProperty(target, key) {
    if (typeof key === "symbol") return Reflect.deleteProperty(target, key);
    if (isMember(target, key)) {
      refuse("delete", target, key, `delete(${JSON.stringify(key)})`);
    }
    target.delete(key);
    return true;
  },
  ownKeys(target) {
    return read(target).keys().filter((key) =>
      typeof key === "string" && !isMember(target, key)
    ).toArray();
  },
  getOwnPropertyDescriptor(target, key) {
    if (
      typeof key === "symbol" || isMember(target, key) || !target.has(key)
    ) {
      return undefined;
    }
    return {
      value: target.get(key),
      writable: true,
      enumerable: true,
      configurable: true,
    };
  },
  defineProperty(target, key, property) {
    if (typeof key === "symbol") {
      return Reflect.defineProperty(target, key, property);
    }
    if (property.get || property.set) {
      throw new ClassError(
        `Cannot define ${target._p_className}[${
          JSON.stringify(key)
        }]: a dict holds values, not accessors`,
      );
    }
    return assign(target, key, property.value);
  },
  preventExtensions(target) {
    throw new ClassError(
      `Cannot freeze ${target._p_className}: a persistent object must be able to load and drop its state`,
    );
  },
};

registerClass("PersistentDict", PersistentDict);
