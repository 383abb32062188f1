/** Whatever is committed, undone and packed: every moment that is kept is as a model says. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  ObjectNotFoundError,
  StorageError,
  UndoError,
} from "../../../lib/errors.ts";
import type { Oid } from "../../../lib/serialize/record.ts";
import {
  FileStorage,
  FileStorage2,
} from "../../../lib/storage/file_storage.ts";
import { verify } from "../../../lib/maintenance/verify.ts";
import { textRecord } from "../../../lib/testing/records.ts";

interface Thing {
  readonly text: string;
  readonly references: readonly Oid[];
}
type State = ReadonlyMap<Oid, Thing>;
interface Transaction {
  readonly tid: number;
  readonly note: string;
  readonly changes: State;
}

/** What a storage must hold: a state, and what was committed since. */
class Model {
  base: State = new Map();
  baseTid = 0;
  transactions: Transaction[] = [];

  stateAt(tid: number): State {
    const state = new Map(this.base);
    for (const transaction of this.transactions) {
      if (transaction.tid > tid) break;
      for (const [oid, thing] of transaction.changes) state.set(oid, thing);
    }
    return state;
  }

  get newest(): State {
    return this.stateAt(Infinity);
  }

  /** Forgets what was before a moment, and nothing that anything later may need. */
  pack(moment: number): void {
    const kept = this.transactions.filter(({ tid }) => tid > moment);
    const before = this.transactions.filter(({ tid }) => tid <= moment);
    const state = this.stateAt(moment);
    const wanted = [0];
    for (const { changes } of kept) {
      for (const [oid, { references }] of changes) {
        wanted.push(oid, ...references);
      }
    }
    const base = new Map<Oid, Thing>();
    for (let oid = wanted.pop(); oid !== undefined; oid = wanted.pop()) {
      const thing = state.get(oid);
      if (thing === undefined || base.has(oid)) continue;
      base.set(oid, thing);
      wanted.push(...thing.references);
    }
    this.base = base;
    this.baseTid = before.at(-1)?.tid ?? this.baseTid;
    this.transactions = kept;
  }

  /** Returns what undoing a transaction would store, or "later" if something is in its way. */
  undo({ tid, changes }: Transaction): State | "later" {
    const before = this.stateAt(tid - 1);
    const newest = this.newest;
    const restored = new Map<Oid, Thing>();
    for (const [oid, thing] of changes) {
      if (JSON.stringify(newest.get(oid)) !== JSON.stringify(thing)) {
        return "later";
      }
      if (before.has(oid)) restored.set(oid, before.get(oid)!);
    }
    return restored;
  }
}

