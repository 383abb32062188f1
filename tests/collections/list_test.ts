import { deepStrictEqual, notDeepStrictEqual } from "node:assert";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  ClassError,
  Connection,
  MemoryStorage,
  Persistent,
  PersistentDict,
  PersistentList,
  PersistentSet,
  registerClass,
  WriteConflictError,
} from "../../mod.ts";

class City extends Persistent {
  name: string;
  constructor(name = "") {
    super();
    this.name = name;
  }
}

/** A list with fields, an accessor, private members and changed methods. */
class Playlist extends PersistentList<string> {
  title = "untitled";
  _v_hits = 0;
  rename(title: string) {
    this._p_noteChange();
    this.title = title;
  }
  get label() {
    return `${this.title} (${this.length})`;
  }
  override push(...songs: string[]) {
    return super.push(...songs.map((song) => song.toUpperCase()));
  }
}

const classes = { City, Playlist };

function open(storage = new MemoryStorage(), options = {}) {
  return new Connection(storage, { classes, ...options });
}

/** A list that is stored, and its connection. */
function stored<T>(items: Iterable<T>) {
  const connection = open();
  const list = connection.root["list"] = new PersistentList<T>(items);
  connection.commit();
  return { connection, list };
}

/** The same list as a ghost in another connection. */
function ghost<T>(items: Iterable<T>) {
  const { connection } = stored(items);
  const list = open(connection.storage as MemoryStorage).root["list"];
  assertEquals(list._p_status, "ghost");
  return list as PersistentList<T>;
}

/** Makes `list` a ghost, as happens to any object that was not used for long. */
function evict(connection: Connection, list: PersistentList<unknown>) {
  const size = connection.cacheSize;
  connection.cacheSize = 1;
  connection.abort();
  connection.abort();
  connection.root._p_noteAccess();
  connection.abort();
  connection.cacheSize = size;
  assertEquals(list._p_status, "ghost");
}

Deno.test("PersistentList is made of any iterable, or of nothing", () => {
  assertEquals([...new PersistentList()], []);
  assertEquals([...new PersistentList(null)], []);
  assertEquals([...new PersistentList([1, 2])], [1, 2]);
  assertEquals([...new PersistentList(new Set("ab"))], ["a", "b"]);
  assertEquals([...new PersistentList(new PersistentList("ab"))], ["a", "b"]);
  // deno-lint-ignore no-explicit-any
  for (const odd of [5, 0, false, {}] as any[]) {
    assertThrows(() => new PersistentList(odd), TypeError);
  }
});

Deno.test("PersistentList has the static methods of Array", async () => {
  const list = PersistentList.from({ length: 2 } as ArrayLike<number>);
  assert(list instanceof PersistentList);
  assertEquals([...list], [undefined, undefined]);
  assertEquals([...PersistentList.of(1, 2)], [1, 2]);
  assertEquals([...PersistentList.of(3)], [3]);
  const context = { add: 10 };
  const sums = PersistentList.from([1, 2], function (this: unknown, n, i) {
    return n + i + (this as typeof context).add;
  }, context);
  assertEquals([...sums], [11, 13]);
  assertThrows(() => PersistentList.from([1], null as never), TypeError);

  async function* numbers() {
    yield 1;
    yield Promise.resolve(2);
  }
  const later: PersistentList<number> = await PersistentList.fromAsync(
    numbers(),
  );
  assertEquals([...later], [1, 2]);
  const twice = await PersistentList.fromAsync(
    numbers(),
    (n) => Promise.resolve(n * 2),
  );
  assertEquals([...twice], [2, 4]);
  await assertRejects(() => PersistentList.fromAsync(null as never), TypeError);

  assert(Playlist.of("a") instanceof Playlist);
  assert(Playlist.from("ab") instanceof Playlist);
});

