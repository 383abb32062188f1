import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { Encoder } from "../lib/serialize/codec.ts";
import {
  ClassError,
  Connection,
  ConnectionError,
  DecodeError,
  MemoryStorage,
  Persistent,
  PersistentDict,
  WriteConflictError,
} from "../mod.ts";

// deno-lint-ignore no-explicit-any
type Dict<K = string, V = any> = PersistentDict<K, V> & Record<string, any>;

class Account extends Persistent {
  owner = "ada";
}

/** A committed dict, and a second connection to the same storage in which it is a ghost. */
function committed<K, V>(entries: Iterable<readonly [K, V]>) {
  const storage = new MemoryStorage();
  const connection = new Connection(storage, { classes: { Account } });
  const dict: Dict<K, V> = new PersistentDict(entries);
  connection.root["dict"] = dict;
  connection.commit();
  const other = new Connection(storage, { classes: { Account } });
  const ghost = other.root["dict"] as Dict<K, V>;
  return {
    connection,
    dict,
    other,
    ghost,
    [Symbol.dispose]() {
      connection.close();
      other.close();
    },
  };
}

/** What a `Map` has today; more in a newer runtime is told, not failed. */
const MAP_NAMES: (string | symbol)[] = [
  "clear",
  "constructor",
  "delete",
  "entries",
  "forEach",
  "get",
  "getOrInsert",
  "getOrInsertComputed",
  "has",
  "keys",
  "set",
  "size",
  "values",
  Symbol.iterator,
  Symbol.toStringTag,
];

Deno.test("PersistentDict has everything that a Map has", () => {
  for (const name of MAP_NAMES) {
    assert(Object.hasOwn(PersistentDict.prototype, name), String(name));
  }
  for (const name of Reflect.ownKeys(Map.prototype)) {
    if (MAP_NAMES.includes(name)) continue;
    console.log(`A Map has a new member now: ${String(name)}`);
  }
  assertStrictEquals(typeof PersistentDict.groupBy, "function");
});

Deno.test("PersistentDict can be used wherever a Map is expected", () => {
  function sum(map: ReadonlyMap<string, number>) {
    let total = 0;
    map.forEach((value) => total += value);
    return total;
  }
  const map: Map<string, number> = new PersistentDict([["a", 1]]);
  map.set("b", 2);
  assertEquals(sum(map), 3);
  assertEquals(new Map(map), new Map([["a", 1], ["b", 2]]));
  assertEquals([...new PersistentDict(map)], [["a", 1], ["b", 2]]);
  assertEquals(String(map), "[object PersistentDict]");
});

Deno.test("PersistentDict is made from entries, or from nothing", () => {
  assertEquals([...new PersistentDict([[1, "a"], [2, "b"], [1, "c"]])], [
    [1, "c"],
    [2, "b"],
  ]);
  assertEquals(new PersistentDict().size, 0);
  assertEquals(new PersistentDict(null).size, 0);
  assertThrows(() => new PersistentDict(3 as never), TypeError);
  assertThrows(() => new PersistentDict([3] as never), TypeError);
});

Deno.test("PersistentDict.groupBy() makes a dict of arrays", () => {
  const groups = PersistentDict.groupBy(
    [1, 2, 3],
    (item) => item % 2 ? "odd" : "even",
  );
  assert(groups instanceof PersistentDict);
  assertEquals([...groups], [["odd", [1, 3]], ["even", [2]]]);
});

Deno.test("PersistentDict keeps its entries in the order of insertion", () => {
  const dict = new PersistentDict<unknown, number>();
  dict.set("b", 1).set(10, 2).set("a", 3).set("b", 4);
  assertEquals([...dict.keys()], ["b", 10, "a"]);
  dict.delete("b");
  dict.set("b", 5);
  assertEquals([...dict.entries()], [[10, 2], ["a", 3], ["b", 5]]);
});

Deno.test("PersistentDict compares keys as a Map does", () => {
  const dict = new PersistentDict<unknown, number>();
  dict.set(NaN, 1).set(-0, 2).set(undefined, 3).set(null, 4);
  assertEquals(dict.get(NaN), 1);
  assertEquals(dict.get(0), 2);
  assert([...dict.keys()].some((key) => Object.is(key, 0)));
  assertEquals(dict.get(undefined), 3);
  assertEquals(dict.has(null), true);
  assertEquals(dict.has(""), false);
});

