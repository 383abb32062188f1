/**
 * The live objects of one connection: how ghosts come to life, and how changes
 * become records. What a transaction is, the connection knows.
 *
 * @module
 */
import { messageOf } from "../message.ts";
import {
  ClassError,
  ConnectionError,
  DecodeError,
  type DharaError,
  EncodeError,
  ReadonlyError,
} from "../errors.ts";
import { Decoder, type ReferenceReader } from "../serialize/decoder.ts";
import { Encoder, type ReferenceWriter } from "../serialize/encoder.ts";
import { type Oid, ROOT_OID } from "../serialize/record.ts";
import type { Changed, Session } from "../storage/storage.ts";
import { OidSet } from "../storage/oid_set.ts";
import { Cache } from "./cache.ts";
import { keepAside } from "../persistent/class_members.ts";
import type { ClassRegistry } from "../persistent/classes.ts";
import { DROPPING, Hooks } from "../persistent/hooks.ts";
import {
  BrokenObject,
  checkCanBeDropped,
  Persistent,
  PersistentObject,
} from "../persistent/persistent.ts";
import {
  DETACHED,
  NO_OID,
  type ObjectConnection,
  type Owner,
  shownName,
  type Slot,
  slotOf,
} from "../persistent/slot.ts";
import { endConstruction } from "../persistent/traps.ts";

/** Half of what is asked for at first: each number costs little, and asking a server costs a round trip. */
const FEWEST_NUMBERS = 16;

/** How a message names an object. */
export function describe(slot: Slot): string {
  const name = shownName(slot);
  return slot.oid === NO_OID ? `a new ${name}` : `${name}#${slot.oid}`;
}

/** Why an object cannot be used after another database has come in place of its own. */
const REPLACED_WHY =
  "it is of the database that was there before; the server serves another one now, or an earlier state of it: find the object again from the root";

/** Owns the objects of a database that was replaced by another: they cannot be used any more. */
const REPLACED: Owner = {
  serial: -2,
  connection: undefined,
  access(slot) {
    throw new ConnectionError(`Cannot use ${describe(slot)}: ${REPLACED_WHY}`);
  },
  // What was not accessed is not changed.
  change() {},
};

/** What one commit would store. */
export interface Changes {
  /** The records of changed and new objects. */
  readonly records: [Oid, Uint8Array][];
  /** Changed objects, and after them those that get their number with this commit. */
  readonly slots: Slot[];
  /** How many of `slots` are changed rather than new. */
  readonly changed: number;
}

/** The live objects of one connection. */
export class LiveObjects implements Owner, ReferenceReader, ReferenceWriter {
  /** The number of the transaction under way. */
  serial = 1;
  /** How many times a state was loaded. */
  loadCount = 0;
  /** The connection that the objects belong to. */
  readonly connection: ObjectConnection;
  /** The objects by number. */
  readonly cache: Cache;
  /** Saved objects that were changed in this transaction. */
  readonly changed = new Map<Oid, Slot>();
  /** Whether `encode` is running. */
  #encoding = false;
  /** Why nothing can be loaded any more in this transaction, if so. */
  failure: DharaError | undefined;
  /** Why nothing at all can be used for now, if so. */
  locked: DharaError | undefined;
  /** Calls the methods by which classes say how their objects are stored and loaded. */
  readonly hooks: Hooks = new Hooks(PersistentObject.prototype);
  #session: Session;
  #read: (oid: Oid) => Uint8Array;
  #classes: ClassRegistry;
  #encoder = new Encoder(this);
  #decoder = new Decoder(this);
  #queue: Slot[] = [];
  #free: Oid[] = [];
  #batch = FEWEST_NUMBERS;
  #isPast: boolean;
  /** Ghosts whose state could not be dropped, and why. */
  #stubborn = new WeakMap<Slot, { what: string; cause: unknown }>();
  /** The objects that were made by the loads under way. */
  #made: Slot[] = [];
  /** How many loads are under way: code of the program may load one inside another. */
  #decoding = 0;
  /** Objects that this transaction has accessed and let go of. */
  #letGo = new OidSet();
  #someLetGo: Oid | undefined;
  /** Whether the root is that of another database than when it was loaded last. */
  #isNewRoot = false;
  /** Numbers that this transaction has asked for in vain. */
  #missed = new Set<Oid>();

