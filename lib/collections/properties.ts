/**
 * String keys as properties: `root["hello"]` is `root.get("hello")`.
 *
 * @module
 */
import { ClassError } from "../errors.ts";
import type { PersistentObject } from "../persistent/persistent.ts";
import { SLOT, type Slot } from "../persistent/slot.ts";
import { wrapCollection } from "./stamp.ts";

/** The symbol under which the bare object holds the entries. */
export const ENTRIES: unique symbol = Symbol("dhara.entries");

/** The bare object, whose methods are called with the proxy as `this`. */
type Target =
  & PersistentObject
  & Map<string, unknown>
  & { [SLOT]: Slot }
  & Record<string | symbol, unknown>;

/** Puts a proxy around an object with the methods of `Map`, so that its string keys are properties. */
export function withProperties<T extends PersistentObject>(object: T): T {
  return wrapCollection(object, handler as ProxyHandler<object>);
}

/** Methods that are found without looking further, since the trap must be fast. */
const METHODS = new Set<string | symbol>([
  "get",
  "set",
  "has",
  "delete",
  "clear",
  "forEach",
  "entries",
  "keys",
  "values",
  "getOrInsert",
  "getOrInsertComputed",
]);

/** Properties of the bare object that the proxy does not show. */
function isHidden(name: string | symbol): boolean {
  return name === SLOT || name === ENTRIES;
}

/** Returns whether a name is the object's own, so that no key can be used as that property. */
function isTaken(target: Target, name: string): boolean {
  // Not every version of Deno has __proto__ on all objects.
  return name in target || name.startsWith("_p_") || name === "__proto__";
}

function refuse(target: Target, verb: string, name: string, instead: string) {
  const { _p_className } = target[SLOT].self;
  const why = name.startsWith("_p_")
    ? "names that begin with _p_ are Dhara's own"
    : "that is the name of something every dict has";
  return new ClassError(
    `Cannot ${verb} the property ${
      JSON.stringify(name)
    } of a ${_p_className}: ${why}; use ${instead}`,
  );
}

function inheritsSetter(target: Target, name: string): boolean {
  // Every object has that one, and it is not for this.
  if (name === "__proto__") return false;
  let at: object | null = target;
  while (at !== null && !Object.hasOwn(at, name)) {
    at = Object.getPrototypeOf(at);
  }
  return at !== null &&
    Object.getOwnPropertyDescriptor(at, name)!.set !== undefined;
}

function put(target: Target, name: string, value: unknown): void {
  if (isTaken(target, name)) {
    throw refuse(target, "assign", name, `set(${JSON.stringify(name)}, value)`);
  }
  target.set.call(target[SLOT].self, name, value);
}

/**
 * Everything is said in terms of the object's own methods, so that a subclass
 * which overrides them changes the properties too. One handler serves all
 * objects. Properties under symbols are the target's own.
 */
const handler: ProxyHandler<Target> = {
  get(target, name, receiver) {
    if (METHODS.has(name)) return target[name];
    if (typeof name === "symbol" || isTaken(target, name)) {
      return Reflect.get(target, name, receiver);
    }
    return target.get.call(target[SLOT].self, name);
  },

  set(target, name, value, receiver) {
    const { self } = target[SLOT];
    if (receiver !== self || typeof name === "symbol") {
      return Reflect.set(target, name, value, receiver);
    }
    if (isTaken(target, name) && inheritsSetter(target, name)) {
      return Reflect.set(target, name, value, receiver);
    }
    put(target, name, value);
    return true;
  },

  has(target, name) {
    if (typeof name === "symbol" || isTaken(target, name)) {
      return name in target;
    }
    return target.has.call(target[SLOT].self, name);
  },

  deleteProperty(target, name) {
    if (typeof name === "symbol") {
      return !isHidden(name) && Reflect.deleteProperty(target, name);
    }
    if (isTaken(target, name)) {
      throw refuse(target, "delete", name, `delete(${JSON.stringify(name)})`);
    }
    target.delete.call(target[SLOT].self, name);
    return true;
  },

  ownKeys(target) {
    const names: (string | symbol)[] = [];
    for (const key of target.keys.call(target[SLOT].self)) {
      if (typeof key === "string" && !isTaken(target, key)) names.push(key);
    }
    for (const key of Object.getOwnPropertySymbols(target)) {
      if (!isHidden(key)) names.push(key);
    }
    return names;
  },

  getOwnPropertyDescriptor(target, name) {
    if (isHidden(name)) return undefined;
    if (typeof name === "symbol") {
      return Reflect.getOwnPropertyDescriptor(target, name);
    }
    const { self } = target[SLOT];
    if (isTaken(target, name) || !target.has.call(self, name)) return undefined;
    return {
      value: target.get.call(self, name),
      writable: true,
      enumerable: true,
      configurable: true,
    };
  },

  defineProperty(target, name, descriptor) {
    if (typeof name === "symbol") {
      return Reflect.defineProperty(target, name, descriptor);
    }
    const { value, get, set, writable, enumerable, configurable } = descriptor;
    if (get || set || [writable, enumerable, configurable].includes(false)) {
      throw new ClassError(
        `Cannot define the property ${JSON.stringify(name)} of a ${
          target[SLOT].self._p_className
        }: a key has a value, which can be changed and deleted`,
      );
    }
    const keep = !("value" in descriptor) && !isTaken(target, name) &&
      target.has.call(target[SLOT].self, name);
    if (!keep) put(target, name, value);
    return true;
  },

  preventExtensions(target) {
    throw new ClassError(
      `Cannot freeze ${
        target[SLOT].self._p_className
      }: a persistent object must be able to load and drop its state`,
    );
  },
};
