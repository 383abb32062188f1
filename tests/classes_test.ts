import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  ClassError,
  Connection,
  EncodeError,
  MemoryStorage,
  Persistent,
  type PersistentObject,
  registerClass,
} from "../mod.ts";

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
