/**
 * Why a value cannot be stored.
 *
 * @module
 */
import { MAX_DEPTH } from "./extensions.ts";

/** Stands for the whole state as the {@linkcode Unstorable.value}. */
export const WHOLE = Symbol("whole");

/** Thrown inside an encoder, which makes an {@linkcode EncodeError} of it. */
export class Unstorable {
  /** The value, or the object that holds it under `key`. */
  readonly value: unknown;
  /** Why it cannot be stored: ends the error's message. */
  readonly reason: string;
  /** The property of `value` that is meant, if not `value` itself. */
  readonly key: PropertyKey | undefined;
  /** The error that says so, if there is one. */
  readonly cause: unknown;

  constructor(
    value: unknown,
    reason: string,
    key?: PropertyKey,
    cause?: unknown,
  ) {
    this.value = value;
    this.reason = reason;
    this.key = key;
    this.cause = cause;
  }
}

/** The getter that knows the class of a typed array; `undefined` for anything else. */
const typedArrayName = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)!.get as (this: unknown) => string | undefined;

/** The bytes of a typed array, `DataView` or `ArrayBuffer`. */
export function contentOf(value: object, name: string): Uint8Array {
  const view = ArrayBuffer.isView(value) ? value : undefined;
  const trueName = typedArrayName.call(value) ??
    (view ? "DataView" : "ArrayBuffer");
  if (trueName !== name) throw impostor(value);
  const buffer = view ? view.buffer : value as ArrayBuffer;
  // Fails on what is no buffer at all.
  genuine(value, () => (buffer as ArrayBuffer).byteLength);
  if (Object.getPrototypeOf(buffer) !== ArrayBuffer.prototype) {
    throw new Unstorable(
      value,
      "memory shared between threads cannot be stored; store a copy",
    );
  }
  if ((buffer as ArrayBuffer).detached) {
    throw new Unstorable(value, `a detached ${name} cannot be stored`);
  }
  if ((buffer as ArrayBuffer).resizable) {
    throw new Unstorable(
      value,
      `a resizable ${name} cannot be stored; store a copy`,
    );
  }
  return view
    ? new Uint8Array(buffer, view.byteOffset, view.byteLength)
    : new Uint8Array(buffer);
}

/** Runs what fails on objects that only have the prototype of a built-in class. */
export function genuine<T>(value: object, look: () => T): T {
  try {
    return look();
  } catch (cause) {
    if (cause instanceof Unstorable) throw cause;
    throw impostor(value);
  }
}

/** An object has the prototype of a built-in class and nothing else of it. */
export function impostor(value: object): Unstorable {
  return new Unstorable(
    value,
    "it has the prototype of a built-in class, but is none of its instances",
  );
}

/** Fails if an object has other than `own` properties. */
export function checkNoKeys(value: object, own = 0) {
  if (Reflect.ownKeys(value).length !== own) throw extraProperty(value);
}

/** An object of a built-in class has a property that such objects do not have. */
export function extraProperty(
  value: object,
  key = Reflect.ownKeys(value).find(isExtra, value),
): Unstorable {
  const kind = value.constructor?.name ?? "object";
  return new Unstorable(
    value,
    `a property added to the ${kind} cannot be stored`,
    key,
  );
}

/** Whether a key is none of those that objects of the class of `this` have. */
function isExtra(this: object, key: PropertyKey): boolean {
  if (Array.isArray(this)) return key !== "length" && !isIndex(key);
  if (this instanceof RegExp) return key !== "lastIndex";
  if (this instanceof URL) return typeof key === "string";
  return true;
}

function isIndex(key: PropertyKey): boolean {
  return typeof key === "string" && /^(0|[1-9]\d*)$/.test(key) &&
    Number(key) < 0xffffffff;
}

/** A property is not enumerable. */
export function notEnumerable(value: object, key: string): Unstorable {
  return new Unstorable(
    value,
    "a property that is not enumerable cannot be stored",
    key,
  );
}

/** Values are nested too deep. */
export function tooDeep(value: object): Unstorable {
  return new Unstorable(
    value,
    `values nested more than ${MAX_DEPTH} deep cannot be stored`,
  );
}

/** A container changed under the encoder's hands. */
export function changing(value: object): Unstorable {
  return new Unstorable(value, "it changed while it was being stored");
}

/** Why an object of no known class cannot be stored. */
export function stranger(value: object, prototype: object): Unstorable {
  const constructor = Object.hasOwn(prototype, "constructor")
    ? prototype.constructor
    : undefined;
  const name = typeof constructor === "function" ? constructor.name : "";
  if (
    (name === "Object" || name === "Array") && constructor !== Object &&
    constructor !== Array && /\[native code\]/.test(String(constructor))
  ) {
    return new Unstorable(
      value,
      `${
        name === "Array" ? "an array" : "a plain object"
      } of another realm cannot be stored; copy it into one of this realm`,
    );
  }
  return new Unstorable(
    value,
    `an instance of ${
      name || "an unnamed class"
    } cannot be stored; register its class, or make it a plain object`,
  );
}
