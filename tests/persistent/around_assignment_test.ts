/** Changes that do not come as an ordinary assignment, and properties that are no ordinary ones. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  ClassError,
  Connection,
  EncodeError,
  FileStorage,
  MemoryStorage,
  Persistent,
  PersistentObject,
  type Storage,
} from "../../mod.ts";

class Account extends Persistent {
  owner = "ada";
  balance = 1;
  setAround(value: number) {
    super["balance" as never] = value as never;
  }
}

/** Its blank object is made by the constructor, as #private members need it. */
class Secret extends Persistent {
  #key = "k";
  balance = 1;
  static override _p_create(): PersistentObject {
    return new Secret();
  }
  setAround(value: number) {
    super["balance" as never] = value as never;
    return this.#key;
  }
}

const classes = { Account, Secret };

function open(storage: Storage = new MemoryStorage()) {
  return new Connection(storage, { classes });
}

type Changeable = Account | Secret;

const WAYS: Record<string, (object: Changeable) => void> = {
  "a proxy around it": (object) => {
    const outer = new Proxy(object, {
      set: (target, key, value, receiver) =>
        Reflect.set(target, key, value, receiver),
    });
    outer.balance = 5;
  },
  "a proxy around a proxy around it": (object) => {
    new Proxy(new Proxy(object, {}), {}).balance = 5;
  },
  "super.name = value": (object) => void object.setAround(5),
  "Object.defineProperty": (object) => {
    Object.defineProperty(object, "balance", { value: 5 });
  },
  "Reflect.defineProperty": (object) => {
    Reflect.defineProperty(object, "balance", {
      value: 5,
      enumerable: true,
      writable: true,
      configurable: true,
    });
  },
};

for (const [way, change] of Object.entries(WAYS)) {
  for (const make of [() => new Account(), () => new Secret()]) {
    for (const origin of ["made here", "a ghost", "loaded"]) {
      Deno.test(`A change by ${way} of a stored ${make().constructor.name}, ${origin}, is noted`, () => {
        const storage = new MemoryStorage();
        using writer = open(storage);
        writer.root["it"] = make();
        writer.commit();
        using connection = origin === "made here" ? writer : open(storage);
        const object = connection.root["it"] as Changeable;
        if (origin === "loaded") assertEquals(object.balance, 1);

        change(object);
        assertEquals(object._p_status, "unsaved");
        assertEquals(object.balance, 5);
        connection.abort();
        assertEquals(object.balance, 1);

        change(object);
        connection.commit();
        using reader = open(storage);
        assertEquals(reader.root["it"].balance, 5);
        if (object instanceof Account) assertEquals(object.owner, "ada");
      });
    }
  }
}

Deno.test("A change by a proxy around an object of the past is refused", async () => {
  const path = await Deno.makeTempFile();
  await Deno.remove(path);
  using storage = new FileStorage(path);
  using writer = open(storage);
  writer.root["it"] = new Account();
  writer.commit();
  using past = new Connection(storage, { classes, at: writer.tid });
  const account = past.root["it"];
  for (const change of Object.values(WAYS)) {
    assertThrows(() => change(account), Error, "Cannot change");
    assertEquals(account.balance, 1);
  }
  await Deno.remove(path);
});

Deno.test("A property with a constant or an accessor is refused for a stored object at once", () => {
  using connection = open();
  const account = connection.root["it"] = new Account();
  connection.commit();
  for (
    const odd of [
      { value: 7, enumerable: true },
      { value: 7, enumerable: true, writable: true },
      { value: 7, enumerable: true, configurable: true },
      { get: () => 7, enumerable: true, configurable: true },
    ]
  ) {
    for (const key of ["id", "balance"]) {
      if (key === "balance" && !("get" in odd)) continue;
      assertThrows(
        () => Object.defineProperty(account, key, odd),
        ClassError,
        `Cannot define Account.${key}: a property that is stored has a value`,
      );
    }
  }
  assertThrows(
    () => Object.defineProperty(account, "balance", { enumerable: false }),
    ClassError,
    "Cannot define Account.balance",
  );
  assertThrows(
    () => Object.defineProperty(account, "_p_x", { value: 1 }),
    ClassError,
    "Cannot define Account._p_x: names that begin with _p_ are Dhara's own",
  );
  assertEquals(account._p_status, "saved");
});

