import { deepStrictEqual, notDeepStrictEqual } from "node:assert";
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
  Persistent,
  PersistentDict,
  PersistentList,
  PersistentSet,
  WriteConflictError,
} from "../../mod.ts";

class City extends Persistent {
  name: string;
  constructor(name = "") {
    super();
    this.name = name;
  }
}

/** A set with a field, an accessor and a changed method. */
class Tags extends PersistentSet<string> {
  owner = "";
  _v_hits = 0;
  give(owner: string) {
    this._p_noteChange();
    this.owner = owner;
  }
  get label() {
    return `${this.owner}: ${this.size}`;
  }
  override add(tag: string) {
    return super.add(tag.toLowerCase());
  }
}

const classes = { City, Tags };

function open(storage = new MemoryStorage(), options = {}) {
  return new Connection(storage, { classes, ...options });
}

/** A set that is stored, and its connection. */
function stored<T>(items: Iterable<T>) {
  const connection = open();
  const set = connection.root["members"] = new PersistentSet<T>(items);
  connection.commit();
  return { connection, set };
}

/** The same set as a ghost in another connection. */
function ghost<T>(items: Iterable<T>) {
  const { connection } = stored(items);
  const set = open(connection.storage as MemoryStorage).root["members"];
  assertEquals(set._p_status, "ghost");
  return set as PersistentSet<T>;
}

/** Makes `set` a ghost, as happens to any object that was not used for long. */
function evict(connection: Connection, set: PersistentSet<unknown>) {
  const size = connection.cacheSize;
  connection.cacheSize = 1;
  connection.abort();
  connection.abort();
  connection.root._p_noteAccess();
  connection.abort();
  connection.cacheSize = size;
  assertEquals(set._p_status, "ghost");
}

Deno.test("PersistentSet is made of any iterable, or of nothing", () => {
  assertEquals([...new PersistentSet()], []);
  assertEquals([...new PersistentSet(null)], []);
  assertEquals([...new PersistentSet([1, 2, 1])], [1, 2]);
  assertEquals([...new PersistentSet("aba")], ["a", "b"]);
  assertEquals([...new PersistentSet(new PersistentSet("ab"))], ["a", "b"]);
  // deno-lint-ignore no-explicit-any
  for (const odd of [5, 0, false, {}] as any[]) {
    assertThrows(() => new PersistentSet(odd), TypeError);
  }
});

Deno.test("PersistentSet has everything that Set.prototype has", () => {
  const names = [
    "add",
    "clear",
    "constructor",
    "delete",
    "difference",
    "entries",
    "forEach",
    "has",
    "intersection",
    "isDisjointFrom",
    "isSubsetOf",
    "isSupersetOf",
    "keys",
    "size",
    "symmetricDifference",
    "union",
    "values",
    Symbol.iterator,
    Symbol.toStringTag,
  ];
  // deno-lint-ignore no-explicit-any
  const [ours, theirs] = [new PersistentSet() as any, new Set() as any];
  for (const name of names) {
    assertEquals(typeof ours[name], typeof theirs[name], String(name));
    assert(theirs[name] !== undefined, `${String(name)} is not native`);
  }
  const newer = Reflect.ownKeys(Set.prototype).filter((name) =>
    !names.includes(name as string)
  );
  if (newer.length > 0) console.log("Set has more by now:", newer);
});

