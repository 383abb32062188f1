/**
 * An object's state as JSON and back, without loss. What JSON has stands for
 * itself; everything else is a JSON object whose first key begins with one
 * `$`. `docs/format.md` lists them all.
 *
 * @module
 */
import { DecodeError } from "../errors.ts";
import {
  BINARY_CLASSES,
  builtIn,
  ERROR_CLASSES,
  MAX_DEPTH,
} from "./extensions.ts";
import { allowedSteps, Crowding } from "./crowding.ts";
import type { Oid } from "./record.ts";

/** Stands for a persistent object that a state refers to. */
export class Reference {
  /** Makes one. */
  constructor(
    /** The object's number. */
    readonly oid: Oid,
    /** The name of its class. */
    readonly className: string,
  ) {}
}

type Bag = Record<string, unknown>;

/** Writes JSON without what some programs take for the end of a line. */
function stringify(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\x85\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Writes a state as JSON. */
export function stateToJson(state: object): string {
  return new Writer(state).properties(state as Bag);
}

/** Writes a string as JSON that every program reads alike. */
export function stringToJson(text: string): string {
  if (text.isWellFormed()) return stringify(text);
  const units = Array.from(
    { length: text.length },
    (_, i) => text.charCodeAt(i),
  );
  return `{"$utf16":${stringify(units)}}`;
}

class Writer {
  /** Objects that are found more than once, and their labels, 0 before the first time. */
  readonly #labels = new Map<object, number>();
  #lastLabel = 0;

  constructor(state: object) {
    const seen = new Set<object>([state]);
    for (const item of Object.values(state)) this.#findShared(item, seen);
    // The state has a label of its own.
    if (this.#labels.has(state)) this.#labels.set(state, -1);
  }

  #findShared(value: unknown, seen: Set<object>): void {
    if (typeof value !== "object" || value === null) return;
    if (value instanceof Reference) return;
    if (seen.has(value)) {
      this.#labels.set(value, 0);
      return;
    }
    seen.add(value);
    if (ArrayBuffer.isView(value)) return;
    if (value instanceof Map) {
      for (const [key, item] of value) {
        this.#findShared(key, seen);
        this.#findShared(item, seen);
      }
    } else if (value instanceof Set) {
      for (const item of value) this.#findShared(item, seen);
    } else {
      for (const key of Object.getOwnPropertyNames(value)) {
        this.#findShared((value as Bag)[key], seen);
      }
    }
  }

  /** Writes the properties of an object as a JSON object. */
  properties(value: Bag, keys: readonly string[] = Object.keys(value)): string {
    if (!keys.every((key) => key.isWellFormed())) {
      const pairs = keys.map((key) =>
        `[${stringToJson(key)},${this.#value(value[key])}]`
      );
      return `{"$object":[${pairs.join(",")}]}`;
    }
    const parts = keys.map((key) =>
      `${stringify(key.startsWith("$") ? `$${key}` : key)}:${
        this.#value(value[key])
      }`
    );
    return `{${parts.join(",")}}`;
  }

  #value(value: unknown): string {
    switch (typeof value) {
      case "string":
        return stringToJson(value);
      case "number":
        return Number.isFinite(value) && !Object.is(value, -0)
          ? stringify(value)
          : `{"$number":"${Object.is(value, -0) ? "-0" : value}"}`;
      case "undefined":
        return '{"$undefined":true}';
      case "bigint":
        return `{"$bigint":"${value}"}`;
      case "object":
        return value === null ? "null" : this.#object(value);
      default:
        return stringify(value);
    }
  }

  #object(value: object): string {
    const label = this.#labels.get(value);
    if (label === undefined) return this.#content(value);
    if (label !== 0) return `{"$same":${label < 0 ? 0 : label}}`;
    const fresh = ++this.#lastLabel;
    this.#labels.set(value, fresh);
    return `{"$shared":${fresh},"value":${this.#content(value)}}`;
  }

  #content(value: object): string {
    const prototype = Object.getPrototypeOf(value);
    if (prototype === Object.prototype) return this.properties(value as Bag);
    if (Array.isArray(value)) return this.#array(value);
    if (value instanceof Reference) {
      return `{"$ref":${value.oid},"class":${stringToJson(value.className)}}`;
    }
    if (prototype === null) {
      return `{"$bare":${this.properties(value as Bag)}}`;
    }
    if (value instanceof Date) {
      const valid = !Number.isNaN(value.getTime());
      return `{"$date":${valid ? `"${value.toISOString()}"` : "null"}}`;
    }
    if (value instanceof Map) {
      const pairs = Array.from(
        value,
        ([key, item]) => `[${this.#value(key)},${this.#value(item)}]`,
      );
      return `{"$map":[${pairs.join(",")}]}`;
    }
    if (value instanceof Set) {
      const items = Array.from(value, (item) => this.#value(item));
      return `{"$set":[${items.join(",")}]}`;
    }
    if (value instanceof RegExp) {
      return `{"$regexp":${
        stringToJson(value.source)
      },"flags":"${value.flags}","lastIndex":${this.#value(value.lastIndex)}}`;
    }
    if (value instanceof URL) return `{"$url":${stringToJson(value.href)}}`;
    if (value instanceof Error) return this.#error(value);
    return binary(value as ArrayBuffer | ArrayBufferView<ArrayBuffer>);
  }

  #array(value: unknown[]): string {
    const items: string[] = [];
    for (let i = 0; i < value.length; i++) {
      items.push(i in value ? this.#value(value[i]) : '{"$hole":true}');
    }
    return `[${items.join(",")}]`;
  }

  #error(value: Error): string {
    const name = ERROR_CLASSES.find((name) =>
      builtIn(name)?.prototype === Object.getPrototypeOf(value)
    );
    const keys = Object.getOwnPropertyNames(value);
    const shown = (key: string) =>
      Object.prototype.propertyIsEnumerable.call(value, key);
    const bag = value as unknown as Bag;
    return `{"$error":${stringify(name)},"hidden":${
      this.properties(bag, keys.filter((key) => !shown(key)))
    },"properties":${this.properties(bag, keys.filter(shown))}}`;
  }
}

