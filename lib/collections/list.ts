/**
 * A persistent `Array`.
 *
 * @module
 */
import { registerClass } from "../persistent/classes.ts";
import { PersistentObject } from "../persistent/persistent.ts";
import { Steps } from "./_iterate.ts";
import { stateOf, takeState } from "./_state.ts";

const ITEMS = Symbol("dhara.items");

function read<T>(list: PersistentList<T>): T[] {
  list._p_noteAccess();
  return list[ITEMS];
}

function change<T>(list: PersistentList<T>): T[] {
  list._p_noteChange();
  return list[ITEMS];
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
 * A persistent object with the interface of `Array`, but for the brackets: an
 * item is read with `at(index)` and replaced with `set(index, value)`. Every
 * change is noted. Methods that make something new (`map`, `filter`, `slice`,
 * `concat`, `toSorted` and so on) give plain arrays. A list has no holes:
 * where an array would have one, it has `undefined`. A class that extends it
 * may have fields, which are stored too; its methods call `_p_noteAccess()` and
 * `_p_noteChange()` for them.
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
 * assertEquals(names.at(0), "Ada");
 * assertEquals(names.map((name) => name.length), [3, 5]);
 * ```
 *
 * @typeParam T The type of the items.
 */
export class PersistentList<T = unknown> extends PersistentObject
  implements Iterable<T> {
  /**
   * The items.
   *
   * @ignore
   */
  declare [ITEMS]: T[];

  /** Makes a list of the given items. */
  constructor(items?: Iterable<T> | null) {
    super();
    this[ITEMS] = [...items ?? []];
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
    const blank = PersistentObject._p_create.call(this);
    (blank as PersistentList)[ITEMS] = [];
    return blank;
  }

  /** Returns what is stored. */
  override _p_getState(): Record<string, unknown> {
    return stateOf(this, this[ITEMS]);
  }

  /** Takes what was stored. */
  override _p_setState(state: Record<string, unknown>): void {
    this[ITEMS] = takeState(this, state) as T[];
  }

  /** Drops the items from memory. */
  override _p_clearState(): void {
    super._p_clearState();
    this[ITEMS] = [];
  }

  /** How many items there are. Setting it cuts the list, or fills it up with `undefined`. */
  get length(): number {
    return read(this).length;
  }

  set length(length: number) {
    const before = read(this).length;
    if (length === before) return;
    const items = change(this);
    items.length = length;
    items.fill(undefined as T, before);
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
    return items.length > 0 ? change(this).push(...items) : read(this).length;
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
    return items.length > 0
      ? change(this).unshift(...items)
      : read(this).length;
  }

  /** Removes `count` items from `start` on, all of them by default, puts others there, and returns the removed ones. */
  splice(start: number, count?: number, ...items: T[]): T[] {
    // How many arguments there are matters: without `count`, all go.
    return change(this).splice(
      ...(arguments.length === 0
        ? []
        : arguments.length === 1
        ? [start]
        : [start, count, ...items]) as [number, number, ...T[]],
    );
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
  concat(...items: (T | readonly T[] | PersistentList<T>)[]): T[] {
    return read(this).concat(...items.map(spreadable) as T[]);
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
  flat<D extends number = 1>(depth?: D): FlatArray<T[], D>[] {
    return read(this).flat(depth) as FlatArray<T[], D>[];
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
    return read(this).toSpliced(
      ...(arguments.length === 0
        ? []
        : arguments.length === 1
        ? [start]
        : [start, count, ...items]) as [number, number, ...T[]],
    );
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

  /** What `Object.prototype.toString` shows. */
  get [Symbol.toStringTag](): string {
    return "PersistentList";
  }
}

registerClass("PersistentList", PersistentList);
