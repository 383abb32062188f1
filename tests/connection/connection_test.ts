import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  ClassError,
  ConflictError,
  Connection,
  ConnectionError,
  EncodeError,
  FileStorage,
  ForgottenChangeError,
  MemoryStorage,
  Persistent,
  PersistentDict,
  PersistentList,
  type PersistentObject,
  type Session,
  WriteConflictError,
} from "../../mod.ts";
import { Encoder } from "../../lib/serialize/encoder.ts";

class Account extends Persistent {
  owner: string;
  balance = 0;
  friend: Account | undefined = undefined;
  tags: string[] = [];
  constructor(owner = "") {
    super();
    this.owner = owner;
  }
}
const classes = { Account };

function open(storage = new MemoryStorage(), options = {}) {
  return new Connection(storage, { classes, ...options });
}

/** Two connections on one storage with accounts `ada` and `bob` in it. */
function pair() {
  const storage = new MemoryStorage();
  const one = open(storage);
  one.root["ada"] = new Account("ada");
  one.root["bob"] = new Account("bob");
  one.commit();
  return { storage, one, two: open(storage) };
}

Deno.test("Connection makes a PersistentDict as the root of an empty storage", () => {
  using connection = open();
  assert(connection.root instanceof PersistentDict);
  assertEquals(connection.root._p_oid, 0);
  assertEquals(connection.root._p_status, "saved");
});

Deno.test("Connection makes and checks a root of another class", () => {
  class Game extends Persistent {
    level = 1;
  }
  const storage = new MemoryStorage();
  using connection = new Connection(storage, {
    rootClass: Game,
    classes: { Game },
  });
  const root: Game = connection.root; // the compiler knows
  root.level = 2;
  connection.commit();
  using again = new Connection<Game>(storage, {
    rootClass: Game,
    classes: { Game },
  });
  assertEquals(again.root.level, 2);
  assertThrows(
    () => new Connection(storage, { rootClass: PersistentDict }),
    ClassError,
    "its root is a Game, not a PersistentDict",
  );
  assertThrows(
    () => new Connection(new MemoryStorage(), { rootClass: Game }),
    ClassError,
    "Cannot make the root object: the class Game is not registered",
  );
});

Deno.test("Connection finds an object by its number, and the same one every time", () => {
  const { one, two } = pair();
  const { ada } = one.root as Record<string, Account>;
  const oid = ada!._p_oid!;
  assertStrictEquals(one.get(oid), ada as PersistentObject);
  assertStrictEquals(two.get(oid), two.root["ada"]);
  assertEquals(two.get(12345), undefined);
  assertThrows(() => two.get(-1), ConnectionError, "Cannot get object -1");
});

Deno.test("Connection stores only what can be reached from the root", () => {
  using connection = open();
  const loose = new Account("loose");
  loose.balance = 1;
  connection.commit();
  assertEquals(loose._p_oid, undefined);
});

Deno.test("Connection takes changes back with abort()", () => {
  const { one } = pair();
  const ada = one.root["ada"];
  ada.balance = 5;
  one.root["eve"] = new Account("eve");
  delete one.root["bob"];
  assert(one.hasChanges);
  one.abort();
  assertEquals(ada.balance, 0);
  assertEquals([...one.root.keys()], ["ada", "bob"]);
  assert(!one.hasChanges);
});

Deno.test("Connection stores cycles of objects and keeps their identity", () => {
  const storage = new MemoryStorage();
  {
    using connection = open(storage);
    const a = new Account("a");
    const b = new Account("b");
    [a.friend, b.friend] = [b, a];
    connection.root["a"] = a;
    connection.commit();
  }
  using connection = open(storage);
  const a = connection.root["a"];
  assertStrictEquals(a.friend.friend, a);
});

