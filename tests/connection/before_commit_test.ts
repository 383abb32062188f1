/** Code that looks at what a commit is about to store, and may change it. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type BeforeCommit,
  Connection,
  ConnectionError,
  type ConnectionOptions,
  DharaError,
  MemoryStorage,
  type PendingChange,
  Persistent,
  PersistentDict,
  WriteConflictError,
} from "../../mod.ts";

class Person extends Persistent {
  name: string;
  boss: Person | undefined;
  constructor(name: string) {
    super();
    this.name = name;
  }
}

const classes = { Person };

function open(
  storage: MemoryStorage,
  options: ConnectionOptions = {},
): Connection {
  return new Connection(storage, { classes, ...options });
}

/** What a listener was shown: name now, name before. */
function show(changes: readonly PendingChange[]): unknown[] {
  return changes.map(({ object, isNew, stored }) =>
    object instanceof Person
      ? [object.name, isNew ? "new" : stored()!["name"]]
      : object._p_className
  );
}

Deno.test("a listener sees what is changed and what is new, now and as it was", () => {
  const storage = new MemoryStorage();
  using connection = open(storage);
  const ada = connection.root["ada"] = new Person("Ada");
  connection.commit();
  const shown: unknown[] = [];
  connection.beforeCommit((changes) => shown.push(show(changes)));
  connection.commit();
  assertEquals(shown, [], "nothing is stored");
  ada.name = "Ada Lovelace";
  ada.boss = new Person("Charles");
  connection.commit();
  assertEquals(shown, [[["Ada Lovelace", "Ada"], ["Charles", "new"]]]);
  using other = open(storage);
  assertEquals(other.root["ada"].boss.name, "Charles");
});

Deno.test("what it refers to in the stored state are the live objects", () => {
  using connection = open(new MemoryStorage());
  const ada = connection.root["ada"] = new Person("Ada");
  const charles = ada.boss = new Person("Charles");
  connection.commit();
  let before: unknown;
  connection.beforeCommit(([change]) => {
    before = change!.stored()!["boss"];
  });
  ada.boss = undefined;
  connection.commit();
  assert(before === charles);
});

Deno.test("what a listener changes is stored, and shown to all", () => {
  const storage = new MemoryStorage();
  using connection = open(storage);
  const index = connection.root["byName"] = new PersistentDict();
  const ada = connection.root["ada"] = new Person("ada");
  connection.commit();
  connection.beforeCommit((changes) => {
    for (const { object } of changes) {
      if (!(object instanceof Person)) continue;
      const [first, ...rest] = object.name;
      object.name = first!.toUpperCase() + rest.join("");
    }
  });
  const rounds: unknown[] = [];
  connection.beforeCommit((changes) => {
    rounds.push(show(changes));
    for (const { object, stored } of changes) {
      if (!(object instanceof Person)) continue;
      index.delete(stored()?.["name"] as string);
      index.set(object.name, object);
    }
  });
  connection.root["bob"] = new Person("bob");
  ada.name = "lovelace";
  connection.commit();
  using other = open(storage);
  const found = other.root["byName"];
  assertEquals([...found.keys()].sort(), ["Bob", "Lovelace"]);
  assertEquals(found.get("Lovelace").name, "Lovelace");
  assert(found.get("Bob") === other.root["bob"]);
  // First what the program has changed, then what the listeners have.
  assertEquals(rounds, [
    ["PersistentDict", ["Lovelace", "ada"], ["Bob", "new"]],
    [["Lovelace", "ada"], "PersistentDict", ["Bob", "new"]],
  ]);
  connection.commit();
  assertEquals(rounds.length, 2, "nothing is left over");
});

