/**
 * Turns an object's state into a record.
 *
 * @module
 */
import { DharaError, EncodeError } from "../errors.ts";
import { ByteWriter } from "./byte_writer.ts";
import { allowedSteps, Crowding } from "./crowding.ts";
import {
  BINARY_CLASSES,
  builtIn,
  ERROR_CLASSES,
  Extension,
  MAX_DEPTH,
  MAX_RECORD_BYTES,
} from "./extensions.ts";
import { placeOf } from "./place.ts";
import type { Oid } from "./record.ts";
import {
  changing,
  checkNoKeys,
  contentOf,
  extraProperty,
  genuine,
  impostor,
  notEnumerable,
  stranger,
  tooDeep,
  Unstorable,
} from "./unstorable.ts";

/** How an {@linkcode Encoder} learns which values are persistent objects. */
export interface ReferenceWriter {
  /**
   * The value's number; `undefined` if it is not a persistent object. A
   * {@linkcode DharaError} says why the object cannot be referred to; the
   * encoder adds the path to it.
   */
  oidOf(value: object): Oid | undefined;
  /** The name that the class of a persistent object is registered under. */
  classNameOf(value: object): string;
}

/** Up to so many objects, looking through all of them is faster than a `Map`. */
const FEW = 16;

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

const objectPrototype = Object.prototype;
const arrayPrototype = Array.prototype;
const uint8Prototype = Uint8Array.prototype;
const getPrototypeOf = Object.getPrototypeOf;

/** Makes records. One encoder serves any number of objects, one after the other. */
export class Encoder {
  readonly #references: ReferenceWriter;
  readonly #out = new ByteWriter();
  #busy = false;

  /** The first few objects of the data in the order of their numbers. */
  readonly #few: unknown[] = new Array(FEW).fill(undefined);
  /** The numbers of the objects after the first few. */
  #many: Map<object, number> | undefined;
  #objectCount = 0;

