/**
 * The base classes of all objects that Dhara stores.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";
import { ClassError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import { makeInspectable } from "./inspect.ts";
import { NO_OID, SLOT, Slot, type Status } from "./slot.ts";

export type { Status } from "./slot.ts";

/** What the methods below see of `this`, be it the bare object or a proxy. */
interface Holder {
  [SLOT]: Slot;
}

/**
 * A persistent object without a proxy, for classes that track their own
 * changes as the collections do: each method that reads calls
 * `_p_noteAccess()` first, each method that changes something calls
 * `_p_noteChange()` before it does. Most classes extend
 * {@linkcode Persistent} instead, which does all that by itself.
 *
 * @example
 * ```ts
 * import { Connection, MemoryStorage, PersistentObject } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * class Counter extends PersistentObject {
 *   count = 0;
 *   increment() {
 *     this._p_noteChange();
 *     return ++this.count;
 *   }
 * }
 *
 * using connection = new Connection(new MemoryStorage(), {
 *   classes: { Counter },
 * });
 * const counter = connection.root["counter"] = new Counter();
 * connection.commit();
 * counter.increment();
 * assertEquals(counter._p_status, "unsaved");
 * ```
 */
export class PersistentObject {
  /** Makes an object that belongs to no connection until it is reachable at a commit. */
  constructor() {
    install(this);
  }

  /**
   * Makes the blank object that loading starts from. It does not run the
   * constructor. A class whose methods use `#private` members overrides it,
   * as do the classes that extend it, since only a constructor can install these:
   * `static override _p_create() { return new Account(); }`.
   */
  static _p_create(this: { prototype: PersistentObject }): PersistentObject {
    return install(Object.create(this.prototype));
  }

  /** The object's number, or `undefined` before the first commit. */
  get _p_oid(): Oid | undefined {
    const { oid } = (this as unknown as Holder)[SLOT];
    return oid === NO_OID ? undefined : oid;
  }

  /** Whether the state is in memory, and whether it is as stored. */
  get _p_status(): Status {
    return (this as unknown as Holder)[SLOT].status;
  }

  /** The connection that the object belongs to, or `undefined` before the first commit. */
  get _p_connection(): Connection<object> | undefined {
    return (this as unknown as Holder)[SLOT].owner.connection;
  }

  /** The last transaction that accessed the object, as the connection's `transactionSerial` counts. */
  get _p_serial(): number {
    return (this as unknown as Holder)[SLOT].serial;
  }

  /** The name that the object's class is stored under. */
  get _p_className(): string {
    return (this as unknown as Holder)[SLOT].className || this.constructor.name;
  }

  /** Returns whether the state is not in memory. */
  _p_isGhost(): boolean {
    return this._p_status === "ghost";
  }

  /** Returns whether the state is in memory and as stored. */
  _p_isSaved(): boolean {
    return this._p_status === "saved";
  }

  /** Returns whether the state is new or changed. */
  _p_isUnsaved(): boolean {
    return this._p_status === "unsaved";
  }

  /**
   * Notes that the object is being read, and loads its state if that is not in
   * memory.
   *
   * @throws {ReadConflictError} if the storage no longer has the state.
   * @throws {ConnectionError} if the connection was closed.
   */
  _p_noteAccess(): void {
    (this as unknown as Holder)[SLOT].noteAccess();
  }

  /**
   * Notes that the object is about to change, so that the next commit stores
   * it. Call it after changing a plain array, object, `Map` or `Set` inside
   * the object in place.
   *
   * @throws {ReadConflictError} if the storage no longer has the state.
   * @throws {ConnectionError} if the connection was closed.
   */
  _p_noteChange(): void {
    (this as unknown as Holder)[SLOT].noteChange();
  }

  /**
   * Returns what is to be stored: by default the object itself, whose
   * enumerable string-keyed properties count, but not those whose names begin
   * with `_v_`. `this` is the bare object.
   */
  _p_getState(): Record<string, unknown> {
    return this as unknown as Record<string, unknown>;
  }

  /** Takes the state that was stored. `this` is the bare object, which is blank. */
  _p_setState(state: Record<string, unknown>): void {
    Object.assign(this, state);
  }

  /** Drops the state. `this` is the bare object. */
  _p_clearState(): void {
    const keys = Object.keys(this);
    // Last first: V8 then keeps the object in its fast form.
    for (let i = keys.length - 1; i >= 0; i--) {
      delete (this as Record<string, unknown>)[keys[i]!];
    }
  }
}

function install<T extends object>(object: T): T {
  (object as Partial<Holder>)[SLOT] = new Slot(
    object as unknown as PersistentObject,
  );
  return object;
}

/** Puts a proxy around a persistent object, and makes it what the program holds. */
export function wrap<T extends PersistentObject>(
  target: T,
  handler: ProxyHandler<T>,
): T {
  const proxy = new Proxy(target, handler);
  (target as unknown as Holder)[SLOT].self = proxy;
  return proxy;
}

/** Returns whether a property says something about the object, rather than being its state. */
function isBookkeeping(key: string | symbol): boolean {
  return typeof key === "symbol" || key.startsWith("_p_");
}

type Target = PersistentObject & Holder & Record<string | symbol, unknown>;

