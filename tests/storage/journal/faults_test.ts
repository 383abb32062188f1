/**
 * A journal on a disk where something goes wrong: each operation of a program's
 * life in turn, in every way that such an operation can go wrong.
 */
import { assert, assertEquals } from "@std/assert";
import {
  DamagedFileError,
  DharaError,
  ObjectNotFoundError,
} from "../../../lib/errors.ts";
import {
  type Oid,
  packRecord,
  recordData,
  recordReferences,
} from "../../../lib/serialize/record.ts";
import { type FileStorage, openOn } from "../../../lib/storage/file_storage.ts";
import type { PackOptions, Session } from "../../../lib/storage/storage.ts";
import {
  type Fault,
  type Keep,
  type Operation,
  type Plan,
  PowerFailure,
  SimulatedDisk,
} from "../../support/simulated_disk.ts";

const long = Deno.env.get("DHARA_TEST_LONG") !== undefined;

const PATH = "x";

/** How long each object's record is, and how often it was changed. */
type State = ReadonlyMap<Oid, { length: number; version: number }>;

const NOTHING: State = new Map();

/** What an object's data is filled with. */
function byteOf(oid: Oid, { version }: { version: number }): number {
  return (7 * version + oid) % 256;
}

function recordOf(oid: Oid, state: State): [Oid, Uint8Array] {
  const object = state.get(oid)!;
  const data = new Uint8Array(object.length).fill(byteOf(oid, object));
  // All can be reached from the root.
  const references = oid === 0 ? [...state.keys()].filter((to) => to > 0) : [];
  return [oid, packRecord(oid, data, references)];
}

/** Whether a storage holds exactly that. */
function holds(storage: FileStorage, state: State): boolean {
  using session = storage.session();
  for (let oid = 0; oid < 40; oid++) {
    let record: Uint8Array | undefined;
    try {
      record = session.load(oid);
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) throw error;
    }
    const object = state.get(oid);
    if (record === undefined || object === undefined) {
      if (record === object) continue;
      return false;
    }
    // The storage has tested its checksum.
    const data = recordData(record);
    const byte = byteOf(oid, object);
    if (data.length !== object.length) return false;
    if (data[0] !== byte || data.at(-1) !== byte) return false;
    if (oid === 0 && recordReferences(record).length !== state.size - 1) {
      return false;
    }
  }
  return true;
}

/** A program, which knows what was confirmed to it. */
class Program {
  /** What the last confirmed commit made. */
  confirmed = NOTHING;
  /** What a commit after it would have made of which nobody can say whether it is stored. */
  unsure: State | undefined;
  /** The errors that it was told. */
  readonly errors: DharaError[] = [];
  readonly disk: SimulatedDisk;
  /** Whether it goes on after an error that advises to open the storage again. */
  readonly #stubborn: boolean;
  #storage: FileStorage | undefined;
  #session: Session | undefined;
  #tid = 0;
  #version = 0;

  constructor(disk: SimulatedDisk, stubborn: boolean) {
    this.disk = disk;
    this.#stubborn = stubborn;
  }

