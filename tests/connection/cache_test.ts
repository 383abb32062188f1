/** What stays in memory, what goes, and that an object is always the same one. */
import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  Connection,
  ConnectionError,
  MemoryStorage,
  Persistent,
  PersistentDict,
  PersistentList,
  WriteConflictError,
} from "../../mod.ts";

class Item extends Persistent {
  number: number;
  notes: string[] = [];
  constructor(number: number) {
    super();
    this.number = number;
  }
}
const classes = { Item };

/** A storage with `count` items in a list. */
function storageOf(count: number): MemoryStorage {
  const storage = new MemoryStorage();
  using writer = new Connection(storage, { classes });
  writer.root["items"] = PersistentList.from(
    { length: count },
    (_, i) => new Item(i),
  );
  writer.root["dict"] = new PersistentDict();
  writer.commit();
  return storage;
}

function itemsOf(connection: Connection): PersistentList<Item> {
  return connection.root["items"];
}

Deno.test("A transaction follows no more weak references than it touches objects", () => {
  const derefs: number[] = [];
  const { deref } = WeakRef.prototype;
  let count = 0;
  WeakRef.prototype.deref = function () {
    count++;
    return deref.call(this);
  };
  try {
    for (const live of [100, 5000]) {
      const storage = storageOf(live);
      using connection = new Connection(storage, { classes, cacheSize: 20 });
      const held = [...itemsOf(connection)];
      connection.abort();
      for (const item of held) item.number;
      connection.abort();
      connection.abort();
      count = 0;
      for (let i = 0; i < 20; i++) held[i * 4]!.number;
      connection.abort();
      derefs.push(count);
    }
  } finally {
    WeakRef.prototype.deref = deref;
  }
  assert(derefs[1]! <= 60, `${derefs}`);
});

Deno.test("What is only referred to takes no place in the cache", () => {
  using connection = new Connection(storageOf(1000), {
    classes,
    cacheSize: 50,
  });
  const { root } = connection;
  root["dict"].size;
  const items = itemsOf(connection);
  assertEquals(items.length, 1000);
  // The root, the dict and the list; of the items nothing was loaded.
  assertEquals(connection.cacheCount, 3);
  connection.abort();
  connection.abort();
  const before = connection.loadCount;
  root["dict"].size;
  assertEquals(items.at(5)!.number, 5);
  assertEquals(connection.loadCount, before + 1);
});

Deno.test("What is used all the time stays, while what is used once goes", () => {
  using connection = new Connection(storageOf(2000), {
    classes,
    cacheSize: 100,
  });
  const items = itemsOf(connection);
  const hot = Array.from({ length: 10 }, (_, i) => items.at(i)!);
  let loads = 0;
  for (let i = 10; i < 2000; i += 10) {
    for (let j = 0; j < 10; j++) items.at(i + j)!.number;
    const before = connection.loadCount;
    for (const item of hot) item.number;
    loads += connection.loadCount - before;
    connection.abort();
    assert(connection.cacheCount <= 122, `${connection.cacheCount}`);
  }
  assertEquals(loads, 10);
  // What was used last is there, what was used first is not.
  const before = connection.loadCount;
  items.at(1999)!.number;
  assertEquals(connection.loadCount, before);
  items.at(50)!.number;
  assertEquals(connection.loadCount, before + 1);
});

Deno.test("The cache holds what it should, however sizes and transactions change", () => {
  using connection = new Connection(storageOf(3000), { classes });
  const items = itemsOf(connection);
  for (const size of [1, 2, 7, 40, 500, 33, 1, 1000, 10]) {
    connection.cacheSize = size;
    for (const used of [0, 1, 3, 50, 700, 2, 0]) {
      for (let i = 0; i < used; i++) assertEquals(items.at(i)!.number, i);
      connection.abort();
      // The transaction's own, with the list, and as many others.
      const most = Math.max(size, used + 1);
      assert(connection.cacheCount <= most, `${size} ${used}`);
    }
    connection.abort();
    assert(connection.cacheCount <= size);
  }
});