Deno.test("Connection reads one snapshot while others commit", () => {
  const { one, two } = pair();
  one.root["ada"].balance = 10;
  one.root["bob"].balance = 10;
  one.commit();
  // Nothing of it is visible to a transaction that began before, loaded or not.
  assertEquals(two.root["ada"].balance, 0);
  assertEquals(two.root["bob"].balance, 0);
  two.abort();
  assertEquals(two.root["ada"].balance, 10);
  assertEquals(two.root["bob"].balance, 10);
});

Deno.test("Connection sees what others committed after its own commit()", () => {
  const { one, two } = pair();
  one.root["ada"].balance = 10;
  one.commit();
  two.commit();
  assertEquals(two.root["ada"].balance, 10);
});

Deno.test("Connection lets the second of two conflicting transactions fail, and go on after abort()", () => {
  const { one, two } = pair();
  one.root["ada"].balance = 1;
  two.root["ada"].balance = 2;
  one.commit();
  const error = assertThrows(
    () => two.commit(),
    WriteConflictError,
    "Cannot commit: somebody else has changed Account#",
  );
  assertEquals(error.oids, [one.root["ada"]._p_oid]);
  assertEquals(error.classes, ["Account"]);
  assertThrows(() => two.commit(), WriteConflictError);
  two.abort();
  assertEquals(two.root["ada"].balance, 1);
  two.root["ada"].balance = 3;
  two.commit();
  one.abort();
  assertEquals(one.root["ada"].balance, 3);
});

Deno.test("Connection lets a transaction fail that only read what others changed", () => {
  const { one, two } = pair();
  // Write skew: each reads one account and writes the other.
  one.root["ada"].balance = two.root["bob"].balance - 1;
  assertEquals(one.root["bob"].balance, 0);
  two.root["bob"].balance = two.root["ada"].balance - 1;
  one.commit();
  assertThrows(() => two.commit(), WriteConflictError);
});

Deno.test("Connection commits when others changed only what it did not look at", () => {
  const { one, two } = pair();
  one.root["ada"].balance = 1;
  two.root["bob"].balance = 2;
  one.commit();
  two.commit();
  assertEquals(two.root["ada"].balance, 1);
  one.abort();
  assertEquals(one.root["bob"].balance, 2);
});

Deno.test("Connection gives new objects of a failed commit back", () => {
  const { one, two } = pair();
  const eve = new Account("eve");
  one.root["x"] = 1;
  two.root["eve"] = eve;
  one.commit();
  assertThrows(() => two.commit(), WriteConflictError);
  assertEquals(eve._p_oid, undefined);
  assertEquals(eve._p_status, "unsaved");
  two.abort();
  two.root["eve"] = eve;
  two.commit();
  one.abort();
  assertEquals(one.root["eve"].owner, "eve");
});

Deno.test("Connection keeps the changes when something cannot be stored", () => {
  const { one, two } = pair();
  const ada = one.root["ada"];
  ada.balance = 3;
  ada.friend = new Account("new");
  ada.handlers = [() => 1];
  assertThrows(
    () => one.commit(),
    EncodeError,
    `Cannot store Account#${ada._p_oid}.handlers[0]: a function cannot be stored`,
  );
  assertEquals(ada.friend._p_oid, undefined);
  assertEquals(ada.balance, 3);
  delete ada.handlers;
  one.commit();
  two.abort();
  assertEquals(two.root["ada"].balance, 3);
  assertEquals(two.root["ada"].friend.owner, "new");
});

Deno.test("Connection refuses an object of a class that nobody registered, with its path", () => {
  class Stranger extends Persistent {}
  using connection = open();
  connection.root["list"] = [1, new Stranger()];
  const error = assertThrows(
    () => connection.commit(),
    EncodeError,
    "Stranger is not registered",
  );
  assert(error.message.includes("list"), error.message);
  connection.root["list"] = [1];
  connection.commit();
});

Deno.test("Connection refuses an object of another connection, with its path", () => {
  const { one, two } = pair();
  one.root["ada"].friend = two.root["bob"];
  const error = assertThrows(
    () => one.commit(),
    EncodeError,
    "belongs to another connection",
  );
  assert(error.message.includes(".friend"), error.message);
});