Deno.test("PersistentList has everything that Array.prototype has", () => {
  const list = new PersistentList();
  const names = [
    "at",
    "concat",
    "constructor",
    "copyWithin",
    "entries",
    "every",
    "fill",
    "filter",
    "find",
    "findIndex",
    "findLast",
    "findLastIndex",
    "flat",
    "flatMap",
    "forEach",
    "includes",
    "indexOf",
    "join",
    "keys",
    "lastIndexOf",
    "length",
    "map",
    "pop",
    "push",
    "reduce",
    "reduceRight",
    "reverse",
    "shift",
    "slice",
    "some",
    "sort",
    "splice",
    "toLocaleString",
    "toReversed",
    "toSorted",
    "toSpliced",
    "toString",
    "unshift",
    "values",
    "with",
    Symbol.iterator,
    // For the `with` statement, which modules do not have.
    Symbol.unscopables,
  ];
  // deno-lint-ignore no-explicit-any
  const [ours, theirs] = [list as any, [] as any];
  for (const name of names) {
    if (name === Symbol.unscopables) continue;
    assertEquals(typeof ours[name], typeof theirs[name], String(name));
    // An accessor has no length to compare.
    if (name === "constructor" || name === "length") continue;
    assert(theirs[name] !== undefined, `${String(name)} is not native`);
  }
  const newer = Reflect.ownKeys(Array.prototype).filter((name) =>
    !names.includes(name as string)
  );
  if (newer.length > 0) console.log("Array has more by now:", newer);
});

Deno.test("PersistentList reads as an array does, also as a ghost", () => {
  const items = [3, 1, 2, 3];
  // deno-lint-ignore no-explicit-any
  const reads: ((list: any) => unknown)[] = [
    (list) => list.length,
    (list) => list.at(1),
    (list) => list.at(-1),
    (list) => list.at(NaN),
    (list) => list.at(9),
    (list) => [list[0], list[3], list[4], list["1"], list[-1], list[1.5]],
    (list) => [0 in list, 3 in list, 4 in list, (-1) in list, "01" in list],
    (list) => [Object.hasOwn(list, 1), Object.hasOwn(list, 4)],
    (list) => Object.getOwnPropertyDescriptor(list, 1),
    (list) => Object.keys(list),
    (list) => Object.entries(list),
    (list) => ({ ...list }),
    (list) => [...new Set(list)],
    (list) => [].concat(list),
    (list) => Array.prototype.slice.call(list, 1),
    (list) => Array.prototype.indexOf.call(list, 2),
    (list) => Reflect.apply(Math.max, undefined, list),
    (list) => {
      const [first, ...rest] = list;
      const { 2: third, length } = list;
      return [first, rest, third, length];
    },
    (list) => {
      const names = [];
      for (const name in list) names.push(name);
      return names;
    },
    (list) => [...list],
    (list) => [...list.keys()],
    (list) => [...list.values()],
    (list) => [...list.entries()],
    (list) => list.concat(4, [5, [6]], []),
    (list) => list.every((n: number) => n > 1),
    (list) => list.some((n: number) => n > 2),
    (list) => list.filter((n: number) => n > 1),
    (list) => list.find((n: number) => n < 3),
    (list) => list.findIndex((n: number) => n < 3),
    (list) => list.findLast((n: number) => n < 3),
    (list) => list.findLastIndex((n: number) => n > 9),
    (list) => list.flat(),
    (list) => list.flatMap((n: number) => [n, [n]]),
    (list) => list.includes(2),
    (list) => list.includes(3, 4),
    (list) => list.indexOf(3),
    (list) => list.indexOf(3, 1),
    (list) => list.lastIndexOf(3),
    (list) => list.lastIndexOf(3, undefined),
    (list) => list.lastIndexOf(3, -2),
    (list) => list.join(),
    (list) => list.join(""),
    (list) => list.map((n: number, i: number) => n * i),
    (list) => list.reduce((a: number, b: number) => a * 10 + b),
    (list) => list.reduce((a: string, b: number) => a + b, ""),
    (list) => list.reduce((a: unknown, b: number) => `${a}${b}`, undefined),
    (list) => list.reduceRight((a: number, b: number) => a * 10 + b),
    (list) => list.reduceRight((a: string, b: number) => a + b, ""),
    (list) => list.slice(1, -1),
    (list) => list.toReversed(),
    (list) => list.toSorted(),
    (list) => list.toSorted((a: number, b: number) => b - a),
    (list) => list.toSpliced(),
    (list) => list.toSpliced(1),
    (list) => list.toSpliced(1, undefined),
    (list) => list.toSpliced(1, 1, 7, 8),
    (list) => list.with(-1, 9),
    (list) => list.toString(),
    (list) => list.toLocaleString("de", { minimumFractionDigits: 1 }),
    (list) => String(list),
    (list) => JSON.stringify({ list }),
    (list) => Math.max(...list),
    (list) => {
      const seen: unknown[] = [];
      list.forEach((...args: unknown[]) => seen.push(args.slice(0, 2)));
      return seen;
    },
    (list) => Array.from(list),
    (list) => list.values().map((n: number) => n + 1).take(2).toArray(),
  ];
  for (const read of reads) {
    const list = ghost(items);
    assertEquals(read(list), read([...items]), String(read));
    assertEquals(list._p_status, "saved", String(read));
  }
});