Deno.test("getOrInsert() and getOrInsertComputed() of a PersistentDict insert only what is not there", () => {
  const dict = new PersistentDict<unknown, unknown>([["a", undefined]]);
  assertEquals(dict.getOrInsert("a", 1), undefined);
  assertEquals(dict.getOrInsert("b", 1), 1);
  assertEquals(dict.getOrInsertComputed("b", () => 2), 1);
  assertEquals(dict.getOrInsertComputed("c", (key) => key + "!"), "c!");
  dict.getOrInsertComputed(-0, (key) => assert(Object.is(key, 0)));
  assertEquals([...dict.keys()], ["a", "b", "c", 0]);
  assertThrows(() => dict.getOrInsertComputed("a", 3 as never), TypeError);
  assertThrows(
    () =>
      dict.getOrInsertComputed("d", () => {
        throw new RangeError("no");
      }),
    RangeError,
  );
  assertEquals(dict.has("d"), false);
});

Deno.test("forEach() of a PersistentDict gives value, key and the dict that the program holds", () => {
  const dict = new PersistentDict([["a", 1], ["b", 2]]);
  const seen: unknown[] = [];
  const self = {};
  dict.forEach(function (this: unknown, value, key, it) {
    assertStrictEquals(this, self);
    assertStrictEquals(it, dict);
    seen.push([key, value]);
  }, self);
  assertEquals(seen, [["a", 1], ["b", 2]]);
  assertThrows(() => new PersistentDict().forEach(3 as never), TypeError);
});

// --- Properties ---

Deno.test("String keys of a PersistentDict can be used as properties", () => {
  const dict: Dict<unknown> = new PersistentDict();
  dict["hello"] = "world";
  dict["n"] ??= 1;
  dict["n"] += 1;
  dict.set(5, "number").set("6", "string");
  assertEquals(dict["hello"], "world");
  assertEquals(dict.get("n"), 2);
  assertEquals("hello" in dict, true);
  assertEquals("bye" in dict, false);
  assertEquals(dict["bye"], undefined);
  assertEquals(Object.hasOwn(dict, "hello"), true);
  assertEquals(Object.hasOwn(dict, "bye"), false);
  assertEquals(delete dict["hello"], true);
  assertEquals(delete dict["bye"], true);
  assertEquals(dict.has("hello"), false);
  assertEquals([dict[5 as never], dict[6 as never]], [undefined, "string"]);
});

Deno.test("The properties of a PersistentDict can be listed, spread and destructured", () => {
  const dict: Dict<unknown> = new PersistentDict<unknown, number>([
    ["b", 1],
    [5, 2],
    ["a", 3],
    ["7", 4],
    ["size", 5],
  ]);
  // In the order of insertion, also those that look like numbers.
  assertEquals(Object.keys(dict), ["b", "a", "7"]);
  assertEquals(Object.entries(dict), [["b", 1], ["a", 3], ["7", 4]]);
  assertEquals({ ...dict }, { b: 1, a: 3, 7: 4 });
  assertEquals<unknown>(Object.assign({}, dict), { b: 1, a: 3, 7: 4 });
  const seen = [];
  for (const name in dict) seen.push(name);
  assertEquals(seen, ["b", "a", "7"]);
  const { a, c = 9, ...rest } = dict;
  assertEquals([a, c], [3, 9]);
  assertEquals(rest, { b: 1, 7: 4 });
  Object.assign(dict, { d: 6 });
  assertEquals(dict.get("d"), 6);
});

Deno.test("JSON.stringify() shows all entries of a PersistentDict whose keys are strings", () => {
  const dict = new PersistentDict<unknown, unknown>([
    ["a", 1],
    [2, 2],
    ["size", new PersistentDict([["__proto__", 3]])],
  ]);
  assertEquals(JSON.stringify(dict), '{"a":1,"size":{"__proto__":3}}');
});