Deno.test("transact() commits what the function did and returns what it returned", () => {
  const { one, two } = pair();
  assertEquals(one.transact(() => one.root["ada"].balance += 4), 4);
  two.abort();
  assertEquals(two.root["ada"].balance, 4);
});

Deno.test("transact() runs the function again after a conflict", () => {
  const { one, two } = pair();
  let runs = 0;
  one.transact(() => {
    one.root["ada"].balance += 1;
    if (runs++ < 2) two.transact(() => two.root["ada"].balance += 10);
  });
  assertEquals(runs, 3);
  two.abort();
  assertEquals(two.root["ada"].balance, 21);
});

Deno.test("transact() gives up after its attempts and leaves nothing behind", () => {
  const { one, two } = pair();
  let runs = 0;
  assertThrows(
    () =>
      one.transact(() => {
        runs++;
        one.root["ada"].balance += 1;
        two.transact(() => two.root["ada"].balance += 10);
      }, { attempts: 2 }),
    ConflictError,
  );
  assertEquals(runs, 2);
  assertEquals(one.root["ada"].balance, 20);
  assert(!one.hasChanges);
});

Deno.test("transact() aborts when the function throws", () => {
  const { one } = pair();
  assertThrows(
    () =>
      one.transact(() => {
        one.root["ada"].balance = 9;
        throw new Error("oops");
      }),
    Error,
    "oops",
  );
  assertEquals(one.root["ada"].balance, 0);
});

Deno.test("transact() throws what the function threw, even if nothing can be aborted any more", () => {
  const { one, storage } = pair();
  assertThrows(
    () =>
      one.transact(() => {
        storage.close();
        throw new RangeError("oops");
      }),
    RangeError,
    "oops",
  );
});

Deno.test("transact() refuses to begin over uncommitted changes, inside itself, or asynchronously", async () => {
  const { one } = pair();
  one.root["ada"].balance = 1;
  assertThrows(
    () => one.transact(() => 1),
    ConnectionError,
    "uncommitted changes to Account#",
  );
  assertEquals(one.root["ada"].balance, 1);
  one.abort();
  assertThrows(
    () => one.transact(() => one.transact(() => 1)),
    ConnectionError,
    "transact() is running already",
  );
  assertThrows(
    () =>
      // @ts-expect-error: the compiler refuses it too
      one.transact(() => {
        one.root["ada"].balance = 1;
        return Promise.resolve();
      }),
    ConnectionError,
    "asynchronous",
  );
  await Promise.resolve(); // It may have gone on until then.
  assertEquals(one.root["ada"].balance, 0);
  assertThrows(
    () => one.transact(() => 1, { attempts: 0 }),
    ConnectionError,
    "attempts",
  );
});

Deno.test("Connection packs, and refuses to with uncommitted changes", () => {
  const { storage, one, two } = pair();
  const oid = one.root["bob"]._p_oid;
  delete one.root["bob"];
  assertThrows(() => one.pack(), ConnectionError, "uncommitted changes");
  one.commit();
  two.abort();
  one.pack();
  using after = open(storage);
  assertEquals(after.get(oid), undefined);
  assertEquals(after.root["ada"].owner, "ada");
});

Deno.test("Connection refuses everything after close()", () => {
  const connection = open();
  connection.close();
  connection.close();
  assertThrows(
    () => connection.commit(),
    ConnectionError,
    "Cannot call commit(): the connection was closed",
  );
  assertThrows(() => connection.abort(), ConnectionError);
  assertThrows(() => connection.get(0), ConnectionError);
  assertThrows(() => connection.root["x"], ConnectionError);
});

