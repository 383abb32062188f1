/** What a transaction may do, what gets in its way, and how it goes on. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  Connection,
  ConnectionError,
  MemoryStorage,
  Persistent,
  PersistentDict,
  ReadConflictError,
  type Session,
  StorageError,
  WriteConflictError,
} from "../../mod.ts";
import { pause } from "../../lib/connection/pause.ts";

class Account extends Persistent {
  balance = 0;
  tags: string[] = [];
}
const classes = { Account };

function pair(cacheSize = 1000) {
  const storage = new MemoryStorage();
  const one = new Connection(storage, { classes, cacheSize });
  one.root["ada"] = new Account();
  one.root["bob"] = new Account();
  one.commit();
  return { storage, one, two: new Connection(storage, { classes, cacheSize }) };
}

/** A connection whose session can be made to misbehave. */
function meddled(change: (session: Session) => Partial<Session>) {
  const { storage, one } = pair();
  const odd = new MemoryStorage();
  odd.session = (options) => {
    const session = storage.session(options);
    // Bound, since its own members are private.
    const base: Session = {
      get tid() {
        return session.tid;
      },
      allocate: (count) => session.allocate(count),
      load: (oid) => session.load(oid),
      loadMany: (oids) => session.loadMany(oids),
      has: (oid) => session.has(oid),
      length: (oid) => session.length(oid),
      sync: () => session.sync(),
      commit: (records, options) => session.commit(records, options),
      close: () => session.close(),
      [Symbol.dispose]: () => session.close(),
    };
    return Object.defineProperties(
      base,
      Object.getOwnPropertyDescriptors(change(session)),
    );
  };
  return { one, two: new Connection(odd, { classes }) };
}

Deno.test("transact() refuses to end its transaction in the middle, and stores no half of it", () => {
  const { one, two } = pair();
  for (const name of ["commit", "abort", "pack"] as const) {
    assertThrows(
      () =>
        one.transact(() => {
          one.root["ada"].balance -= 10;
          one[name]();
          one.root["bob"].balance += 10;
        }),
      ConnectionError,
      `Cannot call ${name}(): transact() is running`,
    );
    assert(!one.hasChanges);
    two.abort();
    assertEquals(two.root["ada"].balance, 0);
  }
  // Another connection may do as it likes.
  one.transact(() => {
    two.root["bob"].balance = 1;
    two.commit();
  });
});

Deno.test("transact() refuses what is no function", () => {
  const { one } = pair();
  assertThrows(
    // @ts-expect-error: no function
    () => one.transact(5),
    ConnectionError,
    "transact() takes a function, not 5",
  );
});

Deno.test("transact() begins on the newest snapshot", () => {
  const { one, two } = pair();
  assertEquals(one.root["ada"].balance, 0);
  two.transact(() => two.root["ada"].balance = 5);
  let runs = 0;
  one.transact(() => {
    runs++;
    assertEquals(one.root["ada"].balance, 5);
    one.root["ada"].balance++;
  });
  assertEquals(runs, 1);
});

Deno.test("What an asynchronous function changes after transact() refused it is not stored", async () => {
  const { one, two } = pair();
  const { promise, resolve } = Promise.withResolvers<void>();
  const refusals: unknown[] = [];
  let ended = false;
  assertThrows(
    () =>
      // @ts-expect-error: the compiler refuses it too
      one.transact(async () => {
        one.root["ada"].balance = 1;
        await promise;
        for (
          const change of [
            () => one.root["ada"].balance = 2,
            () => one.root["new"] = new Account(),
            () => one.commit(),
          ]
        ) {
          try {
            change();
          } catch (error) {
            refusals.push(error);
          }
        }
        ended = true;
        throw new Error("nobody waits for this");
      }),
    ConnectionError,
    "the function given to transact() is asynchronous",
  );
  for (
    const use of [
      () => one.commit(),
      () => one.abort(),
      () => one.get(0),
      () => one.root["ada"],
      () => one.transact(() => 1),
      () => one.pack(),
      () => one.shrink(),
    ]
  ) {
    assertThrows(use, ConnectionError, "has not ended yet");
  }
  resolve();
  await new Promise((resolve) => setTimeout(resolve));
  assert(ended);
  assertEquals(refusals.length, 3);
  one.root["n"] = 1;
  one.commit();
  two.abort();
  assertEquals(two.root["ada"].balance, 0);
  assertEquals([...two.root.keys()].sort(), ["ada", "bob", "n"]);
});