Deno.test("Names that every PersistentDict has are no properties, and point to the methods", () => {
  const dict: Dict = new PersistentDict();
  const names = [
    "size",
    "get",
    "toJSON",
    "constructor",
    "toString",
    "hasOwnProperty",
    "valueOf",
    "__proto__",
    "__defineGetter__",
    "_p_oid",
    "_p_status",
    "_p_noteChange",
    "_p_anything",
  ];
  const before = Object.getPrototypeOf(dict);
  for (const name of names) {
    const quoted = JSON.stringify(name);
    assertThrows(
      () => (dict as Record<string, unknown>)[name] = 1,
      ClassError,
      `use set(${quoted}, value)`,
    );
    assertThrows(
      () => Object.defineProperty(dict, name, { value: 1 }),
      ClassError,
      `use set(${quoted}, value)`,
    );
    assertThrows(
      () => delete dict[name],
      ClassError,
      `use delete(${quoted})`,
    );
    const read = dict[name];
    dict.set(name, "mine");
    assertEquals(dict.get(name), "mine");
    if (name !== "size") assertStrictEquals(dict[name], read);
    assertEquals(Object.hasOwn(dict, name), false);
  }
  assertEquals(dict.size, names.length);
  assertEquals(Object.keys(dict), []);
  assertStrictEquals(Object.getPrototypeOf(dict), before);
  assertEquals(typeof dict.toString, "function");
  assertEquals(({} as Record<string, unknown>)["mine"], undefined);
  // As with every object, what is inherited is in it; what is not, is not.
  assertEquals(["size" in dict, "constructor" in dict], [true, true]);
  assertEquals("_p_anything" in dict, false);
  assertEquals(dict["_p_anything"], undefined);
  assertEquals(dict.delete("__proto__"), true);
  assertEquals(dict.has("__proto__"), false);
});

Deno.test("The message says why a name of a PersistentDict cannot be assigned", () => {
  const dict = new PersistentDict() as Dict;
  assertEquals(
    assertThrows(() => Reflect.set(dict, "size", 1), ClassError).message,
    'Cannot assign the property "size" of a PersistentDict: that is the name of something every dict has; use set("size", value)',
  );
  assertEquals(
    assertThrows(() => Reflect.set(dict, "_p_x", 1), ClassError).message,
    'Cannot assign the property "_p_x" of a PersistentDict: names that begin with _p_ are Dhara\'s own; use set("_p_x", value)',
  );
});

Deno.test("A PersistentDict can be awaited, whatever its keys", async () => {
  const dict: Dict = new PersistentDict<string, unknown>([["then", 1]]);
  assertStrictEquals(await dict, dict);
});

Deno.test("Object.defineProperty() on a PersistentDict sets a key, and refuses what is no key", () => {
  const dict: Dict = new PersistentDict([["a", 1]]);
  Object.defineProperty(dict, "b", { value: 2 });
  Object.defineProperty(dict, "a", { enumerable: true });
  Object.defineProperty(dict, "c", {});
  assertEquals([...dict], [["a", 1], ["b", 2], ["c", undefined]]);
  assertEquals(Object.getOwnPropertyDescriptor(dict, "b"), {
    value: 2,
    writable: true,
    enumerable: true,
    configurable: true,
  });
  assertEquals(Object.getOwnPropertyDescriptor(dict, "d"), undefined);
  const refused: PropertyDescriptor[] = [
    { get: () => 1 },
    { set() {} },
    { value: 1, writable: false },
    { value: 1, enumerable: false },
    { value: 1, configurable: false },
  ];
  for (const descriptor of refused) {
    assertThrows(
      () => Object.defineProperty(dict, "d", descriptor),
      ClassError,
      'Cannot define the property "d" of a PersistentDict',
    );
  }
  const freezes = [Object.freeze, Object.seal, Object.preventExtensions];
  for (const freeze of freezes as ((o: object) => object)[]) {
    assertThrows(() => freeze(dict), ClassError, "Cannot freeze");
  }
  assertEquals([dict.has("d"), Object.isExtensible(dict)], [false, true]);
});

