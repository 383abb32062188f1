/**
 * The base classes of all objects that Dhara stores.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";
import { EncodeError } from "../errors.ts";
import {
  fieldsOf,
  forgetKept,
  inheritedNames,
  keepAside,
  whyHidden,
} from "./class_members.ts";
import { makeInspectable } from "./inspect.ts";
import {
  NO_OID,
  type ObjectConnection,
  shownName,
  SLOT,
  Slot,
  type Status,
} from "./slot.ts";
import { constructionTraps, STORED_TRAPS, wrap } from "./traps.ts";

export type { ObjectConnection, Status } from "./slot.ts";

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
    // A proxy hides the slot by itself, in less time than this takes.
    if (willBeWrapped) install(this);
    else installHidden(this);
    willBeWrapped = false;
  }

  /**
   * Makes the blank object that loading starts from. It does not run the
   * constructor. A class whose methods use `#private` members overrides it,
   * as do the classes that extend it, since only a constructor can install these:
   * `static override _p_create() { return new Account(); }`.
   */
  static _p_create(this: { prototype: PersistentObject }): PersistentObject {
    return installHidden(Object.create(this.prototype));
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
  get _p_connection(): ObjectConnection | undefined {
    return (this as unknown as Holder)[SLOT].owner.connection;
  }

  /** The last transaction that accessed the object, as the connection's `transactionSerial` counts. */
  get _p_serial(): number {
    return (this as unknown as Holder)[SLOT].serial;
  }

  /** The name that the object's class is stored under. */
  get _p_className(): string {
    const { oid, className, target } = (this as unknown as Holder)[SLOT];
    return oid === NO_OID
      ? nameOfClass(Object.getPrototypeOf(target))
      : className;
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
   * with `_v_`. What it reads and changes of the object is not noted.
   */
  _p_getState(): Record<string, unknown> {
    return fieldsOf(bareOf(this));
  }

  /** Takes the state that was stored, while the object is blank. What it changes of the object is not noted. */
  _p_setState(state: Record<string, unknown>): void {
    setFields(bareOf(this), state);
  }

  /**
   * Drops the state. A class that overrides it drops all that its
   * `_p_setState` sets. If it throws, the object cannot be used any more.
   */
  _p_clearState(): void {
    const bare = bareOf(this);
    const keys = Object.keys(bare);
    // Last first: V8 then keeps the object in its fast form.
    for (let i = keys.length - 1; i >= 0; i--) delete bare[keys[i]!];
    forgetKept(bare);
  }
}

/** Returns the name that a class has in the program, empty if it has none. */
export function nameOfClass(prototype: object): string {
  // An object may have a `constructor` of its own, and a class a `name`.
  const name: unknown = prototype.constructor?.name;
  return typeof name === "string" ? name : "";
}

/** Whether the object that is being constructed gets a proxy around it. */
let willBeWrapped = false;

/** Tells the constructor of {@linkcode PersistentObject} that a proxy will hide the slot. */
export function announceWrap(): void {
  willBeWrapped = true;
}

/** Returns the object that holds the state, past its proxy. */
function bareOf(object: PersistentObject): Record<string, unknown> {
  const { target } = (object as unknown as Holder)[SLOT];
  return target as unknown as Record<string, unknown>;
}

function install<T extends object>(object: T): T {
  (object as Partial<Holder>)[SLOT] = new Slot(
    object as unknown as PersistentObject,
  );
  return object;
}

/** Makes the bare object of a ghost that gets a proxy around it. */
export function bareGhost(prototype: object): PersistentObject {
  return install(Object.create(prototype));
}

function installHidden<T extends object>(object: T): T {
  return Object.defineProperty(object, SLOT, {
    value: new Slot(object as unknown as PersistentObject),
  });
}

/**
 * Gives an object fields of a state: defines them, since assigning would run
 * setters. What the class has a member for is kept aside, as in loading.
 */
export function setFields(
  target: object,
  fields: Record<string, unknown>,
): void {
  for (const name of Object.keys(fields)) {
    if (name in target && keepAside(target, name, fields[name])) continue;
    Object.defineProperty(target, name, {
      value: fields[name],
      writable: true,
      enumerable: true,
      configurable: true,
    });
  }
}

/**
 * Checks that a new object can be emptied and filled again, which a constant
 * or a frozen object cannot.
 *
 * @throws {EncodeError} naming the property.
 */
export function checkCanBeDropped(target: PersistentObject): void {
  // The name is needed for an error only.
  const name = () => shownName((target as unknown as Holder)[SLOT]);
  if (!Object.isExtensible(target)) {
    throw new EncodeError(
      `a frozen or sealed ${name()} cannot be stored: its state must be dropped and loaded again`,
    );
  }
  const inherited = inheritedNames(Object.getPrototypeOf(target));
  for (const key of Object.keys(target)) {
    const property = Object.getOwnPropertyDescriptor(target, key)!;
    if (!property.configurable || !property.writable) {
      throw new EncodeError(
        `${name()}.${key} is ${
          property.get || property.set ? "an accessor" : "a constant"
        }: a property that is stored has a value, which can be changed and deleted; make it not enumerable if it need not be stored, or a getter of the class`,
      );
    }
    if (!inherited.has(key) || key.startsWith("_v_")) continue;
    const why = whyHidden(target, key, property.value);
    if (why !== undefined) {
      throw new EncodeError(`${name()}.${key}: ${why}`);
    }
  }
}

/**
 * The base class of objects that are stored by themselves: extend it and
 * there is nothing else to say. Every property that is assigned is noted and
 * stored at the next commit, and the state is loaded when it is first needed.
 *
 * Not stored are `#private` members, properties under symbols and properties
 * whose names begin with `_v_` (volatile). Names that begin with `_p_` are
 * Dhara's own. Plain arrays, objects, `Map`s and `Set`s inside the object are
 * stored with it but not watched: call `_p_noteChange()` after changing one in
 * place. A property that is stored has a value, which can be changed and
 * deleted: constants and accessors are refused, unless they are not enumerable,
 * and so is `Object.freeze`.
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
    willBeWrapped = true;
    super();
    return wrap(this, constructionTraps());
  }

  /**
   * Makes the blank object that loading starts from; see
   * {@linkcode PersistentObject._p_create}.
   */
  static override _p_create(
    this: { prototype: PersistentObject },
  ): PersistentObject {
    return wrap(bareGhost(this.prototype), STORED_TRAPS);
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
