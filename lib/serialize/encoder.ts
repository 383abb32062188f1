/**
 * Turns an object's state into a record.
 *
 * @module
 */
import { EncodeError } from "../errors.ts";
import { placeOf } from "./place.ts";
import {
  BINARY_CLASSES,
  builtIn,
  ERROR_CLASSES,
  Extension,
  MAX_DEPTH,
  MAX_RECORD_BYTES,
} from "./extensions.ts";
import type { Oid } from "./record.ts";

/** How an {@linkcode Encoder} learns which values are persistent objects. */
export interface ReferenceWriter {
  /** The value's number; `undefined` if it is not a persistent object. */
  oidOf(value: object): Oid | undefined;
  /** The name that the class of a persistent object is registered under. */
  classNameOf(value: object): string;
}

/** Records up to a quarter of this share one buffer. */
const CHUNK_BYTES = 16384;
/** A bigger buffer than this is not kept for the next big record. */
const SPARE_BYTES = 1 << 20;
/** Up to so many objects, looking through all of them is faster than a `Map`. */
const FEW = 16;
/** Up to so many UTF-16 code units, a loop is faster than `TextEncoder`. */
const SHORT = 48;

const Kind = {
  Binary: 1,
  Date: 2,
  Map: 3,
  Set: 4,
  RegExp: 5,
  Url: 6,
  Error: 7,
};

/** The prototypes of the built-in classes that can be stored: what kind, and its number. */
const KINDS = new Map<object, { kind: number; code: number; name: string }>();

function addKind(name: string, kind: number, code = 0) {
  const prototype = builtIn(name)?.prototype;
  if (prototype) KINDS.set(prototype, { kind, code, name });
}
BINARY_CLASSES.forEach((name, code) => addKind(name, Kind.Binary, code));
ERROR_CLASSES.forEach((name) => addKind(name, Kind.Error));
addKind("Date", Kind.Date);
addKind("Map", Kind.Map);
addKind("Set", Kind.Set);
addKind("RegExp", Kind.RegExp);
addKind("URL", Kind.Url);

const textEncoder = new TextEncoder();
const objectPrototype = Object.prototype;
const arrayPrototype = Array.prototype;
const uint8Prototype = Uint8Array.prototype;
/** The getter that knows the class of a typed array; `undefined` for anything else. */
const typedArrayName = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)!.get as (this: unknown) => string | undefined;
const getPrototypeOf = Object.getPrototypeOf;

/** Thrown inside an encoder, which makes an {@linkcode EncodeError} of it. */
class Unstorable {
  /** The value, or the object that holds it under `key`. */
  readonly value: unknown;
  /** Why it cannot be stored: ends the error's message. */
  readonly reason: string;
  /** The property of `value` that is meant, if not `value` itself. */
  readonly key: PropertyKey | undefined;

  constructor(value: unknown, reason: string, key?: PropertyKey) {
    this.value = value;
    this.reason = reason;
    this.key = key;
  }
}

/** Makes records. One encoder serves any number of objects, one after the other. */
export class Encoder {
  readonly #references: ReferenceWriter;

  #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(CHUNK_BYTES);
  #view = new DataView(this.#buffer.buffer);
  /** Where the record begins in the buffer. */
  #start = 0;
  #at = 0;
  /** The buffer of small records and where the next one begins, while a big one is being made. */
  #chunk: Uint8Array<ArrayBuffer> | undefined;
  #chunkStart = 0;
  /** A big buffer for the next big record. */
  #spare: Uint8Array<ArrayBuffer> | undefined;
  #busy = false;

  /** The first few objects of the data in the order of their numbers. */
  readonly #few: unknown[] = new Array(FEW).fill(undefined);
  /** The numbers of the objects after the first few. */
  #many: Map<object, number> | undefined;
  #objectCount = 0;

  #oid: Oid = 0;
  #className = "";
  #state: object | undefined;
  #oids: Oid[] = [];
  #oidCount = 0;
  #oidSet: Set<Oid> | undefined;
  /** Class names of references: those after the record's own, which is the first. */
  #classNames: string[] = [];
  #classIndex: Map<string, number> | undefined;