Deno.test("PersistentList notes each change, also of a ghost", () => {
  // deno-lint-ignore no-explicit-any
  const changes: ((list: any) => unknown)[] = [
    (list) => list.push(4, 5),
    (list) => list.pop(),
    (list) => list.shift(),
    (list) => list.unshift(8, 9),
    (list) => list.splice(1, 1),
    (list) => list.splice(1),
    (list) => list.splice(1, undefined, 6),
    (list) => list.splice(-1, 0, 6, 7),
    (list) => list.reverse() === list,
    (list) => list.sort() === list,
    (list) => list.sort((a: number, b: number) => b - a) === list,
    (list) => list.fill(0) === list,
    (list) => list.fill(0, 1, 2) === list,
    (list) => list.copyWithin(0, 1) === list,
    (list) => list.copyWithin(0, 1, 2) === list,
    (list) => list.length = 1,
    (list) => list[0] = 9,
    (list) => list["2"] = 9,
    (list) => list[3] = 9,
    (list) => list[1]++,
    (list) => [list[0], list[2]] = [list[2], list[0]],
    (list) => Reflect.set(list, "0", 9),
    (list) => new Proxy(list, {})[0] = 9,
    (list) => void Object.defineProperty(list, "0", { value: 9 }),
    (list) => void Object.assign(list, [7, 8]),
    (list) => Array.prototype.push.call(list, 7),
    (list) => void Array.prototype.sort.call(list),
  ];
  for (const change of changes) {
    const list = ghost([3, 1, 2]);
    const model = [3, 1, 2];
    assertEquals(change(list), change(model), String(change));
    assertEquals(list._p_status, "unsaved", String(change));
    list._p_connection!.commit();
    assertEquals([...list], model, String(change));
    const other = open(list._p_connection!.storage as MemoryStorage);
    assertEquals([...other.root["list"]], model, String(change));
  }
});

Deno.test("PersistentList notes no change where there is none", () => {
  const { connection, list } = stored<number>([]);
  list.push();
  list.unshift();
  list.pop();
  list.shift();
  list.length = 0;
  assertThrows(() => list.set(0, 1), RangeError);
  assertThrows(() => list.sort(1 as never), TypeError);
  assertEquals(list._p_status, "saved");
  assert(!connection.hasChanges);
});

Deno.test("PersistentList.set replaces an item and adds none", () => {
  const { connection, list } = stored(["a", "b", "c"]);
  assertStrictEquals(list.set(0, "x"), list);
  list.set(-1, "z").set(1.9, "y");
  assertEquals([...list], ["x", "y", "z"]);
  connection.abort();
  assertEquals(list.toSpliced(0, 0), ["a", "b", "c"]);
  for (const index of [3, -4, Infinity, -Infinity]) {
    assertThrows(() => list.set(index, "q"), RangeError, `item ${index}`);
  }
  assertThrows(
    () => list.set(3, "q"),
    RangeError,
    "Cannot set item 3: the list has 3 items; push() adds one",
  );
  assertEquals(list._p_status, "saved");
  list.set(NaN, "n");
  assertEquals(list.at(0), "n");
});