Deno.test("Properties of a PersistentDict under symbols are its own and not stored", () => {
  using setup = committed([["a", 1]]);
  const { connection, dict } = setup;
  const key = Symbol("key");
  const marked = dict as unknown as Record<symbol, unknown>;
  marked[key] = 1;
  Object.defineProperty(dict, Symbol.for("fixed"), { value: 1 });
  assertEquals(dict._p_status, "saved");
  assertEquals([key in dict, marked[key], dict.size], [true, 1, 1]);
  assertEquals(Reflect.ownKeys(dict), ["a", key, Symbol.for("fixed")]);
  assertEquals(delete marked[key], true);
  assertEquals(Reflect.ownKeys(dict), ["a", Symbol.for("fixed")]);
  connection.commit();
});

Deno.test("An object that inherits from a PersistentDict has properties of its own", () => {
  const dict: Dict = new PersistentDict([["a", 1]]);
  const heir = Object.create(dict);
  heir.b = 2;
  heir.a = 3;
  assertEquals([heir.a, heir.b], [3, 2]);
  assertEquals([...dict], [["a", 1]]);
});

// --- Noting ---

/** Every way to change a dict that has the keys a and b. */
const CHANGES: Record<string, (dict: Dict) => unknown> = {
  "set() of a new key": (dict) => dict.set("c", 1),
  "set() of the same value": (dict) => dict.set("a", 1),
  "delete()": (dict) => dict.delete("a"),
  "clear()": (dict) => dict.clear(),
  "getOrInsert()": (dict) => dict.getOrInsert("c", 1),
  "getOrInsertComputed()": (dict) => dict.getOrInsertComputed("c", () => 1),
  "assigning a property": (dict) => dict["c"] = 1,
  "??=": (dict) => dict["c"] ??= 1,
  "deleting a property": (dict) => delete dict["a"],
  "Object.defineProperty()": (dict) =>
    Object.defineProperty(dict, "c", { value: 1 }),
  "Object.assign()": (dict) => Object.assign(dict, { c: 1 }),
  "Reflect.set()": (dict) => Reflect.set(dict, "c", 1),
};

/** Every way to read it, and those to change it that change nothing. */
const READS: Record<string, (dict: Dict) => unknown> = {
  "size": (dict) => dict.size,
  "get()": (dict) => dict.get("a"),
  "get() of a missing key": (dict) => dict.get("x"),
  "has()": (dict) => dict.has("x"),
  "delete() of a missing key": (dict) => dict.delete("x"),
  "getOrInsert() of a key": (dict) => dict.getOrInsert("a", 1),
  "getOrInsertComputed() of a key": (dict) =>
    dict.getOrInsertComputed("a", () => 1),
  "forEach()": (dict) => dict.forEach(() => {}),
  "entries()": (dict) => dict.entries(),
  "keys()": (dict) => dict.keys(),
  "values()": (dict) => dict.values(),
  "iteration": (dict) => dict[Symbol.iterator](),
  "toJSON()": (dict) => dict.toJSON(),
  "a property": (dict) => dict["x"],
  "in": (dict) => "x" in dict,
  "Object.keys()": (dict) => Object.keys(dict),
  "Object.hasOwn()": (dict) => Object.hasOwn(dict, "x"),
  "spread": (dict) => ({ ...dict }),
  "JSON.stringify()": (dict) => JSON.stringify(dict),
  "deleting a missing property": (dict) => delete dict["x"],
  "?.": (dict) => dict["x"]?.y,
};

for (const [name, change] of Object.entries(CHANGES)) {
  Deno.test(`PersistentDict notes a change by ${name}`, () => {
    using setup = committed([["a", 1], ["b", 2]]);
    const { connection, dict, other, ghost } = setup;
    const before = [...dict];
    assertEquals(dict._p_status, "saved");
    change(dict);
    assertEquals(dict._p_status, "unsaved");
    const after = [...dict];
    connection.abort();
    assertEquals(dict._p_status, "ghost");
    assertEquals([...dict], before);

    assertEquals(ghost._p_status, "ghost");
    change(ghost);
    assertEquals(ghost._p_status, "unsaved");
    other.commit();
    connection.abort();
    assertEquals([...dict], after);
  });
}

for (const [name, read] of Object.entries(READS)) {
  Deno.test(`PersistentDict notes an access by ${name}, and no change`, () => {
    using setup = committed([["a", 1], ["b", 2]]);
    const { connection, dict, other, ghost } = setup;
    read(dict);
    assertEquals(dict._p_status, "saved");
    assertEquals(dict._p_serial, connection.transactionSerial);

    read(ghost);
    assertEquals(ghost._p_status, "saved");
    assertEquals(ghost._p_serial, other.transactionSerial);
  });
}