  /** Makes an empty set of live objects, which loads its records with `read`. */
  constructor(
    connection: ObjectConnection,
    session: Session,
    read: (oid: Oid) => Uint8Array,
    classes: ClassRegistry,
    cacheSize: number,
    isPast: boolean,
  ) {
    this.#read = read;
    this.connection = connection;
    this.#session = session;
    this.#classes = classes;
    this.#isPast = isPast;
    this.cache = new Cache(cacheSize, (slot) => this.#drop(slot));
  }

  // --- Owner: what the objects call ---

  access(slot: Slot): void {
    if (this.serial < 0) {
      throw this.#closed(slot);
    }
    if (this.locked) throw this.locked;
    if (slot.status === "ghost") this.load(slot);
    slot.serial = this.serial;
    this.cache.hold(slot);
  }

  #closed(slot: Slot): ConnectionError {
    return new ConnectionError(
      `Cannot use ${describe(slot)}: its connection was closed`,
    );
  }

  /** What is going on, if no transaction can end meanwhile. */
  get busy(): string | undefined {
    return this.#encoding
      ? "commit() is storing the changes"
      : this.hooks.running;
  }

  change(slot: Slot): void {
    if (this.#encoding || this.hooks.running === DROPPING) {
      throw new ConnectionError(
        `Cannot change ${describe(slot)}: ${this.busy}`,
      );
    }
    if (this.#isPast) {
      throw new ReadonlyError(
        `Cannot change ${
          describe(slot)
        }: the connection shows the past, which cannot be changed`,
      );
    }
    this.changed.set(slot.oid, slot);
  }

  // --- Loading ---

  /** Returns the live object of a number, a ghost if there was none. */
  ghost(oid: Oid, className: string): object {
    const slot = this.cache.get(oid);
    if (slot !== undefined) return slot.self;
    const made = this.#make(oid, className);
    // The object that is being loaded holds what it refers to.
    if (this.#decoding > 0) this.#made.push(made);
    else this.cache.release([made]);
    return made.self;
  }

  /** Keeps what was stored under the name of a member of the class. */
  keep(target: object, key: string, value: unknown): boolean {
    return keepAside(target, key, value);
  }

  #make(oid: Oid, className: string): Slot {
    const slot = this.#blank(className);
    slot.oid = oid;
    slot.owner = this;
    slot.className = this.#classes.currentName(className);
    slot.status = "ghost";
    slot.serial = -1;
    this.cache.add(slot);
    return slot;
  }

