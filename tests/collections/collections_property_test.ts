/**
 * Random operations on each collection and on its native counterpart, with
 * commits, aborts, evictions, changes by others, packs and reopenings in
 * between: same results, same contents, same order.
 */
// deno-lint-ignore-file no-explicit-any
import { assert } from "@std/assert";
import fc from "fast-check";
import {
  Connection,
  FileStorage,
  MemoryStorage,
  type Storage,
} from "../../mod.ts";
import {
  DICT,
  type Kind,
  LIST,
  MARKERS,
  type Operation,
  plain,
  resolve,
  SET,
  Thing,
} from "../support/collection_kinds.ts";
import { assertSame } from "../support/same.ts";

/** A storage that can be closed and opened again. */
interface Place extends Disposable {
  open(): Storage;
}

function memory(): Place {
  const storage = new MemoryStorage();
  // Closing it would lose it.
  return { open: () => storage, [Symbol.dispose]: () => storage.close() };
}

function file(): Place {
  const directory = Deno.makeTempDirSync();
  let storage: FileStorage | undefined;
  return {
    open() {
      storage?.close();
      return storage = new FileStorage(`${directory}/x.dhara`, { sync: false });
    },
    [Symbol.dispose]() {
      storage?.close();
      Deno.removeSync(directory, { recursive: true });
    },
  };
}

/** A connection, and what of it is of interest. */
interface Side {
  connection: Connection;
  collection: any;
  things: object[];
}

class World {
  #kind: Kind;
  #place: Place;
  #mine!: Side;
  #other!: Side;
  #storage!: Storage;
  /** What the collection should be now, and what was committed. */
  #native: any;
  #committed: any;

  constructor(kind: Kind, place: Place) {
    this.#kind = kind;
    this.#place = place;
    this.#native = kind.makeNative();
    this.#committed = kind.makeNative();
    this.#storage = place.open();
    using first = new Connection(this.#storage, { classes: { Thing } });
    first.root["things"] = MARKERS.map(({ n }) => new Thing(n));
    first.root["it"] = kind.make();
    first.commit();
    this.#connect();
  }

  #connect() {
    const side = (): Side => {
      const connection = new Connection(this.#storage, {
        classes: { Thing },
        cacheSize: 1,
        // A change that the collection did not note is an error.
        detectForgottenChanges: true,
      });
      const { things, it } = connection.root;
      connection.abort();
      return { connection, collection: it, things };
    };
    this.#mine = side();
    this.#other = side();
  }

  #outcome(operation: Operation, target: unknown, things: readonly object[]) {
    const [name, ...args] = operation;
    const value = (arg: any): unknown =>
      Array.isArray(arg)
        ? arg.map(value)
        : typeof arg === "object"
        ? resolve(arg, things)
        : arg;
    try {
      return plain(this.#kind.runs[name]!(target, ...args.map(value)), target);
    } catch (error) {
      return (error as Error).constructor.name;
    }
  }

  #both(operation: Operation, side: Side) {
    const { collection, things } = side;
    const is = this.#outcome(operation, collection, things);
    const should = this.#outcome(operation, this.#native, MARKERS);
    assertSame(is, should);
  }

  do(operation: Operation) {
    this.#both(operation, this.#mine);
  }

  commit() {
    this.#mine.connection.commit();
    this.#committed = this.#kind.copy(this.#native);
  }

  abort() {
    this.#mine.connection.abort();
    this.#native = this.#kind.copy(this.#committed);
  }

  evict() {
    const { connection, collection, things } = this.#mine;
    this.commit();
    // There is room for one object, and others were used since.
    for (const thing of things) assert("n" in thing);
    connection.commit();
    assert(collection._p_isGhost());
  }

  other(operation: Operation) {
    this.abort();
    this.#other.connection.abort();
    this.#both(operation, this.#other);
    this.#other.connection.commit();
    this.#committed = this.#kind.copy(this.#native);
    this.#mine.connection.abort();
  }

  pack() {
    this.commit();
    this.#other.connection.abort();
    this.#mine.connection.pack();
  }

  reopen() {
    this.#mine.connection.close();
    this.#other.connection.close();
    this.#storage = this.#place.open();
    this.#native = this.#kind.copy(this.#committed);
    this.#connect();
  }

  /** Goes through the collection, and after some steps something happens to it. */
  loop(after: number, operation: Operation, end: "go on" | "commit" | "evict") {
    const walk = (target: any, happen: () => void) => {
      const seen: unknown[] = [];
      for (const item of target) {
        seen.push(plain(item, target));
        if (seen.length === after) happen();
        if (seen.length > 50) break;
      }
      return seen;
    };
    const { collection, things } = this.#mine;
    const should = walk(
      this.#native,
      () => this.#outcome(operation, this.#native, MARKERS),
    );
    const is = walk(collection, () => {
      this.#outcome(operation, collection, things);
      if (end !== "go on") this.commit();
      if (end === "evict") this.evict();
    });
    assertSame(is, should);
  }

  check() {
    const { collection } = this.#mine;
    assertSame(
      plain([...collection], collection),
      plain([...this.#native], this.#native),
    );
  }

  close() {
    this.#mine.connection.close();
    this.#other.connection.close();
  }
}

type Step =
  | { step: "do" | "other"; operation: Operation }
  | { step: "loop"; after: number; operation: Operation; end: any }
  | { step: "commit" | "abort" | "evict" | "pack" | "reopen" | "check" };

function steps(kind: Kind): fc.Arbitrary<Step[]> {
  const { operations } = kind;
  return fc.array(
    fc.oneof(
      {
        weight: 20,
        arbitrary: fc.record({
          step: fc.constant("do"),
          operation: operations,
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          step: fc.constant("other"),
          operation: operations,
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({
          step: fc.constant("loop"),
          after: fc.integer({ min: 1, max: 4 }),
          operation: operations,
          end: fc.constantFrom("go on", "commit", "evict"),
        }),
      },
      {
        weight: 8,
        arbitrary: fc.record({
          step: fc.constantFrom(
            "commit",
            "commit",
            "abort",
            "evict",
            "evict",
            "pack",
            "reopen",
            "check",
          ),
        }),
      },
    ) as fc.Arbitrary<Step>,
    { maxLength: 60, size: "max" },
  );
}

function run(kind: Kind, place: () => Place, steps: readonly Step[]) {
  using here = place();
  const world = new World(kind, here);
  try {
    for (const step of steps) {
      if (step.step === "do" || step.step === "other") {
        world[step.step](step.operation);
      } else if (step.step === "loop") {
        world.loop(step.after, step.operation, step.end);
      } else {
        world[step.step]();
      }
    }
    world.check();
    world.commit();
    world.reopen();
    world.check();
  } finally {
    world.close();
  }
}

for (
  const [name, native, kind] of [
    ["PersistentList", "an Array", LIST],
    ["PersistentDict", "a Map", DICT],
    ["PersistentSet", "a Set", SET],
  ] as const
) {
  for (
    const [storage, place, numRuns] of [
      ["MemoryStorage", memory, 300],
      ["FileStorage", file, 40],
    ] as const
  ) {
    Deno.test(`${name} in a ${storage} does the same as ${native}, whatever is done`, () => {
      fc.assert(
        fc.property(steps(kind), (steps) => run(kind, place, steps)),
        { numRuns },
      );
    });
  }

  Deno.test(`All operations on a ${name} are tried`, () => {
    const names = new Set(
      fc.sample(kind.operations, 2000).map(([name]) => name),
    );
    assertSame([...names].sort(), Object.keys(kind.runs).sort());
  });
}