  /** Makes an encoder that asks `references` which values are persistent objects. */
  constructor(references: ReferenceWriter) {
    this.#references = references;
  }

  /**
   * Makes an object's record. State is the own enumerable properties of
   * `state` with string keys, but for those whose names begin with `_v_`.
   *
   * The bytes are the caller's to keep and never change, but records share
   * buffers: `record.buffer` holds other records too, so never transfer it.
   *
   * @throws {EncodeError} if a value cannot be stored; the message names the path to it.
   */
  encode(
    oid: Oid,
    className: string,
    state: Record<string, unknown>,
  ): Uint8Array {
    if (this.#busy) {
      throw new EncodeError(
        `Cannot store ${className}#${oid}: its encoder is at work on another object`,
      );
    }
    this.#busy = true;
    this.#oid = oid;
    this.#className = className;
    this.#state = state;
    this.#at = this.#start + 12;
    try {
      if (this.#at > this.#buffer.length) this.#grow(0);
      this.#writeString(className);
      this.#number(state);
      this.#writeState(state);
      return this.#finish();
    } catch (error) {
      if (error instanceof Unstorable) {
        throw new EncodeError(
          `Cannot store ${
            placeOf(
              `${className}#${oid}`,
              state,
              error,
              (value) => this.#references.oidOf(value) !== undefined,
            )
          }: ${error.reason}`,
        );
      }
      throw error;
    } finally {
      this.#reset();
    }
  }

  #reset() {
    const used = Math.min(this.#objectCount, FEW);
    for (let i = 0; i < used; i++) this.#few[i] = undefined;
    this.#objectCount = 0;
    this.#many = undefined;
    if (this.#oidCount > 0) {
      if (this.#oidCount > 1024) this.#oids = [];
      this.#oidCount = 0;
      this.#oidSet = undefined;
    }
    if (this.#classNames.length > 0) {
      this.#classNames = [];
      this.#classIndex = undefined;
    }
    if (this.#chunk !== undefined) {
      this.#spare = this.#buffer.length <= SPARE_BYTES
        ? this.#buffer
        : undefined;
      this.#use(this.#chunk);
      this.#start = this.#chunkStart;
      this.#chunk = undefined;
    }
    this.#state = undefined;
    this.#busy = false;
  }

  #use(buffer: Uint8Array<ArrayBuffer>) {
    this.#buffer = buffer;
    this.#view = new DataView(buffer.buffer);
  }

  /** Makes room for `count` bytes more. */
  #grow(count: number) {
    const used = this.#at - this.#start;
    const needed = used + count;
    if (needed > MAX_RECORD_BYTES) {
      throw new Unstorable(
        this.#state,
        `its record would have more than ${MAX_RECORD_BYTES} bytes`,
      );
    }
    const old = this.#buffer;
    let buffer: Uint8Array<ArrayBuffer>;
    if (needed <= CHUNK_BYTES / 4 && this.#chunk === undefined) {
      buffer = new Uint8Array(CHUNK_BYTES);
    } else {
      if (this.#chunk === undefined) {
        this.#chunk = old;
        this.#chunkStart = this.#start;
      }
      const spare = this.#spare;
      buffer = spare !== undefined && spare !== old && spare.length >= needed
        ? spare
        : new Uint8Array(Math.max(needed * 2, CHUNK_BYTES * 2));
    }
    buffer.set(old.subarray(this.#start, Math.min(this.#at, old.length)));
    this.#use(buffer);
    this.#start = 0;
    this.#at = used;
  }

  #finish(): Uint8Array {
    const count = this.#oidCount;
    if (this.#at + 8 * count > this.#buffer.length) this.#grow(8 * count);
    const start = this.#start;
    const view = this.#view;
    const oid = this.#oid;
    const high = Math.floor(oid / 0x100000000);
    view.setUint32(start, high);
    view.setUint32(start + 4, oid >>> 0);
    view.setUint32(start + 8, this.#at - start - 12);
    let at = this.#at;
    for (let i = 0; i < count; i++) {
      const oid = this.#oids[i]!;
      view.setUint32(at, Math.floor(oid / 0x100000000));
      view.setUint32(at + 4, oid >>> 0);
      at += 8;
    }
    const buffer = this.#buffer;
    if (this.#chunk !== undefined) return buffer.slice(start, at);
    this.#start = at;
    return new Uint8Array(buffer.buffer, start, at - start);
  }

  /** Gives an object its number; answers the one it had before, or -1. */
  #number(value: object): number {
    const count = this.#objectCount;
    const few = this.#few;
    const used = count < FEW ? count : FEW;
    for (let i = 0; i < used; i++) if (few[i] === value) return i;
    if (count < FEW) {
      few[count] = value;
    } else {
      const many = this.#many ??= new Map();
      const number = many.get(value);
      if (number !== undefined) return number;
      many.set(value, count);
    }
    this.#objectCount = count + 1;
    return -1;
  }

  /** Like `#number`; writes a back reference and answers true if there was one. */
  #isRepeated(value: object): boolean {
    const number = this.#number(value);
    if (number < 0) return false;
    if (this.#at + 6 > this.#buffer.length) this.#grow(6);
    if (number < 0x100) {
      this.#byte(0xd4);
      this.#byte(Extension.BackReference);
      this.#byte(number);
    } else if (number < 0x10000) {
      this.#byte(0xd5);
      this.#byte(Extension.BackReference);
      this.#view.setUint16(this.#at, number);
      this.#at += 2;
    } else {
      this.#byte(0xd6);
      this.#byte(Extension.BackReference);
      this.#view.setUint32(this.#at, number);
      this.#at += 4;
    }
    return true;
  }

  #byte(byte: number) {
    this.#buffer[this.#at++] = byte;
  }

  /** Writes the header of a string, bin, array or map of `length` after a check for room. */
  #header8(code: number, length: number) {
    if (length < 0x100) {
      this.#byte(code);
      this.#byte(length);
    } else {
      this.#header16(code + 1, length);
    }
  }

  #header16(code: number, length: number) {
    if (length < 0x10000) {
      this.#byte(code);
      this.#view.setUint16(this.#at, length);
      this.#at += 2;
    } else {
      this.#byte(code + 1);
      this.#view.setUint32(this.#at, length);
      this.#at += 4;
    }
  }

