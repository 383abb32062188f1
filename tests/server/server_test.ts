import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  ListenError,
  ReadConflictError,
  ReadonlyError,
  StorageError,
} from "../../lib/errors.ts";
import type { Storage } from "../../lib/storage/storage.ts";
import { MemoryStorage } from "../../lib/storage/memory_storage.ts";
import { StorageServer } from "../../server.ts";
import {
  int4,
  int8,
  join,
  RawClient,
  record,
  transaction,
} from "../support/raw_client.ts";
import { altered, makeRoot, Served } from "../support/served.ts";

Deno.test("V is answered with the server's own protocol", async () => {
  await using served = await Served.start();
  using client = await RawClient.connectSilently(served.server);
  await client.send("V", int4(1));
  assertEquals(await client.read(4), Uint8Array.of(0, 0, 0, 1));
  await client.send("N");
  assertEquals(await client.int8(), 0);
});

Deno.test("V with another protocol is answered, and the connection closed", async () => {
  await using served = await Served.start();
  using client = await RawClient.connectSilently(served.server);
  await client.send("V", int4(7), "N");
  assertEquals(await client.read(100), Uint8Array.of(0, 0, 0, 1));
  await served.logged("it speaks protocol 7, not 1");
});

Deno.test("N and M give numbers that nobody else gets", async () => {
  await using served = await Served.start();
  using one = await served.connect();
  using two = await served.connect();
  await one.send("N");
  const oids = [
    await one.int8(),
    ...await two.allocate(255),
    ...await one.allocate(255),
    ...await two.allocate(0),
    ...await one.allocate(3),
  ];
  assertEquals(oids[0], 0);
  assertEquals(new Set(oids).size, 1 + 255 + 255 + 3);
});

Deno.test("L gives a committed record byte for byte", async () => {
  await using served = await Served.start();
  using client = await served.connect();
  const [a] = await makeRoot(client);
  const bytes = record(a!, "\x00pickle or anything\xff", [0, a!]);
  assertEquals(await client.commit([a!, bytes]), { invalid: [], answer: "O" });
  assertEquals(await client.load(a!), bytes);
  assertEquals(await client.load(0), record(0, "root"));
});

Deno.test("L answers K where there is no such object", async () => {
  await using served = await Served.start();
  using client = await served.connect();
  assertEquals(await client.load(0), "K");
  assertEquals(await client.load(12345), "K");
});

Deno.test("L serves the client's snapshot until it syncs", async () => {
  await using served = await Served.start();
  using writer = await served.connect();
  const [a] = await makeRoot(writer);
  await writer.commit([a!, record(a!, "old")]);
  using reader = await served.connect();
  await writer.commit([a!, record(a!, "new")]);
  assertEquals(await reader.load(a!), record(a!, "old"));
  assertEquals(await reader.sync(), [a!]);
  assertEquals(await reader.load(a!), record(a!, "new"));
  assertEquals(await reader.sync(), []);
});

Deno.test("L answers I for an object that is newer than the snapshot", async () => {
  await using served = await Served.start();
  using early = await served.connect();
  using writer = await served.connect();
  await makeRoot(writer);
  assertEquals(await early.load(0), "I");
  assertEquals(await early.load(0), "I");
  assertEquals(await early.sync(), [0]);
  assertEquals(await early.load(0), record(0, "root"));
});

Deno.test("L answers I where the storage no longer has the revision", async () => {
  const storage = altered(new MemoryStorage(), () => ({
    load: (oid) => {
      throw new ReadConflictError("Cannot load", { oids: [oid] });
    },
  }));
  await using served = await Served.start({ storage });
  using client = await served.connect();
  assertEquals(await client.load(3), "I");
});

Deno.test("B answers for each object in the order asked", async () => {
  await using served = await Served.start();
  using client = await served.connect();
  const [a, b] = await makeRoot(client);
  await client.commit([a!, record(a!, "a")], [b!, record(b!, "b")]);
  await client.send("B", int4(4), int8(b!), int8(999), int8(a!), int8(b!));
  assertEquals(await client.answer(), record(b!, "b"));
  assertEquals(await client.answer(), "K");
  assertEquals(await client.answer(), record(a!, "a"));
  assertEquals(await client.answer(), record(b!, "b"));
  await client.send("B", int4(0), "S");
  assertEquals(await client.oids(), []);
});

