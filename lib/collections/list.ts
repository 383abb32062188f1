/**
 * A persistent `Array`.
 *
 * @module
 */
import { registerClass } from "../persistent/classes.ts";
import {
  announceWrap,
  bareGhost,
  PersistentObject,
} from "../persistent/persistent.ts";
import * as content from "./content.ts";
import { bare, CONTENT, stateOf, takeState } from "./content.ts";
import { INDEX_TRAPS, setLength } from "./indexes.ts";
import { Steps } from "./iterate.ts";
import { wrapCollection } from "./stamp.ts";

function read<T>(list: PersistentList<T>): T[] {
  return content.read(list);
}

function change<T>(list: PersistentList<T>): T[] {
  return content.change(list);
}

/** More arguments than this may not fit on the stack twice. */
const MANY = 10_000;

/** What `count` means depends on how many arguments there are: without it, all go. */
function countOf(given: IArguments, count: number | undefined): number {
  return given.length === 1 ? Infinity : count ?? 0;
}

/** Does what `items.splice(start, count, ...added)` does, however many there are. */
function splice<T>(items: T[], start: number, count: number, added: T[]): T[] {
  if (added.length <= MANY) return items.splice(start, count, ...added);
  const whole = Math.trunc(start) || 0;
  const at = Math.max(whole < 0 ? items.length + whole : whole, 0);
  const after = items.splice(at);
  const removed = after.splice(0, count);
  for (const item of added) items.push(item);
  for (const item of after) items.push(item);
  return removed;
}

// `concat` spreads lists as it spreads arrays.
function spreadable(value: unknown): unknown {
  return value instanceof PersistentList ? read(value) : value;
}

// No private methods: loading makes lists without running the constructor.
function walk<T, U>(
  list: PersistentList<T>,
  choose: (items: T[], index: number) => U,
): Steps<U> {
  // Noted when the iterator is made, not at its first step.
  read(list);
  let index = 0;
  return new Steps(() => {
    const items = read(list);
    return index < items.length
      ? { done: false, value: choose(items, index++) }
      : { done: true, value: undefined };
  });
}

/** Makes a callback of the program one of the array inside, which the program must not see. */
function callback<L, T, U>(
  list: L,
  work: (item: T, index: number, list: L) => U,
  thisArg: unknown,
): (item: T, index: number) => U {
  // What is no function, the array refuses.
  return typeof work === "function"
    ? (item, index) => work.call(thisArg, item, index, list)
    : work;
}

function reducer<L, T, U>(
  list: L,
  work: (sum: U, item: T, index: number, list: L) => U,
): (sum: U, item: T, index: number) => U {
  return typeof work === "function"
    ? (sum, item, index) => work(sum, item, index, list)
    : work;
}

/**
 * A persistent object with the interface of `Array`, brackets included:
 * `list[0]`, `list[0] = 1`, `0 in list`, `delete list[0]`, `list.length = 1`.
 * Every change is noted. Methods that make something new (`map`, `filter`,
 * `slice`, `concat`, `toSorted` and so on) give plain arrays. A list has no
 * holes: where an array would have one, it has `undefined`. A length that is
 * none is a `RangeError`, as with an array; so is an index or a length more
 * than 16,777,216 beyond the end. `at(index)` and `set(index, value)` take less time than the brackets. A list can be passed
 * where a `readonly` array is asked for, but `Array.isArray` tells them apart.
 * A class that extends it may have fields, which are stored too.
 *
 * @example
 * ```ts
 * import { Connection, MemoryStorage, PersistentList } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * using connection = new Connection(new MemoryStorage());
 * const names = connection.root["names"] = new PersistentList(["Grace"]);
 * names.push("Ada");
 * names.sort();
 * connection.commit();
 * assertEquals(names[0], "Ada");
 * assertEquals(names.map((name) => name.length), [3, 5]);
 * ```
 *
 * @typeParam T The type of the items.
 */