function binary(value: ArrayBuffer | ArrayBufferView<ArrayBuffer>): string {
  const bytes = ArrayBuffer.isView(value)
    ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
    : new Uint8Array(value);
  const name = Object.prototype.toString.call(value).slice(8, -1);
  const text = `{"$bytes":"${toBase64(bytes)}"`;
  return name === "Uint8Array" ? `${text}}` : `${text},"type":"${name}"}`;
}

/** Makes the state that JSON stands for. */
export function stateFromJson(json: unknown): Bag {
  return new Reader().state(json);
}

/** Reads a string that {@linkcode stringToJson} wrote. */
export function stringFromJson(json: unknown): string {
  if (typeof json === "string") return json;
  const units = isBag(json) && Object.keys(json).length === 1
    ? json["$utf16"]
    : undefined;
  if (!Array.isArray(units)) throw bad(json, "a string is missing");
  let text = "";
  for (const unit of units) {
    if (!Number.isInteger(unit) || unit < 0 || unit > 0xffff) {
      throw bad(json, "it does not consist of UTF-16 code units");
    }
    text += String.fromCharCode(unit);
  }
  return text;
}

function isBag(json: unknown): json is Bag {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

function bad(json: unknown, why: string, cause?: unknown): DecodeError {
  const text = JSON.stringify(json) ?? "nothing";
  return new DecodeError(
    `cannot read ${
      text.length > 80 ? `${text.slice(0, 80)} ...` : text
    }: ${why}`,
    cause === undefined ? undefined : { cause },
  );
}

class Reader {
  readonly #labels = new Map<number, object>();
  /** The label for the next object that is made. */
  #label: number | undefined;

  state(json: unknown): Bag {
    const state: Bag = {};
    this.#labels.set(0, state);
    this.#properties(state, json, 2);
    return state;
  }

  #made<T extends object>(value: T): T {
    if (this.#label !== undefined) this.#labels.set(this.#label, value);
    this.#label = undefined;
    return value;
  }

  #properties(target: object, json: unknown, depth: number, hidden = false) {
    if (!isBag(json)) throw bad(json, "an object is missing");
    const keys = Object.keys(json);
    const pairs = json["$object"];
    if (keys.length === 1 && Array.isArray(pairs)) {
      for (const pair of pairs) {
        if (!Array.isArray(pair) || pair.length !== 2) {
          throw bad(pair, "a pair of key and value is missing");
        }
        const key = stringFromJson(pair[0]);
        if (Object.hasOwn(target, key)) throw bad(pair, "the key comes twice");
        define(target, key, this.#value(pair[1], depth), !hidden);
      }
      return;
    }
    for (const key of keys) {
      if (key.startsWith("$") && key[1] !== "$") {
        throw bad(json, `${key} is not known`);
      }
      const name = key.startsWith("$") ? key.slice(1) : key;
      define(target, name, this.#value(json[key], depth), !hidden);
    }
  }

  #value(json: unknown, depth: number): unknown {
    if (typeof json !== "object" || json === null) return json;
    // An object with `$shared` around it is one level, not two.
    if (depth > 2 * MAX_DEPTH) {
      throw new DecodeError("values are nested too deep");
    }
    if (Array.isArray(json)) {
      const array = this.#made([] as unknown[]);
      for (const item of json) {
        if (isBag(item) && item["$hole"] === true) array.length++;
        else array.push(this.#value(item, depth + 1));
      }
      return array;
    }
    const keys = Object.keys(json);
    const tag = keys[0] ?? "";
    if (!tag.startsWith("$") || tag[1] === "$" || tag === "$object") {
      const object = this.#made({});
      this.#properties(object, json, depth + 1);
      return object;
    }
    return this.#tagged(tag, json as Bag, keys.slice(1), depth);
  }

  #tagged(tag: string, json: Bag, rest: string[], depth: number): unknown {
    const content = json[tag];
    const need = (...names: string[]) => {
      if (rest.toSorted().join() !== names.join()) {
        throw bad(
          json,
          `${tag} goes with ${names.join(" and ") || "nothing else"}`,
        );
      }
    };
    const list = () => {
      if (!Array.isArray(content)) throw bad(json, "a list is missing");
      return content;
    };
    if (tag !== "$bytes") need(...COMPANIONS[tag] ?? []);
    switch (tag) {
      case "$undefined":
        if (content !== true) throw bad(json, "it must be true");
        return undefined;
      case "$utf16":
        return stringFromJson(json);
      case "$number":
        if (!["-0", "NaN", "Infinity", "-Infinity"].includes(`${content}`)) {
          throw bad(json, "it is no number that JSON lacks");
        }
        return Number(content);
      case "$bigint":
        if (typeof content !== "string" || !/^-?\d+$/.test(content)) {
          throw bad(json, "a whole number in quotes is missing");
        }
        try {
          return BigInt(content);
        } catch (cause) {
          throw bad(json, "no bigint is that big", cause);
        }
      case "$same": {
        const object = this.#labels.get(content as number);
        if (object === undefined) throw bad(json, "there is no such label yet");
        return object;
      }
      case "$shared": {
        if (
          !Number.isSafeInteger(content) || this.#labels.has(content as number)
        ) {
          throw bad(json, "the label is no number, or there twice");
        }
        this.#label = content as number;
        const value = this.#value(json["value"], depth);
        if (this.#label !== undefined) throw bad(json, "it holds no object");
        return value;
      }
      case "$ref": {
        if (!Number.isSafeInteger(content) || (content as number) < 0) {
          throw bad(json, "the number of an object is missing");
        }
        return new Reference(content as number, stringFromJson(json["class"]));
      }
      case "$bare": {
        const object = this.#made(Object.create(null));
        this.#properties(object, content, depth + 1);
        return object;
      }
      case "$date": {
        const date = new Date(typeof content === "string" ? content : NaN);
        if ((content !== null) === Number.isNaN(date.getTime())) {
          throw bad(json, "it is no date");
        }
        return this.#made(date);
      }
      case "$map": {
        const map = this.#made(new Map<unknown, unknown>());
        const crowding = Crowding.of(list().length);
        for (const pair of list()) {
          if (!Array.isArray(pair) || pair.length !== 2) {
            throw bad(pair, "a pair of key and value is missing");
          }
          const key = this.#value(pair[0], depth + 1);
          if (crowding) checkCrowding(json, crowding, key, list().length);
          map.set(key, this.#value(pair[1], depth + 1));
        }
        if (map.size !== list().length) throw bad(json, "a key comes twice");
        return map;
      }
      case "$set": {
        const set = this.#made(new Set<unknown>());
        const crowding = Crowding.of(list().length);
        for (const item of list()) {
          const value = this.#value(item, depth + 1);
          if (crowding) checkCrowding(json, crowding, value, list().length);
          set.add(value);
        }
        if (set.size !== list().length) throw bad(json, "a value comes twice");
        return set;
      }
      case "$regexp":
        return this.#made(this.#regexp(json, depth));
      case "$url":
        try {
          return this.#made(new URL(stringFromJson(content)));
        } catch (cause) {
          throw bad(json, "it is no URL", cause);
        }
      case "$bytes":
        if (rest.length > 0) need("type");
        return this.#made(bytesFromJson(json, json["type"]));
      case "$error":
        return this.#error(json, depth);
      default:
        throw bad(json, `${tag} is not known`);
    }
  }

  #regexp(json: Bag, depth: number): RegExp {
    const lastIndex = this.#value(json["lastIndex"], depth + 1);
    if (typeof lastIndex !== "number") {
      throw bad(json, "lastIndex is no number");
    }
    try {
      const expression = new RegExp(
        stringFromJson(json["$regexp"]),
        stringFromJson(json["flags"]),
      );
      expression.lastIndex = lastIndex;
      return expression;
    } catch (cause) {
      throw bad(json, "it is no regular expression", cause);
    }
  }

  #error(json: Bag, depth: number): Error {
    const name = json["$error"] as string;
    const ErrorClass = ERROR_CLASSES.includes(name) ? builtIn(name) : undefined;
    if (ErrorClass === undefined) throw bad(json, "it is no class of errors");
    const error: Error = name === "AggregateError"
      ? new ErrorClass([])
      : new ErrorClass();
    // What the constructor has put there is not what was stored.
    for (const key of Object.getOwnPropertyNames(error)) {
      delete (error as unknown as Bag)[key];
    }
    this.#made(error);
    this.#properties(error, json["hidden"], depth + 1, true);
    this.#properties(error, json["properties"], depth + 1);
    return error;
  }
}

/** Fails if the keys of a Map or Set are chosen to be slow; each takes some 16 characters. */
function checkCrowding(
  json: unknown,
  crowding: Crowding,
  key: unknown,
  count: number,
) {
  crowding.add(key);
  if (crowding.steps > allowedSteps(16 * count)) {
    throw bad(json, "its keys are chosen to be slow");
  }
}

/** The keys that go with the first one. */
const COMPANIONS: Record<string, string[]> = {
  $ref: ["class"],
  $shared: ["value"],
  $regexp: ["flags", "lastIndex"],
  $error: ["hidden", "properties"],
};

function bytesFromJson(json: Bag, type: unknown): object {
  const bytes = fromBase64(json["$bytes"]);
  if (bytes === undefined) throw bad(json, "it is not base64");
  if (type === undefined) return bytes;
  if (type === "ArrayBuffer") return bytes.buffer;
  const BinaryClass = BINARY_CLASSES.includes(type as string)
    ? builtIn(type as string)
    : undefined;
  if (BinaryClass === undefined) throw bad(json, "its type is not known here");
  try {
    return new BinaryClass(bytes.buffer);
  } catch (cause) {
    throw bad(json, "the bytes do not fit the type", cause);
  }
}

function define(
  target: object,
  key: string,
  value: unknown,
  enumerable: boolean,
) {
  Object.defineProperty(target, key, {
    value,
    enumerable,
    writable: true,
    configurable: true,
  });
}

/** Writes bytes as base64. */
export function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8190) {
    text += btoa(String.fromCharCode(...bytes.subarray(at, at + 8190)));
  }
  return text;
}

/** Reads base64; `undefined` if it is none. */
export function fromBase64(text: unknown): Uint8Array<ArrayBuffer> | undefined {
  if (typeof text !== "string") return undefined;
  try {
    const units = atob(text);
    const bytes = new Uint8Array(units.length);
    for (let i = 0; i < units.length; i++) bytes[i] = units.charCodeAt(i);
    return bytes;
  } catch {
    return undefined;
  }
}