  #oid: Oid = 0;
  #className = "";
  #oids: Oid[] = [];
  #oidCount = 0;
  #oidSet: Set<Oid> | undefined;
  /** Class names of references: those after the record's own, which is the first. */
  #classNames: string[] = [];
  #classIndex: Map<string, number> | undefined;
  /** What the keys of Maps and Sets will cost when they are read. */
  #steps = 0;
  #mostCrowded: object | undefined;
  #mostSteps = 0;

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
    try {
      this.#out.start();
      this.#out.string(className);
      this.#number(state);
      this.#writeState(state);
      const record = this.#out.finish(oid, this.#oids, this.#oidCount);
      if (this.#steps > allowedSteps(record.length)) {
        throw new Unstorable(
          this.#mostCrowded,
          "so many of its keys share a place in a table that reading it would take too long; use other keys, such as strings",
        );
      }
      return record;
    } catch (error) {
      if (error instanceof Unstorable) {
        throw new EncodeError(
          `Cannot store ${
            placeOf(`${className}#${oid}`, state, error)
          }: ${error.reason}`,
          error.cause === undefined ? undefined : { cause: error.cause },
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
    if (this.#steps > 0) {
      this.#steps = this.#mostSteps = 0;
      this.#mostCrowded = undefined;
    }
    this.#out.reset();
    this.#busy = false;
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
    this.#out.backReference(number);
    return true;
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
    this.#out.mapHeader(count);
    for (let i = 0; i < length; i++) {
      const key = keys[i]!;
      if (count !== length && key.startsWith("_v_")) continue;
      this.#out.string(key);
      this.#writeValue(state[key], 2);
    }
  }

  /** Writes a value that is at level `depth`. */
  #writeValue(value: unknown, depth: number): void {
    switch (typeof value) {
      case "string":
        return this.#out.string(value);
      case "number":
        return this.#out.number(value);
      case "boolean":
        return this.#out.byte(value ? 0xc3 : 0xc2);
      case "object":
        if (value === null) return this.#out.byte(0xc0);
        return this.#writeObject(value, depth);
      case "undefined":
        return this.#out.empty(Extension.Undefined);
      case "bigint":
        return this.#out.bigint(value);
      case "function":
        throw new Unstorable(value, "a function cannot be stored");
      default:
        throw new Unstorable(value, "a symbol cannot be stored");
    }
  }

  #writeObject(value: object, depth: number): void {
    const prototype = getPrototypeOf(value);
    if (prototype === objectPrototype || prototype === null) {
      if (this.#isRepeated(value)) return;
      if (prototype !== null) {
        this.#writePlain(value as Record<string, unknown>, depth);
      } else {
        const at = this.#out.begin(Extension.NullObject);
        this.#writePlain(value as Record<string, unknown>, depth);
        this.#out.end(at);
      }
    } else if (prototype === arrayPrototype && Array.isArray(value)) {
      if (!this.#isRepeated(value)) this.#writeArray(value, depth);
    } else {
      const oid = this.#oidOf(value);
      if (oid !== undefined) this.#writeReference(oid, value);
      else this.#writeBuiltIn(value, prototype, depth);
    }
  }

  #oidOf(value: object): Oid | undefined {
    try {
      return this.#references.oidOf(value);
    } catch (error) {
      if (!(error instanceof DharaError)) throw error;
      throw new Unstorable(value, error.message, undefined, error);
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
    this.#out.mapHeader(length);
    for (let i = 0; i < length; i++) {
      const key = keys[i]!;
      const property = Object.getOwnPropertyDescriptor(value, key);
      if (property === undefined || property.get || property.set) {
        throw new Unstorable(value, "an accessor cannot be stored", key);
      }
      if (!property.enumerable) throw notEnumerable(value, key);
      this.#out.string(key);
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
    this.#out.arrayHeader(length);
    // `includes` takes holes for undefined, and is quick.
    if (value.includes(undefined)) {
      for (let i = 0; i < length; i++) {
        const element = value[i];
        if (element === undefined && !(i in value)) {
          present--;
          this.#out.empty(Extension.Hole);
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
    const at = this.#out.begin(Extension.Reference);
    this.#out.uint(oid);
    if (index >= 0) this.#out.uint(index);
    else this.#out.string(className);
    this.#out.end(at);
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
      return this.#out.bin(contentOf(value, "Uint8Array"));
    }
    const found = KINDS.get(prototype);
    if (found === undefined) throw stranger(value, prototype);
    if (this.#isRepeated(value)) return;
    switch (found.kind) {
      case Kind.Binary: {
        const bytes = contentOf(value, found.name);
        if (found.code < 2) checkNoKeys(value); // Typed arrays have a key for each element.
        const at = this.#out.begin(Extension.Binary);
        this.#out.byte(found.code);
        this.#out.bytes(bytes);
        return this.#out.end(at);
      }
      case Kind.Date: {
        const time = genuine(value, () => Date.prototype.getTime.call(value));
        checkNoKeys(value);
        return this.#out.date(time);
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
        const at = this.#out.begin(Extension.RegExp);
        this.#out.string(expression.source);
        this.#out.string(expression.flags);
        this.#out.number(expression.lastIndex);
        return this.#out.end(at);
      }
      case Kind.Url: {
        const href = genuine(value, () => (value as URL).href);
        if (Object.getOwnPropertyNames(value).length > 0) {
          throw extraProperty(value);
        }
        const at = this.#out.begin(Extension.Url);
        this.#out.string(href);
        return this.#out.end(at);
      }
      default:
        return this.#writeError(value as Error, found.name, depth);
    }
  }

  #writeMap(value: Map<unknown, unknown>, depth: number) {
    if (depth > MAX_DEPTH) throw tooDeep(value);
    checkNoKeys(value);
    genuine(value, () => value.size);
    const at = this.#out.begin(Extension.Map);
    this.#out.mapHeader(value.size);
    let left = value.size;
    const crowding = Crowding.of(left);
    for (const [key, item] of value) {
      crowding?.add(key);
      this.#writeValue(key, depth + 1);
      this.#writeValue(item, depth + 1);
      left--;
    }
    if (left !== 0) throw changing(value);
    if (crowding) this.#crowded(value, crowding.steps);
    this.#out.end(at);
  }

  #crowded(value: object, steps: number) {
    if (steps > this.#mostSteps) {
      this.#mostCrowded = value;
      this.#mostSteps = steps;
    }
    this.#steps += steps;
  }

  #writeSet(value: Set<unknown>, depth: number) {
    if (depth > MAX_DEPTH) throw tooDeep(value);
    checkNoKeys(value);
    genuine(value, () => value.size);
    const at = this.#out.begin(Extension.Set);
    this.#out.arrayHeader(value.size);
    let left = value.size;
    const crowding = Crowding.of(left);
    for (const item of value) {
      crowding?.add(item);
      this.#writeValue(item, depth + 1);
      left--;
    }
    if (left !== 0) throw changing(value);
    if (crowding) this.#crowded(value, crowding.steps);
    this.#out.end(at);
  }

  #writeError(value: Error, name: string, depth: number) {
    if (depth > MAX_DEPTH) throw tooDeep(value);
    if (Object.prototype.toString.call(value) !== "[object Error]") {
      throw impostor(value);
    }
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
    const at = this.#out.begin(Extension.Error);
    this.#out.string(name);
    for (const properties of [hidden, shown]) {
      this.#out.mapHeader(properties.length);
      for (const [key, item] of properties) {
        this.#out.string(key);
        this.#writeValue(item, depth + 1);
      }
    }
    this.#out.end(at);
  }
}