Deno.test("Asking a PersistentDict about itself does not load it", () => {
  using setup = committed([["a", 1]]);
  const { ghost } = setup;
  assert(ghost._p_isGhost());
  assertEquals(typeof ghost.get, "function");
  assertEquals(ghost.constructor, PersistentDict);
  assert(ghost instanceof PersistentDict);
  assertEquals(Symbol.iterator in ghost, true);
  assertEquals("_p_oid" in ghost, true);
  assertEquals(ghost._p_className, "PersistentDict");
  assert(ghost._p_isGhost());
});

Deno.test("clear() of an empty PersistentDict is no change", () => {
  using setup = committed([]);
  setup.dict.clear();
  assertEquals(setup.dict._p_status, "saved");
});

Deno.test("Two connections that change the same PersistentDict conflict", () => {
  using setup = committed([["a", 1]]);
  const { connection, dict, other, ghost } = setup;
  dict.set("b", 2);
  ghost.set("c", 3);
  connection.commit();
  assertThrows(() => other.commit(), WriteConflictError);
  other.abort();
  assertEquals([...ghost], [["a", 1], ["b", 2]]);
});

Deno.test("A PersistentDict of a closed connection says so", () => {
  const { connection, other, dict } = committed([["a", 1]]);
  other.close();
  const entries = dict.entries();
  connection.close();
  assertThrows(() => dict.get("a"), ConnectionError);
  assertThrows(() => (dict as Dict)["a"], ConnectionError);
  assertThrows(() => dict.set("a", 2), ConnectionError);
  assertThrows(() => entries.next(), ConnectionError);
});

// --- Loops ---

Deno.test("Iterators of a PersistentDict see what happens meanwhile, as those of a Map", () => {
  for (const make of [() => new Map(), () => new PersistentDict()]) {
    const map: Map<string, number> = make();
    map.set("a", 1).set("b", 2).set("c", 3);
    const seen: string[] = [];
    for (const key of map.keys()) {
      seen.push(key);
      if (key === "a") map.delete("b");
      if (key === "c") map.set("d", 4).delete("a");
      if (key === "d" && seen.length < 5) map.set("a", 5);
    }
    assertEquals(seen, ["a", "c", "d", "a"]);
    const values = map.values();
    assertEquals(values.next(), { done: false, value: 3 });
    map.clear();
    assertEquals(values.next(), { done: true, value: undefined });
    map.set("a", 1);
    assertEquals(values.next(), { done: true, value: undefined });
  }
});

Deno.test("Iterators of a PersistentDict have the iterator helpers", () => {
  const dict = new PersistentDict([["a", 1], ["b", 2], ["c", 3]]);
  assertEquals(
    dict.values().filter((n) => n !== 2).map((n) => n * 2).toArray(),
    [2, 6],
  );
  assertEquals(dict.entries().drop(1).next().value, ["b", 2]);
  // Leaving a loop does not end the iterator.
  const keys = dict.keys();
  for (const _ of keys) break;
  assertEquals([...keys], ["b", "c"]);
});

Deno.test("A loop over a PersistentDict goes on after an abort", () => {
  using setup = committed([["a", 1], ["b", 2], ["c", 3], ["d", 4]]);
  const { connection, dict } = setup;
  const seen: unknown[] = [];
  for (const [key, value] of dict) {
    seen.push([key, value]);
    if (key !== "b") continue;
    dict.set("c", 30).set("e", 50).delete("a");
    connection.abort();
  }
  assertEquals(seen, [["a", 1], ["b", 2], ["c", 3], ["d", 4]]);
});

Deno.test("A loop over a PersistentDict comes to its end when each turn is taken back", () => {
  using setup = committed([["a", 1], ["b", 2], ["c", 3]]);
  const { connection, dict } = setup;
  const seen: string[] = [];
  dict.forEach((_, key) => {
    seen.push(key);
    dict.delete(key);
    connection.abort();
  });
  assertEquals(seen, ["a", "b", "c"]);
  for (const key of dict.keys()) {
    seen.push(key);
    dict.set(key + key, 0);
    connection.abort();
  }
  assertEquals(seen, ["a", "b", "c", "a", "b", "c"]);
});

