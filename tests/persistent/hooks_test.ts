/** Code of a program that runs in the middle of a commit, a load or an abort: `_p_getState()` and the like. */
import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  ClassError,
  Connection,
  ConnectionError,
  type ConnectionOptions,
  EncodeError,
  MemoryStorage,
  Persistent,
  PersistentDict,
  PersistentList,
  PersistentObject,
  PersistentSet,
  WriteConflictError,
} from "../../mod.ts";

type State = Record<string, unknown>;

function two(
  classes: NonNullable<ConnectionOptions["classes"]>,
  cacheSize = 1000,
) {
  const storage = new MemoryStorage();
  const options = { classes, cacheSize };
  return {
    storage,
    one: new Connection(storage, options),
    other: new Connection(storage, options),
  };
}

Deno.test("#private members can be stored: the hooks run with the object that the program holds", () => {
  class Counter extends Persistent {
    #n = 0;
    static override _p_create() {
      return new Counter();
    }
    override _p_getState(): State {
      return { ...super._p_getState(), n: this.#n };
    }
    override _p_setState({ n, ...state }: State) {
      super._p_setState(state);
      this.#n = n as number;
    }
    override _p_clearState() {
      super._p_clearState();
      this.#n = -1;
    }
    get n() {
      this._p_noteAccess();
      return this.#n;
    }
    increment() {
      this._p_noteChange();
      return ++this.#n;
    }
    label = "a";
  }
  class Tags extends PersistentSet<string> {
    #color = "red";
    static override _p_create() {
      return new Tags();
    }
    override _p_getState(): State {
      return { ...super._p_getState(), color: this.#color };
    }
    override _p_setState({ color, ...state }: State) {
      super._p_setState(state);
      this.#color = color as string;
    }
    get color() {
      this._p_noteAccess();
      return this.#color;
    }
    set color(color: string) {
      this._p_noteChange();
      this.#color = color;
    }
  }
  const { one, other } = two({ Counter, Tags });
  one.root["counter"] = new Counter();
  one.root["tags"] = new Tags(["x"]);
  one.commit();
  one.root["counter"].increment();
  one.root["tags"].color = "blue";
  one.commit();
  other.abort();
  const { counter, tags } = other.root as unknown as {
    counter: Counter;
    tags: Tags;
  };
  assertEquals([counter.n, counter.label], [1, "a"]);
  assertEquals([tags.color, [...tags]], ["blue", ["x"]]);
  assertEquals(counter._p_status, "saved");
  counter.increment();
  counter.label = "b";
  other.abort();
  assertEquals(counter._p_status, "ghost");
  assertEquals([counter.n, counter.label], [1, "a"]);
});

Deno.test("A class with a Symbol.toStringTag can extend what _p_getState() returns", () => {
  class Tagged extends Persistent {
    v = 1;
    get [Symbol.toStringTag]() {
      return "Tagged";
    }
    override _p_getState() {
      return super._p_getState();
    }
  }
  const { one, other } = two({ Tagged });
  one.root["x"] = new Tagged();
  one.commit();
  other.abort();
  assertEquals(other.root["x"].v, 1);
});

Deno.test("A new object cannot be changed once the commit has read it", () => {
  class Late extends Persistent {
    of: Persistent | undefined;
    override _p_getState() {
      if (this.of) {
        Object.defineProperty(this.of, "v", {
          value: 2,
          writable: true,
          enumerable: true,
          configurable: true,
        });
      }
      return super._p_getState();
    }
  }
  class Early extends Persistent {
    v = 1;
  }
  const { one } = two({ Late, Early });
  const early = one.root["early"] = new Early();
  const late = one.root["late"] = new Late();
  late.of = early;
  assertThrows(
    () => one.commit(),
    ConnectionError,
    "commit() is storing the changes",
  );
  assertEquals(early.v, 1);
});

Deno.test("#private members work in the hooks of every kind of object", () => {
  const kinds = [Persistent, PersistentObject, PersistentDict, PersistentList];
  for (const Base of [...kinds, PersistentSet] as typeof Persistent[]) {
    class Noted extends Base {
      #note = "";
      static override _p_create() {
        return new Noted();
      }
      override _p_getState(): State {
        return { ...super._p_getState(), note: this.#note };
      }
      override _p_setState({ note, ...state }: State) {
        super._p_setState(state);
        this.#note = note as string;
      }
      override _p_clearState() {
        super._p_clearState();
        this.#note = "";
      }
      note(text: string) {
        this._p_noteChange();
        this.#note += text;
        return this.#note;
      }
    }
    const { one, other } = two({ Noted });
    const noted = one.root["x"] = new Noted();
    noted.note("a");
    one.commit();
    noted.note("lost");
    one.abort();
    assertEquals(noted.note("b"), "ab", Base.name);
    one.commit();
    other.abort();
    assertEquals(other.root["x"].note("c"), "abc", Base.name);
  }
});

Deno.test("A _p_getState() that returns a promise, nothing, or what has no state in its properties, is refused", async () => {
  let state: () => unknown = () => ({});
  class Odd extends Persistent {
    override _p_getState() {
      return state() as State;
    }
  }
  const { one } = two({ Odd });
  one.root["x"] = new Odd();
  for (
    const [answer, what] of [
      [() => Promise.resolve({ a: 1 }), "returned a promise"],
      [() => Promise.reject(new Error("not to end the tests")), "a promise"],
      [() => ({ then() {} }), "a promise"],
      [() => undefined, "returned undefined"],
      [() => null, "returned null"],
      [() => 5, "returned 5"],
      [() => new Map([["a", 1]]), "returned [object Map]"],
      [() => new Date(), "returned [object Date]"],
      [() => [1, 2], "returned [object Array]"],
      [() => new Uint8Array(2), "returned [object Uint8Array]"],
      [() => new Meddler(), "instead of an object"],
    ] as const
  ) {
    state = answer;
    assertThrows(() => one.commit(), EncodeError, what);
  }
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(one.root["x"]._p_oid, undefined);
  state = () => ({ a: 1 });
  one.commit();
  assertEquals(one.root["x"]._p_status, "saved");
});

/** Calls `hook` wherever code of a class can run. */
let hook: (where: string) => void = () => {};

class Meddler extends Persistent {
  v = 1;
  constructor() {
    super();
    hook("constructor");
  }
  static override _p_create() {
    return new Meddler();
  }
  override _p_getState() {
    hook("getState");
    return super._p_getState();
  }
  override _p_setState(state: State) {
    hook("setState");
    super._p_setState(state);
  }
  override _p_clearState() {
    hook("clearState");
    super._p_clearState();
  }
}

Deno.test("A transaction cannot end while code of a class runs in it", () => {
  const calls: Record<string, (c: Connection) => void> = {
    "commit()": (connection) => connection.commit(),
    "abort()": (connection) => connection.abort(),
    "pack()": (connection) => connection.pack(),
    "shrink()": (connection) => connection.shrink(),
    "transact()": (connection) => connection.transact(() => 1),
  };
  for (const [name, call] of Object.entries(calls)) {
    const { one, other } = two({ Meddler });
    one.root["m"] = new Meddler();
    one.root["n"] = 1;
    one.commit();
    other.abort();
    const refused = new Set<string>();
    hook = (where) => {
      const { message } = assertThrows(() => call(other), ConnectionError);
      assert(message.includes(`Cannot call ${name}: `), message);
      refused.add(where);
    };
    try {
      assertEquals(other.root["m"].v, 1);
      other.root["m"].v = 2;
      other.commit();
      other.root["m"].v = 3;
      other.abort();
      assertEquals(other.root["m"].v, 2);
    } finally {
      hook = () => {};
    }
    assertEquals(
      [...refused].sort(),
      ["clearState", "constructor", "getState", "setState"],
    );
    one.abort();
    assertEquals(one.root["m"].v, 2);
  }
});

Deno.test("A load that code of a class wants to move to another snapshot reads its own", () => {
  const { one, other } = two({ Meddler });
  one.root["m"] = new Meddler();
  one.commit();
  other.abort();
  const meddler = other.root["m"];
  hook = (where) => {
    if (where !== "setState") return;
    hook = () => {};
    one.root["m"].v = 2;
    one.commit();
    other.abort();
  };
  assertThrows(() => meddler.v, ConnectionError, "Cannot call abort()");
  assertEquals(meddler.v, 1);
  meddler.v += 10;
  assertThrows(() => other.commit(), WriteConflictError);
  other.abort();
  assertEquals(meddler.v, 2);
});

Deno.test("An object whose connection is closed while it is loaded cannot be used", () => {
  const { one, other } = two({ Meddler });
  one.root["m"] = new Meddler();
  one.commit();
  other.abort();
  const meddler = other.root["m"];
  hook = (where) => {
    if (where === "setState") other.close();
  };
  try {
    assertThrows(() => meddler.v, ConnectionError, "connection was closed");
    assertThrows(() => meddler.v, ConnectionError, "connection was closed");
  } finally {
    hook = () => {};
  }
});

/** Refuses to drop its state as long as it is told to. */
class Stubborn extends Persistent {
  static refuses = false;
  v = 1;
  override _p_clearState() {
    if (Stubborn.refuses) throw new TypeError("I will not");
    super._p_clearState();
  }
}

Deno.test("abort() comes to its end although an object does not drop its state", () => {
  const { one, other } = two({ Stubborn });
  try {
    const { root } = one;
    root["a"] = new Stubborn();
    root["b"] = new PersistentDict([["n", 1]]);
    root["c"] = new PersistentDict([["n", 1]]);
    one.commit();
    other.abort();
    // To be taken back are a and b, c is somebody else's change.
    assertEquals(other.root["c"]["n"], 1);
    other.root["a"].v = 2;
    other.root["b"].set("n", 2);
    one.root["c"].set("n", 5);
    one.commit();
    Stubborn.refuses = true;
    other.abort();
    assert(!other.hasChanges);
    assertEquals(other.root["b"].get("n"), 1);
    assertEquals(other.root["c"].get("n"), 5);
    other.root["c"].set("n", other.root["c"].get("n") + 1);
    other.commit();
    one.abort();
    assertEquals(one.root["a"].v, 1);
    assertEquals(one.root["c"].get("n"), 6);
    // Only the one object is of no use, and says why.
    const error = assertThrows(
      () => other.root["a"].v,
      ClassError,
      "what it held before cannot take the stored state, since it cannot be dropped: I will not",
    );
    assert(error.cause instanceof TypeError);
    assertThrows(() => other.root["a"].v = 3, ClassError);
    Stubborn.refuses = false;
    assertEquals(other.root["a"].v, 1);
  } finally {
    Stubborn.refuses = false;
  }
});

Deno.test("commit() does not throw once it has stored, whatever has to be dropped then", () => {
  const { storage, one, other } = two({ Stubborn }, 1);
  try {
    for (const key of ["a", "b", "c"]) one.root[key] = new Stubborn();
    one.commit();
    other.abort();
    for (const key of ["a", "b", "c"]) other.root[key].v;
    one.root["a"].v = 7;
    one.commit();
    other.abort();
    Stubborn.refuses = true;
    for (let x = 1; x <= 4; x++) {
      one.root["x"] = x;
      one.commit();
      other.abort();
      other.root["y"] = x;
      other.commit();
      one.abort();
    }
    using third = new Connection(storage);
    assertEquals([third.root["x"], third.root["y"]], [4, 4]);
  } finally {
    Stubborn.refuses = false;
  }
});

Deno.test("transact() takes back what it must although an object does not drop its state", () => {
  const { one, other } = two({ Stubborn });
  try {
    one.root["a"] = new Stubborn();
    one.commit();
    Stubborn.refuses = true;
    assertThrows(
      () =>
        one.transact(() => {
          one.root["a"].v = 2;
          one.root["n"] = 1;
          throw new RangeError("oops");
        }),
      RangeError,
      "oops",
    );
    one.root["m"] = 1;
    one.commit();
    other.abort();
    assertEquals(other.root["n"], undefined);
    assertEquals(other.root["a"].v, 1);
  } finally {
    Stubborn.refuses = false;
  }
});

Deno.test("A frozen object without a proxy stands in the way of nothing else", () => {
  class Bare extends PersistentObject {
    v = 1;
    set(v: number) {
      this._p_noteChange();
      this.v = v;
    }
  }
  const { one, other } = two({ Bare }, 1);
  one.root["a"] = new Bare();
  one.commit();
  one.root["a"].set(2);
  Object.freeze(one.root["a"]);
  one.root["b"] = 1;
  one.abort();
  assertEquals(one.root["b"], undefined);
  assertThrows(() => one.root["a"]._p_noteAccess(), ClassError, "Cannot load");
  one.root["b"] = 2;
  one.commit();
  one.abort();
  other.abort();
  assertEquals(other.root["b"], 2);
  other.root["a"]._p_noteAccess();
  assertEquals(other.root["a"].v, 1);
});

Deno.test("Nothing is changed while a state is being dropped", () => {
  const { one, other } = two({ Meddler });
  one.root["m"] = new Meddler();
  one.root["n"] = new PersistentDict([["v", 1]]);
  one.commit();
  const m: Meddler = one.root["m"];
  const n: PersistentDict<string, number> = one.root["n"];
  assertEquals(n.get("v"), 1);
  m.v = 2;
  hook = (where) => {
    if (where === "clearState") n.set("v", 2);
  };
  one.abort();
  hook = () => {};
  assert(!one.hasChanges);
  assertEquals(n.get("v"), 1);
  one.commit();
  other.abort();
  assertEquals(other.root["n"].get("v"), 1);
  assertStrictEquals(m.v, 1);
  // Nor when it is dropped since somebody else has changed it.
  other.root["m"].v = 3;
  other.commit();
  hook = (where) => {
    if (where === "clearState") n.set("v", 2);
  };
  one.abort();
  hook = () => {};
  assert(!one.hasChanges);
  assertEquals([m.v, n.get("v")], [3, 1]);
});

Deno.test("Nothing is left of a state that an object refused to take half way", () => {
  class Strict extends Persistent {
    [name: string]: unknown;
    override _p_setState(state: State) {
      for (const name of Object.keys(state)) {
        if (name === "refused") throw new RangeError("not that");
        this[name] = state[name];
      }
    }
  }
  const { one, other } = two({ Strict });
  const mine = one.root["x"] = new Strict();
  Object.assign(mine, { half: 1, refused: 2 });
  one.commit();
  other.abort();
  const theirs: Strict = other.root["x"];
  assertThrows(() => theirs["half"], RangeError, "not that");
  assertEquals(theirs._p_status, "ghost");
  delete mine["half"];
  delete mine["refused"];
  mine["whole"] = 3;
  one.commit();
  other.abort();
  assertEquals({ ...theirs }, { whole: 3 });
});

Deno.test("Nothing is left of what a constructor made that _p_create() calls", () => {
  class Built extends Persistent {
    [name: string]: unknown;
    constructor() {
      super();
      this["a"] = 1;
      this["b"] = 2;
    }
    static override _p_create() {
      return new Built();
    }
  }
  const { one, other } = two({ Built });
  const mine = one.root["x"] = new Built();
  delete mine["b"];
  one.commit();
  other.abort();
  const theirs: Built = other.root["x"];
  assertEquals({ ...theirs }, { a: 1 });
  theirs["a"] = 3;
  other.commit();
  one.abort();
  assertEquals({ ...mine }, { a: 3 });
});

Deno.test("What a state no longer has is gone when it is loaded again", () => {
  class Loose extends Persistent {
    [name: string]: unknown;
  }
  class Careful extends Loose {
    static seen: string[] = [];
    override _p_setState(state: State) {
      Careful.seen = Object.keys(this);
      super._p_setState(state);
    }
  }
  const { one, other } = two({ Loose, Careful });
  for (const type of [Loose, Careful]) {
    const mine = one.root["x"] = new type();
    Object.assign(mine, { a: 1, b: undefined, c: 3 });
    one.commit();
    other.abort();
    const theirs = other.root["x"];
    assertEquals({ ...theirs }, { a: 1, b: undefined, c: 3 });
    theirs._v_note = "volatile";
    theirs.d = 4;
    delete theirs.a;
    other.abort();
    assertEquals({ ...theirs }, { a: 1, b: undefined, c: 3 });
    assert(!("_v_note" in theirs));
    assertEquals(theirs.d, undefined);
    delete mine["a"];
    delete mine["b"];
    mine["e"] = 5;
    one.commit();
    other.abort();
    assertEquals(theirs._p_status, "ghost");
    assertEquals(Object.keys(theirs), ["c", "e"]);
    assert(!("a" in theirs) && !("b" in theirs));
    assertEquals(JSON.stringify(theirs), '{"c":3,"e":5}');
    theirs["c"] = 4;
    other.commit();
    one.abort();
    assertEquals({ ...mine }, { c: 4, e: 5 });
  }
  // A class that takes its state itself finds the object empty.
  assertEquals(Careful.seen, []);
});
