/** The operations of each collection, which are those of its native counterpart. */
// What is tried has no one type: every method of six classes.
// deno-lint-ignore-file no-explicit-any
import { assert } from "@std/assert";
import fc from "fast-check";
import {
  Persistent,
  PersistentDict,
  PersistentList,
  type PersistentObject,
  PersistentSet,
} from "../../mod.ts";

/** A persistent object to put into collections. */
export class Thing extends Persistent {
  n: number;
  constructor(n: number) {
    super();
    this.n = n;
  }
}

/** What stands for it in the native collection. */
class Marker {
  n: number;
  constructor(n: number) {
    this.n = n;
  }
}

/** A value to use in an operation: on each side it is one of its own. */
export type Token = { thing: number } | { plain: unknown } | { value: unknown };

export const MARKERS = [new Marker(0), new Marker(1), new Marker(2)];

/** Turns a token into a value; `things` belong to the connection or are markers. */
export function resolve(token: Token, things: readonly object[]): unknown {
  if ("thing" in token) return things[token.thing];
  return "plain" in token ? structuredClone(token.plain) : token.value;
}

/** Makes values of both sides comparable. `itself` is the collection. */
export function plain(value: any, itself: unknown): unknown {
  if (value === itself) return "itself";
  if (value instanceof Thing || value instanceof Marker) return `#${value.n}`;
  if (value instanceof Map || value instanceof Set) {
    return [value.constructor.name, plain([...value], itself)];
  }
  if (Array.isArray(value)) return value.map((item) => plain(item, itself));
  // A copy: what is shared before an eviction is not the same object after it.
  return typeof value === "object" && value !== null ? { ...value } : value;
}

/** One operation: its name, and arguments that are tokens or numbers. */
export type Operation = readonly [name: string, ...args: any[]];

/** What an operation does, with the same code on both sides where that is possible. */
type Run = (target: any, ...args: any[]) => unknown;

/** A collection and its native counterpart. */
export interface Kind {
  make(): PersistentObject;
  makeNative(): any;
  copy(native: any): any;
  runs: Record<string, Run>;
  operations: fc.Arbitrary<Operation>;
}

const VALUES = [undefined, null, true, NaN, -0, 0, 1, 2, 10, "", "a", "b", "7"];

const value: fc.Arbitrary<Token> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.constantFrom(...VALUES).map((value) => ({ value })),
  },
  { weight: 2, arbitrary: fc.nat({ max: 2 }).map((thing) => ({ thing })) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<unknown>([], [1, [2, [3]]], { x: 1 })
      .map((plain) => ({ plain })),
  },
);
const values = fc.array(value, { maxLength: 3 });
const index = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: -7, max: 7 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      undefined,
      NaN,
      -0,
      0.5,
      -1.5,
      2.9,
      Infinity,
      -Infinity,
    ),
  },
);
const small = fc.nat({ max: 5 });

function operations(
  args: Record<string, fc.Arbitrary<any>[]>,
): fc.Arbitrary<Operation> {
  return fc.oneof(
    ...Object.entries(args).map(([name, list]) =>
      fc.tuple(fc.constant(name), ...list)
    ),
  );
}

// --- List ---

const text = (item: unknown, itself?: unknown) => String(plain(item, itself));
const byText = (a: unknown, b: unknown) =>
  text(a) < text(b) ? -1 : text(a) > text(b) ? 1 : 0;
const longer = (than: number) => (item: unknown, i: number, list: unknown) => {
  assert(list !== undefined);
  return text(item).length + i % 2 > than;
};

/** Which callback methods say that `value` is no function. */
function refusals(target: any, names: string[], value: unknown): unknown {
  return names.map((name) => {
    try {
      return target[name](value, value);
    } catch (error) {
      return (error as Error).constructor.name;
    }
  });
}

const LIST_CALLERS = [
  "every",
  "filter",
  "find",
  "findIndex",
  "findLast",
  "findLastIndex",
  "flatMap",
  "forEach",
  "map",
  "reduce",
  "reduceRight",
  "some",
];