Deno.test("A connection can be closed although an asynchronous function never ends", () => {
  const { one } = pair();
  const work = () => new Promise(() => {});
  assertThrows(
    // @ts-expect-error: the compiler refuses it too
    () => one.transact(work),
    ConnectionError,
  );
  one.close();
});

Deno.test("transact() takes a persistent object for a result, whatever it has", () => {
  class Plan extends Persistent {
    then = (): string => "lunch";
    override _p_getState() {
      return {};
    }
  }
  using connection = new Connection(new MemoryStorage(), { classes: { Plan } });
  const plan: unknown = connection.transact(() =>
    (connection.root["plan"] = new Plan()) as unknown
  );
  assert(plan instanceof Plan);
  assertEquals(plan._p_status, "saved");
});

Deno.test("The compiler refuses asynchronous functions in transact(), and no others", () => {
  const { one } = pair();
  const check = (_: () => void) => {};
  // @ts-expect-error: asynchronous
  check(() => one.transact(async () => await 1));
  // @ts-expect-error: a promise
  check(() => one.transact(() => Promise.resolve(1)));
  const maybe = (): Promise<number> | number => 1;
  // @ts-expect-error: it may be a promise
  check(() => one.transact(maybe));
  check(() => one.transact((): unknown => 1));
  check(() => one.transact(() => one.root["x"]));
  check(() => one.transact(() => {}));
  check(() =>
    one.transact(() => {
      throw new Error("oops");
    })
  );
  check(() => one.transact((): unknown => 1));
  const n: number = one.transact(() => 1);
  assertEquals(n, 1);
});

Deno.test("Looking for an object that is not there is an access: who makes it is in the way", () => {
  const { one, two } = pair();
  two.root["x"] = new PersistentDict();
  two.commit();
  one.abort();
  // The next number that the storage gives.
  const next = 1 + Math.max(
    ...[...two.root.values()].map((value) => value._p_oid),
  );
  let missing = next;
  for (; missing < next + 100; missing++) {
    assertEquals(one.get(missing), undefined);
  }
  one.root["ada"].balance = 1;
  two.root["x"].set("made", new Account());
  two.commit();
  const made = two.root["x"].get("made")._p_oid;
  assert(made >= next && made < missing, `${made}`);
  const error = assertThrows(
    () => one.commit(),
    WriteConflictError,
    `object #${made}`,
  );
  assertEquals(error.oids, [made]);
  one.abort();
  // It is not looked for in the transactions after.
  one.root["ada"].balance = 2;
  two.root["x"].get("made").balance = 3;
  two.commit();
  one.commit();
});

Deno.test("commit() ends in an error where a storage refuses it for what nobody used, and shows nothing new", () => {
  let calls = 0;
  let invalid = [77];
  const { two } = meddled(() => ({
    commit: () => (calls++, { invalid }),
  }));
  two.root["x"] = 1;
  assertThrows(
    () => two.commit(),
    StorageError,
    "the storage refuses it for a change to object #77, which this transaction did not use",
  );
  assert(calls < 100, `${calls}`);
  assertEquals(two.root["x"], 1);
  invalid = [];
  assertThrows(
    () => two.commit(),
    StorageError,
    "does not say for what change",
  );
  two.abort();
  assertEquals(two.root["x"], undefined);
});

