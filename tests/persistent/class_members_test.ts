/** Stored properties that meet accessors and methods of the same name in a later version of a class. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  ClassError,
  Connection,
  EncodeError,
  ForgottenChangeError,
  MemoryStorage,
  Persistent,
  PersistentList,
} from "../../mod.ts";

class Person extends Persistent {
  name = "Ada Lovelace";
  total = 5;
  kind = "human";
}

class NewPerson extends Persistent {
  declare kind: string;
  declare age: number;
  static calls = 0;
  get name() {
    return "computed";
  }
  set name(_value: string) {
    NewPerson.calls++;
  }
  total() {
    return 6;
  }
}

/** The same, with methods of its own that use the inherited ones. */
class HookedPerson extends NewPerson {
  declare _v_seen: unknown;
  override _p_setState(state: Record<string, unknown>) {
    super._p_setState(state);
    this._v_seen = state["name"];
  }
  override _p_getState() {
    return super._p_getState();
  }
}

function stored(make = () => new Person() as Persistent, Stored = Person) {
  const storage = new MemoryStorage();
  using before = new Connection(storage, { classes: { Person: Stored } });
  before.root["it"] = make();
  before.commit();
  return storage;
}

for (const Later of [NewPerson, HookedPerson]) {
  Deno.test(`The accessors and methods of ${Later.name} win over what was stored, which is kept`, () => {
    const storage = stored();
    using connection = new Connection(storage, {
      classes: { Person: Later },
      detectForgottenChanges: true,
    });
    const person = connection.root["it"] as NewPerson;
    for (let round = 0; round < 2; round++) {
      assertEquals(person.name, "computed");
      assertEquals(person.total(), 6);
      assertEquals(person.kind, "human");
      assertEquals(Object.keys(person).includes("name"), false);
      connection.commit();
      person.age = round;
      connection.commit();
      person.age = 99;
      connection.abort();
    }
    assertEquals(person.age, 1);
    assertEquals(NewPerson.calls, 0);
    if (person instanceof HookedPerson) {
      assertEquals(person._v_seen, "Ada Lovelace");
    }
    // Nothing of it was lost.
    using back = new Connection(storage, { classes: { Person } });
    assertEquals({ ...back.root["it"] }, {
      ...new Person(),
      age: 1,
    });
  });
}

Deno.test("A class takes over in _p_setState() what was stored under the name of an accessor", () => {
  class Split extends Persistent {
    declare first: string;
    declare last: string;
    get name() {
      return `${this.last}, ${this.first}`;
    }
    override _p_setState({ name, ...rest }: Record<string, unknown>) {
      super._p_setState(rest);
      if (typeof name === "string") {
        [this.first, this.last] = name.split(" ") as [string, string];
      }
    }
  }
  const storage = stored();
  using connection = new Connection(storage, {
    classes: { Person: Split },
    detectForgottenChanges: true,
  });
  assertEquals(connection.root["it"].name, "Lovelace, Ada");
  connection.commit();
  connection.root["it"].kind = "countess";
  connection.commit();
  using back = new Connection(storage, { classes: { Person } });
  assertEquals({ ...back.root["it"] }, {
    total: 5,
    kind: "countess",
    first: "Ada",
    last: "Lovelace",
  });
});

Deno.test("A list keeps fields that its class has accessors for by now", () => {
  class Songs extends PersistentList<string> {
    title = "summer";
  }
  class NewSongs extends PersistentList<string> {
    get title() {
      return "computed";
    }
  }
  const storage = new MemoryStorage();
  using before = new Connection(storage, { classes: { Songs } });
  before.root["it"] = new Songs(["a"]);
  before.commit();
  {
    using connection = new Connection(storage, {
      classes: { Songs: NewSongs },
    });
    assertEquals(connection.root["it"].title, "computed");
    connection.root["it"].push("b");
    connection.commit();
  }
  before.abort();
  before.root["it"]._p_noteAccess();
  assertEquals(before.root["it"].title, "summer");
  assertEquals([...before.root["it"]], ["a", "b"]);
});

Deno.test("Names that all objects have may be fields, and a class may have defaults on its prototype", () => {
  class Field extends Persistent {
    [name: string]: unknown;
    override toString = 5 as never;
    size = 7;
  }
  Object.assign(Field.prototype, { size: 1 });
  const odd = () => {
    const object = new Field();
    for (const name of ["constructor", "__proto__", "valueOf"]) {
      Object.defineProperty(object, name, {
        value: 3,
        writable: true,
        enumerable: true,
        configurable: true,
      });
    }
    return object;
  };
  const storage = stored(odd, Field as never);
  using connection = new Connection(storage, { classes: { Person: Field } });
  const object = connection.root["it"];
  for (const name of ["constructor", "__proto__", "valueOf"]) {
    assertEquals(Object.getOwnPropertyDescriptor(object, name)!.value, 3);
  }
  assertEquals([object.toString, object.size], [5, 7]);
});

Deno.test("A value in the place of a method or an accessor is refused, since the next load would hide it", () => {
  using connection = new Connection(new MemoryStorage(), {
    classes: { NewPerson },
  });
  const person = connection.root["it"] = new NewPerson();
  connection.commit();
  // deno-lint-ignore no-explicit-any
  const any = person as any;
  const changes = [
    () => any.total = 7,
    () => Object.assign(person, { total: 7 }),
    () => new Proxy(person, {}).total = 7 as never,
    () =>
      Object.defineProperty(person, "name", {
        value: 7,
        writable: true,
        enumerable: true,
        configurable: true,
      }),
  ];
  for (const change of changes) {
    assertThrows(change, ClassError, "Cannot assign NewPerson.");
  }
  assert(!connection.hasChanges);
  // As a test does that puts something else in the place of a method.
  any.total = () => 8;
  assertEquals(person.total(), 8);
  assertThrows(() => connection.commit(), EncodeError, "a function");
  connection.abort();

  class Field extends NewPerson {
    override total = 7 as never;
  }
  using other = new Connection(new MemoryStorage(), { classes: { Field } });
  other.root["it"] = new Field();
  assertThrows(
    () => other.commit(),
    EncodeError,
    'Cannot store PersistentDict#0.entries.get("it"): Field.total: its class has a method of that name, which would hide the value when it is loaded again',
  );
});

Deno.test("detectForgottenChanges does not accuse a class whose _p_setState() fills in a default", () => {
  class Filled extends Persistent {
    declare name: string;
    declare tags: string[];
    override _p_setState(state: Record<string, unknown>) {
      super._p_setState({ tags: ["new"], ...state });
    }
  }
  const storage = stored();
  using connection = new Connection(storage, {
    classes: { Person: Filled },
    detectForgottenChanges: true,
  });
  const person = connection.root["it"] as Filled;
  assertEquals(person.tags, ["new"]);
  connection.commit();
  person.tags.push("gold");
  assertThrows(
    () => connection.commit(),
    ForgottenChangeError,
    ".tags was changed",
  );
  person._p_noteChange();
  connection.commit();
  connection.abort();
  assertEquals(person.tags, ["new", "gold"]);
  connection.commit();
});