Deno.test("A loop over a PersistentDict may commit each turn", () => {
  using setup = committed([["a", 1], ["b", 2], ["c", 3]]);
  const { connection, dict } = setup;
  connection.cacheSize = 1;
  const seen: string[] = [];
  for (const key of dict.keys()) {
    seen.push(key);
    dict.delete(key);
    connection.commit();
    // Without a use of it in between, it is evicted.
    connection.root.get("x");
    connection.commit();
    connection.commit();
    assert(dict._p_isGhost());
  }
  assertEquals(seen, ["a", "b", "c"]);
  assertEquals(dict.size, 0);
});

Deno.test("A loop over a PersistentDict goes on in what others have made of it", () => {
  using setup = committed([["a", 1], ["b", 2], ["c", 3]]);
  const { connection, dict, other, ghost } = setup;
  const entries = dict.entries();
  entries.next();
  entries.next();
  ghost.delete("a");
  ghost.set("c", 30).set("d", 40);
  other.commit();
  // Still the snapshot: nothing of it is seen.
  assertEquals(entries.next().value, ["c", 3]);
  connection.abort();
  assertEquals([...entries], [["d", 40]]);

  const keys = dict.keys();
  assertEquals([keys.next().value, keys.next().value], ["b", "c"]);
  ghost.delete("c");
  other.commit();
  connection.abort();
  // The key that it gave last is gone: on with the next that is still there.
  assertEquals([...keys], ["d"]);
});

Deno.test("A loop over a PersistentDict whose last key was added again goes on before it", () => {
  using setup = committed([["a", 1], ["b", 2], ["c", 3]]);
  const { connection, dict } = setup;
  connection.cacheSize = 1;
  const keys = dict.keys();
  assertEquals(keys.next().value, "a");
  dict.delete("a");
  dict.set("a", 4);
  connection.commit();
  connection.root.get("x");
  connection.commit();
  connection.commit();
  assert(dict._p_isGhost());
  assertEquals([...keys], ["b", "c", "a"]);
});

// --- Storing ---

Deno.test("PersistentDict stores keys and values of any kind", () => {
  using setup = committed<unknown, unknown>([
    [1, new Map([["x", new Set([1])]])],
    ["1", [undefined, null, -0, 10n]],
    [null, { nested: [new Date(0)] }],
    [NaN, "nan"],
    ["__proto__", { a: 1 }],
    ["size", 7],
  ]);
  const { dict, ghost } = setup;
  assertEquals([...ghost], [...dict]);
  assertEquals([...ghost.keys()], [1, "1", null, NaN, "__proto__", "size"]);
  assertEquals(ghost.size, 6);
});

Deno.test("Persistent objects in a PersistentDict are the same however they are reached", () => {
  const ada = new Account();
  using setup = committed<unknown, unknown>([[ada, "is ada"], ["ada", ada]]);
  const { connection, dict, ghost } = setup;
  assertStrictEquals(dict.get("ada"), ada);
  dict.set("x", 1);
  connection.abort();
  assertEquals(dict.get(ada), "is ada");
  assertEquals(dict.has(new Account()), false);

  const again = ghost.get("ada") as Account;
  assertEquals(again.owner, "ada");
  assertEquals(ghost.get(again), "is ada");
  assertEquals(ghost.get(ada), undefined);
  assertStrictEquals(ghost["ada"], again);
});

Deno.test("A PersistentDict may hold itself, as key and as value", () => {
  using setup = committed<unknown, unknown>([]);
  const { connection, dict, other, ghost } = setup;
  dict.set(dict, dict);
  connection.commit();
  other.abort();
  assertStrictEquals(ghost.get(ghost), ghost);
});

Deno.test("A dict made in vain can be stored by another connection", () => {
  const dict = new PersistentDict([["a", 1]]);
  using first = new Connection(new MemoryStorage());
  first.root["dict"] = dict;
  first.abort();
  using second = new Connection(new MemoryStorage());
  second.root["dict"] = dict;
  second.commit();
  assertEquals(dict._p_status, "saved");
  assertEquals([...dict], [["a", 1]]);
});