export class PersistentList<T = unknown> extends PersistentObject
  implements ReadonlyArray<T> {
  /** An item; assigning to the index after the last one adds one. */
  [index: number]: T;

  /** Makes a list of the given items. */
  constructor(items?: Iterable<T> | null) {
    announceWrap();
    super();
    bare<T[]>(this)[CONTENT] = [...items ?? []];
    return wrapCollection(this, INDEX_TRAPS);
  }

  /** Makes a list of the items of an iterable or array-like object, each put through `map`. */
  static from<T>(items: Iterable<T> | ArrayLike<T>): PersistentList<T>;
  /** Makes a list of the items of an iterable or array-like object, each put through `map`. */
  static from<T, U>(
    items: Iterable<T> | ArrayLike<T>,
    map: (item: T, index: number) => U,
    thisArg?: unknown,
  ): PersistentList<U>;
  static from(
    items: ArrayLike<unknown>,
    map?: (item: unknown, index: number) => unknown,
    thisArg?: unknown,
  ): PersistentList<unknown> {
    return new this(Array.from(items, map!, thisArg));
  }

  /** Makes a list of the items of an asynchronous iterable, each put through `map`. */
  static fromAsync<T>(
    items: AsyncIterable<T> | Iterable<T | PromiseLike<T>> | ArrayLike<T>,
  ): Promise<PersistentList<T>>;
  /** Makes a list of the items of an asynchronous iterable, each put through `map`. */
  static fromAsync<T, U>(
    items: AsyncIterable<T> | Iterable<T | PromiseLike<T>> | ArrayLike<T>,
    map: (item: Awaited<T>, index: number) => U,
    thisArg?: unknown,
  ): Promise<PersistentList<Awaited<U>>>;
  static async fromAsync(
    items: AsyncIterable<unknown>,
    map?: (item: unknown, index: number) => unknown,
    thisArg?: unknown,
  ): Promise<PersistentList<unknown>> {
    return new this(await Array.fromAsync(items, map!, thisArg));
  }

  /** Makes a list of the arguments. */
  static of<T>(...items: T[]): PersistentList<T> {
    return new this(items);
  }

  /** Makes the blank object that loading starts from. */
  static override _p_create(
    this: { prototype: PersistentObject },
  ): PersistentObject {
    return wrapCollection(bareGhost(this.prototype), INDEX_TRAPS);
  }

  /** Returns what is stored. */
  override _p_getState(): Record<string, unknown> {
    return stateOf(this, bare<T[]>(this)[CONTENT]!);
  }

  /** Takes what was stored. */
  override _p_setState(state: Record<string, unknown>): void {
    bare(this)[CONTENT] = takeState(this, state);
  }

  /** Drops the items from memory. */
  override _p_clearState(): void {
    super._p_clearState();
    bare(this)[CONTENT] = undefined;
  }

  /**
   * How many items there are. Setting it cuts the list, or fills it up with `undefined`.
   *
   * @throws {RangeError} if it is no length, or far more than there are items.
   */
  get length(): number {
    return read(this).length;
  }

  set length(length: number) {
    setLength(this, length);
  }

  /** Returns an item; a negative index counts from the end. */
  at(index: number): T | undefined {
    return read(this).at(index);
  }

  /**
   * Replaces an item; a negative index counts from the end.
   *
   * @throws {RangeError} if there is no such item; `push` adds one.
   */
  set(index: number, value: T): this {
    const { length } = read(this);
    const whole = Math.trunc(index) || 0;
    const place = whole < 0 ? length + whole : whole;
    if (!(place >= 0 && place < length)) {
      throw new RangeError(
        `Cannot set item ${index}: the list has ${length} items; push() adds one`,
      );
    }
    change(this)[place] = value;
    return this;
  }

  /** Adds items at the end, and returns the new length. */
  push(...items: T[]): number {
    if (items.length === 0) return read(this).length;
    const list = change(this);
    // Not spread: there may be more than fit on the stack once more.
    for (let i = 0; i < items.length; i++) list.push(items[i]!);
    return list.length;
  }

  /** Removes and returns the last item. */
  pop(): T | undefined {
    return read(this).length > 0 ? change(this).pop() : undefined;
  }

  /** Removes and returns the first item. */
  shift(): T | undefined {
    return read(this).length > 0 ? change(this).shift() : undefined;
  }

  /** Adds items at the beginning, and returns the new length. */
  unshift(...items: T[]): number {
    if (items.length > 0) splice(change(this), 0, 0, items);
    return read(this).length;
  }

  /** Removes `count` items from `start` on, all of them by default, puts others there, and returns the removed ones. */
  splice(start: number, count?: number, ...items: T[]): T[] {
    return splice(change(this), start, countOf(arguments, count), items);
  }

  /** Reverses the list in place. */
  reverse(): this {
    change(this).reverse();
    return this;
  }

  /** Sorts the list in place: as text, or as `compare` says. */
  sort(compare?: (a: T, b: T) => number): this {
    // Sorted aside, since `compare` may throw, or even commit.
    const sorted = read(this).toSorted(compare);
    const items = change(this);
    for (let i = 0; i < sorted.length; i++) items[i] = sorted[i]!;
    return this;
  }

  /** Sets all items from `start` to before `end` to one value. */
  fill(value: T, start?: number, end?: number): this {
    change(this).fill(value, start, end);
    return this;
  }

  /** Copies the items from `start` to before `end` over those from `target` on. */
  copyWithin(target: number, start: number, end?: number): this {
    change(this).copyWithin(target, start, end);
    return this;
  }

  /** Returns an array of the items, and after them other items, arrays and lists. */
  concat(...items: (T | ConcatArray<T>)[]): T[] {
    let joined = read(this).slice();
    for (let i = 0; i < items.length; i += MANY) {
      const part = items.slice(i, i + MANY);
      joined = joined.concat(...part.map(spreadable) as T[]);
    }
    return joined;
  }

  /** Returns an array of the items from `start` to before `end`. */
  slice(start?: number, end?: number): T[] {
    return read(this).slice(start, end);
  }

  /** Returns the items as text, with `separator` between them. */
  join(separator?: string): string {
    return read(this).join(separator);
  }

  /** Returns the index of the first item that is `value`, or -1. */
  indexOf(value: T, from?: number): number {
    return read(this).indexOf(value, from);
  }

  /** Returns the index of the last item that is `value`, or -1. */
  lastIndexOf(value: T, from?: number): number {
    const items = read(this);
    return arguments.length > 1
      ? items.lastIndexOf(value, from)
      : items.lastIndexOf(value);
  }

  /** Returns whether one of the items is `value`. */
  includes(value: T, from?: number): boolean {
    return read(this).includes(value, from);
  }

  /** Calls a function for each item. */
  forEach(
    work: (item: T, index: number, list: this) => void,
    thisArg?: unknown,
  ): void {
    const step = callback(this, work, thisArg);
    const { length } = read(this);
    if (typeof step !== "function") [].forEach(step);
    // Not the array's own: `work` may commit, after which it may be another array.
    for (let i = 0; i < length; i++) {
      const items = read(this);
      if (i < items.length) step(items[i]!, i);
    }
  }

  /** Returns an array of what a function makes of each item. */
  map<U>(
    work: (item: T, index: number, list: this) => U,
    thisArg?: unknown,
  ): U[] {
    return read(this).map(callback(this, work, thisArg));
  }

  /** Returns an array of the items that pass a test. */
  filter<S extends T>(
    test: (item: T, index: number, list: this) => item is S,
    thisArg?: unknown,
  ): S[];
  /** Returns an array of the items that pass a test. */
  filter(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): T[];
  filter(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): T[] {
    return read(this).filter(callback(this, test, thisArg));
  }

  /** Returns an array of the items, arrays among them spread to a depth of 1 by default. */
  flat<A, D extends number = 1>(this: A, depth?: D): FlatArray<A, D>[] {
    const list = this as unknown as PersistentList<unknown>;
    return read(list).flat(depth) as FlatArray<A, D>[];
  }

  /** Returns an array of what a function makes of each item, arrays spread. */
  flatMap<U>(
    work: (item: T, index: number, list: this) => U | readonly U[],
    thisArg?: unknown,
  ): U[] {
    return read(this).flatMap(callback(this, work, thisArg));
  }

  /** Puts the items together from the first to the last. */
  reduce(work: (sum: T, item: T, index: number, list: this) => T): T;
  /** Puts the items together from the first to the last, beginning with `initial`. */
  reduce<U>(
    work: (sum: U, item: T, index: number, list: this) => U,
    initial: U,
  ): U;
  reduce(
    // deno-lint-ignore no-explicit-any
    work: (sum: any, item: T, index: number, list: this) => any,
    ...initial: unknown[]
  ): unknown {
    return read(this).reduce(
      reducer(this, work),
      ...initial as [T],
    );
  }

  /** Puts the items together from the last to the first. */
  reduceRight(work: (sum: T, item: T, index: number, list: this) => T): T;
  /** Puts the items together from the last to the first, beginning with `initial`. */
  reduceRight<U>(
    work: (sum: U, item: T, index: number, list: this) => U,
    initial: U,
  ): U;
  reduceRight(
    // deno-lint-ignore no-explicit-any
    work: (sum: any, item: T, index: number, list: this) => any,
    ...initial: unknown[]
  ): unknown {
    return read(this).reduceRight(
      reducer(this, work),
      ...initial as [T],
    );
  }

  /** Returns whether all items pass a test. */
  every<S extends T>(
    test: (item: T, index: number, list: this) => item is S,
    thisArg?: unknown,
  ): this is PersistentList<S>;
  /** Returns whether all items pass a test. */
  every(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): boolean;
  every(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): boolean {
    return read(this).every(callback(this, test, thisArg));
  }

  /** Returns whether one of the items passes a test. */
  some(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): boolean {
    return read(this).some(callback(this, test, thisArg));
  }

  /** Returns the first item that passes a test. */
  find<S extends T>(
    test: (item: T, index: number, list: this) => item is S,
    thisArg?: unknown,
  ): S | undefined;
  /** Returns the first item that passes a test. */
  find(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): T | undefined;
  find(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): T | undefined {
    return read(this).find(callback(this, test, thisArg));
  }

  /** Returns the index of the first item that passes a test, or -1. */
  findIndex(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): number {
    return read(this).findIndex(callback(this, test, thisArg));
  }

  /** Returns the last item that passes a test. */
  findLast<S extends T>(
    test: (item: T, index: number, list: this) => item is S,
    thisArg?: unknown,
  ): S | undefined;
  /** Returns the last item that passes a test. */
  findLast(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): T | undefined;
  findLast(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): T | undefined {
    return read(this).findLast(callback(this, test, thisArg));
  }

  /** Returns the index of the last item that passes a test, or -1. */
  findLastIndex(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): number {
    return read(this).findLastIndex(callback(this, test, thisArg));
  }

  /** Returns an array of the items in reverse order. */
  toReversed(): T[] {
    return read(this).toReversed();
  }

  /** Returns a sorted array of the items. */
  toSorted(compare?: (a: T, b: T) => number): T[] {
    return read(this).toSorted(compare);
  }

  /** Returns an array as `splice` would leave it. */
  toSpliced(start: number, count?: number, ...items: T[]): T[] {
    const copy = read(this).slice();
    splice(copy, start, countOf(arguments, count), items);
    return copy;
  }

  /**
   * Returns an array with one item replaced.
   *
   * @throws {RangeError} if there is no such item.
   */
  with(index: number, value: T): T[] {
    return read(this).with(index, value);
  }

  /** Goes through the indexes. */
  keys(): ArrayIterator<number> {
    return walk(this, (_, index) => index);
  }

  /** Goes through the items. */
  values(): ArrayIterator<T> {
    return walk(this, (items, index) => items[index]!);
  }

  /** Goes through the items with their indexes. */
  entries(): ArrayIterator<[number, T]> {
    return walk(this, (items, index): [number, T] => [index, items[index]!]);
  }

  /** Goes through the items. */
  [Symbol.iterator](): ArrayIterator<T> {
    return this.values();
  }

  /** Returns the items as text with commas between them. */
  override toString(): string {
    return read(this).toString();
  }

  /** Returns the items as text for people of a place. */
  override toLocaleString(
    locales?: string | string[],
    options?: Intl.NumberFormatOptions & Intl.DateTimeFormatOptions,
  ): string {
    return read(this).toLocaleString(locales as string[], options!);
  }

  /** Returns an array of the items, for `JSON.stringify`. */
  toJSON(): T[] {
    return read(this).slice();
  }

  /** Whether `Array.prototype.concat` takes the items rather than the list. */
  get [Symbol.isConcatSpreadable](): boolean {
    return true;
  }

  /** As with an array. */
  get [Symbol.unscopables](): (typeof Array.prototype)[
    typeof Symbol.unscopables
  ] {
    return Array.prototype[Symbol.unscopables];
  }

  /** What `Object.prototype.toString` shows. */
  get [Symbol.toStringTag](): string {
    return "PersistentList";
  }
}

registerClass("PersistentList", PersistentList);
