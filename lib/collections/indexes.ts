/**
 * Items as properties: `list[0]` is `list.at(0)`. Methods pay little for it:
 * the trap for reading only looks whether a name begins as an index does.
 *
 * @module
 */
import { ClassError } from "../errors.ts";
import type { PersistentObject } from "../persistent/persistent.ts";
import { SLOT } from "../persistent/slot.ts";
import { FIELD_TRAPS, MEMBER_TRAPS, type Target } from "../persistent/traps.ts";
import { change, CONTENT, read } from "./content.ts";

/** A gap that is longer than this is a mistake, since all of it is filled. */
const LONGEST_GAP = 2 ** 24;
const TOO_FAR =
  `a list has no holes, and at most ${LONGEST_GAP} items are filled in at once`;

/** Returns the index that a property's name stands for, -1 if it is none. */
function indexOf(name: string | symbol): number {
  if (typeof name !== "string" || !(name.charCodeAt(0) <= 57)) return -1;
  const index = Number(name) >>> 0;
  return String(index) === name && index !== 0xffffffff ? index : -1;
}

/**
 * Cuts a list's items, or fills them up with `undefined`.
 *
 * @throws {RangeError} if it is no length, or too much would have to be filled.
 */
export function setLength(list: PersistentObject, length: number): void {
  const before = read<unknown[]>(list).length;
  const after = Number(length);
  if (after === before) return;
  if (after >>> 0 !== after) {
    throw new RangeError(
      `Cannot make a list of ${before} items one of ${length}: the length of a list is an integer from 0 to 4294967295`,
    );
  }
  if (after > before + LONGEST_GAP) {
    throw new RangeError(
      `Cannot make a list of ${before} items one of ${after}: ${TOO_FAR}`,
    );
  }
  const items = change<unknown[]>(list);
  if (after < before) items.length = after;
  else fill(items, after);
}

function put(target: Target, index: number, value: unknown): void {
  const { length } = read<unknown[]>(target);
  if (index > length + LONGEST_GAP) {
    throw new RangeError(
      `Cannot assign item ${index} of a list of ${length} items: ${TOO_FAR}`,
    );
  }
  const items = change<unknown[]>(target);
  fill(items, index);
  items[index] = value;
}

/** An array that gets so long at once would become a slow one. */
function fill(items: unknown[], length: number): void {
  while (items.length < length) items.push(undefined);
}

function refuseOddNumber(target: Target, name: string): void {
  if (String(Number(name)) !== name) return;
  throw new ClassError(
    `Cannot assign ${
      target[SLOT].self._p_className
    }[${name}]: the index of an item is an integer from 0 to 4294967294`,
  );
}

/** The traps of the proxy around a list. */
export const INDEX_TRAPS: ProxyHandler<Target> = {
  ...MEMBER_TRAPS,

  get(target, name, receiver) {
    const index = indexOf(name);
    return index < 0
      ? MEMBER_TRAPS.get(target, name, receiver)
      : read<unknown[]>(target)[index];
  },

  set(target, name, value, receiver) {
    const index = indexOf(name);
    if (index < 0 || receiver !== target[SLOT].self) {
      if (index < 0 && typeof name === "string") refuseOddNumber(target, name);
      return FIELD_TRAPS.set(target, name, value, receiver);
    }
    put(target, index, value);
    return true;
  },

  has(target, name) {
    const index = indexOf(name);
    return index < 0
      ? FIELD_TRAPS.has(target, name)
      : index < read<unknown[]>(target).length;
  },

  deleteProperty(target, name) {
    const index = indexOf(name);
    if (index < 0) {
      return name !== CONTENT && FIELD_TRAPS.deleteProperty(target, name);
    }
    if (index < read<unknown[]>(target).length) {
      change<unknown[]>(target)[index] = undefined;
    }
    return true;
  },

  ownKeys(target) {
    const names: (string | symbol)[] = Object.keys(read<unknown[]>(target));
    for (const name of FIELD_TRAPS.ownKeys(target)) {
      if (name !== CONTENT) names.push(name);
    }
    return names;
  },

  getOwnPropertyDescriptor(target, name) {
    if (name === CONTENT) return undefined;
    const index = indexOf(name);
    if (index < 0) return FIELD_TRAPS.getOwnPropertyDescriptor(target, name);
    const items = read<unknown[]>(target);
    if (index >= items.length) return undefined;
    return {
      value: items[index],
      writable: true,
      enumerable: true,
      configurable: true,
    };
  },

  defineProperty(target, name, descriptor) {
    const index = indexOf(name);
    if (index < 0 && name !== "length") {
      if (typeof name === "string") refuseOddNumber(target, name);
      return name !== CONTENT &&
        FIELD_TRAPS.defineProperty(target, name, descriptor);
    }
    const { value, get, set, writable, enumerable, configurable } = descriptor;
    if (get || set || [writable, enumerable, configurable].includes(false)) {
      throw new ClassError(
        `Cannot define ${target[SLOT].self._p_className}${
          index < 0 ? ".length: it" : `[${index}]: an item`
        } has a value, which can be changed and deleted`,
      );
    }
    if (index < 0) {
      if ("value" in descriptor) setLength(target, value);
    } else if (
      "value" in descriptor || index >= read<unknown[]>(target).length
    ) {
      put(target, index, value);
    }
    return true;
  },
};