Deno.test("PersistentList has no holes", () => {
  const { connection, list } = stored<unknown>([1]);
  list.length = 3;
  assertEquals([...list.keys()], [0, 1, 2]);
  let calls = 0;
  list.forEach(() => calls++);
  assertEquals(calls, 3);
  // deno-lint-ignore no-sparse-arrays
  assert(1 in new PersistentList([1, , 2]).map((x) => x));
  connection.commit();
  const again = open(connection.storage as MemoryStorage).root["list"];
  assertEquals([...again], [1, undefined, undefined]);
  assert(2 in again.slice());
  assertThrows(() => list.length = -1, RangeError);
  assertThrows(() => list.length = 1.5, RangeError);
  assertEquals(list.length, 3);
});

Deno.test("PersistentList refuses what an array refuses, also when it is empty", () => {
  for (const items of [[], [1, 2]]) {
    const list = new PersistentList(items);
    const names = [
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
    ] as const;
    for (const name of names) {
      for (const odd of [undefined, null, 1, "x", {}]) {
        // deno-lint-ignore no-explicit-any
        assertThrows(() => (list as any)[name](odd, 0), TypeError);
      }
    }
    assertThrows(() => list.with(2, 0), RangeError);
    assertThrows(() => list.toSorted(1 as never), TypeError);
  }
  assertThrows(() => new PersistentList().reduce((a) => a), TypeError);
  assertThrows(() => new PersistentList().reduceRight((a) => a), TypeError);
});

Deno.test("PersistentList gives callbacks itself, and calls them on thisArg", () => {
  const list = new PersistentList(["a"]);
  const context = {};
  const calls: string[] = [];
  const names = [
    "every",
    "filter",
    "find",
    "findIndex",
    "findLast",
    "findLastIndex",
    "flatMap",
    "forEach",
    "map",
    "some",
  ] as const;
  for (const name of names) {
    const work = function (
      this: unknown,
      item: string,
      index: number,
      whole: unknown,
    ) {
      assertStrictEquals(this, context);
      assertStrictEquals(whole, list);
      calls.push(item + index);
      return true;
    };
    // deno-lint-ignore no-explicit-any
    (list as any)[name](work, context);
  }
  assertEquals(calls.length, names.length);
  for (const name of ["reduce", "reduceRight"] as const) {
    const sum = list[name]((sum: string, item, index, whole) => {
      assertStrictEquals(whole, list);
      return sum + item + index;
    }, "x");
    assertEquals(sum, "xa0");
  }
});

Deno.test("PersistentList.concat spreads arrays and lists", () => {
  const list = new PersistentList<unknown>([1]);
  const result = list.concat(2, [3], new PersistentList([4, [5]]), list);
  assert(Array.isArray(result));
  assertEquals(result, [1, 2, 3, 4, [5], 1]);
  assertEquals([...list], [1]);
  assertEquals(list.concat(ghost([7])), [1, 7]);
});

Deno.test("PersistentList.toString bears a list that contains itself", () => {
  const { connection, list } = stored<unknown>([1]);
  list.push(list, new PersistentList([2, 3]));
  assertEquals(String(list), "1,,2,3");
  connection.commit();
  const again = open(connection.storage as MemoryStorage).root["list"];
  assertStrictEquals(again.at(1), again);
});

Deno.test("PersistentList.sort keeps the list as it was when compare throws", () => {
  const { list } = stored([2, 1, 3]);
  assertThrows(
    () =>
      list.sort(() => {
        throw new Error("no order");
      }),
    Error,
    "no order",
  );
  assertEquals([...list], [2, 1, 3]);
  assertEquals(list._p_status, "saved");
});

Deno.test("PersistentList.sort loses nothing when compare commits", () => {
  const { connection, list } = stored([2, 1, 3]);
  list.sort((a, b) => {
    connection.commit();
    return a - b;
  });
  assertEquals(list._p_status, "unsaved");
  connection.commit();
  const again = open(connection.storage as MemoryStorage).root["list"];
  assertEquals([...again], [1, 2, 3]);
});