Deno.test("shrink() lets go of what was read, and not of what is changed", () => {
  const storage = storageOf(500);
  using connection = new Connection(storage, { classes, cacheSize: 20 });
  using other = new Connection(storage, { classes });
  const items = itemsOf(connection);
  const changed = items.at(0)!;
  changed.number = -1;
  const added = new Item(1000);
  items.push(added);
  for (let i = 1; i < 500; i++) {
    assertEquals(items.at(i)!.number, i);
    if (i % 50 === 0) {
      connection.shrink();
      assert(connection.cacheCount <= 20, `${connection.cacheCount}`);
    }
  }
  connection.shrink();
  assertEquals(items.at(1)!._p_status, "ghost");
  assertEquals(items.at(1)!.number, 1);
  assertStrictEquals(items.at(0), changed);
  assertEquals([changed.number, items.length], [-1, 501]);
  connection.commit();
  other.abort();
  assertEquals(itemsOf(other).at(0)!.number, -1);
  assertEquals(itemsOf(other).at(500)!.number, 1000);
});

Deno.test("What shrink() let go of was read: a change of it is a conflict", () => {
  const storage = storageOf(100);
  using connection = new Connection(storage, { classes, cacheSize: 1 });
  using other = new Connection(storage, { classes });
  const items = itemsOf(connection);
  const sum = items.reduce((sum, item) => sum + item.number, 0);
  connection.shrink();
  assertEquals(items.at(50)!._p_status, "ghost");
  connection.root["sum"] = sum;
  itemsOf(other).at(50)!.number = 0;
  other.commit();
  const error = assertThrows(() => connection.commit(), WriteConflictError);
  assertEquals(error.oids, [items.at(50)!._p_oid!]);
  assertEquals(error.classes, ["Item"]);
  connection.abort();
  // The next transaction has not read it.
  connection.root["sum"] = 1;
  itemsOf(other).at(50)!.number = 1;
  other.commit();
  connection.commit();
});

Deno.test("shrink() reads the same snapshot again", () => {
  const storage = storageOf(100);
  using connection = new Connection(storage, { classes, cacheSize: 1 });
  using other = new Connection(storage, { classes });
  const items = itemsOf(connection);
  for (const item of items) item.number;
  itemsOf(other).at(50)!.number = -50;
  other.commit();
  connection.shrink();
  assertEquals(items.at(50)!.number, 50);
  connection.abort();
  assertEquals(items.at(50)!.number, -50);
});

Deno.test("shrink() is refused on a closed connection", () => {
  const connection = new Connection(storageOf(1));
  connection.close();
  assertThrows(() => connection.shrink(), ConnectionError, "shrink()");
});

/** Runs a program that needs the garbage collector in a process of its own. */
async function runTrial(...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(
    Deno.execPath(),
    {
      args: [
        ...["run", "-q", "-A", "--no-check", "--v8-flags=--expose-gc"],
        ...(import.meta.resolve("@std/assert").startsWith("jsr:") ? [] : [
          `--import-map=${
            import.meta.resolve("../../tools/registry/npm.json")
          }`,
        ]),
        import.meta.resolve("../support/identity_trial.ts"),
        ...args,
      ],
      stdin: "null",
    },
  ).output();
  const text = new TextDecoder().decode(stdout);
  assert(success, `${text}${new TextDecoder().decode(stderr)}`);
  return text;
}

Deno.test("An object that a program holds is the same on every path, whatever is collected", async () => {
  const seed = `${Math.floor(Math.random() * 2 ** 32)}`;
  console.log(`seed ${seed}`);
  await runTrial("identity", seed);
});

Deno.test("What nobody holds is collected", async () => {
  await runTrial("collected", "1");
});

Deno.test("What was collected leaves nothing in the cache", async () => {
  await runTrial("forgotten", "1");
});

Deno.test("What is loaded again before the cache hears that it was collected stays the same object", async () => {
  await runTrial("reborn", "1");
});
