/**
 * Finds the path to a value that could not be stored. It walks the state a
 * second time, so that encoding need not keep track of where it is.
 *
 * @module
 */

import { MAX_DEPTH } from "./extensions.ts";
import { type Unstorable, WHOLE } from "./unstorable.ts";

/** Longer paths than this are shown without their middle. */
const LONGEST = 200;

/**
 * Returns the path to the first place of `culprit` in `state`, such as
 * `Account#12.handlers[0]`; just `root` if it is not found.
 */
export function placeOf(
  root: string,
  state: Record<string, unknown>,
  culprit: Unstorable,
): string {
  if (culprit.value === WHOLE) return root;
  const seen = new Set<unknown>();

  // The same order as the encoder's, so it never goes deeper than that went.
  function find(value: unknown, depth: number): string[] | undefined {
    if (Object.is(value, culprit.value)) {
      return culprit.key === undefined ? [] : [step(culprit.key)];
    }
    if (
      typeof value !== "object" || value === null || seen.has(value) ||
      depth > MAX_DEPTH
    ) {
      return undefined;
    }
    seen.add(value);
    for (const [name, item] of parts(value, value === state)) {
      const rest = find(item, depth + 1);
      if (rest) return [name, ...rest];
    }
    return undefined;
  }

  let steps: string[] | undefined;
  try {
    steps = find(state, 0);
  } catch {
    // An accessor failed; the root must do.
  }
  const path = root + (steps ?? []).join("");
  if (path.length <= LONGEST) return path;
  const half = LONGEST / 2;
  return `${path.slice(0, half)} ... ${path.slice(-half)}`;
}

/** The values that an object holds, in the order of the encoder, with a name for each. */
function* parts(
  value: object,
  isState: boolean,
): Generator<[string, unknown]> {
  const prototype = Object.getPrototypeOf(value);
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) yield [`[${index}]`, item];
  } else if (isState || prototype === Object.prototype || prototype === null) {
    for (const key of Object.keys(value)) {
      if (isState && key.startsWith("_v_")) continue;
      yield [step(key), (value as Record<string, unknown>)[key]];
    }
  } else if (prototype === Map.prototype) {
    let index = 0;
    for (const [key, item] of value as Map<unknown, unknown>) {
      yield [`.keys()[${index}]`, key];
      const isSimple = key === null || typeof key !== "object";
      yield [
        isSimple && typeof key !== "symbol"
          ? `.get(${typeof key === "string" ? JSON.stringify(key) : key})`
          : `.values()[${index}]`,
        item,
      ];
      index++;
    }
  } else if (prototype === Set.prototype) {
    let index = 0;
    for (const item of value as Set<unknown>) {
      yield [`.values()[${index++}]`, item];
    }
  } else if (value instanceof Error) {
    for (const isShown of [false, true]) {
      for (const key of Object.getOwnPropertyNames(value)) {
        if (
          Object.prototype.propertyIsEnumerable.call(value, key) === isShown
        ) {
          yield [step(key), (value as unknown as Record<string, unknown>)[key]];
        }
      }
    }
  }
}

function step(key: PropertyKey): string {
  if (typeof key === "symbol") return `[${String(key)}]`;
  const name = String(key);
  return /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name)
    ? `.${name}`
    : `[${JSON.stringify(name)}]`;
}