Deno.test("A record that is no dict's is refused when a PersistentDict is loaded from it", () => {
  for (const state of [{}, { entries: [1] }, { items: [] }]) {
    const storage = new MemoryStorage();
    new Connection(storage).close();
    const encoder = new Encoder({
      oidOf: () => undefined,
      classNameOf: () => "",
    });
    const session = storage.session();
    session.commit([[0, encoder.encode(0, "PersistentDict", state)]]);
    session.close();
    const error = assertThrows(() => new Connection(storage), DecodeError);
    assertEquals(
      error.message,
      "Cannot load PersistentDict#0: its state has no Map of entries",
    );
  }
});

// --- Subclasses ---

class Scores extends PersistentDict<string, number> {
  static made = 0;
  #calls = 0;

  constructor(entries?: Iterable<readonly [string, number]>) {
    super(entries);
    Scores.made++;
  }

  static override _p_create() {
    return new Scores();
  }

  get total() {
    this.#calls++;
    return this.values().reduce((sum, n) => sum + n, 0);
  }

  get calls() {
    return this.#calls;
  }

  set everyone(score: number) {
    for (const key of this.keys()) this.set(key, score);
  }

  override get(key: string): number {
    return super.get(key) ?? 0;
  }

  override set(key: string, score: number): this {
    if (score < 0) throw new RangeError("a score is never negative");
    return super.set(key, score);
  }
}

class Labelled extends PersistentDict<string, string> {
  label = "none";
}

Deno.test("A class that extends PersistentDict has its own methods, accessors and private members", () => {
  const storage = new MemoryStorage();
  using connection = new Connection(storage, { classes: { Scores } });
  const scores = new Scores([["ada", 1], ["grace", 2]]) as
    & Scores
    & Record<string, unknown>;
  connection.root["scores"] = scores;
  connection.commit();
  assertEquals([scores.total, scores.calls], [3, 1]);
  // The accessors run on what the program holds.
  scores.everyone = 5;
  assertEquals([...scores.values()], [5, 5]);
  assertEquals(scores._p_status, "unsaved");
  assertThrows(() => (scores as Record<string, unknown>)["total"] = 1);
  // What it overrides holds for properties too.
  assertEquals(scores["nobody"], 0);
  assertThrows(() => Reflect.set(scores, "ada", -1), RangeError);
  connection.commit();

  using other = new Connection(storage, { classes: { Scores } });
  const loaded = other.root["scores"] as Scores;
  assert(loaded instanceof Scores);
  assertEquals([loaded.total, loaded.calls], [10, 1]);
});

Deno.test("Loading a class that extends PersistentDict does not run its constructor", () => {
  class Counted extends PersistentDict<string, number> {
    static made = 0;
    constructor() {
      super();
      Counted.made++;
    }
  }
  const storage = new MemoryStorage();
  using connection = new Connection(storage, { classes: { Counted } });
  connection.root["counted"] = new Counted().set("a", 1);
  connection.commit();
  using other = new Connection(storage, { classes: { Counted } });
  assertEquals([...other.root["counted"]], [["a", 1]]);
  assert(other.root["counted"] instanceof Counted);
  assertEquals(Counted.made, 1);
});

Deno.test("A field of a class that extends PersistentDict is a key", () => {
  const storage = new MemoryStorage();
  using connection = new Connection(storage, { classes: { Labelled } });
  const labelled = connection.root["labelled"] = new Labelled();
  labelled.label = "red";
  connection.commit();
  assertEquals([...labelled], [["label", "red"]]);
  using other = new Connection(storage, { classes: { Labelled } });
  assertEquals((other.root["labelled"] as Labelled).label, "red");
  class Clash extends PersistentDict<string, number> {
    _p_mine = 1;
  }
  assertThrows(() => new Clash(), ClassError, "Dhara's own");
});

Deno.test("_p_getState() of a PersistentDict notes no access", () => {
  using setup = committed([["a", 1]]);
  const { connection, dict } = setup;
  assertEquals(dict.get("a"), 1);
  connection.abort();
  const before = dict._p_serial;
  const bare = { entries: new Map([["a", 1]]) };
  assertEquals<unknown>(dict._p_getState(), bare);
  assertEquals(dict._p_serial, before);
});
