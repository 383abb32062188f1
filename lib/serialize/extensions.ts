/**
 * The extension types by which Dhara's MessagePack holds what MessagePack
 * lacks, and the limits that writer and reader share. `docs/format.md`
 * describes the bytes.
 *
 * @module
 */

/** The MessagePack extension type of each kind of value. */
export const Extension = {
  /** `undefined`. */
  Undefined: 0,
  /** A place of an array where there is nothing. */
  Hole: 1,
  /** A persistent object: its oid and class. */
  Reference: 2,
  /** An object that this data holds already: its number in the data. */
  BackReference: 3,
  /** A string with lone surrogates: its UTF-16 code units. */
  Utf16: 4,
  /** A bigint: sign and magnitude. */
  BigInt: 5,
  /** A `Date`: its time value. */
  Date: 6,
  /** A `Map`: a MessagePack map with keys of any kind. */
  Map: 7,
  /** A `Set`: a MessagePack array. */
  Set: 8,
  /** An object without a prototype: a MessagePack map. */
  NullObject: 9,
  /** A `RegExp`: source, flags, lastIndex. */
  RegExp: 10,
  /** A `URL`: its href. */
  Url: 11,
  /** A typed array other than `Uint8Array`, a `DataView` or an `ArrayBuffer`. */
  Binary: 12,
  /** An `Error`: class, hidden properties, other properties. */
  Error: 13,
} as const;

/** Values may be nested this deep in a record; the state itself is level 1. */
export const MAX_DEPTH = 500;

/** No bigint has more bytes than this: that is all that V8 can hold. */
export const MAX_BIGINT_BYTES = 2 ** 27;

/** The encoder stops at records of this many bytes. */
export const MAX_RECORD_BYTES = 0x40000000;

// The position in a list is the number in the file: add at the end only.

/** Names of the classes that {@linkcode Extension.Binary} holds, in the order of their numbers. */
export const BINARY_CLASSES: readonly string[] = [
  "ArrayBuffer",
  "DataView",
  "Int8Array",
  "Uint8ClampedArray",
  "Int16Array",
  "Uint16Array",
  "Int32Array",
  "Uint32Array",
  "BigInt64Array",
  "BigUint64Array",
  "Float16Array",
  "Float32Array",
  "Float64Array",
];

/** Names of the classes that {@linkcode Extension.Error} holds. */
export const ERROR_CLASSES: readonly string[] = [
  "Error",
  "AggregateError",
  "EvalError",
  "RangeError",
  "ReferenceError",
  "SuppressedError",
  "SyntaxError",
  "TypeError",
  "URIError",
];

/** Finds a built-in class by name; `undefined` where this runtime does not have it. */
export function builtIn(
  name: string,
  // deno-lint-ignore no-explicit-any
): (new (...args: any[]) => any) | undefined {
  // deno-lint-ignore no-explicit-any
  return (globalThis as any)[name];
}