const listRuns: Record<string, Run> = {
  push: (list, items) => list.push(...items),
  pop: (list) => list.pop(),
  shift: (list) => list.shift(),
  unshift: (list, items) => list.unshift(...items),
  splice0: (list) => list.splice(),
  splice1: (list, start) => list.splice(start),
  splice: (list, start, n, items) => list.splice(start, n, ...items),
  reverse: (list) => list.reverse(),
  sort: (list) => list.sort(),
  sortBy: (list) => list.sort(byText),
  fill: (list, item, start, end) => list.fill(item, start, end),
  copyWithin: (list, to, start, end) => list.copyWithin(to, start, end),
  length(list, length) {
    const before = list.length;
    list.length = length;
    // A list has no holes.
    if (Array.isArray(list)) list.fill(undefined, before);
  },
  set(list, i, item) {
    if (!Array.isArray(list)) return void list.set(i, item);
    // The array method that knows the same indexes makes a new array.
    list.splice(0, Infinity, ...list.with(i, item));
  },
  at: (list, i) => list.at(i),
  indexGet: (list, i) => [list[i], i in list, Object.hasOwn(list, i)],
  indexSet(list, i, item) {
    const before = list.length;
    list[i] = item;
    if (Array.isArray(list)) list.fill(undefined, before, i);
  },
  indexDelete(list, i) {
    const was = delete list[i];
    if (Array.isArray(list) && i < list.length) list[i] = undefined;
    return was;
  },
  indexDefine: (list, i, item) =>
    void Object.defineProperty(list, Math.min(i, list.length), {
      value: item,
      writable: true,
      enumerable: true,
      configurable: true,
    }),
  ownKeys: (list) => [Object.keys(list), Object.entries({ ...list })],
  generic: (list) => [
    Array.from(list),
    Array.prototype.map.call(list, String),
    [0].concat(list),
  ],
  concat: (list, items, item) => list.concat(items, item, [[item]]),
  slice: (list, start, end) => list.slice(start, end),
  map: (list) =>
    list.map((item: unknown, i: number, it: unknown) => [item, i, it]),
  filter: (list, n) => list.filter(longer(n)),
  flat: (list, depth) => list.flat(depth),
  flatMap: (list) => list.flatMap((item: unknown, i: number) => [item, [i]]),
  forEach(list) {
    const seen: unknown[] = [];
    list.forEach((...args: unknown[]) => seen.push(args));
    return seen;
  },
  reduce: (list) => list.reduce((sum: unknown, item: unknown) => [sum, item]),
  reduceFrom: (list, item) =>
    list.reduce((...args: unknown[]) => args.slice(0, 3), item),
  reduceRight: (list) =>
    list.reduceRight((sum: unknown, item: unknown) => [sum, item]),
  reduceRightFrom: (list, item) =>
    list.reduceRight((...args: unknown[]) => args.slice(0, 3), item),
  every: (list, n) => list.every(longer(n)),
  some: (list, n) => list.some(longer(n)),
  find: (list, n) => list.find(longer(n)),
  findIndex: (list, n) => list.findIndex(longer(n)),
  findLast: (list, n) => list.findLast(longer(n)),
  findLastIndex: (list, n) => list.findLastIndex(longer(n)),
  indexOf: (list, item, from) => [list.indexOf(item), list.indexOf(item, from)],
  lastIndexOf: (list, item, from) => [
    list.lastIndexOf(item),
    list.lastIndexOf(item, from),
  ],
  includes: (list, item, from) => [
    list.includes(item),
    list.includes(item, from),
  ],
  join: (list) => [list.join(), list.join("-"), String(list)],
  localeText: (list) => list.toLocaleString(),
  json: (list) => JSON.stringify(list),
  keys: (list) => [...list.keys()],
  values: (list) => [...list.values()],
  entries: (list) => [...list.entries()],
  spread: (list) => [...list],
  toSorted: (list) => [list.toSorted(), list.toSorted(byText)],
  toReversed: (list) => list.toReversed(),
  toSpliced: (list, start, n, items) => [
    list.toSpliced(),
    list.toSpliced(start),
    list.toSpliced(start, n, ...items),
  ],
  with: (list, i, item) => list.with(i, item),
  noFunction: (list, item) => refusals(list, LIST_CALLERS, item),
};

export const LIST: Kind = {
  make: () => new PersistentList<unknown>(),
  makeNative: () => [],
  copy: (array) => [...array],
  runs: listRuns,
  operations: operations({
    push: [values],
    pop: [],
    shift: [],
    unshift: [values],
    splice0: [],
    splice1: [index],
    splice: [index, index, values],
    reverse: [],
    sort: [],
    sortBy: [],
    fill: [value, index, index],
    copyWithin: [index, index, index],
    length: [index],
    set: [index, value],
    at: [index],
    indexGet: [small],
    indexSet: [small, value],
    indexDelete: [small],
    indexDefine: [small, value],
    ownKeys: [],
    generic: [],
    concat: [values, value],
    slice: [index, index],
    map: [],
    filter: [small],
    flat: [small],
    flatMap: [],
    forEach: [],
    reduce: [],
    reduceFrom: [value],
    reduceRight: [],
    reduceRightFrom: [value],
    every: [small],
    some: [small],
    find: [small],
    findIndex: [small],
    findLast: [small],
    findLastIndex: [small],
    indexOf: [value, index],
    lastIndexOf: [value, index],
    includes: [value, index],
    join: [],
    localeText: [],
    json: [],
    keys: [],
    values: [],
    entries: [],
    spread: [],
    toSorted: [],
    toReversed: [],
    toSpliced: [index, index, values],
    with: [index, value],
    noFunction: [value],
  }),
};

// --- Dict ---

/** Names that can be properties. */
const name = fc.constantFrom("a", "b", "7", "");

function strings(map: Map<unknown, unknown>) {
  return [...map].filter(([key]) => typeof key === "string");
}