Deno.test("B serves far more than any buffer holds", async () => {
  await using served = await Served.start();
  using client = await served.connect();
  const [a, b] = await makeRoot(client);
  const large = record(a!, "x".repeat(100_000));
  await client.commit([a!, large], [b!, record(b!, "b")]);
  const asked = Array.from({ length: 200 }, (_, i) => i % 2 ? a! : b!);
  await client.send("B", int4(asked.length), ...asked.map(int8));
  for (const oid of asked) {
    assertEquals(await client.answer(), oid === a ? large : record(b!, "b"));
  }
});

Deno.test("C and zero bytes give a commit up", async () => {
  await using served = await Served.start();
  using one = await served.connect();
  const [a] = await makeRoot(one);
  using two = await served.connect();
  await one.commit([a!, record(a!, "a")]);
  await two.send("C");
  assertEquals(await two.oids(), [a!]);
  await two.send(int4(0));
  assertEquals(await two.sync(), [], "C told it already");
  assertEquals(await two.load(a!), record(a!, "a"));
});

Deno.test("C goes on after invalidations that do not matter to the client", async () => {
  await using served = await Served.start();
  using one = await served.connect();
  const [a] = await makeRoot(one);
  using two = await served.connect();
  const [b] = await two.allocate(1);
  await one.commit([a!, record(a!, "a")]);
  assertEquals(await two.commit([b!, record(b!, "b")]), {
    invalid: [a!],
    answer: "O",
  });
  assertEquals((await one.sync()).sort(), [b!]);
});

Deno.test("C answers I when what the client knows is changed while the records travel", async () => {
  await using served = await Served.start();
  using one = await served.connect();
  const [a] = await makeRoot(one);
  await one.commit([a!, record(a!, "old")]);
  using two = await served.connect();
  const [b] = await two.allocate(1);
  await two.load(a!);
  await two.send("C");
  assertEquals(await two.oids(), []);
  const bytes = transaction([b!, record(b!, "b")]);
  await two.send(bytes.subarray(0, 10));
  assertEquals((await one.commit([a!, record(a!, "a")])).answer, "O");
  await two.send(bytes.subarray(10));
  assertEquals(await two.letter(), "I");
  assertEquals(await one.load(b!), "K", "nothing of it was stored");
  assertEquals(await two.sync(), [a!], "the list was not lost");
  assertEquals((await two.commit([b!, record(b!, "b")])).answer, "O");
});

/** Begins a commit, lets `others` happen in the middle of it, and returns its answer. */
async function commitAround(
  client: RawClient,
  bytes: Uint8Array,
  others: () => Promise<unknown>,
): Promise<string> {
  await client.send("C");
  await client.oids();
  await client.send(bytes.subarray(0, -1));
  await others();
  await client.send(bytes.subarray(-1));
  return await client.letter();
}

Deno.test("C answers O when only what the client does not know is changed while the records travel", async () => {
  await using served = await Served.start();
  using one = await served.connect();
  const [a, told] = await makeRoot(one);
  await one.commit([a!, record(a!, "old")], [told!, record(told!, "old")]);
  using two = await served.connect();
  const [b] = await two.allocate(1);
  await two.load(told!);
  await one.commit([told!, record(told!, "newer")]);
  // Of this one the client is told with its C: to use it, it must load it again.
  const answer = await commitAround(
    two,
    transaction([b!, record(b!, "b")]),
    () => one.commit([a!, record(a!, "new")], [told!, record(told!, "newest")]),
  );
  assertEquals(answer, "O");
  assertEquals(await two.load(told!), record(told!, "newest"));
  assertEquals(await two.sync(), [a!], "what it has loaded since is not told");
  assertEquals(await two.sync(), []);
  assertEquals(await two.load(a!), record(a!, "new"));
});

Deno.test("C answers I when a client's own object is changed while the records travel", async () => {
  await using served = await Served.start();
  using one = await served.connect();
  const [a, b] = await makeRoot(one);
  await one.commit([a!, record(a!, "old")], [b!, record(b!, "old")]);
  using two = await served.connect();
  // It has never loaded what it stores.
  const change = () => one.commit([a!, record(a!, "new")]);
  const stale = transaction([a!, record(a!, "stale")]);
  assertEquals(await commitAround(two, stale, change), "I");
  assertEquals(await two.sync(), [a!]);
  // It has stored the object before.
  assertEquals((await two.commit([a!, record(a!, "two")])).answer, "O");
  const other = transaction([b!, record(b!, "two")]);
  assertEquals(await commitAround(two, other, change), "I");
  assertEquals(await one.load(b!), record(b!, "old"));
});