  #mapHeader(count: number) {
    if (this.#at + 5 > this.#buffer.length) this.#grow(5);
    if (count < 16) this.#byte(0x80 | count);
    else this.#header16(0xde, count);
  }

  #arrayHeader(count: number) {
    if (this.#at + 5 > this.#buffer.length) this.#grow(5);
    if (count < 16) this.#byte(0x90 | count);
    else this.#header16(0xdc, count);
  }

  #writeState(state: Record<string, unknown>) {
    const keys = Object.keys(state);
    const length = keys.length;
    let count = length;
    for (let i = 0; i < length; i++) {
      const key = keys[i]!;
      if (key.charCodeAt(0) !== 95) continue;
      if (key.startsWith("_v_")) count--;
      else if (key.startsWith("_p_")) {
        throw new Unstorable(
          state,
          "names that begin with _p_ are Dhara's own",
          key,
        );
      }
    }
    this.#mapHeader(count);
    for (let i = 0; i < length; i++) {
      const key = keys[i]!;
      if (count !== length && key.startsWith("_v_")) continue;
      this.#writeString(key);
      this.#writeValue(state[key], 2);
    }
  }

  /** Writes a value that is at level `depth`. */
  #writeValue(value: unknown, depth: number): void {
    switch (typeof value) {
      case "string":
        return this.#writeString(value);
      case "number":
        return this.#writeNumber(value);
      case "boolean":
        if (this.#at === this.#buffer.length) this.#grow(1);
        return this.#byte(value ? 0xc3 : 0xc2);
      case "object":
        if (value === null) {
          if (this.#at === this.#buffer.length) this.#grow(1);
          return this.#byte(0xc0);
        }
        return this.#writeObject(value, depth);
      case "undefined":
        return this.#writeEmpty(Extension.Undefined);
      case "bigint":
        return this.#writeBigInt(value);
      case "function":
        throw new Unstorable(value, "a function cannot be stored");
      default:
        throw new Unstorable(value, "a symbol cannot be stored");
    }
  }

  #writeNumber(value: number) {
    if (this.#at + 9 > this.#buffer.length) this.#grow(9);
    const integer = value | 0;
    if (integer === value && (integer !== 0 || 1 / value > 0)) {
      if (integer >= 0) {
        if (integer < 0x80) return this.#byte(integer);
        this.#writeUint(integer);
      } else if (integer >= -0x20) {
        this.#byte(integer);
      } else if (integer >= -0x80) {
        this.#byte(0xd0);
        this.#byte(integer);
      } else if (integer >= -0x8000) {
        this.#byte(0xd1);
        this.#view.setInt16(this.#at, integer);
        this.#at += 2;
      } else {
        this.#byte(0xd2);
        this.#view.setInt32(this.#at, integer);
        this.#at += 4;
      }
    } else if (value >>> 0 === value && integer !== 0) {
      this.#writeUint(value);
    } else {
      this.#byte(0xcb);
      // The bits of NaN are anybody's choice; the bytes must not be.
      this.#view.setFloat64(this.#at, value === value ? value : NaN);
      this.#at += 8;
    }
  }

  /** Writes an integer from 0 to 2^53 - 1 after a check for room. */
  #writeUint(value: number) {
    if (value < 0x80) {
      this.#byte(value);
    } else if (value < 0x100) {
      this.#byte(0xcc);
      this.#byte(value);
    } else if (value < 0x10000) {
      this.#byte(0xcd);
      this.#view.setUint16(this.#at, value);
      this.#at += 2;
    } else if (value < 0x100000000) {
      this.#byte(0xce);
      this.#view.setUint32(this.#at, value);
      this.#at += 4;
    } else {
      this.#byte(0xcf);
      this.#view.setUint32(this.#at, Math.floor(value / 0x100000000));
      this.#view.setUint32(this.#at + 4, value >>> 0);
      this.#at += 8;
    }
  }

  #writeString(text: string) {
    const length = text.length;
    if (length > SHORT) return this.#writeLongString(text);
    if (this.#at + 2 + length > this.#buffer.length) this.#grow(2 + length);
    const buffer = this.#buffer;
    let at = this.#at;
    if (length < 32) {
      buffer[at++] = 0xa0 | length;
    } else {
      buffer[at++] = 0xd9;
      buffer[at++] = length;
    }
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i);
      if (unit > 0x7f) return this.#writeLongString(text);
      buffer[at++] = unit;
    }
    this.#at = at;
  }

  #writeLongString(text: string) {
    if (!text.isWellFormed()) return this.#writeUtf16(text);
    const length = text.length;
    if (this.#at + 5 + 3 * length > this.#buffer.length) {
      this.#grow(5 + 3 * length);
    }
    // Most text is ASCII: leave as much room as the header of such a text takes.
    const guess = headerSize(length);
    const at = this.#at;
    const { written } = textEncoder.encodeInto(
      text,
      this.#buffer.subarray(at + guess),
    );
    const size = headerSize(written);
    if (size !== guess) {
      this.#buffer.copyWithin(at + size, at + guess, at + guess + written);
    }
    if (written < 32) this.#byte(0xa0 | written);
    else this.#header8(0xd9, written);
    this.#at = at + size + written;
  }

  #writeUtf16(text: string) {
    const length = text.length;
    const at = this.#begin(Extension.Utf16);
    if (this.#at + 2 * length > this.#buffer.length) this.#grow(2 * length);
    for (let i = 0; i < length; i++) {
      this.#view.setUint16(this.#at, text.charCodeAt(i));
      this.#at += 2;
    }
    this.#end(at);
  }

  #writeBigInt(value: bigint) {
    let digits = (value < 0n ? -value : value).toString(16);
    if (digits.length % 2 === 1) digits = "0" + digits;
    const length = value === 0n ? 0 : digits.length / 2;
    const at = this.#begin(Extension.BigInt);
    if (this.#at + 1 + length > this.#buffer.length) this.#grow(1 + length);
    this.#byte(value < 0n ? 1 : 0);
    for (let i = 0; i < length; i++) {
      this.#byte(
        hexDigit(digits.charCodeAt(2 * i)) << 4 |
          hexDigit(digits.charCodeAt(2 * i + 1)),
      );
    }
    this.#end(at);
  }

  #writeEmpty(type: number) {
    if (this.#at + 3 > this.#buffer.length) this.#grow(3);
    this.#byte(0xc7);
    this.#byte(0);
    this.#byte(type);
  }

  /**
   * Begins an extension whose length is not known yet; answers where its
   * content begins, counted from the start of the record, for `#end`.
   */
  #begin(type: number): number {
    if (this.#at + 3 > this.#buffer.length) this.#grow(3);
    this.#byte(0xc7);
    this.#byte(0);
    this.#byte(type);
    return this.#at - this.#start;
  }

  #end(content: number) {
    let from = this.#start + content;
    const length = this.#at - from;
    if (length < 0x100) {
      this.#buffer[from - 2] = length;
      return;
    }
    // Long ones need a longer header than was left room for.
    if (this.#at + 3 > this.#buffer.length) {
      this.#grow(3);
      from = this.#start + content;
    }
    const type = this.#buffer[from - 1]!;
    this.#buffer.copyWithin(from + 3, from, this.#at);
    this.#at += 3;
    this.#buffer[from - 3] = 0xc9;
    this.#view.setUint32(from - 2, length);
    this.#buffer[from + 2] = type;
  }

  #writeObject(value: object, depth: number): void {
    const prototype = getPrototypeOf(value);
    if (prototype === objectPrototype || prototype === null) {
      if (this.#isRepeated(value)) return;
      if (prototype !== null) {
        this.#writePlain(value as Record<string, unknown>, depth);
      } else {
        const at = this.#begin(Extension.NullObject);
        this.#writePlain(value as Record<string, unknown>, depth);
        this.#end(at);
      }
    } else if (prototype === arrayPrototype && Array.isArray(value)) {
      if (!this.#isRepeated(value)) this.#writeArray(value, depth);
    } else {
      const oid = this.#references.oidOf(value);
      if (oid !== undefined) this.#writeReference(oid, value);
      else this.#writeBuiltIn(value, prototype, depth);
    }
  }

  #writePlain(value: Record<string, unknown>, depth: number) {
    if (depth > MAX_DEPTH) throw tooDeep(value);
    const keys = Object.getOwnPropertyNames(value);
    const length = keys.length;
    if (Object.getOwnPropertySymbols(value).length > 0) {
      throw new Unstorable(
        value,
        "a property named by a symbol cannot be stored",
        Object.getOwnPropertySymbols(value)[0]!,
      );
    }
    this.#mapHeader(length);
    for (let i = 0; i < length; i++) {
      const key = keys[i]!;
      const property = Object.getOwnPropertyDescriptor(value, key);
      if (property === undefined || property.get || property.set) {
        throw new Unstorable(value, "an accessor cannot be stored", key);
      }
      if (!property.enumerable) throw notEnumerable(value, key);
      this.#writeString(key);
      this.#writeValue(property.value, depth + 1);
    }
  }

  #writeArray(value: unknown[], depth: number) {
    if (depth > MAX_DEPTH) throw tooDeep(value);
    const length = value.length;
    if (length > MAX_RECORD_BYTES) {
      throw new Unstorable(value, `an array of ${length} elements is too long`);
    }
    let present = length;
    this.#arrayHeader(length);
    // `includes` takes holes for undefined, and is quick.
    if (value.includes(undefined)) {
      for (let i = 0; i < length; i++) {
        const element = value[i];
        if (element === undefined && !(i in value)) {
          present--;
          this.#writeEmpty(Extension.Hole);
        } else {
          this.#writeValue(element, depth + 1);
        }
      }
    } else {
      for (let i = 0; i < length; i++) this.#writeValue(value[i], depth + 1);
    }
    if (
      Object.keys(value).length !== present ||
      Object.getOwnPropertySymbols(value).length > 0
    ) throw extraProperty(value);
  }

  #writeReference(oid: Oid, value: object) {
    const className = this.#references.classNameOf(value);
    if (oid !== this.#oid) this.#list(oid);
    const index = this.#classNumber(className);
    const at = this.#begin(Extension.Reference);
    if (this.#at + 14 > this.#buffer.length) this.#grow(14);
    this.#writeUint(oid);
    if (index >= 0) {
      this.#writeUint(index);
    } else {
      this.#writeString(className);
    }
    this.#end(at);
  }

  /** Gives a class name its number; answers the one it had before, or -1. */
  #classNumber(className: string): number {
    if (className === this.#className) return 0;
    const names = this.#classNames;
    const index = names.length <= FEW
      ? names.indexOf(className)
      : this.#classIndex?.get(className) ?? -1;
    if (index >= 0) return index + 1;
    names.push(className);
    if (names.length > FEW) {
      this.#classIndex ??= new Map(names.map((name, i) => [name, i]));
      this.#classIndex.set(className, names.length - 1);
    }
    return -1;
  }

  /** Puts an oid on the list that follows the data. */
  #list(oid: Oid) {
    const count = this.#oidCount;
    const oids = this.#oids;
    if (count < FEW) {
      for (let i = 0; i < count; i++) if (oids[i] === oid) return;
    } else {
      const set = this.#oidSet ??= new Set(oids.slice(0, count));
      if (set.has(oid)) return;
      set.add(oid);
    }
    oids[count] = oid;
    this.#oidCount = count + 1;
  }

  #writeBuiltIn(value: object, prototype: object, depth: number): void {
    if (prototype === uint8Prototype) {
      if (this.#isRepeated(value)) return;
      const bytes = contentOf(value, "Uint8Array");
      if (this.#at + 5 > this.#buffer.length) this.#grow(5);
      this.#header8(0xc4, bytes.length);
      return this.#writeBytes(bytes);
    }
    const found = KINDS.get(prototype);
    if (found === undefined) throw stranger(value, prototype);
    if (this.#isRepeated(value)) return;
    switch (found.kind) {
      case Kind.Binary: {
        const bytes = contentOf(value, found.name);
        if (found.code < 2) checkNoKeys(value); // Typed arrays have a key for each element.
        const at = this.#begin(Extension.Binary);
        if (this.#at === this.#buffer.length) this.#grow(1);
        this.#byte(found.code);
        this.#writeBytes(bytes);
        return this.#end(at);
      }
      case Kind.Date: {
        const time = genuine(value, () => Date.prototype.getTime.call(value));
        checkNoKeys(value);
        if (this.#at + 10 > this.#buffer.length) this.#grow(10);
        this.#byte(0xd7);
        this.#byte(Extension.Date);
        this.#view.setFloat64(this.#at, time === time ? time : NaN);
        this.#at += 8;
        return;
      }
      case Kind.Map:
        return this.#writeMap(value as Map<unknown, unknown>, depth);
      case Kind.Set:
        return this.#writeSet(value as Set<unknown>, depth);
      case Kind.RegExp: {
        const expression = value as RegExp;
        genuine(value, () => expression.source);
        checkNoKeys(value, 1);
        if (typeof expression.lastIndex !== "number") {
          throw new Unstorable(
            value,
            "a lastIndex that is not a number cannot be stored",
            "lastIndex",
          );
        }
        const at = this.#begin(Extension.RegExp);
        this.#writeString(expression.source);
        this.#writeString(expression.flags);
        this.#writeNumber(expression.lastIndex);
        return this.#end(at);
      }
      case Kind.Url: {
        const href = genuine(value, () => (value as URL).href);
        if (Object.getOwnPropertyNames(value).length > 0) {
          throw extraProperty(value);
        }
        const at = this.#begin(Extension.Url);
        this.#writeString(href);
        return this.#end(at);
      }
      default:
        return this.#writeError(value as Error, found.name, depth);
    }
  }

  #writeBytes(bytes: Uint8Array) {
    if (this.#at + bytes.length > this.#buffer.length) this.#grow(bytes.length);
    this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #writeMap(value: Map<unknown, unknown>, depth: number) {
    if (depth > MAX_DEPTH) throw tooDeep(value);
    checkNoKeys(value);
    genuine(value, () => value.size);
    const at = this.#begin(Extension.Map);
    this.#mapHeader(value.size);
    let left = value.size;
    for (const [key, item] of value) {
      this.#writeValue(key, depth + 1);
      this.#writeValue(item, depth + 1);
      left--;
    }
    if (left !== 0) throw changing(value);
    this.#end(at);
  }

  #writeSet(value: Set<unknown>, depth: number) {
    if (depth > MAX_DEPTH) throw tooDeep(value);
    checkNoKeys(value);
    genuine(value, () => value.size);
    const at = this.#begin(Extension.Set);
    this.#arrayHeader(value.size);
    let left = value.size;
    for (const item of value) {
      this.#writeValue(item, depth + 1);
      left--;
    }
    if (left !== 0) throw changing(value);
    this.#end(at);
  }

  #writeError(value: Error, name: string, depth: number) {
    if (depth > MAX_DEPTH) throw tooDeep(value);
    const hidden: [string, unknown][] = [];
    const shown: [string, unknown][] = [];
    for (const key of Reflect.ownKeys(value)) {
      if (typeof key === "symbol") throw extraProperty(value, key);
      const property = Object.getOwnPropertyDescriptor(value, key)!;
      // The stack may be a property with a value or an accessor, as the runtime likes.
      if (key !== "stack" && (property.get || property.set)) {
        throw new Unstorable(value, "an accessor cannot be stored", key);
      }
      const item = key === "stack" ? value.stack : property.value;
      (property.enumerable ? shown : hidden).push([key, item]);
    }
    const at = this.#begin(Extension.Error);
    this.#writeString(name);
    for (const properties of [hidden, shown]) {
      this.#mapHeader(properties.length);
      for (const [key, item] of properties) {
        this.#writeString(key);
        this.#writeValue(item, depth + 1);
      }
    }
    this.#end(at);
  }
}

function headerSize(length: number): number {
  return length < 32 ? 1 : length < 0x100 ? 2 : length < 0x10000 ? 3 : 5;
}

function hexDigit(unit: number): number {
  return unit < 58 ? unit - 48 : unit - 87;
}

/** The bytes of a typed array, `DataView` or `ArrayBuffer`. */
function contentOf(value: object, name: string): Uint8Array {
  const view = ArrayBuffer.isView(value) ? value : undefined;
  const trueName = typedArrayName.call(value) ??
    (view ? "DataView" : "ArrayBuffer");
  if (trueName !== name) throw impostor(value);
  const buffer = view ? view.buffer : value as ArrayBuffer;
  // Fails on what is no buffer at all.
  genuine(value, () => (buffer as ArrayBuffer).byteLength);
  if (getPrototypeOf(buffer) !== ArrayBuffer.prototype) {
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
function genuine<T>(value: object, look: () => T): T {
  try {
    return look();
  } catch (cause) {
    if (cause instanceof Unstorable) throw cause;
    throw impostor(value);
  }
}

function impostor(value: object): Unstorable {
  return new Unstorable(
    value,
    "it has the prototype of a built-in class, but is none of its instances",
  );
}

function checkNoKeys(value: object, own = 0) {
  if (Reflect.ownKeys(value).length !== own) throw extraProperty(value);
}

function extraProperty(
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

function notEnumerable(value: object, key: string): Unstorable {
  return new Unstorable(
    value,
    "a property that is not enumerable cannot be stored",
    key,
  );
}

function tooDeep(value: object): Unstorable {
  return new Unstorable(
    value,
    `values nested more than ${MAX_DEPTH} deep cannot be stored`,
  );
}

function changing(value: object): Unstorable {
  return new Unstorable(value, "it changed while it was being stored");
}

/** Why an object of no known class cannot be stored. */
function stranger(value: object, prototype: object): Unstorable {
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
