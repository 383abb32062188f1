import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  BrokenObject,
  ClassError,
  Connection,
  ConnectionError,
  MemoryStorage,
  Persistent,
  PersistentObject,
} from "../../mod.ts";

class Account extends Persistent {
  owner = "";
  balance = 0;
  tags: string[] = [];
  _v_cached = 1;
  get label() {
    return `${this.owner}: ${this.balance}`;
  }
  set label(text: string) {
    [this.owner] = text.split(":") as [string];
  }
  deposit(amount: number) {
    this.balance += amount;
  }
}

class Secret extends Persistent {
  #key = "k";
  shown = 1;
  static override _p_create() {
    return new Secret();
  }
  get key() {
    return this.#key;
  }
  guess(key: string) {
    return this.#key === key;
  }
}

class Counter extends PersistentObject {
  count = 0;
  increment() {
    this._p_noteChange();
    return ++this.count;
  }
  get value() {
    this._p_noteAccess();
    return this.count;
  }
}

const classes = { Account, Secret, Counter };

/** A stored account, and a connection that has not loaded it yet. */
function stored(make = () => {
  const account = new Account();
  account.owner = "ada";
  account.balance = 7;
  return account as PersistentObject;
}) {
  const storage = new MemoryStorage();
  using writer = new Connection(storage, { classes });
  writer.root["object"] = make();
  writer.commit();
  const connection = new Connection(storage, { classes });
  return { connection, object: connection.root["object"] };
}

Deno.test("Persistent objects are unsaved and have no number before a commit", () => {
  const account = new Account();
  assertEquals(account._p_status, "unsaved");
  assertEquals(account._p_oid, undefined);
  assertEquals(account._p_connection, undefined);
  assert(account instanceof Account && account instanceof Persistent);
});

Deno.test("Persistent objects become saved at a commit, and unsaved with a write", () => {
  using connection = new Connection(new MemoryStorage(), { classes });
  const account = new Account();
  connection.root["ada"] = account;
  connection.commit();
  assertEquals(account._p_status, "saved");
  assertStrictEquals(account._p_connection, connection);
  account.balance = 1;
  assert(account._p_isUnsaved());
  connection.commit();
  assert(account._p_isSaved());
});

Deno.test("Persistent loads a ghost at the first read, and only once", () => {
  const { connection, object } = stored();
  using _ = connection;
  assert(object instanceof Account);
  assertEquals(object._p_status, "ghost");
  const before = connection.loadCount;
  assertEquals(object.owner, "ada");
  assertEquals(object.balance, 7);
  assertEquals(connection.loadCount, before + 1);
});

Deno.test("Persistent tells its bookkeeping without loading", () => {
  const { connection, object } = stored();
  using _ = connection;
  assertEquals(typeof object._p_oid, "number");
  assertEquals(object._p_className, "Account");
  assertEquals(Object.prototype.toString.call(object), "[object Object]");
  assert(object._p_isGhost());
});

for (
  const [what, use, expected] of [
    ["in", (o: Account) => "owner" in o, true],
    ["Object.keys", (o: Account) => Object.keys(o), [
      "owner",
      "balance",
      "tags",
    ]],
    ["spread", (o: Account) => ({ ...o }), {
      owner: "ada",
      balance: 7,
      tags: [],
    }],
    [
      "JSON.stringify",
      (o: Account) => JSON.stringify(o),
      '{"owner":"ada","balance":7,"tags":[]}',
    ],
    ["Object.hasOwn", (o: Account) => Object.hasOwn(o, "tags"), true],
    ["a getter", (o: Account) => o.label, "ada: 7"],
    ["for in", (o: Account) => {
      const keys = [];
      for (const key in o) keys.push(key);
      return keys;
    }, ["owner", "balance", "tags"]],
  ] as [string, (o: Account) => unknown, unknown][]
) {
  Deno.test(`Persistent loads a ghost for ${what}`, () => {
    const { connection, object } = stored();
    using _ = connection;
    assertEquals(use(object as Account), expected);
    assertEquals(object._p_status, "saved");
  });
}

for (
  const [what, change] of [
    ["an assignment", (o: Account) => o.balance = 1],
    [
      "an assignment of a new property",
      (o: Account) => (o as unknown as Record<string, unknown>)["extra"] = 1,
    ],
    ["delete", (o: Account) => delete (o as Partial<Account>).owner],
    ["a method", (o: Account) => o.deposit(1)],
    ["a setter", (o: Account) => o.label = "bob: 2"],
    ["_p_noteChange", (o: Account) => o._p_noteChange()],
    ["Object.assign", (o: Account) => Object.assign(o, { owner: "bob" })],
  ] as [string, (o: Account) => unknown][]
) {
  Deno.test(`Persistent notes ${what} on a ghost and keeps the rest of its state`, () => {
    const { connection, object } = stored();
    using _ = connection;
    change(object);
    assertEquals(object._p_status, "unsaved");
    assertEquals(object.tags, []);
    const expected = { ...object };
    connection.commit();
    using other = new Connection(connection.storage, { classes });
    assertEquals({ ...other.root["object"] }, expected);
  });
}

