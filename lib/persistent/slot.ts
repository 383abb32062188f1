/**
 * What Dhara remembers about one live object. It hangs on the object under a
 * symbol, so that the same code reaches it from the object itself and from a
 * proxy around it.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";
import type { CommitOptions, Storage } from "../storage/storage.ts";

/**
 * Whether an object's state is not in memory (`"ghost"`), in memory as it is
 * stored (`"saved"`), or changed since (`"unsaved"`).
 */
export type Status = "ghost" | "saved" | "unsaved";

/** What `PersistentObject` is to the files below it, which it stands on. */
export interface Stored {
  /** The object's number, or `undefined` before the first commit. */
  readonly _p_oid: Oid | undefined;
  /** Whether the state is in memory, and whether it is as stored. */
  readonly _p_status: Status;
  /** The connection that the object belongs to. */
  readonly _p_connection: ObjectConnection | undefined;
  /** The last transaction that accessed it. */
  readonly _p_serial: number;
  /** The name that the object's class is stored under. */
  readonly _p_className: string;
  /** Returns whether the state is not in memory. */
  _p_isGhost(): boolean;
  /** Returns whether the state is in memory and as stored. */
  _p_isSaved(): boolean;
  /** Returns whether the state is new or changed. */
  _p_isUnsaved(): boolean;
  /** Notes that the object is being read. */
  _p_noteAccess(): void;
  /** Notes that the object is about to change. */
  _p_noteChange(): void;
  /** Returns what is to be stored. */
  _p_getState(): Record<string, unknown>;
  /** Takes the state that was stored. */
  _p_setState(state: Record<string, unknown>): void;
  /** Drops the state. */
  _p_clearState(): void;
}

/**
 * What an object's methods can ask of the {@linkcode Connection} that the
 * object belongs to, whatever the type of its root.
 */
export interface ObjectConnection {
  /** The storage underneath. */
  readonly storage: Storage;
  /** The root object. */
  readonly root: object;
  /** Whether there are changes that `commit()` would store. */
  readonly hasChanges: boolean;
  /** Returns the object with a number, or `undefined` if there is none. */
  get(oid: Oid): object | undefined;
  /** See {@linkcode Connection.commit}. */
  commit(options?: CommitOptions): void;
  /** See {@linkcode Connection.abort}. */
  abort(): void;
}

/** The part of a connection that its objects talk to. */
export interface Owner {
  /** The number of the transaction under way; unlike any other of this owner. */
  readonly serial: number;
  /** The connection, or `undefined` for objects that belong to none. */
  readonly connection: ObjectConnection | undefined;
  /** Notes the first access in this transaction: loads a ghost, sets `slot.serial`. */
  access(slot: Slot): void;
  /** Notes the first change of a saved object, which has been accessed. */
  change(slot: Slot): void;
}

/** Owns the objects that belong to no connection yet: they are always unsaved. */
export const DETACHED: Owner = {
  serial: 0,
  connection: undefined,
  access(slot) {
    slot.serial = 0;
  },
  change() {},
};

/** The number of an object that has none yet. */
export const NO_OID = -1;

/** What Dhara remembers about one live object. */
export class Slot {
  /** The object's number, or `NO_OID`. */
  oid: Oid = NO_OID;
  /** Where the object's state stands. */
  status: Status = "unsaved";
  /** The last transaction that accessed it; equal to `owner.serial` if that is the one under way. */
  serial = 0;
  /** Who loads it and stores it. */
  owner: Owner = DETACHED;
  /** The name that it is stored under; empty until it is known. */
  className = "";
  /** The generation of the cache that holds it, 0 if none does. */
  generation = 0;
  /** Whether the object by whose load it was made still has that state, and so holds it. */
  anchored = false;
  /** The objects that were made when this one was loaded. */
  made: readonly Slot[] | undefined = undefined;
  /** The bare object that holds the state. */
  readonly target: Stored;
  /** What the program holds: the proxy around `target`, or `target` itself. */
  self: Stored;

  /** Makes the slot of a new object. */
  constructor(target: Stored) {
    this.target = target;
    this.self = target;
  }

  /** Notes that the object is being read, and loads it if it is a ghost. */
  noteAccess(): void {
    if (this.serial !== this.owner.serial) this.owner.access(this);
  }

  /** Notes that the object is about to change, and loads it if it is a ghost. */
  noteChange(): void {
    if (this.serial !== this.owner.serial) this.owner.access(this);
    if (this.status !== "unsaved") {
      this.owner.change(this);
      this.status = "unsaved";
    }
  }

  /** Takes the object back from its connection, as if it had never been stored. */
  detach(): void {
    this.oid = NO_OID;
    this.owner = DETACHED;
    this.serial = DETACHED.serial;
    this.status = "unsaved";
  }
}

/** The key under which an object holds its slot. */
export const SLOT: unique symbol = Symbol("dhara.slot");

/** Returns a value's slot, or `undefined` if the value is not a persistent object. */
export function slotOf(value: object): Slot | undefined {
  const slot = (value as { [SLOT]?: Slot })[SLOT];
  // An object that merely inherits from a persistent one sees that one's slot.
  return slot !== undefined && (slot.self === value || slot.target === value)
    ? slot
    : undefined;
}

/** Returns how a message names an object's class. */
export function shownName(slot: Slot): string {
  return slot.self._p_className || "(unnamed class)";
}