Deno.test("a listener that throws ends the commit: nothing is stored, and the changes are still there", () => {
  const storage = new MemoryStorage();
  using connection = open(storage);
  const ada = connection.root["ada"] = new Person("Ada");
  connection.commit();
  const error = new Error("no");
  const stop = connection.beforeCommit(() => {
    throw error;
  });
  ada.name = "";
  const bob = connection.root["bob"] = new Person("Bob");
  const tid = connection.tid;
  assert(assertThrows(() => connection.commit()) === error);
  assertEquals([connection.tid, ada.name, bob._p_oid], [tid, "", undefined]);
  assert(connection.hasChanges);
  using other = open(storage);
  assertEquals(other.root["ada"].name, "Ada");
  // In transact() the changes are taken back.
  connection.abort();
  assert(
    assertThrows(() => connection.transact(() => void (ada.name = "x"))) ===
      error,
  );
  assertEquals(ada.name, "Ada");
  stop();
  ada.name = "Ada again";
  connection.commit();
  other.abort();
  assertEquals(other.root["ada"].name, "Ada again");
});

Deno.test("a listener ends no transaction, and none goes on for ever", () => {
  using connection = open(new MemoryStorage());
  connection.root["n"] = 0;
  connection.commit();
  const refused: BeforeCommit[] = [
    () => connection.commit(),
    () => connection.abort(),
    () => void connection.transact(() => {}),
    () => connection.pack(),
    () => void connection.root["n"]++,
    (async () => await Promise.resolve()) as unknown as BeforeCommit,
    (() =>
      Promise.reject(new Error("nobody hears"))) as unknown as BeforeCommit,
  ];
  for (const listener of refused) {
    let calls = 0;
    const stop = connection.beforeCommit((changes) => {
      assert(++calls <= 101);
      return listener(changes);
    });
    connection.root["x"] = 1;
    assertThrows(() => connection.commit(), ConnectionError);
    connection.abort();
    stop();
    assertEquals(connection.root["n"], 0);
  }
  connection.root["x"] = 2;
  connection.commit();
});

Deno.test("the stored state is told only while the listener runs", () => {
  using connection = open(new MemoryStorage());
  let kept: PendingChange | undefined;
  connection.beforeCommit(([change]) => {
    kept = change;
  });
  connection.root["x"] = 1;
  connection.commit();
  assertThrows(() => kept!.stored(), ConnectionError, "has returned");
  connection.close();
  assertThrows(() => connection.beforeCommit(() => {}), ConnectionError);
});

Deno.test("what a listener has read is accessed: a change of others to it is a conflict", () => {
  const storage = new MemoryStorage();
  using connection = open(storage);
  connection.root["limit"] = new PersistentDict([["most", 10]]);
  connection.root["n"] = new PersistentDict([["value", 1]]);
  connection.commit();
  using other = open(storage);
  connection.beforeCommit(() => {
    const { most } = connection.root["limit"];
    if (connection.root["n"]["value"] > most) throw new Error("too many");
  });
  connection.root["n"]["value"] = 9;
  other.root["limit"]["most"] = 5;
  other.commit();
  assertThrows(() => connection.commit(), WriteConflictError);
  connection.abort();
  connection.root["n"]["value"] = 9;
  assertThrows(() => connection.commit(), Error, "too many");
});

Deno.test("commits that others get in the way of show each change once", () => {
  const storage = new MemoryStorage();
  using connection = open(storage);
  for (const key of ["a", "b"]) connection.root[key] = new PersistentDict();
  connection.commit();
  using other = open(storage);
  const { a } = connection.root;
  a["n"] = 0;
  connection.commit();
  let calls = 0;
  connection.beforeCommit(() => {
    calls++;
  });
  for (let i = 1; i <= 5; i++) {
    connection.abort();
    a["n"] = i;
    other.root["b"]["n"] = i;
    other.commit();
    connection.commit();
  }
  assertEquals(calls, 5);
  other.abort();
  assertEquals([other.root["a"]["n"], other.root["b"]["n"]], [5, 5]);
});

Deno.test("what cannot be stored is said before a listener is called", () => {
  using connection = open(new MemoryStorage());
  let calls = 0;
  connection.beforeCommit(() => {
    calls++;
  });
  connection.root["x"] = () => {};
  assertThrows(() => connection.commit(), DharaError);
  assertEquals(calls, 0);
});