Deno.test("Persistent keeps volatile properties out of the storage and does not note them", () => {
  const { connection, object } = stored();
  using _ = connection;
  assertEquals(object._v_cached, undefined);
  object._v_cached = 5;
  assertEquals(object._p_status, "saved");
  assertEquals(object._v_cached, 5);
  connection.abort();
});

Deno.test("Persistent refuses an assignment to a name of Dhara's own", () => {
  const account = new Account() as unknown as Record<string, unknown>;
  assertThrows(
    () => account["_p_oid"] = 3,
    ClassError,
    "Cannot assign Account._p_oid: names that begin with _p_ are Dhara's own",
  );
});

Deno.test("Persistent refuses to be frozen", () => {
  assertThrows(
    () => Object.freeze(new Account()),
    ClassError,
    "Cannot freeze Account",
  );
});

Deno.test("Persistent runs methods with #private members on objects that were loaded", () => {
  const { connection, object } = stored(() => {
    const secret = new Secret();
    secret.shown = 2;
    return secret;
  });
  using _ = connection;
  assert(object._p_isGhost());
  assert(object.guess("k"));
  assertEquals(object.key, "k");
  assertEquals(object.shown, 2);
});

Deno.test("Persistent does not run the constructor when it loads an object", () => {
  let made = 0;
  class Made extends Persistent {
    at = ++made;
  }
  const storage = new MemoryStorage();
  using writer = new Connection(storage, { classes: { Made } });
  writer.root["made"] = new Made();
  writer.commit();
  using reader = new Connection(storage, { classes: { Made } });
  assertEquals(reader.root["made"].at, 1);
  assertEquals(made, 1);
});

Deno.test("Persistent stores a property named __proto__ as a property", () => {
  const { connection, object } = stored(() => {
    const account = new Account();
    Object.defineProperty(account, "__proto__", {
      value: { polluted: 1 },
      enumerable: true,
      configurable: true,
      writable: true,
    });
    return account;
  });
  using _ = connection;
  object._p_noteAccess();
  assert(object instanceof Account);
  assertEquals(Object.getOwnPropertyDescriptor(object, "__proto__")!.value, {
    polluted: 1,
  });
});

Deno.test("PersistentObject without a proxy is stored, loaded and changed through its own notes", () => {
  const { connection, object } = stored(() => {
    const counter = new Counter();
    counter.increment();
    return counter;
  });
  using _ = connection;
  assert(object._p_isGhost());
  assertEquals(object.value, 1);
  object.increment();
  assertEquals(object._p_status, "unsaved");
  connection.abort();
  assertEquals(object.value, 1);
});

Deno.test("Objects that inherit from a persistent one are not taken for it", () => {
  using connection = new Connection(new MemoryStorage(), { classes });
  const account = new Account();
  connection.root["ada"] = account;
  connection.commit();
  const heir = Object.create(account);
  heir.owner = "heir";
  assertEquals(account.owner, "");
  assertEquals(account._p_status, "saved");
});

Deno.test("BrokenObject shows, changes and keeps a record of an unregistered class", () => {
  const storage = new MemoryStorage();
  {
    using writer = new Connection(storage, { classes });
    writer.root["ada"] = Object.assign(new Account(), { owner: "ada" });
    writer.commit();
  }
  {
    using tool = new Connection(storage);
    const broken = tool.root["ada"];
    assert(broken instanceof BrokenObject);
    assertEquals(broken._p_className, "Account");
    assertEquals({ ...broken }, { owner: "ada", balance: 0, tags: [] });
    broken["balance"] = 12;
    tool.root["again"] = broken;
    tool.commit();
  }
  using reader = new Connection(storage, { classes });
  assert(reader.root["ada"] instanceof Account);
  assertEquals(reader.root["ada"].balance, 12);
  assertStrictEquals(reader.root["again"], reader.root["ada"]);
});

Deno.test("Objects of a closed connection say so when they are used", () => {
  const { connection, object } = stored();
  assertEquals(object.owner, "ada");
  connection.close();
  assertThrows(
    () => object.owner,
    ConnectionError,
    "its connection was closed",
  );
  assertThrows(
    () => object.balance = 1,
    ConnectionError,
    "its connection was closed",
  );
});
