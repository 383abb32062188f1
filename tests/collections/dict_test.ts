import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { Encoder } from "../../lib/serialize/encoder.ts";
import {
  Connection,
  ConnectionError,
  DecodeError,
  MemoryStorage,
  PersistentDict,
  WriteConflictError,
} from "../../mod.ts";
import { Account, committed, type Dict } from "../support/dicts.ts";

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

Deno.test("Looking at the stored state of a PersistentDict notes no access", () => {
  using setup = committed([["a", 1]]);
  const { connection, dict } = setup;
  connection.abort();
  const before = dict._p_serial;
  assertEquals(dict._p_getState()["entries"], new Map([["a", 1]]));
  assertEquals(dict._p_serial, before);
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

Deno.test("A ghost of a PersistentDict holds no entries in memory", () => {
  using setup = committed([["a", 1]]);
  const { connection, dict } = setup;
  assertEquals(dict._p_getState()["entries"], new Map([["a", 1]]));
  dict.set("b", 2);
  connection.abort();
  assertEquals(dict._p_getState()["entries"], undefined);
});
