/**
 * The live objects of one connection: how ghosts come to life, and how changes
 * become records. What a transaction is, the connection knows.
 *
 * @module
 */
import {
  ClassError,
  ConnectionError,
  DecodeError,
  type DharaError,
  EncodeError,
  ReadonlyError,
} from "../errors.ts";
import {
  Decoder,
  Encoder,
  type ReferenceReader,
  type ReferenceWriter,
} from "../serialize/codec.ts";
import type { Oid } from "../serialize/record.ts";
import type { Session } from "../storage/storage.ts";
import { Cache } from "./cache.ts";
import type { ClassRegistry } from "./classes.ts";
import type { Connection } from "./connection.ts";
import {
  BrokenObject,
  checkCanBeDropped,
  PersistentObject,
} from "./persistent.ts";
import {
  DETACHED,
  NO_OID,
  type Owner,
  shownName,
  type Slot,
  slotOf,
} from "./slot.ts";
import { endConstruction } from "./traps.ts";

/** How a message names an object. */
export function describe(slot: Slot): string {
  const name = shownName(slot);
  return slot.oid === NO_OID ? `a new ${name}` : `${name}#${slot.oid}`;
}

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
  readonly connection: Connection<object>;
  /** The objects by number. */
  readonly cache: Cache;
  /** Saved objects that were changed in this transaction. */
  readonly changed = new Map<Oid, Slot>();
  /** Whether `encode` is running, which runs code of the program where a class says what its state is. */
  encoding = false;
  /** Why nothing can be loaded any more in this transaction, if so. */
  failure: DharaError | undefined;
  #session: Session;
  #read: (oid: Oid) => Uint8Array;
  #classes: ClassRegistry;
  #encoder = new Encoder(this);
  #decoder = new Decoder(this);
  #queue: Slot[] = [];
  #free: Oid[] = [];
  #batch = 8;
  #isPast: boolean;
  /** Ghosts that hold what their constructor put there for good, and why. */
  #stubborn = new WeakMap<Slot, unknown>();

  /** Makes an empty set of live objects, which loads its records with `read`. */
  constructor(
    connection: Connection<object>,
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
    this.cache = new Cache(cacheSize);
  }

  // --- Owner: what the objects call ---

  access(slot: Slot): void {
    if (this.serial < 0) {
      throw new ConnectionError(
        `Cannot use ${describe(slot)}: its connection was closed`,
      );
    }
    if (slot.status === "ghost") this.load(slot);
    slot.serial = this.serial;
    // It may have been evicted; the transaction under way is held strongly.
    this.cache.set(slot.oid, slot);
  }

  change(slot: Slot): void {
    if (this.encoding) {
      throw new ConnectionError(
        `Cannot change ${describe(slot)}: commit() is storing the changes`,
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
    return (this.cache.get(oid) ?? this.#make(oid, className)).self;
  }

  #make(oid: Oid, className: string): Slot {
    const slot = this.#blank(className);
    slot.oid = oid;
    slot.owner = this;
    slot.className = this.#classes.currentName(className);
    slot.status = "ghost";
    slot.serial = -1;
    this.cache.set(oid, slot);
    return slot;
  }

  #blank(className: string): Slot {
    const type = this.#classes.classOf(className) ?? BrokenObject;
    const slot = slotOf(type._p_create());
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
    if (type._p_create !== PersistentObject._p_create) {
      endConstruction();
      try {
        slot.target._p_clearState();
      } catch (error) {
        // What refers to it can be loaded all the same.
        this.#stubborn.set(slot, error);
      }
    }
    return slot;
  }

  /** Returns a live object with its state loaded. */
  find(oid: Oid): Slot {
    const slot = this.cache.get(oid);
    if (slot !== undefined) return slot;
    const record = this.#read(oid);
    const made = this.#make(oid, this.#decoder.className(record));
    this.#revive(made, record);
    return made;
  }

  /** Loads the state of a ghost. */
  load(slot: Slot): void {
    this.#revive(slot, this.#read(slot.oid));
  }

  #revive(slot: Slot, record: Uint8Array): void {
    try {
      const className = this.#classes.currentName(
        this.#decoder.className(record),
      );
      if (className !== slot.className) this.#changeClass(slot, className);
      const { target } = slot;
      if (target._p_setState === PersistentObject.prototype._p_setState) {
        this.#decoder.decode(record, target);
      } else {
        target._p_setState(
          this.#decoder.decode(record) as Record<string, unknown>,
        );
      }
    } catch (cause) {
      if (this.#stubborn.has(slot)) {
        throw new ClassError(
          `Cannot load ${
            describe(slot)
          }: what its _p_create() made cannot take the stored state; it must have no constants and not be frozen`,
          { cause: this.#stubborn.get(slot) },
        );
      }
      slot.target._p_clearState();
      if (!(cause instanceof DecodeError)) throw cause;
      throw new DecodeError(
        `Cannot load ${describe(slot)}: ${cause.message}`,
        { cause },
      );
    }
    slot.status = "saved";
    this.loadCount++;
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
    this.cache.set(oid, slot);
  }

  /**
   * Encodes all changes and all new objects that they lead to.
   *
   * @throws {EncodeError} if something cannot be stored; then nothing has changed.
   */
  encode(): Changes {
    this.#queue = [...this.changed.values()];
    const slots = this.#queue;
    const changes: Changes = { records: [], slots, changed: slots.length };
    this.encoding = true;
    try {
      // The queue grows while it is worked off.
      for (let i = 0; i < slots.length; i++) {
        const slot = slots[i]!;
        const state = slot.target._p_getState();
        const record = this.#encoder.encode(slot.oid, slot.className, state);
        changes.records.push([slot.oid, record]);
        // A change that comes after this would be lost: `change` must be told of it.
        slot.status = "saved";
      }
    } catch (error) {
      this.takeBack(changes);
      throw error;
    } finally {
      this.encoding = false;
      endConstruction();
    }
    return changes;
  }

  /** The changes are stored. */
  settle({ slots, changed }: Changes): void {
    for (let i = changed; i < slots.length; i++) {
      this.cache.set(slots[i]!.oid, slots[i]!);
    }
    this.changed.clear();
    this.#batch = 8;
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
  invalidate(changed: readonly Oid[] | "everything"): void {
    if (changed === "everything") {
      for (const slot of this.cache.slots()) slot.becomeGhost();
      // A server that was away has forgotten to whom it gave these numbers.
      this.#free = [];
      return;
    }
    for (const oid of changed) this.cache.get(oid)?.becomeGhost();
  }

  /** Makes ghosts of all changed objects. */
  dropChanges(): void {
    for (const slot of this.changed.values()) slot.becomeGhost();
    this.changed.clear();
  }

  /** Returns those of the objects that the transaction under way has accessed. */
  accessed(changed: readonly Oid[] | "everything"): Oid[] {
    const oids = changed === "everything"
      ? Array.from(this.cache.slots(), (slot) => slot.oid)
      : changed;
    return oids.filter((oid) => this.wasAccessed(oid));
  }

  /** Returns whether the transaction under way has accessed an object. */
  wasAccessed(oid: Oid): boolean {
    return this.cache.get(oid)?.serial === this.serial;
  }

  /** From now on every access fails. */
  close(): void {
    this.serial = -2;
    this.cache.clear();
    this.changed.clear();
  }
}