function load(target: Target, key: string | symbol): void {
  const slot = target[SLOT];
  if (slot.serial !== slot.owner.serial && !isBookkeeping(key)) {
    slot.owner.access(slot);
  }
}

function inheritsAccessor(target: object, key: string): boolean {
  if (Object.hasOwn(target, key) || !(key in target)) return false;
  let at = Object.getPrototypeOf(target);
  while (!Object.hasOwn(at, key)) at = Object.getPrototypeOf(at);
  return "get" in Object.getOwnPropertyDescriptor(at, key)!;
}

/**
 * Loads a ghost before anything is read, and notes changes. One handler serves
 * all objects. It has no `defineProperty` trap, since that would make
 * constructing an object four times as expensive: class fields are defined,
 * not set.
 */
const handler: ProxyHandler<Target> = {
  get(target, key, receiver) {
    const slot = target[SLOT];
    if (slot.serial !== slot.owner.serial && !isBookkeeping(key)) {
      slot.owner.access(slot);
    }
    return Reflect.get(target, key, receiver);
  },
  set(target, key, value, receiver) {
    const slot = target[SLOT];
    if (receiver !== slot.self || typeof key === "symbol") {
      return Reflect.set(target, key, value, receiver);
    }
    if (key.startsWith("_p_")) {
      throw new ClassError(
        `Cannot assign ${slot.self._p_className}.${key}: names that begin with _p_ are Dhara's own`,
      );
    }
    slot.noteAccess();
    if (inheritsAccessor(target, key)) {
      return Reflect.set(target, key, value, receiver);
    }
    if (!key.startsWith("_v_")) slot.noteChange();
    target[key] = value;
    return true;
  },
  has(target, key) {
    load(target, key);
    return key in target;
  },
  deleteProperty(target, key) {
    load(target, key);
    if (key === SLOT) return false;
    if (Object.hasOwn(target, key) && typeof key === "string") {
      if (!key.startsWith("_v_")) target[SLOT].noteChange();
    }
    return Reflect.deleteProperty(target, key);
  },
  ownKeys(target) {
    load(target, "");
    return Reflect.ownKeys(target).filter((key) => key !== SLOT);
  },
  getOwnPropertyDescriptor(target, key) {
    load(target, key);
    return key === SLOT
      ? undefined
      : Reflect.getOwnPropertyDescriptor(target, key);
  },
  preventExtensions(target) {
    throw new ClassError(
      `Cannot freeze ${target._p_className}: a persistent object must be able to load and drop its state`,
    );
  },
};

/**
 * The base class of objects that are stored by themselves: extend it and
 * there is nothing else to say. Every property that is assigned is noted and
 * stored at the next commit, and the state is loaded when it is first needed.
 *
 * Not stored are `#private` members, properties under symbols and properties
 * whose names begin with `_v_` (volatile). Names that begin with `_p_` are
 * Dhara's own. Plain arrays, objects, `Map`s and `Set`s inside the object are
 * stored with it but not watched: call `_p_noteChange()` after changing one in
 * place. Nor is watched what goes around assignment, which is
 * `Object.defineProperty` and `super.name = value`: call it before these, since
 * it loads the object.
 *
 * @example
 * ```ts
 * import { Connection, MemoryStorage, Persistent } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * class Account extends Persistent {
 *   owner = "";
 *   balance = 0;
 *   deposit(amount: number) {
 *     this.balance += amount;
 *   }
 * }
 *
 * using connection = new Connection(new MemoryStorage(), {
 *   classes: { Account },
 * });
 * connection.root["ada"] = new Account();
 * connection.root["ada"].deposit(10);
 * connection.commit();
 * assertEquals(connection.root["ada"].balance, 10);
 * ```
 */
export class Persistent extends PersistentObject {
  /** Makes an object that belongs to no connection until it is reachable at a commit. */
  constructor() {
    super();
    return wrap(this as unknown as Target, handler) as unknown as this;
  }

  /**
   * Makes the blank object that loading starts from; see
   * {@linkcode PersistentObject._p_create}.
   */
  static override _p_create(
    this: { prototype: PersistentObject },
  ): PersistentObject {
    return wrap(install(Object.create(this.prototype)), handler as object);
  }
}

/**
 * What a record of a class that nobody registered comes to life as: it has the
 * stored properties but not the methods. It can be browsed and changed, and is
 * stored back under its own class name, which `_p_className` tells.
 *
 * @example
 * ```ts
 * import {
 *   BrokenObject,
 *   Connection,
 *   MemoryStorage,
 *   Persistent,
 * } from "@dhara/dhara";
 * import { assert, assertEquals } from "@std/assert";
 *
 * class Account extends Persistent {
 *   owner = "ada";
 * }
 *
 * const storage = new MemoryStorage();
 * using writer = new Connection(storage, { classes: { Account } });
 * writer.root["ada"] = new Account();
 * writer.commit();
 *
 * using reader = new Connection(storage);
 * const broken = reader.root["ada"];
 * assert(broken instanceof BrokenObject);
 * assertEquals(broken._p_className, "Account");
 * assertEquals(broken["owner"], "ada");
 * ```
 */
export class BrokenObject extends Persistent {
  /** A stored property. */
  [name: string]: unknown;
}

makeInspectable(PersistentObject.prototype);