const dictRuns: Record<string, Run> = {
  set: (dict, key, item) => dict.set(key, item),
  get: (dict, key) => dict.get(key),
  has: (dict, key) => dict.has(key),
  delete: (dict, key) => dict.delete(key),
  clear: (dict) => dict.clear(),
  size: (dict) => dict.size,
  getOrInsert: (dict, key, item) => dict.getOrInsert(key, item),
  getOrInsertComputed: (dict, key, item) =>
    dict.getOrInsertComputed(key, (key: unknown) => [key, item]),
  forEach(dict) {
    const seen: unknown[] = [];
    dict.forEach((...args: unknown[]) => seen.push(args));
    return seen;
  },
  keys: (dict) => [...dict.keys()],
  values: (dict) => [...dict.values()],
  entries: (dict) => [...dict.entries()],
  getProperty: (dict, name) =>
    dict instanceof Map ? dict.get(name) : dict[name],
  setProperty(dict, name, item) {
    if (dict instanceof Map) dict.set(name, item);
    else dict[name] = item;
  },
  setMissing(dict, name, item) {
    if (!(dict instanceof Map)) return dict[name] ??= item;
    if ((dict.get(name) ?? undefined) === undefined) dict.set(name, item);
    return dict.get(name);
  },
  deleteProperty: (dict, name) =>
    dict instanceof Map ? (dict.delete(name), true) : delete dict[name],
  inProperties: (dict, name) =>
    dict instanceof Map ? dict.has(name) : name in dict,
  assign(dict, name, item) {
    if (dict instanceof Map) dict.set(name, item).set("b", 1);
    else Object.assign(dict, Object.fromEntries([[name, item], ["b", 1]]));
  },
  names: (dict) =>
    dict instanceof Map ? strings(dict).map(([key]) => key) : Object.keys(dict),
  spread: (dict) =>
    dict instanceof Map ? strings(dict) : Reflect.ownKeys(dict).map(
      (key) => [key, { ...dict }[key]],
    ),
  json(dict) {
    if (!(dict instanceof Map)) return JSON.stringify(dict);
    const keys = [...dict.keys()];
    const isNamed = keys.every((key) => key === null || Object(key) !== key) &&
      new Set(keys.map(String)).size === keys.length;
    return JSON.stringify(isNamed ? Object.fromEntries(dict) : [...dict]);
  },
  noFunction: (dict, item) => refusals(dict, ["forEach"], item),
};

export const DICT: Kind = {
  make: () => new PersistentDict<unknown, unknown>(),
  makeNative: () => new Map(),
  copy: (map) => new Map(map),
  runs: dictRuns,
  operations: operations({
    set: [value, value],
    get: [value],
    has: [value],
    delete: [value],
    clear: [],
    size: [],
    getOrInsert: [value, value],
    getOrInsertComputed: [value, value],
    forEach: [],
    keys: [],
    values: [],
    entries: [],
    getProperty: [name],
    setProperty: [name, value],
    setMissing: [name, value],
    deleteProperty: [name],
    inProperties: [name],
    assign: [name, value],
    names: [],
    spread: [],
    json: [],
    noFunction: [value],
  }),
};

// --- Set ---

const ALGEBRA = [
  "union",
  "intersection",
  "difference",
  "symmetricDifference",
  "isSubsetOf",
  "isSupersetOf",
  "isDisjointFrom",
];

const setRuns: Record<string, Run> = {
  add: (set, item) => set.add(item),
  has: (set, item) => set.has(item),
  delete: (set, item) => set.delete(item),
  clear: (set) => set.clear(),
  size: (set) => set.size,
  forEach(set) {
    const seen: unknown[] = [];
    set.forEach((...args: unknown[]) => seen.push(args));
    return seen;
  },
  keys: (set) => [...set.keys()],
  values: (set) => [...set.values()],
  entries: (set) => [...set.entries()],
  algebra: (set, items) => ALGEBRA.map((name) => set[name](new Set(items))),
  algebraOfTwo: (set, items) =>
    ALGEBRA.map((name) => set[name](new PersistentSet(items))),
  algebraTheOtherWay: (set, items) =>
    ALGEBRA.map((name) => (new Set(items) as any)[name](set)),
  algebraWithItself: (set) => ALGEBRA.map((name) => set[name](set)),
  noFunction: (set, item) => refusals(set, ["forEach", ...ALGEBRA], item),
};

export const SET: Kind = {
  make: () => new PersistentSet<unknown>(),
  makeNative: () => new Set(),
  copy: (set) => new Set(set),
  runs: setRuns,
  operations: operations({
    add: [value],
    has: [value],
    delete: [value],
    clear: [],
    size: [],
    forEach: [],
    keys: [],
    values: [],
    entries: [],
    algebra: [values],
    algebraOfTwo: [values],
    algebraTheOtherWay: [values],
    algebraWithItself: [],
    noFunction: [value],
  }),
};