Deno.test("PersistentList is iterated live, as an array is", () => {
  // deno-lint-ignore no-explicit-any
  const loops: ((list: any) => unknown)[] = [
    (list) => {
      const seen = [];
      for (const item of list) {
        seen.push(item);
        if (item === 2) list.push(9);
        if (item === 3) list.shift();
      }
      return seen;
    },
    (list) => {
      const seen = [];
      for (const [i, item] of list.entries()) {
        seen.push([i, item]);
        if (i === 0) list.splice(1, 2);
      }
      return seen;
    },
    (list) => {
      const seen: unknown[] = [];
      list.forEach((item: number) => {
        seen.push(item);
        if (item === 1) list.shift();
        if (item === 3) list.push(1, 2, 3);
      });
      return seen;
    },
    (list) => {
      const keys = list.keys();
      list.length = 1;
      return [...keys];
    },
    // What is added after the end does not count.
    (list) => {
      const values = list.values();
      const seen = [...values];
      list.push(9);
      return [seen, values.next()];
    },
    // Leaving a loop does not end the iterator.
    (list) => {
      const values = list.values();
      for (const _ of values) break;
      const [second] = values;
      return [second, ...values];
    },
    (list) => {
      const values = list.values();
      return [values.take(1).toArray(), values.next(), "return" in values];
    },
    (list) => {
      const values = list.values();
      return [values[Symbol.iterator]() === values, values instanceof Iterator];
    },
  ];
  for (const loop of loops) {
    const { list } = stored([1, 2, 3, 4]);
    assertEquals(loop(list), loop([1, 2, 3, 4]), String(loop));
  }
});

Deno.test("PersistentList is iterated on across commit, abort and eviction", () => {
  const { connection, list } = stored(["a", "b", "c", "d", "e"]);
  const seen: string[] = [];
  for (const item of list) {
    seen.push(item);
    if (item === "a") list.push("f");
    if (item === "b") connection.commit();
    if (item === "c") evict(connection, list);
    if (item === "d") list.push("gone");
    if (item === "e") connection.abort();
  }
  assertEquals(seen, ["a", "b", "c", "d", "e", "f"]);
  assertEquals(list._p_serial, connection.transactionSerial);
});

Deno.test("PersistentList.forEach goes on with what is there after commit, abort and eviction", () => {
  const { connection, list } = stored(["a", "b", "c", "d"]);
  list.set(1, "aborted");
  const seen: string[] = [];
  list.forEach((item) => {
    seen.push(item);
    if (item === "a") connection.abort();
    if (item === "b") list.set(2, "new");
    if (item === "new") connection.commit();
    if (item === "new") evict(connection, list);
  });
  assertEquals(seen, ["a", "b", "new", "d"]);
});

Deno.test("PersistentList sees what another connection committed", () => {
  const { connection, list } = stored([1]);
  const other = open(connection.storage as MemoryStorage);
  other.root["list"].push(2);
  other.commit();
  assertEquals([...list], [1]);
  connection.abort();
  assertEquals(list._p_status, "ghost");
  assertEquals([...list], [1, 2]);
});

Deno.test("PersistentList takes changes back at abort", () => {
  const { connection, list } = stored([1, 2]);
  list.push(3);
  list.reverse();
  connection.abort();
  assertEquals(list._p_status, "ghost");
  assertEquals([...list], [1, 2]);
});

Deno.test("PersistentList keeps the identity of persistent objects", () => {
  const rome = new City("Rome");
  const { connection, list } = stored([rome, rome]);
  evict(connection, list as PersistentList<unknown>);
  assertStrictEquals(list.at(0), rome);
  assertEquals(list.indexOf(rome), 0);
  assertEquals(list.lastIndexOf(rome), 1);
  assert(list.includes(rome));
  const other = open(connection.storage as MemoryStorage);
  const [a, b] = other.root["list"];
  assertStrictEquals(a, b);
  assertEquals(a._p_status, "ghost");
  assertEquals(a.name, "Rome");
});

