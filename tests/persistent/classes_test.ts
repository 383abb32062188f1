import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  BrokenObject,
  ClassError,
  Connection,
  DecodeError,
  EncodeError,
  MemoryStorage,
  Persistent,
  type PersistentObject,
  registerClass,
} from "../../mod.ts";
import { Encoder } from "../../lib/serialize/encoder.ts";

Deno.test("Connection uses classes registered for the whole program", () => {
  class Planet extends Persistent {
    name = "";
  }
  registerClass("test.Planet", Planet);
  const storage = new MemoryStorage();
  using connection = new Connection(storage);
  connection.root["mars"] = new Planet();
  connection.commit();
  using again = new Connection(storage);
  assert(again.root["mars"] instanceof Planet);
  assertEquals(again.root["mars"]._p_className, "test.Planet");
});

Deno.test("registerClass() refuses what is no persistent class, and a name that is taken", () => {
  class One extends Persistent {}
  class Two extends Persistent {}
  registerClass("test.One", One);
  registerClass("test.One", One);
  assertThrows(
    () => registerClass("test.One", Two),
    ClassError,
    "another class has that name",
  );
  assertThrows(
    () => registerClass("x", Date as never),
    ClassError,
    "does not extend Persistent",
  );
  assertThrows(
    () => new Connection(new MemoryStorage(), { classes: { x: 5 as never } }),
    ClassError,
    "Cannot register x",
  );
});

Deno.test("registerClass() reads the second name of a class and writes the first", () => {
  class New extends Persistent {
    x = 1;
  }
  class Old extends Persistent {
    x = 2;
  }
  const storage = new MemoryStorage();
  {
    using writer = new Connection(storage, { classes: { Old } });
    writer.root["a"] = new Old();
    writer.commit();
  }
  {
    using mover = new Connection(storage, { classes: { New, Old: New } });
    assert(mover.root["a"] instanceof New);
    assertEquals(mover.root["a"].x, 2);
    mover.root["b"] = new New();
    mover.commit();
  }
  using reader = new Connection(storage);
  assertEquals(reader.root["b"]._p_className, "New");
});

Deno.test("Connection does not store an object under a name that means another class to it", () => {
  class Item extends Persistent {}
  class OtherItem extends Persistent {}
  registerClass("test.Item", Item);
  using connection = new Connection(new MemoryStorage(), {
    classes: { "test.Item": OtherItem },
  });
  connection.root["item"] = new Item();
  assertThrows(
    () => connection.commit(),
    EncodeError,
    '.entries.get("item"): the class Item is registered as test.Item, but the connection was given another class',
  );
  connection.root["item"] = new OtherItem();
  connection.commit();
});

Deno.test("Connection refuses a blank object of another class than it asked for", () => {
  class Page extends Persistent {
    static override _p_create(): PersistentObject {
      return new Page();
    }
  }
  class BigPage extends Page {}
  const storage = new MemoryStorage();
  const options = { classes: { Page, BigPage } };
  using writer = new Connection(storage, options);
  writer.root["pages"] = new Page();
  writer.commit();
  using reader = new Connection(storage, options);
  assert(reader.root["pages"] instanceof Page);

  writer.root["pages"] = new BigPage();
  writer.commit();
  reader.abort();
  assertThrows(
    () => reader.root["pages"],
    ClassError,
    "Cannot make a blank BigPage: its _p_create() did not return a new BigPage",
  );
});

Deno.test("Connection refuses a blank object that was made before", () => {
  let made: PersistentObject | undefined;
  class Single extends Persistent {
    static override _p_create() {
      return made ??= new Single();
    }
  }
  const storage = new MemoryStorage();
  const options = { classes: { Single } };
  using writer = new Connection(storage, options);
  using reader = new Connection(storage, options);
  writer.root["two"] = [new Single(), new Single()];
  writer.commit();
  reader.abort();
  assertThrows(() => reader.root["two"], ClassError, "did not return a new");
});

Deno.test("A renamed class takes its new name along when something is stored again, and works meanwhile", () => {
  class Old extends Persistent {
    v = 1;
  }
  class New extends Persistent {
    v = 1;
  }
  const storage = new MemoryStorage();
  {
    using before = new Connection(storage, { classes: { Old } });
    const { root } = before;
    root["changed"] = new Old();
    root["kept"] = [new Old()];
    before.commit();
  }
  {
    using migrating = new Connection(storage, {
      classes: { New, Old: New },
      detectForgottenChanges: true,
    });
    const { root } = migrating;
    assertEquals(root["changed"]._p_className, "New");
    assertEquals(root["changed"].v, 1);
    assertEquals(root["kept"][0].v, 1);
    assertEquals(root["changed"]._p_status, "saved");
    migrating.commit();
    root["changed"].v = 2;
    migrating.commit();
  }
  {
    // The reference still has the old name, the record has the new one.
    using half = new Connection(storage, { classes: { New } });
    assert(half.root["kept"][0] instanceof BrokenObject);
    assertEquals(half.root["changed"].v, 2);
    assert(half.root["changed"] instanceof New);
    using again = new Connection(storage, { classes: { New, Old: New } });
    again.root["touched"] = true;
    again.root["kept"][0]._p_noteChange();
    again.commit();
  }
  using after = new Connection(storage, { classes: { New } });
  for (const object of [after.root["changed"], after.root["kept"][0]]) {
    assert(object instanceof New);
    assertEquals(object._p_className, "New");
  }
  assertEquals(after.root["kept"][0].v, 1);
});