  #blank(className: string): Slot {
    const type = this.#classes.classOf(className) ?? BrokenObject;
    const slot = slotOf(this.hooks.create(type));
    // A subclass may have inherited one that makes an instance of the class above.
    if (
      slot === undefined || slot.owner !== DETACHED ||
      Object.getPrototypeOf(slot.target) !== type.prototype
    ) {
      throw new ClassError(
        `Cannot make a blank ${className}: its _p_create() did not return a new ${type.name}`,
      );
    }
    // A constructor may have run and set properties, which are not the stored ones.
    if (
      type._p_create !== Persistent._p_create &&
      type._p_create !== PersistentObject._p_create
    ) {
      endConstruction();
      // What refers to it can be loaded, even if this cannot be done.
      this.#clear(slot, "what its _p_create() made");
    }
    return slot;
  }

  /** Returns a live object, whose state was loaded if it was not there before. */
  find(oid: Oid): Slot {
    const slot = this.cache.get(oid);
    if (slot !== undefined) return slot;
    const record = this.#read(oid);
    const made = this.#make(oid, this.#decoder.className(record));
    try {
      this.#revive(made, record);
    } finally {
      this.cache.hold(made);
    }
    return made;
  }

  /**
   * Returns the state in a record of an object as it would be stored again: a
   * class that makes something else of it in loading does so here, too.
   */
  stateIn(
    record: Uint8Array,
    { className, target }: Slot,
    decoder: Decoder,
  ): Record<string, unknown> {
    if (target._p_setState === PersistentObject.prototype._p_setState) {
      return decoder.decode(record) as Record<string, unknown>;
    }
    const copy = this.#blank(className);
    copy.className = className;
    this.hooks.setState(copy, record, decoder);
    return this.hooks.getState(copy);
  }

  /** Loads the state of a ghost. */
  load(slot: Slot): void {
    this.#revive(slot, this.#read(slot.oid));
  }

  #revive(slot: Slot, record: Uint8Array): void {
    if (this.#stubborn.has(slot)) this.#clearAgain(slot);
    const outer = this.#made.length;
    this.#decoding++;
    try {
      const className = this.#classes.currentName(
        this.#decoder.className(record),
      );
      if (className !== slot.className) {
        if (slot.oid === ROOT_OID && this.#isNewRoot) {
          throw new ClassError(
            `Cannot go on with the root, a ${
              shownName(slot)
            }: the server serves another database now, whose root is a ${className}; make a new connection`,
          );
        }
        this.#changeClass(slot, className);
      }
      this.hooks.setState(slot, record, this.#decoder);
      if (slot.oid === ROOT_OID) this.#isNewRoot = false;
      if (this.serial < 0) throw this.#closed(slot);
    } catch (cause) {
      this.#clear(slot, "what it was given");
      this.cache.release(this.#made.splice(outer));
      if (!(cause instanceof DecodeError)) throw cause;
      throw new DecodeError(
        `Cannot load ${describe(slot)}: ${cause.message}`,
        { cause },
      );
    } finally {
      this.#decoding--;
    }
    if (this.#made.length > outer) {
      slot.made = this.#made.splice(outer);
      for (const made of slot.made) made.anchored = true;
    }
    slot.status = "saved";
    this.loadCount++;
  }

  // --- Dropping ---

  /** Drops an object's state: the next access loads it again. Whatever the object does, this returns. */
  #drop(slot: Slot): void {
    if (slot.status === "ghost") return;
    this.#clear(slot);
    slot.status = "ghost";
    slot.serial = -1;
    const { made } = slot;
    if (made === undefined) return;
    slot.made = undefined;
    this.cache.release(made);
  }

  #clear(slot: Slot, what = "what it held before"): void {
    const failure = this.hooks.clearState(slot);
    if (failure) this.#stubborn.set(slot, { what, ...failure });
    else this.#stubborn.delete(slot);
  }

  // It may have been frozen, or its class may have failed for a passing reason.
  #clearAgain(slot: Slot): void {
    const { what } = this.#stubborn.get(slot)!;
    this.#clear(slot, what);
    const failure = this.#stubborn.get(slot);
    if (failure === undefined) return;
    const { cause } = failure;
    throw new ClassError(
      `Cannot load ${
        describe(slot)
      }: ${what} cannot take the stored state, since it cannot be dropped: ${
        messageOf(cause)
      }`,
      { cause },
    );
  }

  // The reference told another class than the record: the record is right.
  #changeClass(slot: Slot, className: string): void {
    const before = this.#classes.classOf(slot.className) ?? BrokenObject;
    const type = this.#classes.classOf(className) ?? BrokenObject;
    // What is made in another way cannot become it, such as one that has another proxy.
    if (before._p_create !== type._p_create) {
      throw new ClassError(
        `Cannot load ${
          describe(slot)
        }: it is stored as ${className}, which is another kind of class; register ${className}, or load and store what refers to it`,
      );
    }
    Object.setPrototypeOf(slot.target, type.prototype);
    slot.className = className;
  }

  // --- Storing ---

  /** Returns the number that a reference is stored as; new objects get one and are stored too. */
  oidOf(value: object): Oid | undefined {
    const slot = slotOf(value);
    if (slot === undefined) return undefined;
    if (slot.owner === this) return slot.oid;
    if (slot.owner === REPLACED) {
      throw new EncodeError(
        `${describe(slot)} cannot be used: ${REPLACED_WHY}`,
      );
    }
    if (slot.owner !== DETACHED) {
      throw new EncodeError(`${describe(slot)} belongs to another connection`);
    }
    slot.className = this.#classes.nameOf(Object.getPrototypeOf(slot.target));
    checkCanBeDropped(slot.target);
    slot.oid = this.#allocate();
    slot.owner = this;
    slot.serial = this.serial;
    this.#queue.push(slot);
    return slot.oid;
  }

  /** Returns the name that a persistent object's class is stored under. */
  classNameOf(value: object): string {
    return slotOf(value)!.className;
  }

  #allocate(): Oid {
    let oid = this.#free.pop();
    // An empty storage begins with 0, which only the root may have.
    while (oid === undefined || oid === 0) {
      this.#batch = Math.min(this.#batch * 2, 4096);
      this.#free = this.#session.allocate(this.#batch).reverse();
      oid = this.#free.pop();
    }
    return oid;
  }

  /** Makes a new object the one with a given number, which the next `encode` stores. */
  adopt(slot: Slot, oid: Oid): void {
    slot.className = this.#classes.nameOf(Object.getPrototypeOf(slot.target));
    checkCanBeDropped(slot.target);
    slot.oid = oid;
    slot.owner = this;
    slot.serial = this.serial;
    this.changed.set(oid, slot);
    // Found there, it conflicts with one that somebody else has made meanwhile.
    this.cache.add(slot);
    this.cache.hold(slot);
  }

  /**
   * Encodes all changes and all new objects that they lead to.
   *
   * @throws {EncodeError} if something cannot be stored; then nothing has changed.
   */
  encode(): Changes {
    const slots = this.#queue = [...this.changed.values()];
    const changes: Changes = { records: [], slots, changed: slots.length };
    this.#encoding = true;
    try {
      // The queue grows while it is worked off.
      for (let i = 0; i < slots.length; i++) {
        const slot = slots[i]!;
        const state = this.hooks.getState(slot);
        const record = this.#encoder.encode(slot.oid, slot.className, state);
        changes.records.push([slot.oid, record]);
        // A change that comes after this would be lost: `change` must be told of it.
        slot.status = "saved";
        endConstruction();
      }
    } catch (error) {
      this.takeBack(changes);
      throw error;
    } finally {
      this.#queue = [];
      this.#encoding = false;
    }
    return changes;
  }

  /** The changes are stored. */
  settle({ slots, changed }: Changes): void {
    for (let i = changed; i < slots.length; i++) {
      this.cache.add(slots[i]!);
      this.cache.hold(slots[i]!);
    }
    this.changed.clear();
    this.#batch = FEWEST_NUMBERS;
  }

  /** The changes could not be stored: all is as it was before. */
  takeBack({ slots, changed }: Changes): void {
    for (let i = 0; i < changed; i++) slots[i]!.status = "unsaved";
    for (let i = slots.length - 1; i >= changed; i--) {
      this.#free.push(slots[i]!.oid);
      slots[i]!.detach();
    }
  }

  /** Makes ghosts of objects that others have changed. */
  invalidate(changed: readonly Oid[] | Changed): void {
    if (changed === "replaced") return this.#replace();
    if (changed === "everything") {
      for (const slot of this.cache.slots()) this.#drop(slot);
      // A server that was away has forgotten to whom it gave these numbers.
      this.#free = [];
      return;
    }
    for (const oid of changed) {
      const slot = this.cache.get(oid);
      if (slot) this.#drop(slot);
    }
  }

  /**
   * Lets go of all objects but the root for good, since their numbers mean
   * others now. The root becomes that of the new database.
   */
  #replace(): void {
    const slots = [...this.cache.all()];
    this.cache.clear();
    this.changed.clear();
    this.#free = [];
    for (const slot of slots) {
      this.#drop(slot);
      // Nothing of the cache that it was in holds it.
      slot.generation = 0;
      slot.anchored = false;
      slot.made = undefined;
      if (slot.oid !== ROOT_OID) {
        slot.owner = REPLACED;
        continue;
      }
      this.#isNewRoot = true;
      this.cache.add(slot);
      this.cache.hold(slot);
    }
  }

  /** Makes ghosts of all changed objects. */
  dropChanges(): void {
    for (const slot of this.changed.values()) this.#drop(slot);
    this.changed.clear();
  }

  // --- Transactions ---

  /** Notes that the transaction has learned that there is no such object. */
  noteMissing(oid: Oid): void {
    this.#missed.add(oid);
  }

  /** Returns those of the objects that the transaction under way has accessed. */
  accessed(changed: readonly Oid[] | Changed): Oid[] {
    if (typeof changed !== "string") {
      return changed.filter((oid) => this.wasAccessed(oid));
    }
    const oids = [...this.#missed];
    for (const slot of this.cache.slots()) {
      if (slot.serial === this.serial) oids.push(slot.oid);
    }
    if (this.#someLetGo !== undefined) oids.push(this.#someLetGo);
    return oids;
  }

  /** Returns whether the transaction under way has accessed an object. */
  wasAccessed(oid: Oid): boolean {
    return this.cache.get(oid)?.serial === this.serial ||
      this.#missed.has(oid) || this.#letGo.has(oid);
  }

  /**
   * Lets go of what is too much. What the transaction that ends has accessed
   * stays until the next one ends, since the program may hold parts of its state.
   */
  beginNext(): void {
    const { serial } = this;
    this.cache.shrink((slot) =>
      slot.serial !== serial && slot.status !== "unsaved"
    );
    this.serial++;
    this.#missed.clear();
    if (this.#someLetGo === undefined) return;
    this.#letGo = new OidSet();
    this.#someLetGo = undefined;
  }

  /** Lets go of what is too much within a transaction, of all that is not changed. */
  shrink(): void {
    this.cache.shrink((slot) => {
      if (slot.status === "unsaved") return false;
      if (slot.serial === this.serial) {
        this.#letGo.add(slot.oid);
        this.#someLetGo = slot.oid;
      }
      return true;
    });
  }

  /** From now on every access fails. */
  close(): void {
    this.serial = -2;
    this.cache.clear();
    this.changed.clear();
  }
}
