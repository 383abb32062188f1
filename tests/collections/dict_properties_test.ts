import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  ClassError,
  Connection,
  MemoryStorage,
  PersistentDict,
} from "../../mod.ts";
import { committed, type Dict } from "../support/dicts.ts";

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

Deno.test("JSON.stringify() shows all entries of a PersistentDict", () => {
  const dict = new PersistentDict<unknown, unknown>([
    ["a", 1],
    [2, 2],
    ["size", new PersistentDict([["__proto__", 3]])],
  ]);
  assertEquals(JSON.stringify(dict), '{"2":2,"a":1,"size":{"__proto__":3}}');
  dict.set(true, 4).set(null, 5).set(7n, 6).set(undefined, 7).set(NaN, 8);
  assertEquals(
    JSON.stringify(dict),
    '{"2":2,"7":6,"a":1,"size":{"__proto__":3},"true":4,"null":5,"undefined":7,"NaN":8}',
  );
  assertEquals(
    JSON.stringify(new PersistentDict<unknown, number>([[1, 1], ["1", 2]])),
    '[[1,1],["1",2]]',
  );
  assertEquals(
    JSON.stringify(new PersistentDict<unknown, number>([[{ x: 1 }, 1]])),
    '[[{"x":1},1]]',
  );
  assertEquals(JSON.stringify(new PersistentDict()), "{}");
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

// --- Subclasses ---

class Scores extends PersistentDict<string, number> {
  static made = 0;
  #calls = 0;
  #reads = 0;

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

  get reads() {
    return this.#reads;
  }

  override get(key: string): number {
    this.#reads++;
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
  assertEquals([scores["nobody"], scores.reads], [0, 1]);
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
