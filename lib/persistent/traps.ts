/**
 * The traps of the proxies around persistent objects. They load a ghost before
 * anything is read, note changes, and refuse what could not be taken back.
 *
 * @module
 */
import { ClassError } from "../errors.ts";
import { whyHidden } from "./class_members.ts";
import { shownName, SLOT, type Slot, type Stored } from "./slot.ts";

/** The bare object behind a proxy. */
export type Target =
  & Stored
  & { [SLOT]: Slot }
  & Record<string | symbol, unknown>;

/** Puts a proxy around a persistent object, and makes it what the program holds. */
export function wrap<T extends Stored>(
  target: T,
  traps: ProxyHandler<Target>,
): T {
  const bare = target as unknown as Target;
  const proxy = new Proxy(bare, traps);
  bare[SLOT].self = proxy;
  return proxy as unknown as T;
}

/** Returns whether a property says something about the object, rather than being its state. */
function isBookkeeping(key: string | symbol): boolean {
  return typeof key === "symbol" || key.startsWith("_p_");
}

function load(target: Target, key: string | symbol): void {
  const slot = target[SLOT];
  if (slot.serial !== slot.owner.serial && !isBookkeeping(key)) {
    slot.owner.access(slot);
  }
}

function inheritsAccessor(target: object, key: string): boolean {
  let at = Object.getPrototypeOf(target);
  while (!Object.hasOwn(at, key)) at = Object.getPrototypeOf(at);
  return "get" in Object.getOwnPropertyDescriptor(at, key)!;
}

function checkNotHidden(target: Target, key: string, value: unknown): void {
  const why = whyHidden(target, key, value);
  if (why === undefined) return;
  throw new ClassError(
    `Cannot assign ${shownName(target[SLOT])}.${key}: ${why}`,
  );
}

function checkName(target: Target, verb: string, key: string): void {
  if (!key.startsWith("_p_")) return;
  throw new ClassError(
    `Cannot ${verb} ${
      shownName(target[SLOT])
    }.${key}: names that begin with _p_ are Dhara's own`,
  );
}

function get(target: Target, key: string | symbol, receiver: unknown): unknown {
  const slot = target[SLOT];
  if (slot.serial !== slot.owner.serial && !isBookkeeping(key)) {
    slot.owner.access(slot);
  }
  return Reflect.get(target, key, receiver);
}

/**
 * The traps that note what happens to fields, without the one for reading:
 * what has only these reads its methods as fast as a proxy can.
 */
export const FIELD_TRAPS = {
  set(target, key, value, receiver) {
    const slot = target[SLOT];
    if (receiver !== slot.self || typeof key === "symbol") {
      // A proxy around ours comes back to our `defineProperty`.
      load(target, key);
      return Reflect.set(target, key, value, receiver);
    }
    checkName(target, "assign", key);
    slot.noteAccess();
    const isInherited = !Object.hasOwn(target, key) && key in target;
    if (isInherited && inheritsAccessor(target, key)) {
      return Reflect.set(target, key, value, receiver);
    }
    if (!key.startsWith("_v_")) {
      if (isInherited) checkNotHidden(target, key, value);
      slot.noteChange();
    }
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

  // What is not enumerable is no state, and may be anything.
  defineProperty(target, key, descriptor) {
    if (typeof key === "symbol") {
      return key !== SLOT && Reflect.defineProperty(target, key, descriptor);
    }
    checkName(target, "define", key);
    const slot = target[SLOT];
    slot.noteAccess();
    const before = Reflect.getOwnPropertyDescriptor(target, key);
    const { writable, enumerable, configurable } = {
      ...before,
      ...descriptor,
    };
    if (enumerable || before?.enumerable) {
      if (
        descriptor.get || descriptor.set || !writable || !enumerable ||
        !configurable
      ) {
        throw new ClassError(
          `Cannot define ${
            shownName(slot)
          }.${key}: a property that is stored has a value, which can be changed and deleted`,
        );
      }
      if (!key.startsWith("_v_")) {
        checkNotHidden(target, key, descriptor.value);
        slot.noteChange();
      }
    }
    return Reflect.defineProperty(target, key, descriptor);
  },

  preventExtensions(target) {
    throw new ClassError(
      `Cannot freeze ${
        shownName(target[SLOT])
      }: a persistent object must be able to load and drop its state`,
    );
  },
} satisfies ProxyHandler<Target>;

/**
 * The traps of a collection: its methods say themselves what they read, so that
 * only a field must be looked after, which no prototype has.
 */
export const MEMBER_TRAPS = {
  ...FIELD_TRAPS,
  get(target, key, receiver) {
    const slot = target[SLOT];
    if (slot.serial !== slot.owner.serial && typeof key === "string") {
      if (!(key in Object.getPrototypeOf(target))) slot.owner.access(slot);
    }
    return Reflect.get(target, key, receiver);
  },
} satisfies ProxyHandler<Target>;

/** The traps of an object that is stored. */
export const STORED_TRAPS: ProxyHandler<Target> = { get, ...FIELD_TRAPS };

/**
 * The traps of objects that are being constructed. Class fields are defined,
 * not set, so that a `defineProperty` trap would make constructing an object
 * four times as expensive; until it is stored there is nothing to note. One
 * handler serves all objects that are made until something is stored. Then it
 * gets the trap, and those that come after get another one.
 */
let construction = makeTraps();
let isUsed = false;

function makeTraps(): ProxyHandler<Target> {
  const { defineProperty: _, ...others } = FIELD_TRAPS;
  return { get, ...others };
}

/** Returns the traps for an object that is being constructed. */
export function constructionTraps(): ProxyHandler<Target> {
  isUsed = true;
  return construction;
}

/** From now on, all that happens to objects that are constructed already is noted. */
export function endConstruction(): void {
  if (!isUsed) return;
  construction.defineProperty = FIELD_TRAPS.defineProperty;
  construction = makeTraps();
  isUsed = false;
}