Deno.test("PersistentList stores what a class that extends it adds", () => {
  const connection = open();
  const list = connection.root["list"] = new Playlist(["a"]);
  list.rename("summer");
  list.push("b");
  list._v_hits = 5;
  connection.commit();
  assertEquals(list._p_status, "saved");

  const other = open(connection.storage as MemoryStorage);
  const again = other.root["list"];
  assert(again instanceof Playlist);
  assertEquals(again._p_className, "Playlist");
  assertEquals(again.label, "summer (2)");
  assertEquals([...again], ["a", "B"]);
  assertEquals(again._v_hits, undefined);
  assertEquals(Object.keys(again), ["0", "1", "title"]);
  again.rename("winter");
  assertEquals(again._p_status, "unsaved");
  Object.assign(again, { aborted: true });
  other.abort();
  assertEquals(again.label, "summer (2)");
  assertEquals(Object.keys(again), ["0", "1", "title"]);
});

Deno.test("PersistentList refuses a field named items, which would be lost", () => {
  class Shop extends PersistentList {
    items = 3;
  }
  using connection = new Connection(new MemoryStorage(), { classes: { Shop } });
  connection.root["shop"] = new Shop();
  assertThrows(
    () => connection.commit(),
    ClassError,
    "Cannot store Shop: its items are stored under the name items",
  );
  connection.abort();
});

Deno.test("PersistentList takes a stored field named __proto__ as a field", () => {
  const list = new PersistentList<number>();
  const state = JSON.parse('{"items": [1], "__proto__": {"x": 1}}');
  list._p_setState(state);
  assertStrictEquals(Object.getPrototypeOf(list), PersistentList.prototype);
  assert(Object.hasOwn(list, "__proto__"));
  assertEquals([...list], [1]);
});

Deno.test("PersistentList of an unregistered class loads as a broken object", () => {
  const storage = new MemoryStorage();
  class Queue extends PersistentList {}
  {
    using connection = new Connection(storage, { classes: { Queue } });
    connection.root["queue"] = new Queue([1]);
    connection.commit();
  }
  using connection = new Connection(storage);
  const queue = connection.root["queue"];
  assert(!(queue instanceof PersistentList));
  assertEquals(queue._p_className, "Queue");
  assertEquals(queue.items, [1]);
});

