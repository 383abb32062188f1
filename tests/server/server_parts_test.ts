/** The parts of a server, each by itself. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  formatAddress,
  isLocal,
  toAddress,
} from "../../lib/protocol/address.ts";
import { Channel } from "../../lib/server/channel.ts";
import { ProtocolError } from "../../lib/errors.ts";
import { limitsOf } from "../../lib/server/limits.ts";
import { Packer } from "../../lib/server/packer.ts";
import { Peer1 } from "../../lib/server/peer1.ts";
import { QuietLog } from "../../lib/server/quiet_log.ts";
import { Room } from "../../lib/server/room.ts";
import { Turns } from "../../lib/server/turns.ts";
import { UnusedOids } from "../../lib/server/unused_oids.ts";
import { MemoryStorage } from "../../lib/storage/memory_storage.ts";
import { altered, Served } from "../support/served.ts";

const HOUR = 3_600_000;

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Tells what has come to its end, in that order. */
function order(waiting: Record<string, Promise<unknown>>): string[] {
  const done: string[] = [];
  for (const [name, promise] of Object.entries(waiting)) {
    promise.then(() => done.push(name));
  }
  return done;
}

Deno.test("who needs little room does not overtake who needs much", async () => {
  const room = new Room<object>(100);
  const [a, b, c] = [{}, {}, {}];
  assert(room.tryTake(a, 60));
  const done = order({ b: room.take(b, 80), c: room.take(c, 10) });
  assertEquals(room.tryTake({}, 10), false);
  await pause(0);
  assertEquals(done, []);
  room.giveBack(a);
  await pause(0);
  assertEquals(done, ["b", "c"]);
  assertEquals(room.wanted, false);
});

Deno.test("who waits for room and goes waits no longer, and is in nobody's way", async () => {
  const room = new Room<object>(100);
  const [a, b, c] = [{}, {}, {}];
  assert(room.tryTake(a, 60));
  const done = order({ b: room.take(b, 80), c: room.take(c, 10) });
  room.giveBack(b);
  await pause(0);
  assertEquals(done.sort(), ["b", "c"]);
  assertEquals([room.isHeldBy(b), room.isHeldBy(c)], [false, true]);
});

Deno.test("who waits for a turn hears at once that it has ended", async () => {
  const turns = new Turns<object>(HOUR);
  const [a, b, c] = [{}, {}, {}];
  await turns.begin(a, true);
  const done = order({ b: turns.begin(b, true), c: turns.begin(c, false) });
  await pause(0);
  assertEquals(done, []);
  turns.end(a);
  await pause(0);
  assertEquals(done, ["b"]);
  turns.end(b);
  await pause(0);
  assertEquals(done, ["b", "c"]);
});

Deno.test("a turn begins when all who have begun are through, and nobody else begins", async () => {
  const turns = new Turns<object>(HOUR);
  const [a, b, c, d] = [{}, {}, {}, {}];
  await turns.begin(a, false);
  await turns.begin(b, false);
  const done = order({ c: turns.begin(c, true), d: turns.begin(d, false) });
  for (const client of [a, b]) {
    await pause(0);
    assertEquals(done, []);
    turns.end(client);
  }
  await pause(0);
  assertEquals(done, ["c"]);
  turns.end(c);
  await pause(0);
  assertEquals(done, ["c", "d"]);
});

Deno.test("nobody waits for a turn for ever", async () => {
  const turns = new Turns<object>(20);
  await turns.begin({}, true);
  const done = order({
    one: turns.begin({}, true),
    two: turns.begin({}, false),
  });
  await pause(0);
  assertEquals(done, []);
  for (let i = 0; i < 100 && done.length < 2; i++) await pause(10);
  assertEquals(done.length, 2);
  turns.close();
});

Deno.test("nobody is awaited while nobody waits", async () => {
  const turns = new Turns<object>(HOUR);
  const [a, b] = [{}, {}];
  await turns.begin(a, false);
  assertEquals(turns.isAwaited(a), false);
  const begun = turns.begin(b, true);
  assertEquals([turns.isAwaited(a), turns.isAwaited(b)], [true, false]);
  turns.end(a);
  await begun;
});

Deno.test("numbers that were used are no longer held by anybody", () => {
  const unused = new UnusedOids<object>(10);
  let next = 0;
  const allocate = (count: number) =>
    Array.from({ length: count }, () => next++);
  const [a, b] = [{}, {}];
  for (let round = 0; round < 5; round++) {
    assert(unused.allows(a, 10), `round ${round}`);
    unused.use(a, unused.hand(a, 10, allocate));
    assertEquals(unused.count(a), 0);
  }
  const [root] = unused.hand(a, 3, allocate);
  unused.use(b, [root!]);
  assertEquals([unused.count(a), unused.count(b)], [2, 0]);
  assertEquals([unused.holds(a, root!), unused.isHeld(root!)], [false, false]);
});

Deno.test("the log forgets what it has repeated when there are too many kinds of errors", () => {
  const lines: string[] = [];
  const log = new QuietLog((_, line) => lines.push(line), () => 0);
  const kind = (i: number) =>
    String.fromCharCode(0x4e00 + i) + " has made a mistake";
  for (let i = 0; i < 10; i++) log.error(kind(0));
  assertEquals(lines.length, 5);
  for (let i = 1; i < 1000; i++) log.error(kind(i));
  log.error(kind(0));
  assertEquals(lines.length, 1004);
  log.error(kind(1000));
  log.error(kind(0));
  assertEquals(lines.length, 1006);
});