  /** Does something that may fail, with an error of ours. */
  #try(act: () => void): DharaError | undefined {
    try {
      act();
      return undefined;
    } catch (error) {
      if (isPowerFailure(error)) throw error;
      // Whatever goes wrong is said in our own words, and never looks like damage.
      if (!(error instanceof DharaError)) throw error;
      if (error instanceof DamagedFileError) throw error;
      assert(this.disk.faulted, `nothing was wrong: ${error.message}`);
      this.errors.push(error);
      return error;
    }
  }

  open(): void {
    for (let attempt = 0; this.#storage === undefined; attempt++) {
      assert(attempt < 10, "it cannot be opened any more");
      this.#try(() => this.#storage = openOn(this.disk, PATH));
    }
    this.#session = this.#storage.session();
    // Now everybody can see whether it is stored.
    if (this.unsure !== undefined && holds(this.#storage, this.unsure)) {
      this.confirmed = this.unsure;
    }
    this.unsure = undefined;
    assert(holds(this.#storage, this.confirmed), "a commit is gone");
  }

  close(): void {
    const storage = this.#storage!;
    this.#storage = undefined;
    this.#try(() => storage.close());
  }

  reopen(): void {
    this.close();
    this.open();
  }

  /** Changes the objects of these numbers, and makes new ones of these lengths. */
  commit(changes: Oid[], lengths: number[]): void {
    const session = this.#session!;
    session.sync();
    const state = new Map(this.confirmed);
    const made = session.allocate(lengths.length);
    for (const [i, oid] of made.entries()) {
      assert(!state.has(oid), `#${oid} was given out twice`);
      state.set(oid, { length: lengths[i]!, version: ++this.#version });
    }
    // What an earlier commit should have made may be missing.
    const changed = changes.filter((oid) => state.has(oid));
    // The root refers to all.
    for (const oid of new Set([0, ...changed])) {
      const { length } = state.get(oid) ?? { length: 100 };
      state.set(oid, { length, version: ++this.#version });
    }
    const records = [...state]
      .filter(([oid, object]) => this.confirmed.get(oid) !== object)
      .map(([oid]) => recordOf(oid, state));
    const before = this.unsure;
    this.unsure = state;
    const error = this.#try(() => {
      const result = session.commit(records);
      assert("tid" in result);
      assert(result.tid > this.#tid);
      this.#tid = result.tid;
      this.confirmed = state;
      this.unsure = undefined;
    });
    // What is visible is what was confirmed.
    assert(holds(this.#storage!, this.confirmed));
    if (error === undefined) return;
    const { message } = error;
    const isRefusal = message.includes("close the storage and open it again");
    if (isRefusal || message.includes("nothing was stored")) {
      this.unsure = before;
    }
    if (message.includes("open it again")) {
      if (!this.#stubborn) this.reopen();
    } else if (!this.#stubborn) {
      // It can go on.
      assert(this.errors.length < 50, `it cannot go on: ${message}`);
      this.commit(changes, lengths);
    }
  }

  /** Packs, with a commit after each step. */
  pack(options?: PackOptions): void {
    this.#try(() => {
      const storage = this.#storage!;
      for (const _ of storage.packInSteps(options)) {
        this.commit([1], []);
        // Somebody who opens it again has given up the pack.
        if (this.#storage !== storage) return;
      }
    });
    assert(holds(this.#storage!, this.confirmed));
  }
}

/** The failure may have been told on the way, or met again while cleaning up. */
function isPowerFailure(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof PowerFailure) return true;
  }
  return false;
}

/** What a program does. It writes index blocks, packs, and meets what a crash left. */
function live(program: Program): void {
  program.open();
  program.commit([], [100]);
  program.commit([], [10, 400_000, 50, 5000]);
  program.commit([0, 1], []);
  program.commit([2], []);
  program.commit([2, 3], []);
  program.commit([4], [70]);
  program.pack({ prepack: true });
  program.commit([1, 2, 3], []);
  program.reopen();
  program.commit([1], [3000]);
  program.close();
  // A transaction that was not written to its end.
  program.disk.append(PATH, new Uint8Array(700));
  program.open();
  program.commit([0, 1], [20]);
  program.pack({ keep: "1d", prepack: true });
  program.commit([1], []);
  program.close();
}

/** A storage that was opened after something went wrong must be as good as any. */
function goesOn(
  disk: SimulatedDisk,
  { confirmed, unsure }: Pick<Program, "confirmed" | "unsure">,
): void {
  const program = new Program(disk, false);
  Object.assign(program, { confirmed, unsure });
  program.open();
  program.commit([0], []);
  program.commit([], [2000]);
  program.pack();
  program.reopen();
  program.commit([0], []);
  program.reopen();
  program.close();
  assertEquals(
    disk.names().filter((name) => name.endsWith(".pack")),
    [],
  );
}

/** Every operation of a life in which nothing goes wrong. */
function operations(): readonly Operation[] {
  const disk = new SimulatedDisk();
  const program = new Program(disk, false);
  live(program);
  assertEquals(program.errors, []);
  return disk.log;
}

/** Lives with something wrong; returns the program as it was when it ended, or when the power failed. */
function liveWith(plans: Plan[], stubborn: boolean): Program {
  const disk = new SimulatedDisk();
  disk.plans = plans;
  const program = new Program(disk, stubborn);
  try {
    live(program);
  } catch (error) {
    if (isPowerFailure(error)) return program;
    throw new Error(
      `with ${JSON.stringify(plans)}${stubborn ? ", going on" : ""}`,
      { cause: error },
    );
  }
  return program;
}

/** What the disk keeps of what was not synced. */
function keeps(seed: number): [string, Keep][] {
  const some: [string, Keep][] = [];
  for (let i = 0; i < (long ? 12 : 2); i++) {
    let state = seed * 31 + i + 1;
    // A simple generator, so that a failure can be had again.
    const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
    some.push([`random ${i}`, () => random() < (i + 1) / 4]);
  }
  let sectors = 0;
  return [
    ["nothing", () => false],
    ["all", () => true],
    ["the names", (what) => what === "names"],
    ["the lengths", (what) => what === "length"],
    ["the names and lengths", (what) => what !== "sector"],
    ["the bytes", (what) => what !== "names"],
    ["the first bytes", (what) => what !== "sector" || sectors++ < 3],
    ...some,
  ];
}

/** Brings the power back, and looks. */
function assertNothingLost(program: Program, seed: number): void {
  for (const [what, keep] of keeps(seed)) {
    const disk = program.disk.clone();
    disk.crash(keep);
    try {
      let storage: FileStorage;
      try {
        storage = openOn(disk, PATH);
      } catch (error) {
        // A commit that was not confirmed, and is there in part, may look like
        // damage. Then a repair cuts off that, and nothing else.
        if (!(error instanceof DamagedFileError)) throw error;
        assert(what.startsWith("random"), error.message);
        storage = openOn(disk, PATH, { repair: true });
      }
      let state = program.confirmed;
      if (!holds(storage, state)) {
        assert(program.unsure !== undefined, "a commit is gone");
        state = program.unsure;
        assert(holds(storage, state), "it is neither before nor after");
      }
      storage.close();
      if (!long && what !== "all" && what !== "nothing") continue;
      goesOn(disk, { confirmed: state, unsure: undefined });
    } catch (error) {
      throw new Error(`when the disk keeps ${what}`, { cause: error });
    }
  }
}

/** How each operation can go wrong. */
const FAULTS: Record<Operation, Fault[]> = {
  open: ["fails"],
  write: ["fails", "cut short", "partial", "fails late"],
  truncate: ["fails", "fails late"],
  sync: ["fails", "fails and forgets", "fails late"],
  link: ["fails", "fails late"],
  rename: ["fails"],
  remove: ["fails"],
  "sync directory": ["fails", "fails late"],
};

Deno.test("the power fails at any operation: no commit is lost, and none is there in part", () => {
  const log = operations();
  for (const expected of Object.keys(FAULTS)) {
    assert(log.includes(expected as Operation), `it never does: ${expected}`);
  }
  for (let at = 0; at < log.length; at++) {
    const program = liveWith([{ at, fault: "power" }], false);
    try {
      assertNothingLost(program, at);
    } catch (error) {
      throw new Error(`at operation ${at}, ${log[at]}`, { cause: error });
    }
  }
});

Deno.test("any operation goes wrong: it is reported, no commit is lost, and the program goes on", () => {
  const log = operations();
  for (let at = 0; at < log.length; at++) {
    for (const fault of FAULTS[log[at]!]) {
      for (const times of long ? [1, 2, 3, 5, 8] : [1, 4]) {
        // One that advises to open the storage again may find no ear.
        for (const stubborn of [false, true]) {
          const program = liveWith([{ at, fault, times }], stubborn);
          const { disk } = program;
          disk.plans = [];
          assert(disk.faulted);
          try {
            goesOn(disk, program);
          } catch (error) {
            throw new Error(
              `after ${fault} at ${at}, ${
                log[at]
              }, ${times} times, ${stubborn}`,
              { cause: error },
            );
          }
        }
      }
    }
  }
});

Deno.test("any operation goes wrong, and then the power fails: no commit is lost", () => {
  const log = operations();
  const later = long ? [1, 2, 3, 4, 5, 6, 8, 11, 15, 20, 30] : [1, 2, 4, 9];
  for (let at = 0; at < log.length; at++) {
    for (const fault of FAULTS[log[at]!]) {
      for (const after of long ? later : [later[at % later.length]!]) {
        const plans: Plan[] = [
          { at, fault },
          { at: at + after, fault: "power" },
        ];
        const program = liveWith(plans, at % 2 === 0);
        try {
          assertNothingLost(program, at);
        } catch (error) {
          throw new Error(`with ${JSON.stringify(plans)}, ${log[at]}`, {
            cause: error,
          });
        }
      }
    }
  }
});