Deno.test("Connection opens a path, and closes the file with itself", () => {
  const directory = Deno.makeTempDirSync();
  try {
    const path = `${directory}/bank.dhara`;
    for (let i = 0; i < 3; i++) {
      using connection = new Connection(path, { classes });
      connection.root["ada"] ??= new Account("ada");
      assertEquals(connection.root["ada"].balance++, i);
      connection.commit();
    }
    // It is not locked any more.
    new FileStorage(path).close();
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("Connection keeps about as many objects as its cache size says, and loads evicted ones again", () => {
  const storage = new MemoryStorage();
  {
    using writer = open(storage);
    const list = writer.root["list"] = new PersistentList<Account>();
    for (let i = 0; i < 1000; i++) list.push(new Account(`owner ${i}`));
    writer.commit();
  }
  using connection = open(storage, { cacheSize: 50 });
  const list = connection.root["list"] as PersistentList<Account>;
  const held = list.at(500)!;
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 1000; i++) {
      assertEquals(list.at(i)!.owner, `owner ${i}`);
      if (i % 10 === 9) connection.commit();
    }
    assert(connection.cacheCount <= 70, `${connection.cacheCount} objects`);
  }
  assertStrictEquals(list.at(500), held);
  assert(connection.loadCount > 2000);
  connection.cacheSize = 5;
  connection.abort();
  connection.abort();
  assert(connection.cacheCount <= 5);
  assertEquals(held.owner, "owner 500");
  assertThrows(() => connection.cacheSize = 0, ConnectionError, "cache size");
});

Deno.test("Connection never evicts a changed object, nor one that the transaction accessed", () => {
  const { storage, one } = pair();
  one.cacheSize = 1;
  one.abort();
  one.abort();
  const { ada, bob } = one.root as Record<string, Account>;
  ada!.tags.push("a");
  bob!.balance = 4;
  ada!._p_noteChange();
  one.commit();
  using other = open(storage);
  assertEquals(other.root["ada"].tags, ["a"]);
  assertEquals(other.root["bob"].balance, 4);
});

Deno.test("Connection finds a forgotten change and names the object and the property", () => {
  const { storage, one } = pair();
  one.close();
  using connection = open(storage, { detectForgottenChanges: true });
  const ada = connection.root["ada"];
  ada.tags.push("gold");
  assertThrows(
    () => connection.commit(),
    ForgottenChangeError,
    `Cannot commit: Account#${ada._p_oid}.tags was changed and nobody noted it`,
  );
  ada._p_noteChange();
  connection.commit();
  assertEquals(ada.tags, ["gold"]);
  connection.root["plain"] = { deep: [{ x: 1 }] };
  connection.commit();
  connection.root["plain"].deep[0].x = new Account("in a plain value");
  assertThrows(
    () => connection.commit(),
    ForgottenChangeError,
    "PersistentDict#0",
  );
});

Deno.test("Connection finds no forgotten change where there is none", () => {
  const { storage, one } = pair();
  one.close();
  using connection = open(storage, { detectForgottenChanges: true });
  const { root } = connection;
  root["several"] = [
    NaN,
    -0,
    undefined,
    new Map([[1, new Set([2])]]),
    new Date(0),
    5n,
    /x/g,
  ];
  root["ada"].friend = root["bob"];
  connection.commit();
  for (const key of [...root.keys()]) JSON.stringify(String(root[key]));
  assertEquals(root["ada"].friend.owner, "bob");
  connection.commit();
});

Deno.test("Connection keeps other connections' view when a transaction spans many commits of theirs", () => {
  const { one, two } = pair();
  const seen = two.root["ada"].balance;
  for (let i = 0; i < 20; i++) one.transact(() => one.root["ada"].balance++);
  assertEquals(two.root["ada"].balance, seen);
  two.abort();
  assertEquals(two.root["ada"].balance, 20);
});

Deno.test("Connection does not overwrite the root that somebody else made at the same moment", () => {
  class Racing extends MemoryStorage {
    raced = false;
    override session(): Session {
      const session = super.session();
      const commit = session.commit.bind(session);
      session.commit = (records) => {
        if (!this.raced) {
          this.raced = true;
          using first = new Connection(this);
          first.root["a"] = 1;
          first.commit();
        }
        return commit(records);
      };
      return session;
    }
  }
  using second = new Connection(new Racing());
  assertEquals(second.root["a"], 1);
  second.root["b"] = 2;
  second.commit();
  using third = new Connection(second.storage);
  assertEquals({ ...third.root }, { a: 1, b: 2 });
});

Deno.test("Connection believes the record when a reference tells another class, and refuses another kind", () => {
  class Before extends Persistent {
    x = 1;
  }
  class After extends Persistent {
    y = 2;
  }
  const storage = new MemoryStorage();
  using writer = new Connection(storage, { classes: { Before, After } });
  for (const key of ["after", "dict"]) writer.root[key] = new Before();
  writer.commit();
  const [after, dict] = [
    writer.root["after"]._p_oid,
    writer.root["dict"]._p_oid,
  ];
  // The same objects written again by a tool, as something else.
  const encoder = new Encoder({
    oidOf: () => undefined,
    classNameOf: () => "",
  });
  using session = storage.session();
  session.commit([
    [after, encoder.encode(after, "After", { y: 3 })],
    [dict, encoder.encode(dict, "PersistentDict", { entries: new Map() })],
  ]);
  using reader = new Connection(storage, { classes: { Before, After } });
  const object = reader.root["after"];
  assertEquals(object.y, 3);
  assert(object instanceof After);
  assertThrows(
    () => reader.root["dict"].size,
    ClassError,
    "it is stored as PersistentDict",
  );
});

Deno.test("Connection refuses changes that are made while it stores others, and loses none", () => {
  let work = () => {};
  class Sneaky extends Persistent {
    value = 1;
    override _p_getState() {
      work();
      return this as unknown as Record<string, unknown>;
    }
  }
  const storage = new MemoryStorage();
  const options = { classes: { Account, Sneaky } };
  using connection = open(storage, options);
  const { root } = connection;
  const ada: Account = root["ada"] = new Account("ada");
  const sneaky: Sneaky = root["sneaky"] = new Sneaky();
  connection.commit();

  work = () => ada.balance++;
  sneaky.value = 2; // ada is not to be stored
  assertThrows(() => connection.commit(), ConnectionError, "Account#");
  connection.abort();
  ada.balance = 5; // ada is stored, but before sneaky
  sneaky.value = 3;
  assertThrows(() => connection.commit(), ConnectionError, "Account#");
  assertEquals(ada._p_status, "unsaved");
  work = () => connection.commit();
  assertThrows(() => connection.commit(), ConnectionError, "commit()");
  work = () => connection.abort();
  assertThrows(() => connection.commit(), ConnectionError, "abort()");

  work = () => {};
  connection.commit();
  using other = open(storage, options);
  assertEquals(other.root["ada"].balance, 5);
  assertEquals(other.root["sneaky"].value, 3);
});

Deno.test("a commit shows what others have changed meanwhile that it did not use", () => {
  using storage = new MemoryStorage();
  using one = new Connection(storage);
  one.root["mine"] = new PersistentList([0]);
  one.root["theirs"] = new PersistentList(["old"]);
  one.commit();
  const theirs = one.root["theirs"] as PersistentList<string>;
  const mine = one.root["mine"] as PersistentList<number>;
  assertEquals(theirs.at(0), "old");
  // In this transaction it is in memory, and not used.
  one.abort();
  using other = new Connection(storage);
  (other.root["theirs"] as PersistentList<string>).push("new");
  other.commit();
  mine.push(1);
  one.commit();
  assertEquals([...theirs], ["old", "new"]);
});

class RootWithParts extends Persistent {
  parts = [new PersistentList([1]), new PersistentList([2])];
}

Deno.test("a root object that is made with others has the number 0, and they have others", () => {
  using storage = new MemoryStorage();
  using connection = new Connection(storage, {
    rootClass: RootWithParts,
    classes: { RootWithParts },
  });
  assertEquals(connection.root._p_oid, 0);
  for (const part of connection.root.parts) assert(part._p_oid! > 0);
});
