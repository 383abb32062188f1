/**
 * The methods by which a class says how its objects are made, stored, loaded
 * and dropped: the places where a program's own code runs in the middle of our
 * work. It runs with the object that the program holds as `this`, so that
 * `#private` members work in it, and what it does to that object is not noted.
 *
 * @module
 */
import { isPromise } from "./is_promise.ts";
import { EncodeError } from "../errors.ts";
import type { Decoder } from "../serialize/decoder.ts";
import { fieldsOf } from "./class_members.ts";
import { type Slot, slotOf, type Stored } from "./slot.ts";

type State = Record<string, unknown>;

/** What {@linkcode Hooks.running} says when a state is being dropped: nothing can be changed then. */
export const DROPPING = "the state of an object is being dropped";

/**
 * What the fields of an object hold whose state was dropped. To delete them
 * would make the object a slow one, twice as large, for the rest of its life.
 * Nobody sees them: the state is loaded before anything is read.
 */
const VACANT = Symbol("dhara.vacant");

/** Calls the methods of classes, and knows whether one is running. */
export class Hooks {
  /** What is being done while a program's code runs for it: "an object is being loaded". */
  running: string | undefined;
  readonly #usual: Stored;

  /** Makes hooks that know the usual methods, those of `PersistentObject.prototype`. */
  constructor(usual: Stored) {
    this.#usual = usual;
  }

  /** Makes the blank object that loading starts from. */
  create(type: { _p_create(): Stored }): Stored {
    // Not by `run`: there are many ghosts, and this takes less time.
    const before = this.running;
    this.running = "an object is being made";
    try {
      return type._p_create();
    } finally {
      this.running = before;
    }
  }

  /**
   * Returns what is to be stored of an object.
   *
   * @throws {EncodeError} if the class answers nothing that can be.
   */
  getState(slot: Slot): State {
    const { target } = slot;
    if (target._p_getState === this.#usual._p_getState) {
      return fieldsOf(target);
    }
    const state: unknown = this.#undisturbed(
      slot,
      "commit() is storing the changes",
      () => slot.self._p_getState(),
    );
    if (state === slot.self || state === target) return fieldsOf(target);
    if (typeof state !== "object" || state === null) {
      throw this.#noState(slot, String(state));
    }
    if (isPromise(state)) {
      // Nobody waits for it.
      Promise.resolve(state).catch(() => {});
      throw this.#noState(slot, "a promise");
    }
    // What a Map, a Date or the like holds is not in its properties.
    const kind = Object.prototype.toString.call(state);
    if (kind !== "[object Object]" || slotOf(state) !== undefined) {
      throw this.#noState(slot, kind);
    }
    return state as State;
  }

  #noState(slot: Slot, what: string): EncodeError {
    return new EncodeError(
      `Cannot store ${slot.className}#${slot.oid}: its _p_getState() returned ${what} instead of an object whose properties are the state`,
    );
  }

  /** Gives a blank object the state in a record. */
  setState(slot: Slot, record: Uint8Array, decoder: Decoder): void {
    const { target } = slot;
    if (target._p_setState === this.#usual._p_setState) {
      const before = Object.keys(target);
      decoder.decode(record, target);
      deleteVacant(target, before);
      return;
    }
    const state = decoder.decode(record) as State;
    deleteVacant(target, Object.keys(target));
    this.#undisturbed(
      slot,
      "an object is being loaded",
      () => slot.self._p_setState(state),
    );
  }

  /** Drops an object's state. Whatever the class does, this returns: why it could not be done, if so. */
  clearState(slot: Slot): { cause: unknown } | undefined {
    const { target } = slot;
    try {
      if (target._p_clearState !== this.#usual._p_clearState) {
        this.#undisturbed(
          slot,
          DROPPING,
          () => slot.self._p_clearState(),
        );
      } else if (slot.self !== target) {
        for (const key of Object.keys(target)) {
          (target as unknown as State)[key] = VACANT;
        }
      } else {
        // Without a proxy it might show them.
        target._p_clearState();
      }
      return undefined;
    } catch (cause) {
      return { cause };
    }
  }

  /** What the code does to the object is neither an access nor a change. */
  #undisturbed<T>(slot: Slot, what: string, work: () => T): T {
    const { serial, status } = slot;
    slot.serial = slot.owner.serial;
    slot.status = "unsaved";
    try {
      return this.during(what, work);
    } finally {
      slot.serial = serial;
      slot.status = status;
    }
  }

  /** Does work that runs code of the program, and tells meanwhile what it is. */
  during<T>(what: string, work: () => T): T {
    const before = this.running;
    this.running = what;
    try {
      return work();
    } finally {
      this.running = before;
    }
  }
}

function deleteVacant(target: Stored, keys: string[]): void {
  const state = target as unknown as State;
  for (const key of keys) if (state[key] === VACANT) delete state[key];
}