Deno.test("An alias whose first name means another class here is stored as it was", () => {
  class Item extends Persistent {}
  class OtherItem extends Persistent {}
  registerClass("test.First", Item);
  registerClass("test.Second", Item);
  const storage = new MemoryStorage();
  class Stored extends Persistent {}
  using writer = new Connection(storage, {
    classes: { "test.Second": Stored },
  });
  writer.root["item"] = new Stored();
  writer.commit();
  using connection = new Connection(storage, {
    classes: { "test.First": OtherItem },
  });
  const { item } = connection.root as Record<string, Persistent>;
  assert(item instanceof Item);
  item._p_noteChange();
  connection.commit();
  assertEquals(item._p_className, "test.Second");
});

/** Stores records as they are; the root refers to the others by name. */
function storedAs(records: [className: string, state: object][]) {
  const storage = new MemoryStorage();
  const names = new Map<object, number>();
  const references = records.map(([name], i) => {
    const reference = { name };
    Object.setPrototypeOf(reference, class Reference {}.prototype);
    names.set(reference, i + 1);
    return reference;
  });
  const encoder = new Encoder({
    oidOf: (value) => names.get(value),
    classNameOf: (value) => (value as { name: string }).name,
  });
  using session = storage.session();
  session.allocate(records.length + 1);
  session.commit([
    [
      0,
      encoder.encode(0, "PersistentDict", {
        entries: new Map(references.map((value, i) => [`${i}`, value])),
      }),
    ],
    ...records.map(([name, state], i): [number, Uint8Array] => [
      i + 1,
      encoder.encode(i + 1, name, state as Record<string, unknown>),
    ]),
  ]);
  return storage;
}

Deno.test("Objects without a class name, or with a constructor in their state, are told by name all the same", () => {
  const storage = storedAs([
    ["", { v: 1 }],
    ["Odd", { constructor: null, v: 2 }],
    ["", { constructor: null }],
    ["", { constructor: 5 }],
  ]);
  using connection = new Connection(storage);
  const names = [];
  for (let i = 0; i < 4; i++) {
    const object = connection.root[i];
    names.push(object._p_className);
    object.v = 7;
    names.push(Deno.inspect(object), object._p_className);
  }
  assertEquals(names, [
    "",
    "(unnamed class) #1 { v: 7 }",
    "",
    "Odd",
    "Odd #2 { constructor: null, v: 7 }",
    "Odd",
    "",
    "(unnamed class) #3 { constructor: null, v: 7 }",
    "",
    "",
    "(unnamed class) #4 { constructor: 5, v: 7 }",
    "",
  ]);
  connection.commit();
  using again = new Connection(storage);
  assertEquals([0, 1, 2, 3].map((i) => again.root[i].v), [7, 7, 7, 7]);
});

Deno.test("A record without a class name that cannot be loaded says so", () => {
  const storage = storedAs([["", { v: 1 }]]);
  using session = storage.session();
  const record = session.load(1).slice();
  record[13] = 0xc1;
  session.commit([[1, record]]);
  using connection = new Connection(storage);
  assertThrows(
    () => connection.root["0"].v,
    DecodeError,
    "Cannot load (unnamed class)#1: Cannot decode record of object #1",
  );
});

Deno.test("New objects are told by name whatever they and their classes hold", () => {
  class Account extends Persistent {
    [key: string]: unknown;
  }
  const Anonymous = (() => class extends Persistent {})();
  class Renamed extends Persistent {
    static override name = 5 as never;
  }
  const account = new Account();
  account["constructor"] = null as never;
  assertEquals(account._p_className, "Account");
  assertEquals(new Anonymous()._p_className, "");
  assertEquals(Deno.inspect(new Anonymous()), "(unnamed class) {}");
  assertEquals(new Renamed()._p_className, "");
  using connection = new Connection(new MemoryStorage(), {
    classes: { Account },
  });
  connection.root["account"] = account;
  connection.commit();
  for (const object of [new Anonymous(), new Renamed()]) {
    connection.root["new"] = object;
    assertThrows(
      () => connection.commit(),
      EncodeError,
      "a class without a name is not registered; pass it to the connection under one",
    );
    connection.abort();
  }
  assertThrows(
    () => registerClass("", Anonymous),
    ClassError,
    "Cannot register a class: the name to register it under is empty",
  );
});