Deno.test("PersistentList runs private members of a class that makes its own blanks", () => {
  class Log extends PersistentList<string> {
    #prefix = "> ";
    static override _p_create() {
      return new Log(["not stored"]);
    }
    add(line: string) {
      this.push(this.#prefix + line);
    }
  }
  registerClass("test.list.Log", Log);
  using connection = open();
  connection.root["log"] = new Log();
  connection.commit();
  using other = open(connection.storage as MemoryStorage);
  const log = other.root["log"] as Log;
  log.add("hi");
  assertEquals([...log], ["> hi"]);
});

Deno.test("PersistentList says what it is", () => {
  const list = new PersistentList([1]);
  assertEquals(
    Object.prototype.toString.call(list),
    "[object PersistentList]",
  );
  assertEquals(list._p_className, "PersistentList");
  assertThrows(() => list._p_setState({}), Error, "the state has no items");
});

Deno.test("PersistentList holds the other collections", () => {
  const { connection } = stored([
    new PersistentList([1]),
    new PersistentDict([["a", 1]]),
    new PersistentSet([1]),
  ]);
  const [list, dict, set] =
    open(connection.storage as MemoryStorage).root["list"];
  assertEquals([...list], [1]);
  assertEquals([...dict], [["a", 1]]);
  assertEquals([...set], [1]);
});

Deno.test("PersistentList is typed as an array is", () => {
  const list = new PersistentList<string | number>([1, "a"]);
  const texts: string[] = list.filter((item) => typeof item === "string");
  const first: string | undefined = list.find((x) => typeof x === "string");
  const last: number | undefined = list.findLast((x) => typeof x === "number");
  const iterator: ArrayIterator<string | number> = list.values();
  const pairs: ArrayIterator<[number, string | number]> = list.entries();
  const flat: number[] = new PersistentList([[1], [2]]).flat();
  const sum: number = new PersistentList([1, 2]).reduce((a, b) => a + b);
  const mapped: PersistentList<number> = PersistentList.from("ab", (_, i) => i);
  // @ts-expect-error: an item of another type
  list.push(true);
  const item: string | number | undefined = list[0];
  list[0] = item ?? 1;
  // @ts-expect-error: an item of another type
  list[0] = true;
  list[0] = 1;
  assertEquals([texts, first, last, flat, sum], [["a"], "a", 1, [1, 2], 3]);
  assertEquals([iterator.next().value, pairs.next().value], [1, [0, 1]]);
  assertEquals([...mapped], [0, 1]);
});

Deno.test("PersistentList<T> can be passed where a readonly T[] is asked for", () => {
  function longest(words: readonly string[]): string {
    return words.reduce((a, b) => a.length >= b.length ? a : b, "");
  }
  class Words extends PersistentList<string> {}
  const list: readonly string[] = new PersistentList(["a", "bcd", "ef"]);
  assertEquals(longest(list), "bcd");
  assertEquals(longest(Words.of("a", "bcd") as PersistentList<string>), "bcd");
  const joined: string[] = ["z"].concat(list);
  assertEquals(joined, ["z", "a", "bcd", "ef"]);
  const copy: string[] = [...list, ...list.slice(1)];
  assertEquals(copy.length, 5);
  // @ts-expect-error: what changes an array is not offered
  assertThrows(() => list.nothing());
});

Deno.test("PersistentList has no holes, whatever brackets would leave", () => {
  const { connection, list } = stored<unknown>([1, 2, 3]);
  assert(delete list[1]);
  assertEquals(list._p_status, "unsaved");
  assert(delete list[7]);
  list[5] = 6;
  assertEquals([...list], [1, undefined, 3, undefined, undefined, 6]);
  assert(1 in list && 4 in list);
  connection.commit();
  const other = open(connection.storage as MemoryStorage).root["list"];
  assertEquals([...other], [1, undefined, 3, undefined, undefined, 6]);
  assertEquals(other.length, 6);
});

Deno.test("PersistentList refuses indexes that no item can have, and leaves nothing behind", () => {
  const { connection, list } = stored([1]);
  // deno-lint-ignore no-explicit-any
  const any = list as any;
  for (const index of [-1, 1.5, NaN, Infinity, 4294967295, 1e21]) {
    assertThrows(
      () => any[index] = 5,
      ClassError,
      `Cannot assign PersistentList[${index}]: the index of an item is an integer from 0`,
    );
    assertEquals(any[index], undefined);
    assert(!(index in list));
  }
  for (
    const far of [
      () => any[4294967294] = 5,
      () => Object.defineProperty(list, "4294967294", { value: 5 }),
    ]
  ) {
    assertThrows(
      far,
      RangeError,
      "Cannot assign item 4294967294 of a list of 1 items: a list has no holes",
    );
  }
  assertThrows(() => any[2 ** 24 + 2] = 5, RangeError, "16777216 items are");
  assertThrows(
    () => list.length = 4294967295,
    RangeError,
    "Cannot make a list of 1 items one of 4294967295: a list has no holes",
  );
  for (
    const odd of [
      { get: () => 1 },
      { value: 1, writable: false },
      { value: 1, enumerable: false },
      { value: 1, configurable: false },
    ]
  ) {
    assertThrows(
      () => Object.defineProperty(list, "0", odd),
      ClassError,
      "Cannot define PersistentList[0]: an item has a value",
    );
  }
  assertEquals(Object.keys(list), ["0"]);
  assert(!connection.hasChanges);
});

Deno.test("PersistentList notes fields that a class or its user assigns", () => {
  const connection = open();
  const list = connection.root["list"] = Playlist.of("a") as Playlist;
  connection.commit();
  list.title = "b";
  assertEquals(list._p_status, "unsaved");
  connection.abort();
  assertEquals(list._p_status, "ghost");
  assertEquals(list.title, "untitled");
  list._v_hits = 3;
  assertEquals(list._p_status, "saved");
  assertEquals(Object.keys(list), ["0", "title", "_v_hits"]);
});

Deno.test("a field of a PersistentList that was read is in the way of who changes it", () => {
  const { storage, root } = open();
  root["list"] = Playlist.of("a");
  root._p_connection!.commit();
  const other = open(storage as MemoryStorage);
  const list: Playlist = other.root["list"];
  assertEquals(list.title, "untitled");
  other.commit();
  assertEquals(list.title, "untitled");
  other.root["seen"] = true;
  root["list"].title = "b";
  root._p_connection!.commit();
  assertThrows(() => other.commit(), WriteConflictError, "Playlist");
});

Deno.test("PersistentList refuses what is no length before it changes anything", () => {
  const { list, connection } = stored([1, 2]);
  for (const length of [-1, 1.5, NaN, 2 ** 32, Infinity]) {
    assertThrows(
      () => list.length = length,
      RangeError,
      "is an integer from 0",
    );
    assertEquals(list._p_status, "saved");
  }
  // deno-lint-ignore no-explicit-any
  (list as any).length = "1";
  assertEquals([...list], [1]);
  connection.abort();
  Object.defineProperty(list, "length", { value: 3 });
  assertEquals([...list], [1, 2, undefined]);
  connection.abort();
  assertEquals(list.length, 2);
  assertThrows(
    () => Object.defineProperty(list, "length", { get: () => 1 }),
    ClassError,
    "Cannot define PersistentList.length",
  );
});

Deno.test("PersistentList takes as many arguments as an array does", () => {
  const many = Array.from({ length: 100_000 }, (_, i) => i);
  const calls: ((list: number[]) => unknown)[] = [
    (list) => list.push(...many),
    (list) => list.unshift(...many),
    (list) => list.splice(1, 1, ...many),
    (list) => list.splice(-1, 0, ...many),
    (list) => list.splice(-9, 9, ...many),
    (list) => list.toSpliced(1, 1, ...many),
    (list) => list.concat(...many),
  ];
  for (const call of calls) {
    const array = [1, 2, 3];
    const list = new PersistentList(array);
    const expected = call(array);
    assertEquals(call(list as unknown as number[]), expected);
    assertEquals(list.length, array.length);
    assert(array.every((item, i) => list.at(i) === item), String(call));
  }
  assertEquals(PersistentList.of(...many).length, many.length);
});

Deno.test("PersistentLists are deeply equal when their items are, stored, loaded or ghosts", () => {
  const { connection, list } = stored([1, "a", { x: [2] }]);
  connection.root["same"] = new PersistentList([1, "a", { x: [2] }]);
  connection.root["other"] = new PersistentList([1, "a", { x: [3] }]);
  connection.root["shorter"] = new PersistentList([1, "a"]);
  connection.commit();
  const fresh = () => open(connection.storage as MemoryStorage).root;
  for (const root of [connection.root, fresh()]) {
    for (const first of [list, root["list"]]) {
      deepStrictEqual(first, root["same"]);
      notDeepStrictEqual(first, root["other"]);
      notDeepStrictEqual(first, root["shorter"]);
    }
  }
  deepStrictEqual(fresh()["list"], new PersistentList([1, "a", { x: [2] }]));
});

Deno.test("PersistentList is refused by structuredClone() and Object.freeze(), also as a ghost", () => {
  for (const list of [ghost([1]), stored([1]).list, new PersistentList([1])]) {
    assertThrows(() => structuredClone(list), DOMException);
    for (
      const freeze of [Object.freeze, Object.seal, Object.preventExtensions]
    ) {
      assertThrows(
        () => freeze(list),
        ClassError,
        "Cannot freeze PersistentList",
      );
    }
    assertEquals([...list], [1]);
  }
});