Deno.test("C answers I when an object appears that the client was told is absent", async () => {
  await using served = await Served.start();
  using one = await served.connect();
  const [a, b] = await makeRoot(one);
  await one.commit([b!, record(b!, "b")]);
  using two = await served.connect();
  assertEquals(await two.load(a!), "K");
  const answer = await commitAround(
    two,
    transaction([b!, record(b!, "two")]),
    () => one.commit([a!, record(a!, "a")]),
  );
  assertEquals(answer, "I");
  // So many that the server gives up telling them apart.
  using three = await served.connect();
  const absent = Array.from(
    { length: 10_001 },
    (_, i) => int8(2 ** 30 * i + 5),
  );
  await three.send("B", int4(absent.length), ...absent);
  assertEquals((await three.read(absent.length)).length, absent.length);
  assertEquals(
    await commitAround(
      three,
      transaction([b!, record(b!, "three")]),
      () => one.commit([a!, record(a!, "a2")]),
    ),
    "I",
  );
});

Deno.test("clients that change only objects of their own never stand in each other's way", async () => {
  await using served = await Served.start();
  using first = await served.connect();
  const oids = [...await makeRoot(first), ...await first.allocate(25)];
  await first.commit(
    ...oids.map((oid): [number, Uint8Array] => [oid, record(oid, "new")]),
  );
  await Promise.all(oids.map(async (oid, i) => {
    using client = await served.connect();
    await client.load(0);
    for (let round = 0; round < 10; round++) {
      const text = `${round}`.repeat(1 + (i % 4) * 30_000);
      const { answer } = await client.commit([oid, record(oid, text)]);
      assertEquals(answer, "O");
      assertEquals(await client.load(oid), record(oid, text));
    }
  }));
});

Deno.test("a client that stalls in the middle of a commit costs the others nothing", async () => {
  await using served = await Served.start({ grace: 0 });
  using one = await served.connect();
  const [a] = await makeRoot(one);
  using stalled = await served.connect();
  const [b] = await stalled.allocate(1);
  await stalled.send("C");
  await stalled.oids();
  await stalled.send(transaction([b!, record(b!, "b")]).subarray(0, -1));
  for (let i = 0; i < 20; i++) {
    const { answer } = await one.commit([a!, record(a!, `${i}`)]);
    assertEquals(answer, "O");
  }
  assertEquals(await one.load(a!), record(a!, "19"));
});

Deno.test("a client that does not read its answers costs the others nothing", async () => {
  await using served = await Served.start({ grace: 0 });
  using one = await served.connect();
  const [a] = await makeRoot(one);
  await one.commit([a!, record(a!, "x".repeat(1_000_000))]);
  using deaf = await served.connect();
  // 2 GB of answers, if the server made them all at once.
  const asked = new Array<Uint8Array>(2000).fill(int8(a!));
  await deaf.send("B", int4(asked.length), ...asked);
  const { answer } = await one.commit([a!, record(a!, "short")]);
  assertEquals(answer, "O");
  assertEquals(await one.load(a!), record(a!, "short"));
});

Deno.test("a commit that ends early stores nothing", async () => {
  await using served = await Served.start();
  using one = await served.connect();
  const [a] = await makeRoot(one);
  const bytes = transaction([a!, record(a!, "a")], [0, record(0, "other")]);
  for (const cut of [0, 3, 4, 20, bytes.length - 1]) {
    using dying = await served.connect();
    await dying.send("C");
    await dying.oids();
    await dying.send(bytes.subarray(0, cut));
    await dying.closeWrite();
    assertEquals(await dying.letter(), "");
  }
  assertEquals(await one.sync(), []);
  assertEquals(await one.load(0), record(0, "root"));
});

