import { assertEquals } from "@std/assert";
import { MemoryStorage } from "../../lib/storage/memory_storage.ts";
import { testStorage } from "../../lib/testing/mod.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";

testStorage("MemoryStorage", () => {
  const storage = new MemoryStorage();
  return { storage, dispose: () => storage.close() };
});

Deno.test("MemoryStorage keeps a revision only as long as a session needs it", () => {
  using storage = new MemoryStorage();
  using writer = storage.session();
  for (let i = 0; i < 10; i++) store(writer, textRecord(0, `${i}`));
  assertEquals(storage.recordCount, 1);
  const early = storage.session();
  for (let i = 10; i < 20; i++) store(writer, textRecord(0, `${i}`));
  // One for each of the two sessions, nothing in between.
  assertEquals(storage.recordCount, 2);
  const late = storage.session();
  for (let i = 20; i < 30; i++) store(writer, textRecord(0, `${i}`));
  assertEquals(storage.recordCount, 3);
  assertEquals(textOf(early, 0), "9");
  assertEquals(textOf(late, 0), "19");
  early.sync();
  assertEquals(textOf(early, 0), "29");
  late.close();
  early.close();
  assertEquals(storage.recordCount, 1);
  assertEquals(textOf(writer, 0), "29");
});

Deno.test("MemoryStorage keeps little for a session that stays behind while others move", () => {
  using storage = new MemoryStorage();
  using writer = storage.session();
  using follower = storage.session();
  store(writer, textRecord(0, "first"));
  follower.sync();
  using stays = storage.session();
  for (let i = 0; i < 1000; i++) {
    follower.sync();
    store(writer, textRecord(0, `${i}`));
  }
  assertEquals(storage.recordCount < 200, true);
  assertEquals(textOf(stays, 0), "first");
  assertEquals(textOf(follower, 0), "998");
});

Deno.test("MemoryStorage keeps what an earlier session reads when a later one is closed", () => {
  using storage = new MemoryStorage();
  using writer = storage.session();
  store(writer, textRecord(0, "first"), textRecord(1, "first"));
  using early = storage.session();
  store(writer, textRecord(1, "second"));
  const late = storage.session();
  store(writer, textRecord(0, "third"), textRecord(1, "third"));
  late.close();
  assertEquals([textOf(early, 0), textOf(early, 1)], ["first", "first"]);
  assertEquals(storage.recordCount, 4);
});