Deno.test("errors that differ in any of their numbers are of one kind", () => {
  const lines: string[] = [];
  const log = new QuietLog((_, line) => lines.push(line), () => 0);
  for (let i = 0; i < 10; i++) log.error(`Object #7 has ${i} bytes`);
  assertEquals(lines.length, 5);
});

Deno.test("a storage is packed as often as it is asked for, and once at a time", async () => {
  using memory = new MemoryStorage();
  let packs = 0;
  let atOnce = 0;
  const storage = altered(memory, () => ({}), function* () {
    assertEquals(++atOnce, 1);
    try {
      yield { records: ++packs, bytes: 0 };
    } finally {
      atOnce--;
    }
  });
  let ended = 0;
  const packer = new Packer(storage, {
    started: () => {},
    finished: () => ended++,
    failed: (error) => {
      throw error;
    },
  });
  for (let i = 1; i <= 3; i++) {
    assert(packer.start());
    assert(packer.start());
    for (let tries = 0; packer.running && tries < 1000; tries++) await pause(1);
    assertEquals([packs, ended, packer.running], [i, i, false]);
  }
  await packer.stop();
});

Deno.test("only this machine's own addresses are local", () => {
  const hosts: [string, boolean][] = [
    ["127.0.0.1", true],
    ["127.1.2.3", true],
    ["::1", true],
    ["localhost", true],
    ["127.0.0.1.example.com", false],
    ["www.127.0.0.1", false],
    ["128.0.0.1", false],
    ["::", false],
    ["0.0.0.0", false],
  ];
  for (const [host, local] of hosts) {
    assertEquals(isLocal(toAddress({ host })), local, host);
  }
  assert(isLocal(toAddress({ address: "dhara.sock" })));
  const names: [string, string][] = [
    ["127.0.0.1", "127.0.0.1:7"],
    ["::1", "[::1]:7"],
  ];
  for (const [host, name] of names) {
    assertEquals(formatAddress(toAddress({ host, port: 7 })), name);
  }
});

Deno.test("whatever a client has is given back when it is gone", async () => {
  using memory = new MemoryStorage();
  let open = 0;
  const storage = altered(memory, (session) => {
    open++;
    return {
      close: () => {
        open--;
        session.close();
      },
    };
  });
  const turns = new Turns<Peer1>(HOUR);
  const room = new Room<Peer1>(100);
  const unused = new UnusedOids<Peer1>();
  // The other end of it has closed.
  const conn = { read: () => Promise.resolve(null) } as unknown as Deno.Conn;
  const client = new Peer1("somebody", new Channel(conn), {
    storage,
    limits: limitsOf({}),
    unused,
    turns,
    room,
    allowQuit: false,
    stopping: false,
    pack: () => false,
    quit: () => {},
    committed: () => {},
    refused: () => {},
  });
  await turns.begin(client, true);
  assert(room.tryTake(client, 100));
  unused.hand(client, 2, () => [1, 2]);
  assertEquals(open, 1);
  await client.serve();
  assertEquals(open, 0);
  assertEquals(turns.wanted, false);
  assert(room.tryTake(client, 100));
  assertEquals(unused.isHeld(1), false);
});

Deno.test("memory for a request grows with what comes, piece by piece", async () => {
  let come = 0;
  let most = 0;
  const conn = {
    read: (into: Uint8Array) => {
      most = Math.max(most, into.buffer.byteLength);
      if (come >= 3_000_000) return Promise.resolve(null);
      const more = Math.min(into.length, 100_000);
      come += more;
      return Promise.resolve(more);
    },
  } as unknown as Deno.Conn;
  await assertRejects(
    () => new Channel(conn).readLarge(200_000_000),
    ProtocolError,
    "of 200000000 bytes",
  );
  assert(most < 10_000_000, `it took ${most} bytes for ${come}`);
});

Deno.test("a server that has stopped leaves no timer behind", async () => {
  const { setInterval: set, clearInterval: clear } = globalThis;
  const timers = new Set<unknown>();
  globalThis.setInterval = ((...args: Parameters<typeof set>) => {
    const timer = set(...args);
    timers.add(timer);
    return timer;
  }) as typeof set;
  globalThis.clearInterval = (timer) => {
    timers.delete(timer);
    clear(timer);
  };
  try {
    const served = await Served.start();
    assertEquals(timers.size, 1);
    await served[Symbol.asyncDispose]();
    assertEquals(timers.size, 0);
  } finally {
    globalThis.setInterval = set;
    globalThis.clearInterval = clear;
  }
});

Deno.test("a server locks the folder of its socket only while it starts", {
  ignore: Deno.build.os === "windows",
}, async () => {
  const directory = await Deno.makeTempDir();
  {
    await using _served = await Served.start({
      address: `${directory}/dhara.sock`,
    });
    using folder = await Deno.open(directory);
    assert(folder.tryLockSync(true));
  }
  await Deno.remove(directory);
});