const MOST = 9;
const oid = fc.integer({ min: 0, max: MOST });
const change = fc.record({
  // The root often, or everything is garbage.
  oid: fc.oneof(fc.constant(0), oid),
  length: fc.oneof(
    { weight: 9, arbitrary: fc.nat(10) },
    { weight: 1, arbitrary: fc.nat(60_000) },
  ),
  references: fc.array(oid, { maxLength: 4 }),
});
const changes = fc.uniqueArray(change, {
  selector: ({ oid }) => oid,
  minLength: 1,
  maxLength: 4,
});
type Changes = typeof changes extends fc.Arbitrary<infer T> ? T : never;
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant("commit" as const), changes }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("undo" as const), back: fc.nat(6) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("pack" as const),
      back: fc.option(fc.nat(8)),
      meanwhile: fc.array(changes, { maxLength: 2 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom("reopen" as const) }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function recordOf(oid: Oid, { text, references }: Thing) {
  return textRecord(oid, text, [...references]);
}

function run(path: string, type: typeof FileStorage, steps: Step[]): void {
  const model = new Model();
  let storage = new type(path, { sync: false });
  let count = 0;

  function commit(wanted: Changes): void {
    const newest = model.newest;
    const oids = new Set([...newest.keys(), ...wanted.map(({ oid }) => oid)]);
    const changes = new Map(wanted.map(({ oid, length, references }) => [oid, {
      text: `${count} `.repeat(length),
      references: references.filter((to) => oids.has(to)),
    }]));
    const note = `note ${count++}`;
    using session = storage.session();
    session.commit([...changes].map((entry) => recordOf(...entry)), { note });
    model.transactions.push({ tid: session.tid, note, changes });
  }

  function undo(transaction: Transaction): void {
    const changes = model.undo(transaction);
    const note = `note ${count++}`;
    if (changes === "later") {
      assertThrows(() => storage.undo(transaction.tid, { note }), UndoError);
    } else if (changes.size === 0) {
      assertThrows(
        () => storage.undo(transaction.tid, { note }),
        StorageError,
        "nothing to go back to",
      );
    } else {
      const tid = storage.undo(transaction.tid, { note });
      model.transactions.push({ tid, note, changes });
    }
  }

  function check(): void {
    const { transactions, baseTid } = model;
    assertEquals(
      [...storage.transactions()].map(({ tid, note, records }) => ({
        tid,
        note,
        records,
      })),
      transactions.map(({ tid, note, changes }) => ({
        tid,
        note,
        records: changes.size,
      })).reverse(),
    );
    const tids = [baseTid, ...transactions.map(({ tid }) => tid)];
    for (const tid of tids) {
      using session = storage.session({ at: tid });
      assertEquals(session.tid, tid);
      const state = model.stateAt(tid);
      for (let oid = 0; oid <= MOST; oid++) {
        const thing = state.get(oid);
        if (thing === undefined) {
          assertThrows(() => session.load(oid), ObjectNotFoundError);
        } else assertEquals(session.load(oid), recordOf(oid, thing)[1]);
      }
    }
    if (baseTid > 0) {
      assertThrows(
        () => storage.session({ at: baseTid - 1 }),
        StorageError,
        `the oldest moment that can be read is ${baseTid}`,
      );
    }
    for (const oid of model.newest.keys()) {
      const revisions = [...storage.history(oid)];
      const kept = transactions.filter(({ changes }) => changes.has(oid));
      const later = revisions.filter(({ tid }) => tid > baseTid);
      assertEquals(
        later.map(({ tid, note }) => [tid, note]),
        kept.map(({ tid, note }) => [tid, note]).reverse(),
      );
      assertEquals(model.base.has(oid), revisions.length > later.length);
    }
  }

  try {
    for (const step of steps) {
      const { transactions } = model;
      switch (step.do) {
        case "commit":
          commit(step.changes);
          break;
        case "undo": {
          const transaction = transactions.at(-1 - step.back);
          if (transaction !== undefined) undo(transaction);
          break;
        }
        case "pack": {
          const now = transactions.at(-1)?.tid ?? model.baseTid;
          const keep = step.back === null
            ? undefined
            : transactions.at(-1 - step.back)?.tid ?? 0;
          const { meanwhile } = step;
          const options = keep === undefined ? {} : { keep };
          let i = 0;
          for (const _ of storage.packInSteps(options)) {
            // The last step is the end: nothing is taken over after it.
            if (i < meanwhile.length) commit(meanwhile[i++]!);
          }
          model.pack(keep ?? now);
          check();
          break;
        }
        case "reopen":
          storage.close();
          storage = new type(path, { sync: false });
          break;
      }
    }
    check();
    storage.close();
    storage = new type(path, { sync: false });
    check();
  } finally {
    storage.close();
  }
}

for (const type of [FileStorage, FileStorage2]) {
  Deno.test(`${type.name}: whatever is committed, undone and packed, every kept moment is as in a model`, async () => {
    const directory = Deno.makeTempDirSync();
    let run_ = 0;
    let packs = 0;
    try {
      await fc.assert(
        fc.asyncProperty(
          fc.array(step, { minLength: 5, maxLength: 40 }),
          async (steps) => {
            const path = `${directory}/${run_++}.dhara`;
            packs += steps.filter((step) => step.do === "pack").length;
            run(path, type, steps);
            const { good, damage, dangling } = await verify(path);
            assert(good, JSON.stringify({ damage, dangling }));
            Deno.removeSync(path);
          },
        ),
        { numRuns: Number(Deno.env.get("DHARA_TEST_RUNS") ?? 150) },
      );
      assert(packs > 0);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}