Deno.test("A property that is not enumerable is no state, and may be a constant", () => {
  using connection = open();
  const account = connection.root["it"] = new Account();
  Object.defineProperty(account, "id", { value: 7 });
  connection.commit();
  Object.defineProperty(account, "later", { value: 8 });
  assertEquals(account._p_status, "saved");
  account.balance = 2;
  connection.abort();
  assertEquals(account.balance, 1);
  assertEquals((account as unknown as { id: number }).id, 7);
});

for (
  const [what, odd] of [
    ["a constant", { value: 7, enumerable: true }],
    ["a constant", { value: 7, enumerable: true, writable: true }],
    ["a constant", { value: 7, enumerable: true, configurable: true }],
    ["an accessor", { get: () => 7, enumerable: true, configurable: true }],
  ] as const
) {
  Deno.test(`A new object with ${what} (${JSON.stringify(odd)}) is refused by the commit`, () => {
    using connection = open();
    const account = connection.root["it"] = new Account();
    Object.defineProperty(account, "id", odd);
    assertThrows(
      () => connection.commit(),
      EncodeError,
      `.get("it"): Account.id is ${what}: a property that is stored has a value, which can be changed and deleted`,
    );
    connection.abort();
    connection.root["fine"] = 1;
    connection.commit();
  });
}

Deno.test("A frozen or sealed object without a proxy is refused by the commit", () => {
  class Plain extends PersistentObject {
    x = 1;
  }
  for (
    const freeze of [Object.freeze, Object.seal, Object.preventExtensions]
  ) {
    using connection = new Connection(new MemoryStorage(), {
      classes: { Plain },
    });
    connection.root["it"] = freeze(new Plain());
    assertThrows(
      () => connection.commit(),
      EncodeError,
      "a frozen or sealed Plain cannot be stored",
    );
  }
});

Deno.test("A class whose _p_create() makes a constant does not make what refers to it unloadable", () => {
  class Order extends Persistent {
    id = 5;
  }
  class NewOrder extends Persistent {
    constructor() {
      super();
      Object.defineProperty(this, "id", { value: 0, enumerable: true });
    }
    static override _p_create(): PersistentObject {
      return new NewOrder();
    }
  }
  const storage = new MemoryStorage();
  using writer = new Connection(storage, { classes: { Order } });
  writer.root["note"] = "hello";
  writer.root["order"] = new Order();
  writer.commit();
  using reader = new Connection(storage, { classes: { Order: NewOrder } });
  assertEquals(reader.root["note"], "hello");
  const order = reader.root["order"];
  for (let i = 0; i < 2; i++) {
    assertThrows(
      () => order.id,
      ClassError,
      "what its _p_create() made cannot take the stored state",
    );
    reader.abort();
  }
});

Deno.test("What Dhara keeps on an object is not enumerable", () => {
  class Plain extends PersistentObject {
    x = 1;
  }
  using connection = new Connection(new MemoryStorage(), {
    classes: { Plain, Account },
  });
  const { root } = connection;
  root["plain"] = new Plain();
  root["account"] = new Account();
  connection.commit();
  using other = new Connection(connection.storage, {
    classes: { Plain, Account },
  });
  for (const { root } of [connection, other]) {
    for (const object of [root["plain"], root["account"], root]) {
      assert(
        Object.getOwnPropertySymbols(object).every((key) =>
          !Object.prototype.propertyIsEnumerable.call(object, key)
        ),
      );
    }
  }
});
