/** How packing goes while others commit, for storages that pack in steps. */
import { assert, assertEquals } from "@std/assert";
import { FileStorage } from "../lib/storage/file_storage.ts";
import { MemoryStorage } from "../lib/storage/memory_storage.ts";
import { OidQueue } from "../lib/storage/oid_queue.ts";
import type { Storage } from "../lib/storage/storage.ts";
import { store, textOf, textRecord } from "./storage_suite.ts";

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
  const oids = Array.from({ length: 8 }, (_, i) => i + 1);
  const commit = (text: string) => {
    session.sync();
    store(
      session,
      textRecord(0, "root", oids),
      ...oids.map((oid) => textRecord(oid, text.repeat(300_000))),
    );
  };
  commit("-");
  let steps = 0;
  for (const _ of storage.pack()) {
    commit(`${steps % 10}`);
    assert(++steps < 200, "it does not end");
  }
  session.sync();
  for (const oid of oids) {
    assertEquals(textOf(session, oid), `${(steps - 1) % 10}`.repeat(300_000));
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