Deno.test("PersistentSet reads as a Set does, also as a ghost", () => {
  const other = new Set([3, 4]);
  // deno-lint-ignore no-explicit-any
  const reads: ((set: any) => unknown)[] = [
    (set) => set.size,
    (set) => set.has(1),
    (set) => set.has("1"),
    (set) => set.has(NaN),
    (set) => set.has(-0),
    (set) => [...set],
    (set) => [...set.keys()],
    (set) => [...set.values()],
    (set) => [...set.entries()],
    (set) => set.union(other),
    (set) => set.intersection(other),
    (set) => set.difference(other),
    (set) => set.symmetricDifference(other),
    (set) => set.isSubsetOf(other),
    (set) => set.isSupersetOf(new Set([3])),
    (set) => set.isDisjointFrom(other),
    (set) => set.isDisjointFrom(new Set()),
    (set) => set.union(new Map([[7, 8]])),
    (set) => other.union(set),
    (set) => other.intersection(set),
    (set) => other.difference(set),
    (set) => other.symmetricDifference(set),
    (set) => other.isSubsetOf(set),
    (set) => other.isSupersetOf(set),
    (set) => other.isDisjointFrom(set),
    (set) => set.union(set),
    (set) => set.difference(set),
    (set) => {
      const seen: unknown[] = [];
      set.forEach((...args: unknown[]) => seen.push(args.slice(0, 2)));
      return seen;
    },
    (set) => Array.from(set),
    (set) => set.values().map((n: number) => n + 1).drop(1).toArray(),
  ];
  for (const read of reads) {
    const set = ghost([3, 1, NaN, 0]);
    assertEquals(read(set), read(new Set([3, 1, NaN, 0])), String(read));
    assertEquals(set._p_status, "saved", String(read));
  }
});

Deno.test("PersistentSet notes each change, also of a ghost", () => {
  // deno-lint-ignore no-explicit-any
  const changes: ((set: any) => unknown)[] = [
    (set) => set.add(4) === set,
    (set) => set.add(undefined) === set,
    (set) => set.delete(1),
    (set) => set.clear(),
    (set) => [set.delete(3), set.add(3) === set],
  ];
  for (const change of changes) {
    const set = ghost([3, 1]);
    const model = new Set([3, 1]);
    assertEquals(change(set), change(model), String(change));
    assertEquals(set._p_status, "unsaved", String(change));
    set._p_connection!.commit();
    assertEquals(set._p_status, "saved", String(change));
    assertEquals([...set], [...model], String(change));
    const other = open(set._p_connection!.storage as MemoryStorage);
    assertEquals([...other.root["members"]], [...model], String(change));
  }
});

Deno.test("PersistentSet notes no change where there is none", () => {
  const { connection, set } = stored([1, NaN, 0]);
  set.add(1).add(NaN).add(-0);
  assertEquals(set.delete(2), false);
  assertEquals([...set], [1, NaN, 0]);
  assertEquals(set._p_status, "saved");
  const empty = connection.root["empty"] = new PersistentSet();
  connection.commit();
  empty.clear();
  assertEquals(empty._p_status, "saved");
  assert(!connection.hasChanges);
});

Deno.test("PersistentSet refuses what a Set refuses, also when it is empty", () => {
  for (const set of [new PersistentSet(), new PersistentSet([1])]) {
    // deno-lint-ignore no-explicit-any
    for (const odd of [undefined, null, 1, "x", {}, Symbol("s")] as any[]) {
      assertThrows(() => set.forEach(odd), TypeError);
      assertThrows(() => set.union(odd), TypeError);
      assertThrows(() => set.isSubsetOf(odd), TypeError);
    }
    // An array is not like a set.
    assertThrows(() => set.intersection([1] as never), TypeError);
  }
});

Deno.test("PersistentSet.forEach gives the set, and calls on thisArg", () => {
  const set = new PersistentSet(["a"]);
  const context = {};
  let calls = 0;
  set.forEach(function (this: unknown, value, again, whole) {
    assertStrictEquals(this, context);
    assertEquals([value, again], ["a", "a"]);
    assertStrictEquals(whole, set);
    calls++;
  }, context);
  assertEquals(calls, 1);
});