Deno.test("requests may come byte by byte", async () => {
  await using served = await Served.start();
  using client = await served.connect();
  const [a] = await makeRoot(client);
  const bytes = join(
    "C",
    transaction([a!, record(a!, "a")]),
    "L",
    int8(a!),
    "B",
    int4(1),
    int8(0),
  );
  for (const byte of bytes) {
    await client.send([byte]);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  assertEquals(await client.oids(), []);
  assertEquals(await client.letter(), "O");
  assertEquals(await client.answer(), record(a!, "a"));
  assertEquals(await client.answer(), record(0, "root"));
});

Deno.test("requests may come all at once", async () => {
  await using served = await Served.start();
  using client = await served.connect();
  const [a] = await makeRoot(client);
  await client.send(
    ...["L", int8(0), "C", transaction([a!, record(a!, "a")]), "S"],
    ...["L", int8(a!), "M", [2], "L", int8(999), "."],
  );
  assertEquals(await client.answer(), record(0, "root"));
  assertEquals(await client.oids(), []);
  assertEquals(await client.letter(), "O");
  assertEquals(await client.oids(), []);
  assertEquals(await client.answer(), record(a!, "a"));
  assertEquals((await client.read(16)).length, 16);
  assertEquals(await client.letter(), "K");
  assertEquals(await client.letter(), "", "the dot ends the connection");
});

Deno.test("an unknown command ends the connection of that client alone", async () => {
  await using served = await Served.start();
  using good = await served.connect();
  using bad = await served.connect();
  await bad.send("S", "GET / HTTP/1.1\r\n\r\n");
  assertEquals(await bad.oids(), [], "what came before it is answered");
  assertEquals(await bad.letter(), "");
  await served.logged('there is no command "G"');
  assertEquals(await good.sync(), []);
});

Deno.test("random bytes do the server no harm", async () => {
  await using served = await Served.start({ allowQuit: false, grace: 0 });
  using good = await served.connect();
  await makeRoot(good);
  let seed = 1;
  const random = () => (seed = seed * 48271 % 2147483647) & 0xff;
  const letters = join("VNMLBCSP");
  for (let round = 0; round < 100; round++) {
    using client = await RawClient.connectSilently(served.server);
    const bytes = Uint8Array.from({ length: 60 }, random);
    bytes[0] = letters[round % letters.length]!;
    await client.send(bytes).catch(() => {});
    await client.closeWrite().catch(() => {});
    await client.read(1_000_000);
  }
  assertEquals(await good.sync(), []);
  assertEquals(await good.load(0), record(0, "root"));
});

Deno.test("a commit that is announced too long is refused at once", async () => {
  await using served = await Served.start({ maxTransactionBytes: 1000 });
  using client = await served.connect();
  const longest = record(0, "x".repeat(1000 - 12 - 12));
  assertEquals(transaction([0, longest]).length, 4 + 1000);
  assertEquals((await client.commit([0, longest])).answer, "O");
  await client.send("C");
  await client.oids();
  await client.send(int4(1001));
  assertEquals(await client.letter(), "");
  await served.logged("it has 1001 bytes, 1000 are the most");
});

Deno.test("memory for a commit grows with what comes, not with what is announced", async () => {
  await using served = await Served.start({
    maxTransactionBytes: 0xffffffff,
    grace: 0,
  });
  const before = Deno.memoryUsage().external;
  const clients: RawClient[] = [];
  for (let i = 0; i < 8; i++) {
    const client = await served.connect();
    clients.push(client);
    await client.send("C");
    await client.oids();
    await client.send(int4(0xffffffff), "some bytes");
  }
  using good = await served.connect();
  assertEquals(await good.sync(), []);
  assert(Deno.memoryUsage().external - before < 100_000_000);
  for (const client of clients) client.close();
});

Deno.test("loading too many objects at once is refused", async () => {
  await using served = await Served.start({ maxLoadMany: 10 });
  using client = await served.connect();
  await client.commit([0, record(0, "root")]);
  await client.send("B", int4(10), ...new Array<Uint8Array>(10).fill(int8(0)));
  for (let i = 0; i < 10; i++) {
    assertEquals(await client.answer(), record(0, "root"));
  }
  await client.send("B", int4(11));
  assertEquals(await client.letter(), "");
  await served.logged("Cannot load 11 objects at once: 10 are the most");
});

Deno.test("a client cannot hoard numbers without end", async () => {
  await using served = await Served.start({ maxUnusedOids: 300 });
  using client = await served.connect();
  assertEquals((await client.allocate(255)).length, 255);
  assertEquals((await client.allocate(45)).length, 45);
  await client.send("M", [1]);
  assertEquals(await client.letter(), "");
  await served.logged("it holds 300 unused ones");
});

Deno.test("a number that another client holds unused is refused", async () => {
  await using served = await Served.start();
  using one = await served.connect();
  const [a] = await makeRoot(one);
  using two = await served.connect();
  const { answer } = await two.commit(
    [0, record(0, "stolen")],
    [a!, record(a!, "stolen")],
  );
  assertEquals(answer, "");
  await served.logged(`another client was given the number #${a}`);
  assertEquals(await one.sync(), []);
  assertEquals(await one.load(0), record(0, "root"));
  assertEquals((await one.commit([a!, record(a!, "a")])).answer, "O");
});

Deno.test("a number that was given to nobody is refused", async () => {
  await using served = await Served.start();
  using client = await served.connect();
  await makeRoot(client);
  assertEquals((await client.commit([5000, record(5000, "?")])).answer, "");
  await served.logged("nobody was given the number #5000");
});

Deno.test("an object that exists may be stored by any client", async () => {
  await using served = await Served.start();
  using one = await served.connect();
  const [a] = await makeRoot(one);
  await one.commit([a!, record(a!, "one")]);
  using two = await served.connect();
  const { answer } = await two.commit([a!, record(a!, "two")]);
  assertEquals(answer, "O");
  assertEquals(await one.sync(), [a!]);
  assertEquals(await one.load(a!), record(a!, "two"));
});

Deno.test("whoever comes first makes the root, and the other one is told", async () => {
  await using served = await Served.start();
  using one = await served.connect();
  using two = await served.connect();
  assertEquals(await one.allocate(1), [0]);
  assertEquals((await two.commit([0, record(0, "two")])).answer, "O");
  await one.send("C");
  assertEquals(await one.oids(), [0]);
});

Deno.test("numbers of a client that is gone are given to others", async () => {
  await using served = await Served.start();
  const gone = await served.connect();
  assertEquals(await gone.allocate(3), [0, 1, 2]);
  gone.close();
  await served.logged("is gone");
  using client = await served.connect();
  assertEquals((await client.allocate(4)).slice(0, 3), [0, 1, 2]);
  assertEquals((await client.commit([0, record(0, "root")])).answer, "O");
});

Deno.test("a commit of anything but whole records is refused", async () => {
  await using served = await Served.start();
  using good = await served.connect();
  await makeRoot(good);
  const root = record(0, "other");
  const bad: [string, Uint8Array][] = [
    ["no whole record at byte 0", join(int4(3), [1, 2, 3])],
    ["no whole record at byte 0", join(int4(12), int4(100), int8(0))],
    ["no whole record at byte 0", join(int4(12), int4(7), int8(0))],
    // Of its last byte nobody knows what it was.
    [
      "no whole record at byte 0",
      join(int4(12 + root.length), int4(8 + root.length + 1), int8(0), root),
    ],
    ["its record is of object #1", transaction([0, record(1, "other")])],
    ["it has 0 bytes", transaction([0, new Uint8Array(0)])],
    ["whole references", transaction([0, join(root, [0])])],
    ["2^53 or more", transaction([0, join(root, Array(8).fill(255))])],
    ["#0: there are two records of it", transaction([0, root], [0, root])],
    [
      "no whole record at byte 31",
      join(int4(42), transaction([0, record(0, "1234567")]).subarray(4), [
        ...[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
      ]),
    ],
  ];
  for (const [complaint, bytes] of bad) {
    using client = await served.connect();
    await client.send("C", bytes);
    await client.oids();
    assertEquals(await client.letter(), "", complaint);
    await served.logged(complaint);
  }
  assertEquals(await good.sync(), []);
  assertEquals(await good.load(0), record(0, "root"));
});

/** A storage that refuses every commit, and to be packed. */
function refusing(why: string): Storage {
  return altered(new MemoryStorage(), () => ({
    commit: () => {
      throw new ReadonlyError(why);
    },
  }), () => {
    throw new ReadonlyError(why);
  });
}

Deno.test("a commit that the storage refuses is answered with I, and its client goes on", async () => {
  const storage = refusing("Cannot change it: the storage is read-only");
  await using served = await Served.start({ storage });
  using client = await served.connect();
  for (let i = 0; i < 20; i++) {
    const { answer } = await client.commit([0, record(0, "root")]);
    assertEquals(answer, "I");
  }
  assertEquals(await client.sync(), []);
  assertEquals(await client.load(0), "K");
  await served.logged("Cannot change it: the storage is read-only");
  assertEquals(
    served.lines.filter((line) => line.includes("Refused the commit")).length,
    5,
    "the log does not repeat itself for ever",
  );
});

Deno.test("a commit whose fate is unknown ends the connection", async () => {
  const storage = altered(new MemoryStorage(), () => ({
    commit: () => {
      throw new StorageError("Cannot sync", { cause: new Error("disk") });
    },
  }));
  await using served = await Served.start({ storage });
  using client = await served.connect();
  const { answer } = await client.commit([0, record(0, "root")]);
  assertEquals(answer, "");
  await served.logged("Cannot sync");
});

Deno.test("a commit that links what a pack has dropped is answered with I, and its client goes on", async () => {
  await using served = await Served.start();
  using client = await served.connect();
  const [a, b] = await makeRoot(client);
  await client.commit([0, record(0, "root", [a!])], [a!, record(a!, "a")]);
  await client.commit([0, record(0, "root")]);
  await client.send("P");
  assertEquals(await client.letter(), "O");
  await served.logged("Packed");
  assertEquals(await client.sync(), [a!]);
  const { answer } = await client.commit([b!, record(b!, "b", [a!])]);
  assertEquals(answer, "I");
  await served.logged("Refused the commit");
  assertEquals(await client.sync(), []);
  assertEquals((await client.commit([b!, record(b!, "b")])).answer, "O");
});

Deno.test("P is answered with I where the storage cannot be packed", async () => {
  const storage = refusing("Cannot pack it: the storage is read-only");
  await using served = await Served.start({ storage });
  using client = await served.connect();
  await client.send("P");
  assertEquals(await client.letter(), "I");
  await served.logged("Cannot pack it: the storage is read-only");
  assertEquals(await client.sync(), []);
});

Deno.test("P is answered at once, and the pack goes on between requests", async () => {
  let steps = 0;
  let enough = false;
  const storage = altered(new MemoryStorage(), () => ({}), function* () {
    while (!enough) {
      // As long as a step of a real pack.
      for (const end = Date.now() + 2; Date.now() < end;);
      yield { records: ++steps, bytes: 0 };
    }
  });
  await using served = await Served.start({ storage });
  using client = await served.connect();
  await client.send("PP");
  assertEquals([await client.letter(), await client.letter()], ["O", "O"]);
  const [a] = await makeRoot(client);
  while (steps < 20) {
    assertEquals((await client.commit([a!, record(a!, "a")])).answer, "O");
  }
  enough = true;
  await served.logged("Packed: ");
  assertEquals(
    served.lines.filter((line) => line === "info: Packing").length,
    1,
  );
});

Deno.test("P drops what cannot be reached", async () => {
  await using served = await Served.start();
  using client = await served.connect();
  const [a, b] = await makeRoot(client);
  await client.commit(
    [0, record(0, "root", [a!])],
    [a!, record(a!, "a")],
    [b!, record(b!, "garbage")],
  );
  await client.send("P");
  assertEquals(await client.letter(), "O");
  await served.logged("Packed");
  using later = await served.connect();
  assertEquals(await later.load(a!), record(a!, "a"));
  assertEquals(await later.load(b!), "K");
});

Deno.test("a pack that fails is logged, and the server goes on", async () => {
  const storage = altered(new MemoryStorage(), () => ({}), function* () {
    yield { records: 0, bytes: 0 };
    throw new Error("the disk is full");
  });
  await using served = await Served.start({ storage });
  using client = await served.connect();
  await client.send("P");
  assertEquals(await client.letter(), "O");
  await served.logged("Cannot pack: the disk is full");
  assertEquals(await client.sync(), []);
});

Deno.test("P is refused to whoever did not greet", async () => {
  await using served = await Served.start();
  using client = await RawClient.connectSilently(served.server);
  await client.send("POST / HTTP/1.1\r\n\r\n");
  assertEquals(await client.letter(), "");
  await served.logged("Cannot pack: the client did not greet");
});

Deno.test("the server packs by itself after gcbytes", async () => {
  await using served = await Served.start({ gcbytes: 1000 });
  using client = await served.connect();
  const [a] = await makeRoot(client);
  assertEquals(served.lines.includes("info: Packing"), false);
  await client.commit(
    [0, record(0, "root", [a!])],
    [a!, record(a!, "x".repeat(1000))],
  );
  await served.logged("Packed");
  assertEquals(await client.load(a!), record(a!, "x".repeat(1000)));
});

Deno.test("after a pack, even one that failed, gcbytes counts from zero", async () => {
  let packs = 0;
  const storage = altered(new MemoryStorage(), () => ({}), function* () {
    yield { records: 0, bytes: 0 };
    if (++packs === 2) throw new Error("the disk is full");
  });
  await using served = await Served.start({ storage, gcbytes: 1000 });
  using client = await served.connect();
  const begun = () => served.lines.filter((l) => l === "info: Packing").length;
  const half = record(0, "x".repeat(500));
  for (const end of ["Packed", "the disk is full", "Packed"]) {
    const before = begun();
    assertEquals((await client.commit([0, half])).answer, "O");
    assertEquals(begun(), before, "half of it is not enough");
    served.lines.length = 0;
    assertEquals((await client.commit([0, half])).answer, "O");
    assertEquals(begun(), 1);
    await served.logged(end);
  }
});

Deno.test("Q stops the server", async () => {
  await using served = await Served.start();
  using other = await served.connect();
  using client = await served.connect();
  await client.send("Q");
  await served.server.finished;
  assertEquals(await other.letter(), "");
  await assertRejects(() => RawClient.connectSilently(served.server));
});

Deno.test("Q without a greeting is refused on a TCP port", async () => {
  await using served = await Served.start();
  using client = await RawClient.connectSilently(served.server);
  await client.send("Q");
  assertEquals(await client.letter(), "");
  await served.logged("it did not greet");
  using other = await served.connect();
  assertEquals(await other.sync(), []);
});

Deno.test("Q is refused where it is not allowed", async () => {
  await using served = await Served.start({ allowQuit: false });
  using client = await served.connect();
  await client.send("Q");
  assertEquals(await client.letter(), "");
  await served.logged("Cannot stop the server for a client");
  using other = await served.connect();
  assertEquals(await other.sync(), []);
});

Deno.test("shutdown() finishes a commit under way", async () => {
  await using served = await Served.start({ grace: 3_600_000 });
  using idle = await served.connect();
  using client = await served.connect();
  const [a] = await makeRoot(client);
  await client.send("C");
  await client.oids();
  const bytes = transaction([a!, record(a!, "a")]);
  await client.send(bytes.subarray(0, 9));
  const stopped = served.server.shutdown();
  assertEquals(await idle.letter(), "", "idle clients are cut off at once");
  await client.send(bytes.subarray(9));
  assertEquals(await client.letter(), "O");
  assertEquals(await client.letter(), "");
  await stopped;
  using session = served.storage.session();
  assertEquals(session.load(a!), record(a!, "a"));
});

Deno.test("shutdown() waits no longer than the time of grace", async () => {
  await using served = await Served.start({ grace: 1 });
  using client = await served.connect();
  await client.send("C");
  await client.oids();
  await served.server.shutdown();
  assertEquals(await client.letter(), "");
});

Deno.test("shutdown() cuts off who is busy still when the time of grace is over", async () => {
  await using served = await Served.start({ grace: 100 });
  using client = await served.connect();
  await client.send("C");
  await client.oids();
  await client.send(int4(20_000_000));
  const stopped = served.server.shutdown();
  // It never stalls, and would need ten seconds.
  const sending = async () => {
    const piece = new Uint8Array(100_000);
    for (let i = 0; i < 200; i++) {
      await client.send(piece);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  await Promise.all([assertRejects(sending), stopped]);
});

Deno.test("shutdown() gives a pack up and lets the storage clean up", async () => {
  let cleanedUp = false;
  const storage = altered(new MemoryStorage(), () => ({}), function* () {
    try {
      for (;;) {
        for (const end = Date.now() + 2; Date.now() < end;);
        yield { records: 0, bytes: 0 };
      }
    } finally {
      cleanedUp = true;
    }
  });
  await using served = await Served.start({ storage });
  using client = await served.connect();
  await client.send("P");
  await client.letter();
  await served.logged("Packing");
  await new Promise((resolve) => setTimeout(resolve, 20));
  await served.server.shutdown();
  assert(cleanedUp);
});

Deno.test("a server is started once", async () => {
  await using served = await Served.start();
  await assertRejects(() => served.server.listen(), ListenError);
  await served.server.shutdown();
  await served.server.shutdown();
  await assertRejects(() => served.server.listen(), ListenError);
});

Deno.test("a port that is taken is an error", async () => {
  await using served = await Served.start();
  const { port } = served.server.addr as Deno.NetAddr;
  using storage = new MemoryStorage();
  await using other = new StorageServer({ storage, port });
  await assertRejects(
    () => other.listen(),
    ListenError,
    `Cannot listen on 127.0.0.1:${port}: something else listens there`,
  );
});

Deno.test("listening to other machines has to be asked for", async () => {
  using storage = new MemoryStorage();
  await using careful = new StorageServer({
    storage,
    host: "0.0.0.0",
    port: 0,
  });
  await assertRejects(() => careful.listen(), ListenError, "insecure");
  // An address that this machine does not have: the check lets it through, and nothing opens.
  await using careless = new StorageServer({
    storage,
    host: "192.0.2.1",
    port: 0,
    insecure: true,
  });
  const error = await assertRejects(() => careless.listen(), ListenError);
  assert(!error.message.includes("insecure"));
});

const unix = { ignore: Deno.build.os === "windows" };

Deno.test("a Unix socket is served, and its file removed", unix, async () => {
  const directory = await Deno.makeTempDir();
  const address = `${directory}/dhara.sock`;
  {
    await using served = await Served.start({ address });
    assertEquals(served.server.name, address);
    using client = await served.connect();
    const [a] = await makeRoot(client);
    assertEquals((await client.commit([a!, record(a!, "a")])).answer, "O");
    assert((await Deno.lstat(address)).isSocket);
  }
  await assertRejects(() => Deno.lstat(address), Deno.errors.NotFound);
  await Deno.remove(directory);
});

Deno.test(
  "a Unix socket on which nobody answers is replaced",
  unix,
  async () => {
    const directory = await Deno.makeTempDir();
    const address = `${directory}/dhara.sock`;
    // What a server leaves behind when it is killed.
    const killed = Deno.listen({ transport: "unix", path: `${address}.old` });
    await Deno.rename(`${address}.old`, address);
    killed.close();
    assert((await Deno.lstat(address)).isSocket);
    {
      await using served = await Served.start({ address });
      using client = await served.connect();
      assertEquals(await client.sync(), []);
      using storage = new MemoryStorage();
      await using other = new StorageServer({ storage, address });
      await assertRejects(
        () => other.listen(),
        ListenError,
        `Cannot listen on ${address}: another server answers there`,
      );
      assertEquals(await client.sync(), []);
    }
    await Deno.remove(directory);
  },
);

Deno.test(
  "a server that stops leaves what took the place of its socket",
  unix,
  async () => {
    const directory = await Deno.makeTempDir();
    const address = `${directory}/dhara.sock`;
    {
      const first = await Served.start({ address });
      await Deno.remove(address);
      await using later = await Served.start({ address });
      await first[Symbol.asyncDispose]();
      assertEquals([...Deno.readDirSync(directory)].length, 1);
      using client = await later.connect();
      assertEquals(await client.sync(), []);
    }
    {
      await using _server = await Served.start({ address });
      await Deno.remove(address);
      await Deno.writeTextFile(address, "precious");
    }
    assertEquals(await Deno.readTextFile(address), "precious");
    await Deno.remove(directory, { recursive: true });
  },
);

Deno.test("a file that is not a socket stays where it is", unix, async () => {
  const directory = await Deno.makeTempDir();
  const address = `${directory}/precious.txt`;
  await Deno.writeTextFile(address, "precious");
  using storage = new MemoryStorage();
  await using server = new StorageServer({ storage, address });
  await assertRejects(
    () => server.listen(),
    ListenError,
    `Cannot listen on ${address}: there is a file that is not a socket`,
  );
  assertEquals(await Deno.readTextFile(address), "precious");
  await Deno.remove(directory, { recursive: true });
});

Deno.test(
  "an abstract Unix socket is served",
  { ignore: Deno.build.os !== "linux" },
  async () => {
    const address = `@dhara-test-${crypto.randomUUID()}`;
    await using served = await Served.start({ address });
    assertEquals(served.server.name, address);
    using client = await served.connect();
    assertEquals(await client.sync(), []);
  },
);

Deno.test("a pack that ends in the middle of a commit does not cut the client off", async () => {
  await using served = await Served.start();
  using slow = await served.connect();
  using other = await served.connect();
  const [changed] = await makeRoot(slow);
  assertEquals(
    (await slow.commit(
      [0, record(0, "root", [changed!])],
      [changed!, record(changed!, "first")],
    )).answer,
    "O",
  );
  await other.sync();
  await slow.send("C");
  assertEquals(await slow.oids(), []);
  const { answer } = await other.commit([changed!, record(changed!, "second")]);
  assertEquals(answer, "O");
  served.storage.pack();
  // The server has no snapshot of it any more in which it could look.
  await slow.send(transaction([changed!, record(changed!, "third")]));
  assertEquals(await slow.letter(), "I");
  assertEquals(await slow.load(changed!), "I");
  assertEquals(await slow.sync(), [changed!]);
  assertEquals(
    await slow.load(changed!),
    record(changed!, "second"),
  );
});
