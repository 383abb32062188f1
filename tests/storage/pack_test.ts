/** How packing goes while others commit, for storages that pack in steps. */
import { assert, assertEquals } from "@std/assert";
import { FileStorage } from "../../lib/storage/file_storage.ts";
import { MemoryStorage } from "../../lib/storage/memory_storage.ts";
import { pack, type PackWork } from "../../lib/storage/pack.ts";
import { OidQueue } from "../../lib/storage/oid_queue.ts";
import type { Storage } from "../../lib/storage/storage.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";

/** Runs a test on each storage that packs in steps. */
function test(name: string, run: (storage: Storage) => void): void {
  Deno.test(`MemoryStorage: ${name}`, () => {
    using storage = new MemoryStorage();
    run(storage);
  });
  Deno.test(`FileStorage: ${name}`, () => {
    const directory = Deno.makeTempDirSync();
    try {
      using storage = new FileStorage(`${directory}/test.dhara`, {
        sync: false,
      });
      run(storage);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}

test("a pack ends, though each step is followed by a commit larger than a step", (storage) => {
  using session = storage.session();
  const oids = Array.from({ length: 3 }, (_, i) => i + 1);
  const commit = (text: string) => {
    session.sync();
    store(
      session,
      textRecord(0, "root", oids),
      ...oids.map((oid) => textRecord(oid, text.repeat(200_000))),
    );
  };
  commit("-");
  let steps = 0;
  for (const _ of storage.packInSteps()) {
    commit(`${steps % 10}`);
    assert(++steps < 500, "it does not end");
  }
  session.sync();
  for (const oid of oids) {
    assertEquals(textOf(session, oid), `${(steps - 1) % 10}`.repeat(200_000));
  }
});

test("a pack of many objects goes in small steps, whatever is committed between them", (storage) => {
  const count = 30_000;
  using session = storage.session();
  for (let from = 0; from < count; from += 10_000) {
    session.allocate(10_000);
    store(
      session,
      ...Array.from({ length: 10_000 }, (_, i) => from + i).map((oid) =>
        textRecord(
          oid,
          "x".repeat(200),
          [2 * oid + 1, 2 * oid + 2].filter((to) => to < count),
        )
      ),
    );
  }
  let commits = 0;
  let last = 0;
  let largest = 0;
  for (const { records } of storage.packInSteps()) {
    largest = Math.max(largest, records - last);
    last = records;
    session.sync();
    store(session, textRecord(count - 1 - commits, `${commits}`));
    commits++;
  }
  // No commit waits for more than that.
  assert(largest <= 1000, `a step copies ${largest} records`);
  // It copies each object once, and again if it was changed.
  assert(last <= count + 2 * commits, `${last} records were copied`);
  session.sync();
  for (let i = 0; i < commits; i++) {
    assertEquals(textOf(session, count - 1 - i), `${i}`);
  }
  for (let oid = 0; oid < count - commits; oid += 7) {
    assertEquals(textOf(session, oid).length, 200);
  }
});

Deno.test("OidQueue gives back what was put in, and knows how much is left", () => {
  const queue = new OidQueue();
  const expected: number[] = [];
  let next = 0;
  for (let round = 0; round < 60; round++) {
    for (let i = 0; i < 1000; i++) {
      queue.push(next);
      expected.push(next++);
    }
    const take = round % 7 === 6 ? expected.length : round * 60 % 1900;
    for (let i = 0; i < take; i++) {
      assertEquals(queue.shift(), expected.shift());
    }
    assertEquals(queue.length, expected.length);
    assertEquals(queue.isEmpty, expected.length === 0);
  }
});

Deno.test("garbage that is linked again in any step of a pack stays, with all that it leads to", () => {
  // The steps of looking through the objects, and of preparing the last step.
  for (const [when, looks] of [["oids", 20_000], ["prepare", 0]] as const) {
    const [root, garbage, leaf, lost] = [0, 1, 2, 3];
    const records = new Map([
      textRecord(root, "root"),
      textRecord(garbage, "linked again", [leaf]),
      textRecord(leaf, "leaf"),
      textRecord(lost, "lost"),
    ]);
    for (let i = 0; i < looks; i++) records.set(...textRecord(4 + i, "lost"));
    const changed = new Set<number>();
    const copied = new Map<number, Uint8Array>();
    const link = () => {
      if (changed.size > 0 || copied.has(garbage)) return;
      records.set(...textRecord(root, "root", [garbage]));
      changed.add(root);
    };
    let removed: readonly number[] | undefined;
    const work: PackWork = {
      changed,
      copy(oid) {
        const record = records.get(oid);
        if (record !== undefined) copied.set(oid, record);
        return record;
      },
      oids: () => [...records.keys()],
      *prepare() {
        if (when === "prepare") link();
        yield;
      },
      finish: (oids) => removed = oids,
    };
    for (const _ of pack(work)) if (when === "oids") link();
    assertEquals([...copied.keys()].sort(), [root, garbage, leaf]);
    assertEquals(copied.get(root), records.get(root));
    assertEquals(removed?.length, 1 + looks);
    assertEquals(removed?.includes(lost), true);
    assertEquals(removed?.some((oid) => copied.has(oid)), false);
  }
});