Deno.test("PersistentSet is iterated live, as a Set is", () => {
  // deno-lint-ignore no-explicit-any
  const loops: ((set: any) => unknown)[] = [
    (set) => {
      const seen = [];
      for (const item of set) {
        seen.push(item);
        if (item === 1) set.delete(2);
        if (item === 3) set.add(9);
      }
      return seen;
    },
    // Deleted and added again: it comes once more.
    (set) => {
      const seen: number[] = [];
      set.forEach((item: number) => {
        if (!seen.includes(item)) {
          set.delete(item);
          set.add(item);
        }
        seen.push(item);
      });
      return seen;
    },
    (set) => {
      const values = set.values();
      const first = values.next();
      set.clear();
      set.add(7);
      return [first, ...values];
    },
    // What is added after the end does not count.
    (set) => {
      const values = set.values();
      const seen = [...values];
      set.add(9);
      return [seen, values.next()];
    },
    // Leaving a loop does not end the iterator.
    (set) => {
      const entries = set.entries();
      for (const _ of entries) break;
      const [second] = entries;
      return [second, ...entries, "return" in entries];
    },
    (set) => {
      const keys = set.keys();
      return [keys[Symbol.iterator]() === keys, keys instanceof Iterator];
    },
  ];
  for (const loop of loops) {
    const { set } = stored([1, 2, 3, 4]);
    assertEquals(loop(set), loop(new Set([1, 2, 3, 4])), String(loop));
  }
});

Deno.test("PersistentSet is iterated on across commit, abort and eviction", () => {
  const { connection, set } = stored(["a", "b", "c", "d", "e", "f"]);
  const seen: string[] = [];
  for (const item of set) {
    seen.push(item);
    // Those it has passed go away, which must not make it skip others.
    if (item === "b") set.delete("a");
    if (item === "b") set.delete("b");
    if (item === "b") connection.commit();
    if (item === "b") evict(connection, set);
    if (item === "d") set.add("gone");
    if (item === "e") connection.abort();
  }
  assertEquals(seen, ["a", "b", "c", "d", "e", "f"]);
  assertEquals(set._p_serial, connection.transactionSerial);
});

Deno.test("PersistentSet comes to an end when each deletion is aborted", () => {
  const { connection, set } = stored(["a", "b", "c"]);
  const seen: string[] = [];
  for (const item of set) {
    seen.push(item);
    set.delete(item);
    if (item !== "b") connection.abort();
    else connection.commit();
    assert(seen.length < 9);
  }
  assertEquals(seen, ["a", "b", "c"]);
  assertEquals([...set], ["a", "c"]);
});

Deno.test("PersistentSet goes on from the same place when what it came to is gone", () => {
  const { connection, set } = stored(["a", "b"]);
  const values = set.values();
  const other = open(connection.storage as MemoryStorage);
  assertEquals([values.next().value, values.next().value], ["a", "b"]);
  other.root["members"].delete("b");
  other.root["members"].add("c").add("d");
  other.commit();
  connection.abort();
  assertEquals([...values], ["d"]);

  const fresh = set.values();
  other.root["members"].clear();
  other.root["members"].add(undefined).add("x");
  other.commit();
  connection.abort();
  assertEquals<unknown>([...fresh], [undefined, "x"]);
});

Deno.test("PersistentSet takes changes back at abort", () => {
  const { connection, set } = stored([1, 2]);
  set.delete(1);
  set.add(1);
  assertEquals([...set], [2, 1]);
  connection.abort();
  assertEquals([...set], [1, 2]);
});

Deno.test("PersistentSet keeps the identity of persistent objects", () => {
  const rome = new City("Rome");
  const { connection, set } = stored<unknown>([rome, new City("Ostia")]);
  set.add(set);
  connection.commit();
  evict(connection, set);
  assert(set.has(rome));
  assert(set.has(set));
  set.add(rome);
  assertEquals(set._p_status, "saved");
  const other = open(connection.storage as MemoryStorage);
  const again = other.root["members"];
  const [city] = again;
  assertEquals(city._p_status, "ghost");
  assertEquals(city.name, "Rome");
  assert(again.has(city));
  assert(again.delete(city));
  assertEquals(again.size, 2);
});

Deno.test("PersistentSet stores what a class that extends it adds", () => {
  const connection = open();
  const tags = connection.root["tags"] = new Tags();
  tags.add("New");
  tags.give("ada");
  tags._v_hits = 3;
  connection.commit();
  const other = open(connection.storage as MemoryStorage);
  const again = other.root["tags"];
  assert(again instanceof Tags);
  assertEquals(again.label, "ada: 1");
  assertEquals([...again], ["new"]);
  assertEquals(again._v_hits, undefined);
  again.give("bob");
  assertEquals(again._p_status, "unsaved");
  Object.assign(again, { aborted: true });
  other.abort();
  assertEquals(again.label, "ada: 1");
  assertEquals(Object.keys(again), ["owner"]);
});

