import { assert, assertEquals } from "@std/assert";
import { PersistentDict } from "../../mod.ts";
import { committed } from "../support/dicts.ts";

Deno.test("Iterators of a PersistentDict see what happens meanwhile, as those of a Map", () => {
  for (const make of [() => new Map(), () => new PersistentDict()]) {
    const map: Map<string, number> = make();
    map.set("a", 1).set("b", 2).set("c", 3);
    const seen: string[] = [];
    for (const key of map.keys()) {
      seen.push(key);
      if (key === "a") map.delete("b");
      if (key === "c") map.set("d", 4).delete("a");
      if (key === "d" && seen.length < 5) map.set("a", 5);
    }
    assertEquals(seen, ["a", "c", "d", "a"]);
    const values = map.values();
    assertEquals(values.next(), { done: false, value: 3 });
    map.clear();
    assertEquals(values.next(), { done: true, value: undefined });
    map.set("a", 1);
    assertEquals(values.next(), { done: true, value: undefined });
  }
});

Deno.test("Iterators of a PersistentDict have the iterator helpers", () => {
  const dict = new PersistentDict([["a", 1], ["b", 2], ["c", 3]]);
  assertEquals(
    dict.values().filter((n) => n !== 2).map((n) => n * 2).toArray(),
    [2, 6],
  );
  assertEquals(dict.entries().drop(1).next().value, ["b", 2]);
  // Leaving a loop does not end the iterator.
  const keys = dict.keys();
  for (const _ of keys) break;
  assertEquals([...keys], ["b", "c"]);
});

Deno.test("A loop over a PersistentDict goes on after an abort", () => {
  using setup = committed([["a", 1], ["b", 2], ["c", 3], ["d", 4]]);
  const { connection, dict } = setup;
  const seen: unknown[] = [];
  for (const [key, value] of dict) {
    seen.push([key, value]);
    if (key !== "b") continue;
    dict.set("c", 30).set("e", 50).delete("a");
    connection.abort();
  }
  assertEquals(seen, [["a", 1], ["b", 2], ["c", 3], ["d", 4]]);
});

Deno.test("A loop over a PersistentDict comes to its end when each turn is taken back", () => {
  using setup = committed([["a", 1], ["b", 2], ["c", 3]]);
  const { connection, dict } = setup;
  const seen: string[] = [];
  dict.forEach((_, key) => {
    seen.push(key);
    dict.delete(key);
    connection.abort();
  });
  assertEquals(seen, ["a", "b", "c"]);
  for (const key of dict.keys()) {
    seen.push(key);
    dict.set(key + key, 0);
    connection.abort();
  }
  assertEquals(seen, ["a", "b", "c", "a", "b", "c"]);
});

Deno.test("A loop over a PersistentDict may commit each turn", () => {
  using setup = committed([["a", 1], ["b", 2], ["c", 3]]);
  const { connection, dict } = setup;
  connection.cacheSize = 1;
  const seen: string[] = [];
  for (const key of dict.keys()) {
    seen.push(key);
    dict.delete(key);
    connection.commit();
    // Without a use of it in between, it is evicted.
    connection.root.get("x");
    connection.commit();
    connection.commit();
    assert(dict._p_isGhost());
  }
  assertEquals(seen, ["a", "b", "c"]);
  assertEquals(dict.size, 0);
});

Deno.test("A loop over a PersistentDict goes on in what others have made of it", () => {
  using setup = committed([["a", 1], ["b", 2], ["c", 3]]);
  const { connection, dict, other, ghost } = setup;
  const entries = dict.entries();
  entries.next();
  entries.next();
  ghost.delete("a");
  ghost.set("c", 30).set("d", 40);
  other.commit();
  // Still the snapshot: nothing of it is seen.
  assertEquals(entries.next().value, ["c", 3]);
  connection.abort();
  assertEquals([...entries], [["d", 40]]);

  const keys = dict.keys();
  assertEquals([keys.next().value, keys.next().value], ["b", "c"]);
  ghost.delete("c");
  other.commit();
  connection.abort();
  // The key that it gave last is gone: on with the next that is still there.
  assertEquals([...keys], ["d"]);
});

Deno.test("A loop over a PersistentDict whose last key was added again goes on before it", () => {
  using setup = committed([["a", 1], ["b", 2], ["c", 3]]);
  const { connection, dict } = setup;
  connection.cacheSize = 1;
  const keys = dict.keys();
  assertEquals(keys.next().value, "a");
  dict.delete("a");
  dict.set("a", 4);
  connection.commit();
  connection.root.get("x");
  connection.commit();
  connection.commit();
  assert(dict._p_isGhost());
  assertEquals([...keys], ["b", "c", "a"]);
});

Deno.test("A loop over a PersistentDict sees what an abort brings back before it", () => {
  using setup = committed([["a", 1], ["b", 2], ["c", 3]]);
  const { connection, dict } = setup;
  const keys = dict.keys();
  assertEquals(keys.next().value, "a");
  dict.delete("b");
  connection.abort();
  assertEquals([...keys], ["b", "c"]);
});

Deno.test("A loop over a PersistentDict passes nothing over when its last key has moved", () => {
  using setup = committed([["a", 1], ["b", 2], ["c", 3]]);
  const { connection, dict, other, ghost } = setup;
  const keys = dict.keys();
  assertEquals(keys.next().value, "a");
  dict.delete("a");
  dict.set("a", 4);
  connection.commit();
  other.abort();
  ghost.set("d", 5);
  other.commit();
  connection.abort();
  assertEquals([...keys], ["b", "c", "a", "d"]);
});

Deno.test("A loop over a PersistentDict with plain objects as keys bears an eviction", () => {
  using setup = committed<unknown, number>([[{}, 1], [[], 2], ["c", 3]]);
  const { connection, dict } = setup;
  connection.cacheSize = 1;
  const values = dict.values();
  assertEquals(values.next().value, 1);
  connection.commit();
  connection.root.get("x");
  connection.commit();
  connection.commit();
  assert(dict._p_isGhost());
  assertEquals([...values], [2, 3]);
});
