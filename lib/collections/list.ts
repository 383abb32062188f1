/**
 * A persistent `Array`.
 *
 * @module
 */
import { DecodeError } from "../errors.ts";
import { registerClass } from "../persistent/classes.ts";
import { PersistentObject } from "../persistent/persistent.ts";
import { iterate, pick } from "./_iterate.ts";

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

// No private method: loading makes lists without running the constructor.
function walk<T, U>(
  list: PersistentList<T>,
  choose: (item: T, index: number) => U,
): ArrayIterator<U> {
  let index = 0;
  return pick(
    iterate(() => read(list)),
    (item) => choose(item, index++),
  ) as unknown as ArrayIterator<U>;
}

/**
 * A persistent object with the interface of `Array`, but for the brackets: an
 * item is read with `at(index)` and replaced with `set(index, value)`. Every
 * change is noted. Methods that make something new (`map`, `filter`, `slice`,
 * `concat`, `toSorted` and so on) give plain arrays. A list has no holes:
 * where an array would have one, it has `undefined`.
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
    this[ITEMS] = items ? [...items] : [];
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
    return new this(
      map ? Array.from(items, map, thisArg) : Array.from(items),
    );
  }

  /** Makes a list of the items of an asynchronous iterable. */
  static async fromAsync<T>(
    items: AsyncIterable<T> | Iterable<T | PromiseLike<T>>,
  ): Promise<PersistentList<T>> {
    return new this(await Array.fromAsync(items));
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
    return { items: this[ITEMS] };
  }

  /** Takes what was stored. */
  override _p_setState(state: Record<string, unknown>): void {
    if (!Array.isArray(state["items"])) {
      throw new DecodeError("the state of a list has no items");
    }
    this[ITEMS] = state["items"];
  }

  /** Drops the items from memory. */
  override _p_clearState(): void {
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
    change(this).sort(compare);
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
    read(this).forEach((item, i) => work.call(thisArg, item, i, this));
  }

  /** Returns an array of what a function makes of each item. */
  map<U>(
    work: (item: T, index: number, list: this) => U,
    thisArg?: unknown,
  ): U[] {
    return read(this).map((item, i) => work.call(thisArg, item, i, this));
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
    return read(this).filter((item, i) => test.call(thisArg, item, i, this));
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
    return read(this).flatMap((item, i) => work.call(thisArg, item, i, this));
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
      (sum, item, i) => work(sum, item, i, this),
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
      (sum, item, i) => work(sum, item, i, this),
      ...initial as [T],
    );
  }

  /** Returns whether all items pass a test. */
  every(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): boolean {
    return read(this).every((item, i) => test.call(thisArg, item, i, this));
  }

  /** Returns whether one of the items passes a test. */
  some(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): boolean {
    return read(this).some((item, i) => test.call(thisArg, item, i, this));
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
    return read(this).find((item, i) => test.call(thisArg, item, i, this));
  }

  /** Returns the index of the first item that passes a test, or -1. */
  findIndex(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): number {
    return read(this).findIndex((item, i) => test.call(thisArg, item, i, this));
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
    return read(this).findLast((item, i) => test.call(thisArg, item, i, this));
  }

  /** Returns the index of the last item that passes a test, or -1. */
  findLastIndex(
    test: (item: T, index: number, list: this) => unknown,
    thisArg?: unknown,
  ): number {
    return read(this).findLastIndex((item, i) =>
      test.call(thisArg, item, i, this)
    );
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
    return walk(this, (item) => item);
  }

  /** Goes through the items with their indexes. */
  entries(): ArrayIterator<[number, T]> {
    return walk(this, (item, index): [number, T] => [index, item]);
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