Deno.test("PersistentSet refuses a field named items, which would be lost", () => {
  class Shop extends PersistentSet {
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

Deno.test("PersistentSet says what it is", () => {
  const set = new PersistentSet([1]);
  assertEquals(Object.prototype.toString.call(set), "[object PersistentSet]");
  assertEquals(JSON.stringify({ set }), '{"set":[1]}');
  assertEquals(set._p_className, "PersistentSet");
  assertThrows(() => set._p_setState({}), Error, "the state has no items");
});

Deno.test("PersistentSet holds the other collections", () => {
  const { connection } = stored([
    new PersistentList([1]),
    new PersistentDict([["a", 1]]),
    new PersistentSet([1]),
  ]);
  const [list, dict, set] = open(connection.storage as MemoryStorage)
    .root["members"];
  assertEquals([...list], [1]);
  assertEquals([...dict], [["a", 1]]);
  assertEquals([...set], [1]);
});

Deno.test("PersistentSet is typed as a Set is", () => {
  const ours = new PersistentSet([1, 2]);
  const set: Set<number> = ours;
  const like: ReadonlySetLike<number> = ours;
  const readonly: ReadonlySet<number> = ours;
  const union: Set<number | string> = ours.union(new Set(["a"]));
  const other: Set<number | string> = new Set(["a"]).union(ours);
  const iterator: SetIterator<number> = ours.values();
  const pairs: SetIterator<[number, number]> = ours.entries();
  // @ts-expect-error: a member of another type
  ours.add("a");
  assertEquals([set.size, like.size, readonly.size], [3, 3, 3]);
  assertEquals([...union], [1, 2, "a"]);
  assertEquals([...other], ["a", 1, 2]);
  assertEquals([iterator.next().value, pairs.next().value], [1, [1, 1]]);
});

Deno.test("PersistentSets are deeply equal when their members are, stored, loaded or ghosts", () => {
  const { connection, set } = stored([1, "a"]);
  connection.root["same"] = new PersistentSet([1, "a"]);
  connection.root["other"] = new PersistentSet([1, "b"]);
  connection.commit();
  const fresh = () => open(connection.storage as MemoryStorage).root;
  for (const root of [connection.root, fresh()]) {
    for (const first of [set, root["members"]]) {
      deepStrictEqual(first, root["same"]);
      notDeepStrictEqual(first, root["other"]);
    }
  }
  deepStrictEqual(fresh()["members"], new PersistentSet([1, "a"]));
  notDeepStrictEqual(fresh()["other"], fresh()["members"]);
});

Deno.test("PersistentSet is refused by structuredClone() and Object.freeze(), also as a ghost", () => {
  for (const set of [ghost([1]), stored([1]).set, new PersistentSet([1])]) {
    assertThrows(() => structuredClone(set), DOMException);
    for (
      const freeze of [Object.freeze, Object.seal, Object.preventExtensions]
    ) {
      assertThrows(
        () => freeze(set),
        ClassError,
        "Cannot freeze PersistentSet",
      );
    }
    assertEquals([...set], [1]);
  }
});

Deno.test("PersistentSet notes fields that a class or its user assigns", () => {
  const connection = open();
  const tags = connection.root["tags"] = new Tags(["a"]);
  connection.commit();
  tags.owner = "ada";
  assertEquals(tags._p_status, "unsaved");
  connection.commit();
  const other = open(connection.storage as MemoryStorage);
  assertEquals(other.root["tags"].owner, "ada");
  assertEquals(
    open(connection.storage as MemoryStorage).root["tags"].label,
    "ada: 1",
  );
  other.commit();
  assertEquals(other.root["tags"].owner, "ada");
  tags.owner = "grace";
  connection.commit();
  other.root["seen"] = true;
  assertThrows(() => other.commit(), WriteConflictError, "Tags");
});
