/**
 * Turns a record into an object's state. Records may come from anywhere, so
 * nothing in them is believed: every length is checked against the bytes that
 * are there, nesting is bounded, and only what `docs/format.md` lists comes to
 * life.
 *
 * @module
 */
import { DecodeError, DharaError } from "../errors.ts";
import { allowedSteps, Crowding } from "./crowding.ts";
import {
  BINARY_CLASSES,
  builtIn,
  ERROR_CLASSES,
  Extension,
  MAX_BIGINT_BYTES,
  MAX_DEPTH,
} from "./extensions.ts";
import { isOid, type Oid, recordDataEnd, recordOid } from "./record.ts";
import { readText } from "./text.ts";

/** How a {@linkcode Decoder} turns references into objects. */
export interface ReferenceReader {
  /** The object with this number; a ghost if it is not in memory. */
  ghost(oid: Oid, className: string): object;
  /** Takes care of a property that `target` inherits; returns whether it did. */
  keep?(target: object, key: string, value: unknown): boolean;
}

/** An object's state; also what plain objects are read into. */
type Bag = Record<string, unknown>;

const HEADER = 12;
/** More objects than this, and the list of them is not kept for the next record. */
const KEPT_OBJECTS = 64;

/** The level of strings and numbers inside an extension: nothing else may be there. */
const LEAF = MAX_DEPTH + 2;

/** A value that stands for a place where there is nothing. */
const HOLE = Symbol("hole");

const eight = new Uint8Array(8);
const eightView = new DataView(eight.buffer);
const errorClasses: ReadonlySet<string> = new Set(ERROR_CLASSES);

/** Reads records. One decoder serves any number of records. */
export class Decoder {
  readonly #references: ReferenceReader;

  #bytes: Uint8Array = eight;
  #at = 0;
  #end = 0;
  #busy = false;
  /** The objects of the data in the order of their numbers. */
  #objects: object[] = [];
  #objectCount = 0;
  /** Class names in the order of their numbers, the record's own first. */
  #classNames: string[] = [""];
  /** What the keys of Maps and Sets have cost so far. */
  #steps = 0;

  /** Makes a decoder that gets referred objects from `references`. */
  constructor(references: ReferenceReader) {
    this.#references = references;
  }

  /**
   * Returns the class name in a record.
   *
   * @throws {DecodeError} if the record does not begin as ours do.
   */
  className(record: Uint8Array): string {
    if (this.#busy) return new Decoder(this.#references).className(record);
    this.#bytes = record;
    this.#at = HEADER;
    this.#end = recordDataEnd(record);
    try {
      return this.#readOwnName();
    } finally {
      this.#bytes = eight;
    }
  }

  /**
   * Returns the state in a record: as own properties of `target` if that is
   * given, otherwise of a new plain object. A record that fails half-way
   * leaves the target with a part of the state.
   *
   * @throws {DecodeError} if the record is not one of ours, or holds what we do not know.
   */
  decode(record: Uint8Array, target?: object): object {
    // Making a referred object may run a program's own code, which may load another.
    if (this.#busy) return new Decoder(this.#references).decode(record, target);
    this.#busy = true;
    try {
      this.#bytes = record;
      this.#at = HEADER;
      this.#end = recordDataEnd(record);
      this.#classNames[0] = this.#readOwnName();
      const state = target ?? {};
      this.#add(state);
      const count = this.#readMapHeader();
      if (target === undefined) this.#readProperties(state as Bag, count, 2);
      else this.#readState(state as Bag, count);
      if (this.#at !== this.#end) {
        throw this.#error(`${this.#end - this.#at} bytes follow the state`);
      }
      return state;
    } catch (cause) {
      if (cause instanceof RangeError && !(cause instanceof DharaError)) {
        throw this.#error(cause.message, cause);
      }
      throw cause;
    } finally {
      this.#reset();
    }
  }

  #reset() {
    this.#bytes = eight;
    if (this.#objectCount > KEPT_OBJECTS) {
      this.#objects = [];
    } else {
      for (let i = 0; i < this.#objectCount; i++) this.#objects[i] = eight;
    }
    this.#objectCount = 0;
    this.#steps = 0;
    if (this.#classNames.length > 1) this.#classNames = [""];
    this.#busy = false;
  }

  #error(problem: string, cause?: unknown): DecodeError {
    let name = "record";
    try {
      name = `record of object #${recordOid(this.#bytes)}`;
    } catch {
      // Not even that much can be read.
    }
    return new DecodeError(
      `Cannot decode ${name}: ${problem} (at byte ${this.#at})`,
      cause === undefined ? undefined : { cause },
    );
  }

  /** Checks that `count` bytes more are there. */
  #need(count: number) {
    if (count > this.#end - this.#at) {
      throw this.#error(
        `${count} bytes are needed where ${this.#end - this.#at} are left`,
      );
    }
  }