Deno.test("commit() gives up where others are always faster", () => {
  let other: Connection | undefined;
  let calls = 0;
  const { one, two } = meddled((session) => ({
    commit: (records) => {
      calls++;
      if (other) {
        other.root["bob"].balance++;
        other.commit();
      }
      // One that knows nothing of what was accessed.
      return session.commit(records);
    },
  }));
  other = one;
  two.root["ada"].balance = 1;
  assertThrows(() => two.commit(), WriteConflictError, "was faster");
  assert(calls > 5 && calls < 100, `${calls}`);
  other = undefined;
  two.commit();
  one.abort();
  assertEquals(one.root["ada"].balance, 1);
});

Deno.test("abort() after a read conflict loads again what the conflict was about", () => {
  let gone = false;
  const { one, two } = meddled((session) => ({
    load: (oid) => {
      if (!gone) return session.load(oid);
      gone = false;
      throw new ReadConflictError("gone", { oids: [oid] });
    },
  }));
  assertEquals(two.root["ada"].balance, 0);
  one.root["ada"].balance = 5;
  one.root["bob"].balance = 5;
  one.commit();
  gone = true;
  assertThrows(() => two.root["bob"].balance, ReadConflictError, "Account#");
  // Nothing goes on in this transaction.
  assertThrows(() => two.root["bob"].balance, ReadConflictError);
  assertThrows(() => two.commit(), ReadConflictError);
  two.abort();
  assertEquals(two.root["ada"].balance, 5);
  assertEquals(two.root["bob"].balance, 5);
  two.root["ada"].balance++;
  two.commit();
  one.abort();
  assertEquals(one.root["ada"].balance, 6);
});

Deno.test("A read conflict about what the transaction did not use moves it on", () => {
  let gone = false;
  const { one, two } = meddled((session) => ({
    load: (oid) => {
      if (!gone) return session.load(oid);
      gone = false;
      throw new ReadConflictError("gone", { oids: [oid] });
    },
  }));
  assertEquals(two.root["ada"].balance, 0);
  one.root["bob"].balance = 5;
  one.commit();
  gone = true;
  assertEquals(two.root["bob"].balance, 5);
  two.root["ada"].balance = 1;
  two.commit();
});

Deno.test("When everything may have changed, everything is loaded again", () => {
  let lost = false;
  const { one, two } = meddled((session) => ({
    sync: () => {
      const changed = session.sync();
      if (!lost) return changed;
      lost = false;
      return "everything";
    },
  }));
  const ada = two.root["ada"];
  assertEquals(ada.balance, 0);
  two.root["bob"].balance = 2;
  one.root["ada"].balance = 1;
  one.commit();
  lost = true;
  two.abort();
  assertEquals(ada._p_status, "ghost");
  assertEquals([ada.balance, two.root["bob"].balance], [1, 0]);
  assertEquals(two.root["ada"], ada);
  // In the middle of a transaction it is a conflict.
  let refused = true;
  const odd = meddled((session) => ({
    commit: (records) => refused ? { invalid: [77] } : session.commit(records),
    sync: () => (session.sync(), "everything"),
  }));
  odd.two.root["ada"].balance = 1;
  assertThrows(() => odd.two.commit(), WriteConflictError);
  odd.two.abort();
  refused = false;
  odd.two.root["ada"].balance = 3;
  odd.two.commit();
  odd.one.abort();
  assertEquals(odd.one.root["ada"].balance, 3);
});

Deno.test("a commit that is tried again stores new objects too, with all that they lead to", () => {
  let refusals = 2;
  const stored: number[] = [];
  const { one, two } = meddled((session) => ({
    commit(records, options) {
      const all = [...records];
      stored.push(all.length);
      return refusals-- > 0 ? { invalid: [77] } : session.commit(all, options);
    },
  }));
  const friend = new Account();
  friend.balance = 5;
  const eve = two.root["eve"] = new PersistentDict([["friend", friend]]);
  two.root["bob"].balance = 7;
  two.commit();
  assertEquals(stored, [4, 4, 4]);
  assertEquals([eve._p_status, friend._p_status], ["saved", "saved"]);
  one.abort();
  const { root } = one;
  assertEquals([root["eve"].friend.balance, root["bob"].balance], [5, 7]);
});