  #add(object: object) {
    this.#objects[this.#objectCount++] = object;
  }

  #readByte(): number {
    if (this.#at >= this.#end) this.#need(1);
    return this.#bytes[this.#at++]!;
  }

  #readUint16(): number {
    this.#need(2);
    const bytes = this.#bytes;
    return bytes[this.#at++]! << 8 | bytes[this.#at++]!;
  }

  #readUint32(): number {
    this.#need(4);
    const bytes = this.#bytes;
    return (bytes[this.#at++]! << 24 | bytes[this.#at++]! << 16 |
      bytes[this.#at++]! << 8 | bytes[this.#at++]!) >>> 0;
  }

  /** Reads 8 bytes into `eight`. */
  #readEight() {
    this.#need(8);
    const bytes = this.#bytes;
    const at = this.#at;
    for (let i = 0; i < 8; i++) eight[i] = bytes[at + i]!;
    this.#at = at + 8;
  }

  #readMapHeader(): number {
    const code = this.#readByte();
    if (code >= 0x80 && code <= 0x8f) return code & 0x0f;
    if (code === 0xde) return this.#readUint16();
    if (code === 0xdf) return this.#readUint32();
    throw this.#error("a map is missing");
  }

  #readArrayHeader(): number {
    const code = this.#readByte();
    if (code >= 0x90 && code <= 0x9f) return code & 0x0f;
    if (code === 0xdc) return this.#readUint16();
    if (code === 0xdd) return this.#readUint32();
    throw this.#error("an array is missing");
  }

  /** Reads a string whose first byte was `code`; `undefined` if that begins something else. */
  #readString(code: number): string | undefined {
    if (code >= 0xa0 && code <= 0xbf) return this.#readText(code & 0x1f);
    if (code === 0xd9) return this.#readText(this.#readByte());
    if (code === 0xda) return this.#readText(this.#readUint16());
    if (code === 0xdb) return this.#readText(this.#readUint32());
    return undefined;
  }

  #readText(length: number): string {
    this.#need(length);
    const at = this.#at;
    const text = readText(this.#bytes, at, length);
    if (text === undefined) throw this.#error("a string is not valid UTF-8");
    this.#at = at + length;
    return text;
  }

  /** Reads the name of the record's own class, with which it begins. */
  #readOwnName(): string {
    const at = this.#at;
    try {
      return this.#readName();
    } catch (cause) {
      if (!isPickle(this.#bytes, at, this.#end)) throw cause;
      throw this.#error(
        'it is a pickle of Python, written by Durus or dhara, which only they can read; read it there and store here what it holds, as "Records of Python" in the guide shows',
        cause,
      );
    }
  }

  /** Reads the name of a class or a property, or another string. */
  #readName(): string {
    const code = this.#readByte();
    const name = this.#readString(code);
    if (name !== undefined) return name;
    // One with lone surrogates is an extension.
    this.#at--;
    const value = this.#readValue(LEAF);
    if (typeof value === "string") return value;
    throw this.#error("a string is missing");
  }

  #readState(target: Bag, count: number) {
    for (let i = 0; i < count; i++) {
      const key = this.#readName();
      if (key.charCodeAt(0) === 95 && key.startsWith("_p_")) {
        throw this.#error(
          `the state has ${JSON.stringify(key)}, a name that is Dhara's own`,
        );
      }
      const value = this.#readItem(2);
      // Assigning would run a setter that it inherits, such as that of `__proto__`.
      // What the object has itself is left from its last state, and has none.
      if (!(key in target) || Object.hasOwn(target, key)) target[key] = value;
      else if (!this.#references.keep?.(target, key, value)) {
        define(target, key, value);
      }
    }
  }

  #readProperties(target: Bag, count: number, depth: number) {
    for (let i = 0; i < count; i++) {
      const key = this.#readName();
      const value = this.#readItem(depth);
      if (key in target) define(target, key, value);
      else target[key] = value;
    }
  }

  /** Reads a value that may not be a hole. */
  #readItem(depth: number): unknown {
    const value = this.#readValue(depth);
    if (value === HOLE) throw this.#error("a hole outside of an array");
    return value;
  }

  /** Reads a value that is at level `depth`. */
  #readValue(depth: number): unknown {
    const code = this.#readByte();
    if (code < 0x80) return code;
    if (code < 0x90) return this.#readObject(code & 0x0f, depth);
    if (code < 0xa0) return this.#readArray(code & 0x0f, depth);
    if (code < 0xc0) return this.#readText(code & 0x1f);
    if (code >= 0xe0) return code - 0x100;
    switch (code) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#readBin(this.#readByte());
      case 0xc5:
        return this.#readBin(this.#readUint16());
      case 0xc6:
        return this.#readBin(this.#readUint32());
      case 0xc7:
        return this.#readExtension(this.#readByte(), depth);
      case 0xc8:
        return this.#readExtension(this.#readUint16(), depth);
      case 0xc9:
        return this.#readExtension(this.#readUint32(), depth);
      case 0xca:
        this.#need(4);
        for (let i = 0; i < 4; i++) eight[i] = this.#bytes[this.#at++]!;
        return eightView.getFloat32(0);
      case 0xcb:
        this.#readEight();
        return eightView.getFloat64(0);
      case 0xcc:
        return this.#readByte();
      case 0xcd:
        return this.#readUint16();
      case 0xce:
        return this.#readUint32();
      case 0xcf:
        this.#readEight();
        return exact(eightView.getBigUint64(0));
      case 0xd0:
        return this.#readByte() << 24 >> 24;
      case 0xd1:
        return this.#readUint16() << 16 >> 16;
      case 0xd2:
        return this.#readUint32() | 0;
      case 0xd3:
        this.#readEight();
        return exact(eightView.getBigInt64(0));
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.#readExtension(1 << (code - 0xd4), depth);
      case 0xd9:
        return this.#readText(this.#readByte());
      case 0xda:
        return this.#readText(this.#readUint16());
      case 0xdb:
        return this.#readText(this.#readUint32());
      case 0xdc:
        return this.#readArray(this.#readUint16(), depth);
      case 0xdd:
        return this.#readArray(this.#readUint32(), depth);
      case 0xde:
        return this.#readObject(this.#readUint16(), depth);
      case 0xdf:
        return this.#readObject(this.#readUint32(), depth);
      default:
        throw this.#error("0xc1 begins no value");
    }
  }

  #checkDepth(depth: number) {
    if (depth === LEAF) throw this.#error("a string or a number is missing");
    if (depth > MAX_DEPTH) {
      throw this.#error(`values are nested more than ${MAX_DEPTH} deep`);
    }
  }

  #readObject(count: number, depth: number): object {
    this.#checkDepth(depth);
    const object: Bag = {};
    this.#add(object);
    this.#readProperties(object, count, depth + 1);
    return object;
  }

  #readArray(count: number, depth: number): unknown[] {
    this.#checkDepth(depth);
    this.#need(count);
    const array: unknown[] = [];
    this.#add(array);
    for (let i = 0; i < count; i++) {
      const value = this.#readValue(depth + 1);
      if (value === HOLE) array.length++;
      else array.push(value);
    }
    return array;
  }

  #readBin(length: number): Uint8Array {
    this.#need(length);
    const bytes = this.#bytes.slice(this.#at, this.#at + length);
    this.#at += length;
    this.#add(bytes);
    return bytes;
  }

  #readExtension(length: number, depth: number): unknown {
    const type = this.#readByte();
    this.#need(length);
    if (depth === LEAF && type !== Extension.Utf16) {
      throw this.#error("a string or a number is missing");
    }
    const end = this.#at + length;
    const value = this.#readContent(type, end, length, depth);
    if (this.#at !== end) {
      throw this.#error(`extension ${type} has another length than it says`);
    }
    return value;
  }

  #readContent(
    type: number,
    end: number,
    length: number,
    depth: number,
  ): unknown {
    switch (type) {
      case Extension.Reference:
        return this.#readReference();
      case Extension.BackReference:
        return this.#readBackReference(length);
      case Extension.Undefined:
        return undefined;
      case Extension.Hole:
        return HOLE;
      case Extension.Utf16:
        return this.#readUtf16(length);
      case Extension.BigInt:
        return this.#readBigInt(end);
      case Extension.Date:
        return this.#readDate(length);
      case Extension.Map:
        return this.#readMap(depth);
      case Extension.Set:
        return this.#readSet(depth);
      case Extension.NullObject: {
        this.#checkDepth(depth);
        const object = Object.create(null);
        this.#add(object);
        this.#readProperties(object, this.#readMapHeader(), depth + 1);
        return object;
      }
      case Extension.RegExp:
        return this.#readRegExp();
      case Extension.Url:
        return this.#readUrl();
      case Extension.Binary:
        return this.#readBinary(end);
      case Extension.Error:
        return this.#readError(depth);
      default:
        throw this.#error(
          `extension type ${type << 24 >> 24} is not one of ours`,
        );
    }
  }

  #readReference(): object {
    const oid = this.#readNumber();
    if (!isOid(oid)) {
      throw this.#error("a reference without an oid");
    }
    let className = this.#readValue(LEAF);
    if (typeof className === "string") this.#classNames.push(className);
    else className = this.#classNames[className as number];
    if (typeof className !== "string") {
      throw this.#error("a reference without a class name");
    }
    return this.#references.ghost(oid, className);
  }

  #readNumber(): number {
    const value = this.#readValue(LEAF);
    if (typeof value === "number") return value;
    throw this.#error("a number is missing");
  }

  #readBackReference(length: number): object {
    let number = -1;
    if (length === 1) number = this.#readByte();
    else if (length === 2) number = this.#readUint16();
    else if (length === 4) number = this.#readUint32();
    if (number < 0 || number >= this.#objectCount) {
      throw this.#error("a back reference to no object");
    }
    return this.#objects[number]!;
  }

  #readUtf16(length: number): string {
    if (length % 2 !== 0) throw this.#error("half a UTF-16 code unit");
    const units: number[] = [];
    let text = "";
    for (let i = 0; i < length; i += 2) {
      units.push(this.#readUint16());
      if (units.length === 1024) {
        text += String.fromCharCode.apply(null, units);
        units.length = 0;
      }
    }
    return text + String.fromCharCode.apply(null, units);
  }

  #readBigInt(end: number): bigint {
    const sign = this.#readByte();
    if (sign > 1) throw this.#error("a bigint's sign is neither 0 nor 1");
    if (end - this.#at > MAX_BIGINT_BYTES) {
      throw this.#error("a bigint is too big");
    }
    let digits = "0x0";
    for (let at = this.#at; at < end; at += 512) {
      const units: number[] = [];
      for (let i = at; i < at + 512 && i < end; i++) {
        const byte = this.#bytes[i]!;
        units.push(hexUnit(byte >> 4), hexUnit(byte & 15));
      }
      digits += String.fromCharCode.apply(null, units);
    }
    try {
      const magnitude = BigInt(digits);
      this.#at = end;
      return sign === 1 ? -magnitude : magnitude;
    } catch (cause) {
      throw this.#error("a bigint is too big", cause);
    }
  }

  #readDate(length: number): Date {
    if (length !== 8) throw this.#error("a date that is not 8 bytes");
    this.#readEight();
    const time = eightView.getFloat64(0);
    const date = new Date(time);
    if (date.getTime() !== time && time === time) {
      throw this.#error("a date that no Date can hold");
    }
    this.#add(date);
    return date;
  }

  #readMap(depth: number): Map<unknown, unknown> {
    this.#checkDepth(depth);
    const map = new Map<unknown, unknown>();
    this.#add(map);
    const count = this.#readMapHeader();
    this.#need(2 * count);
    const crowding = Crowding.of(count);
    for (let i = 0; i < count; i++) {
      const key = this.#readItem(depth + 1);
      if (crowding) this.#checkCrowding(crowding, key);
      map.set(key, this.#readItem(depth + 1));
    }
    if (crowding) this.#steps += crowding.steps;
    return map;
  }

  #readSet(depth: number): Set<unknown> {
    this.#checkDepth(depth);
    const set = new Set<unknown>();
    this.#add(set);
    const count = this.#readArrayHeader();
    this.#need(count);
    const crowding = Crowding.of(count);
    for (let i = 0; i < count; i++) {
      const item = this.#readItem(depth + 1);
      if (crowding) this.#checkCrowding(crowding, item);
      set.add(item);
    }
    if (crowding) this.#steps += crowding.steps;
    return set;
  }

  #checkCrowding(crowding: Crowding, key: unknown) {
    crowding.add(key);
    if (this.#steps + crowding.steps > allowedSteps(this.#bytes.length)) {
      throw this.#error("the keys of a Map or Set are chosen to be slow");
    }
  }

  #readRegExp(): RegExp {
    const source = this.#readName();
    const flags = this.#readName();
    const lastIndex = this.#readNumber();
    let expression: RegExp;
    try {
      expression = new RegExp(source, flags);
    } catch (cause) {
      throw this.#error("a regular expression is not valid", cause);
    }
    expression.lastIndex = lastIndex;
    this.#add(expression);
    return expression;
  }

  #readUrl(): URL {
    const href = this.#readName();
    let url: URL;
    try {
      url = new URL(href);
    } catch (cause) {
      throw this.#error("a URL is not valid", cause);
    }
    this.#add(url);
    return url;
  }

  #readBinary(end: number): object {
    const name = BINARY_CLASSES[this.#readByte()];
    const BinaryClass = name === undefined ? undefined : builtIn(name);
    if (BinaryClass === undefined) {
      throw this.#error(`${name ?? "a binary class"} is not known here`);
    }
    const buffer = this.#bytes.slice(this.#at, end).buffer;
    let binary: object;
    try {
      binary = name === "ArrayBuffer" ? buffer : new BinaryClass(buffer);
    } catch (cause) {
      throw this.#error(`the bytes of a ${name} do not fit it`, cause);
    }
    this.#at = end;
    this.#add(binary);
    return binary;
  }

  #readError(depth: number): Error {
    this.#checkDepth(depth);
    const name = this.#readName();
    const ErrorClass = errorClasses.has(name) ? builtIn(name) : undefined;
    if (ErrorClass === undefined) {
      throw this.#error(`${JSON.stringify(name)} is no error class`);
    }
    const error: Error = name === "AggregateError"
      ? new ErrorClass([])
      : new ErrorClass();
    // What the constructor has put there is not what was stored.
    for (const key of Object.getOwnPropertyNames(error)) {
      delete (error as unknown as Bag)[key];
    }
    this.#add(error);
    for (const enumerable of [false, true]) {
      const count = this.#readMapHeader();
      for (let i = 0; i < count; i++) {
        const key = this.#readName();
        const value = this.#readItem(depth + 1);
        define(error, key, value, enumerable);
      }
    }
    return error;
  }
}

/**
 * Returns whether data begins as a pickle does: with the number of its protocol,
 * or, in the oldest one, with a class. No data of ours begins with these bytes.
 */
function isPickle(bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 2) return false;
  return bytes[at] === 0x80
    ? bytes[at + 1]! <= 9
    : bytes[at] === 0x63 || bytes[at] === 0x28;
}

function hexUnit(digit: number): number {
  return digit < 10 ? 48 + digit : 87 + digit;
}

function define(
  target: object,
  key: string,
  value: unknown,
  enumerable = true,
) {
  Object.defineProperty(target, key, {
    value,
    enumerable,
    writable: true,
    configurable: true,
  });
}

/** An integer of 64 bits: a number if that can hold it, otherwise a bigint. */
function exact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