Deno.test("Numbers that nobody has used are not kept when everything may have changed", () => {
  let lost = false;
  let allocations = 0;
  const { two } = meddled((session) => ({
    allocate: (count) => (allocations++, session.allocate(count)),
    sync: () => {
      const changed = session.sync();
      return lost ? "everything" : changed;
    },
  }));
  two.root["x"] = new Account();
  two.commit();
  assertEquals(allocations, 1);
  two.root["y"] = new Account();
  two.commit();
  assertEquals(allocations, 1);
  lost = true;
  two.abort();
  two.root["z"] = new Account();
  two.commit();
  assertEquals(allocations, 2);
});

Deno.test("What the transaction just ended has used is not let go: parts of it are still parts of it", () => {
  for (const end of ["commit", "abort"] as const) {
    const { one, two } = pair(1);
    two.abort();
    const { ada } = two.root as unknown as { ada: Account };
    const { tags } = ada;
    two.root["bob"].balance;
    two[end]();
    tags.push("gold");
    ada._p_noteChange();
    two.commit();
    one.abort();
    assertEquals(one.root["ada"].tags, ["gold"], end);
  }
});

Deno.test("When the database was replaced in the middle of a transaction, it is a conflict whatever was used", () => {
  let moved = true;
  const refusing = meddled((session) => ({
    commit: (records) => moved ? { invalid: [77] } : session.commit(records),
    sync: () => (session.sync(), moved ? "replaced" : []),
  }));
  const { root } = refusing.two;
  const ada = root["ada"];
  ada.balance = 1;
  for (const _ of [1, 2]) {
    assertThrows(
      () => refusing.two.commit(),
      WriteConflictError,
      "another database now",
    );
    assertEquals(refusing.two.hasChanges, true);
  }
  refusing.two.abort();
  moved = false;
  for (const use of [() => ada.balance, () => ada.balance = 2]) {
    assertThrows(use, ConnectionError, "find the object again from the root");
  }
  assertEquals(refusing.two.root, root);
  assertEquals(root["ada"].balance, 0);
  root["ada"].balance = 3;
  refusing.two.commit();
  refusing.one.abort();
  assertEquals(refusing.one.root["ada"].balance, 3);

  // The first thing that is used cannot be loaded: its number means another object by now.
  let lost = false;
  const losing = meddled((session) => ({
    load: (oid) => {
      if (lost && oid !== 0) {
        throw new ReadConflictError("It is gone", { oids: [oid] });
      }
      return session.load(oid);
    },
    sync: () => {
      session.sync();
      if (!lost) return [];
      lost = false;
      return "replaced";
    },
  }));
  const bob = losing.two.root["bob"];
  losing.two.abort();
  lost = true;
  for (const _ of [1, 2]) {
    assertThrows(
      () => bob.balance,
      ReadConflictError,
      "the server serves another database now",
    );
  }
  losing.two.abort();
  assertThrows(() => bob.balance, ConnectionError);
  assertEquals(losing.two.root["bob"].balance, 0);
});

Deno.test("The pauses between attempts are random, and grow up to a bound", () => {
  const { wait } = Atomics;
  const waited: number[] = [];
  const longest = (failed: number): number => {
    waited.length = 0;
    for (let i = 0; i < 200; i++) pause(failed);
    assertEquals(waited.length, 200);
    // Two who wait are not to meet again.
    assert(new Set(waited).size > 100, `${new Set(waited).size} of 200`);
    return Math.max(...waited);
  };
  Atomics.wait = (_array: unknown, _index: unknown, _value: unknown, ms) => {
    waited.push(ms!);
    return "timed-out";
  };
  try {
    for (
      const [failed, most] of [[1, 1], [2, 2], [5, 16], [9, 100], [99, 100]]
    ) {
      const found = longest(failed!);
      // Of 200 random ones, one is nearly always in the upper half.
      assert(found <= most! && found > most! / 2, `${failed}: ${found}`);
    }
  } finally {
    Atomics.wait = wait;
  }
});
