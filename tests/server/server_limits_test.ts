/** What a server bears from its clients, and for how long. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ListenError, ReadConflictError } from "../../lib/errors.ts";
import { formatAddress, toAddress } from "../../lib/protocol/address.ts";
import { limitsOf } from "../../lib/server/limits.ts";
import { QuietLog } from "../../lib/server/quiet_log.ts";
import { UnusedOids } from "../../lib/server/unused_oids.ts";
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

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Begins a commit of so many bytes and stops before the last one. */
async function stallInCommit(
  client: RawClient,
  oid: number,
  length: number,
): Promise<Uint8Array> {
  await client.send("C");
  await client.oids();
  const bytes = transaction([oid, record(oid, "x".repeat(length))]);
  await client.send(bytes.subarray(0, -1));
  return bytes.subarray(-1);
}

Deno.test("a client that asks for nothing at first is cut off", async () => {
  await using served = await Served.start({ greetingTimeout: 100 });
  using good = await served.connect();
  using silent = await RawClient.connectSilently(served.server);
  using slow = await RawClient.connectSilently(served.server);
  await slow.send("V", [0, 0]);
  assertEquals(await silent.letter(), "");
  assertEquals(await slow.letter(), "");
  await served.logged("it asked for nothing within 0.1 seconds");
  assertEquals(await good.sync(), []);
});

Deno.test("a client that stalls in the middle of a request is cut off", async () => {
  await using served = await Served.start({ stallTimeout: 100 });
  using good = await served.connect();
  using stalled = await served.connect();
  await stallInCommit(stalled, 0, 100);
  assertEquals(await stalled.letter(), "");
  await served.logged("it stalled for 0.1 seconds");
  assertEquals(await good.sync(), [], "who asks for nothing does not stall");
  assertEquals(await good.load(0), "K");
});

Deno.test("a client that sends a request byte by byte is cut off, if that takes too long", async () => {
  await using served = await Served.start({ stallTimeout: 300 });
  using client = await served.connect();
  let sent = 0;
  const sending = (async () => {
    for (const byte of join("B", int4(100), ...Array(100).fill(int8(0)))) {
      await client.send([byte]);
      sent++;
      await pause(20);
    }
  })().catch(() => {});
  assertEquals(await client.letter(), "");
  await sending;
  assert(sent < 805, "it was cut off in the middle");
  await served.logged("it stalled for 0.3 seconds");
});

Deno.test("a client that does not read its answers is cut off", async () => {
  await using served = await Served.start({ stallTimeout: 100 });
  using one = await served.connect();
  await one.commit([0, record(0, "x".repeat(1_000_000))]);
  using deaf = await served.connect();
  const asked = new Array<Uint8Array>(100).fill(int8(0));
  await deaf.send("B", int4(asked.length), ...asked);
  await served.logged("it stalled for 0.1 seconds");
});

Deno.test("a client that takes its time, and takes its answers, is served to the end", async () => {
  await using served = await Served.start({ stallTimeout: 500 });
  using client = await served.connect();
  const large = record(0, "x".repeat(2_000_000));
  await client.send("C");
  await client.oids();
  const bytes = transaction([0, large]);
  for (let at = 0; at < bytes.length; at += 100_000) {
    await client.send(bytes.subarray(at, at + 100_000));
    await pause(50);
  }
  assertEquals(await client.letter(), "O");
  assertEquals(await client.load(0), large);
});

Deno.test("a client that asks for nothing for long is cut off where that is wanted", async () => {
  await using served = await Served.start({ idleTimeout: 100 });
  using client = await served.connect();
  assertEquals(await client.letter(), "");
  await served.logged("it asked for nothing for 0.1 seconds");
});

Deno.test("one client too many is told so, and finds room when another has gone", async () => {
  await using served = await Served.start({ maxClients: 2 });
  using one = await served.connect();
  const two = await served.connect();
  for (let i = 0; i < 109; i++) {
    using more = await RawClient.connectSilently(served.server);
    await more.send("V", int4(1), "S");
    assertEquals(await more.read(100), int4(0));
  }
  using silent = await RawClient.connectSilently(served.server);
  assertEquals(await silent.letter(), "", "it is not waited for");
  assertEquals(
    served.lines.filter((line) => line.includes("there are 2 clients")).length,
    5,
    "the log does not repeat itself for ever",
  );
  two.close();
  await served.logged("is gone");
  using three = await RawClient.connectSilently(served.server);
  await three.send("V", int4(1), "S");
  assertEquals(await three.int4(), 1);
  assertEquals(await three.oids(), []);
  assertEquals(await one.sync(), []);
});

Deno.test("who stalls in a long request is cut off when another needs the memory", async () => {
  await using served = await Served.start({ maxBufferedBytes: 300_000 });
  using one = await served.connect();
  const [a, b, c] = await makeRoot(one);
  const names = [a!, b!, c!];
  await one.commit(
    ...names.map((oid): [number, Uint8Array] => [oid, record(oid, "")]),
  );
  using stalled = await served.connect();
  await stallInCommit(stalled, a!, 150_000);
  using other = await served.connect();
  await stallInCommit(other, b!, 140_000);
  await pause(1100);
  assertEquals((await one.commit([0, record(0, "small")])).answer, "O");
  const large = record(c!, "x".repeat(200_000));
  assertEquals((await one.commit([c!, large])).answer, "O");
  assertEquals(await stalled.letter(), "");
  assertEquals(await other.letter(), "");
  await served.logged("others need the memory");
  // What takes more than there is goes through alone.
  const larger = record(c!, "x".repeat(900_000));
  assertEquals((await one.commit([c!, larger])).answer, "O");
  assertEquals(await one.load(c!), larger);
});

Deno.test("who does not take a long answer is cut off when another needs the memory", async () => {
  await using served = await Served.start({ maxBufferedBytes: 20_000_000 });
  using one = await served.connect();
  const large = record(0, "x".repeat(15_000_000));
  await one.commit([0, large]);
  using deaf = await served.connect();
  await deaf.send("L", int8(0), "L", int8(0));
  await pause(100);
  assertEquals(await one.load(0), large);
  await served.logged("others need the memory");
});

/** Makes the clock jump as often as it is told to. */
class Clock implements Disposable {
  #now = performance.now;
  #ahead = 0;

  constructor() {
    performance.now = () => this.#now.call(performance) + this.#ahead;
  }

  jump(milliseconds: number): void {
    this.#ahead += milliseconds;
  }

  [Symbol.dispose](): void {
    performance.now = this.#now;
  }
}

/** Waits until the server has looked at its clients. */
function look(): Promise<void> {
  return pause(600);
}

Deno.test("the time in which a client asks for nothing does not count as stalling", async () => {
  await using served = await Served.start({ stallTimeout: 60_000 });
  using clock = new Clock();
  using client = await served.connect();
  for (let i = 0; i < 2; i++) {
    clock.jump(100_000);
    const last = await stallInCommit(client, 0, 10);
    await look();
    await client.send(last);
    assertEquals(await client.letter(), "O");
  }
});

Deno.test("who stalls in a long request is left alone while nobody needs the memory", async () => {
  await using served = await Served.start({ maxBufferedBytes: 300_000 });
  using clock = new Clock();
  using client = await served.connect();
  const last = await stallInCommit(client, 0, 150_000);
  await pause(50);
  clock.jump(10_000);
  await look();
  await client.send(last);
  assertEquals(await client.letter(), "O");
});

Deno.test("a long list of what others have changed gives its room back", async () => {
  await using served = await Served.start({ maxBufferedBytes: 100_000 });
  using one = await served.connect();
  using two = await served.connect();
  const oids: number[] = [];
  while (oids.length < 10_000) oids.push(...await one.allocate(250));
  const records = oids.map((oid): [number, Uint8Array] => [
    oid,
    record(oid, ""),
  ]);
  assertEquals((await one.commit(...records)).answer, "O");
  assertEquals((await two.sync()).length, 10_000);
  // Both want nearly all of the room.
  const large = record(0, "x".repeat(90_000));
  assertEquals((await one.commit([0, large])).answer, "O");
  assertEquals(await one.load(0), large);
});

Deno.test("a long record is not loaded before there is room for it", async () => {
  let loads = 0;
  const storage = altered(new MemoryStorage(), (session) => ({
    load: (oid) => {
      const record = session.load(oid);
      if (record.length > 1_000_000) loads++;
      return record;
    },
  }));
  const served = await Served.start({ storage, maxBufferedBytes: 20_000_000 });
  const large = record(0, "x".repeat(15_000_000));
  storage.session().commit([[0, large]]);
  using one = await served.connect();
  const deaf: RawClient[] = [];
  for (let i = 0; i < 4; i++) {
    deaf.push(await served.connect());
    await deaf[i]!.send("L", int8(0));
  }
  await pause(200);
  // One holds all of the room, and what small requests need is none of it.
  assertEquals(loads, 1);
  assertEquals(await one.load(7), "K");
  for (const client of deaf) client.close();
  assertEquals(await one.load(0), large);
  await served[Symbol.asyncDispose]();
});

Deno.test("a long list of changes that has to wait for room is told all the same, once", async () => {
  const MOST = 20_000_000;
  await using served = await Served.start({ maxBufferedBytes: MOST });
  using one = await served.connect();
  using two = await served.connect();
  const oids: number[] = [];
  while (oids.length < 20_000) oids.push(...await one.allocate(250));
  const records = oids.map((oid): [number, Uint8Array] => [
    oid,
    record(oid, oid === 0 ? "x".repeat(MOST) : "", []),
  ]);
  served.storage.session().commit(records);
  assertEquals((await one.sync()).length, oids.length);
  using deaf = await served.connect();
  await deaf.send("L", int8(0));
  await pause(100);
  await two.send("S");
  await pause(100);
  assertEquals(await one.sync(), [], "others are served meanwhile");
  deaf.close();
  assertEquals((await two.oids()).sort((a, b) => a - b), oids);
  assertEquals(await two.sync(), []);
});

Deno.test("what cannot be shown any more when there is room is a conflict", async () => {
  let gone = false;
  const storage = altered(new MemoryStorage(), (session) => ({
    load: (oid) => {
      if (gone) {
        throw new ReadConflictError("a pack has dropped it", { oids: [oid] });
      }
      return session.load(oid);
    },
  }));
  await using served = await Served.start({
    storage,
    maxBufferedBytes: 20_000_000,
  });
  storage.session().commit([[0, record(0, "x".repeat(15_000_000))]]);
  using one = await served.connect();
  const deaf = await served.connect();
  await deaf.send("L", int8(0));
  await pause(100);
  await one.send("L", int8(0));
  await pause(100);
  gone = true;
  deaf.close();
  assertEquals(await one.letter(), "I");
  assertEquals(await one.sync(), []);
});

Deno.test("a client that was refused has a turn: others wait until its commit is here", async () => {
  await using served = await Served.start();
  using one = await served.connect();
  const [a, b] = await makeRoot(one);
  await one.commit([a!, record(a!, "a")], [b!, record(b!, "b")]);
  using two = await served.connect();
  await two.load(a!);
  let last = await stallInCommit(two, b!, 10);
  await one.commit([a!, record(a!, "new")]);
  await two.send(last);
  assertEquals(await two.letter(), "I");
  assertEquals(await two.sync(), [a!]);
  await two.load(a!);

  last = await stallInCommit(two, b!, 10);
  let began = false;
  const commit = one.commit([a!, record(a!, "newer")]).then((result) => {
    began = true;
    return result;
  });
  await pause(100);
  assertEquals(began, false, "the commit of the other one waits");
  using reader = await served.connect();
  assertEquals(await reader.load(a!), record(a!, "new"), "reading does not");
  await two.send(last);
  assertEquals(await two.letter(), "O");
  assertEquals(await commit, { invalid: [b!], answer: "O" });
});

Deno.test("a turn begins when those who have begun are through", async () => {
  await using served = await Served.start();
  using one = await served.connect();
  const [a, b] = await makeRoot(one);
  await one.commit([a!, record(a!, "a")], [b!, record(b!, "b")]);
  using two = await served.connect();
  await two.load(a!);
  const refused = await stallInCommit(two, b!, 10);
  await one.commit([a!, record(a!, "new")]);
  await two.send(refused);
  assertEquals(await two.letter(), "I");
  assertEquals(await two.sync(), [a!]);
  await two.load(a!);

  const last = await stallInCommit(one, a!, 10);
  await two.send("C");
  await pause(50);
  await one.send(last);
  assertEquals(await one.letter(), "O");
  assertEquals(await two.oids(), [a!], "it is told of all that came before");
  await two.send(transaction([b!, record(b!, "two")]));
  assertEquals(await two.letter(), "O");
});

Deno.test("who stalls loses the turn", async () => {
  await using served = await Served.start({ grace: 0 });
  using one = await served.connect();
  const [a, b] = await makeRoot(one);
  await one.commit([a!, record(a!, "a")], [b!, record(b!, "b")]);
  using two = await served.connect();
  for (let round = 0; round < 2; round++) {
    await two.load(a!);
    const last = await stallInCommit(two, b!, 10);
    // In the second round the turn is lost meanwhile: both wait for a second, and go on.
    const { answer } = await one.commit([a!, record(a!, `new ${round}`)]);
    assertEquals(answer, "O");
    await two.send(last);
    assertEquals(await two.letter(), "I");
    assertEquals(await two.sync(), [a!]);
  }
  // It has kept others waiting in vain, so they do not wait for it again.
  await two.load(a!);
  const last = await stallInCommit(two, b!, 10);
  await one.send("C");
  await pause(50);
  assertEquals(await one.oids(), []);
  await one.send(int4(0));
  await two.send(last);
  assertEquals(await two.letter(), "O");

  // It has committed, so it has a turn again when it was refused.
  await two.load(a!);
  const refused = await stallInCommit(two, b!, 10);
  await one.commit([a!, record(a!, "newest")]);
  await two.send(refused);
  assertEquals(await two.letter(), "I");
  await two.load(a!);
  const again = await stallInCommit(two, b!, 10);
  let began = false;
  const commit = one.commit([a!, record(a!, "last")]).then((result) => {
    began = true;
    return result;
  });
  await pause(100);
  assertEquals(began, false, "the commit of the other one waits");
  await two.send(again);
  assertEquals(await two.letter(), "O");
  assertEquals((await commit).answer, "O");
});

Deno.test("five clients with all the numbers that they may hold leave the others theirs", () => {
  const unused = new UnusedOids<object>();
  let next = 0;
  const allocate = (count: number) =>
    Array.from({ length: count }, () => next++);
  const greedy = [1, 2, 3, 4, 5].map((name) => ({ name }));
  for (let i = 0; i < 40; i++) {
    unused.hand(greedy[i % 5]!, 500_000, allocate);
  }
  assertEquals(unused.count(greedy[0]!), 4_000_000);
  const modest = {};
  assertEquals(unused.hand(modest, 2, allocate), [20_000_000, 20_000_001]);
  assert(unused.isHeld(20_000_000) && unused.holds(modest, 20_000_000));
  unused.use(greedy[1]!, [500_000, 500_001, 3]);
  assertEquals(unused.count(greedy[1]!), 3_999_998);
  assertEquals(unused.isHeld(500_000), false);
  for (const client of greedy) unused.release(client);
  assertEquals(unused.isHeld(7), false);
  assertEquals(unused.hand(modest, 3, allocate), [0, 1, 2]);
  assertEquals(unused.hand(modest, 2, allocate), [4, 5], "3 is in use");
});

Deno.test("where all together hold too many numbers, those with few get more", () => {
  const unused = new UnusedOids<object>(1000);
  let next = 0;
  const allocate = (count: number) =>
    Array.from({ length: count }, () => next++);
  const greedy = {};
  const modest = {};
  unused.hand(greedy, 1000, allocate);
  assertEquals(unused.allows(greedy, 1), false);
  assertEquals(unused.allows(modest, 100), true);
  assertEquals(unused.allows(modest, 501), false);
  unused.hand(modest, 100, allocate);
  unused.release(greedy);
  assertEquals(unused.allows(modest, 900), true);
  assertEquals(unused.allows(modest, 901), false);
});

Deno.test("the log does not say the same thing ten times a second", () => {
  const lines: string[] = [];
  let now = 0;
  const log = new QuietLog((_, line) => lines.push(line), () => now);
  for (let i = 0; i < 100; i++) {
    log.error("Cannot take a client");
    log.error(`Closed the connection of ${i}: it stalled`, "it stalled");
    now += 110;
  }
  const first = [0, 1, 2, 3, 4].flatMap((i) => [
    "Cannot take a client",
    `Closed the connection of ${i}: it stalled`,
  ]);
  assertEquals(lines.slice(0, 10), first);
  assertEquals(lines.slice(10, 12), [
    "Cannot take a client (and 86 more of this kind before)",
    "Closed the connection of 91: it stalled (and 86 more of this kind before)",
  ]);
  assertEquals(lines.length, 20);
});

Deno.test("limits that make no sense are refused", () => {
  for (
    const [options, least] of [
      [{ maxClients: 0 }, 1],
      [{ maxBufferedBytes: NaN }, 1],
      [{ stallTimeout: -1 }, 0],
    ] as const
  ) {
    const [name, value] = Object.entries(options)[0]!;
    assertThrows(
      () => limitsOf(options),
      ListenError,
      `Cannot serve with ${name} ${value}: it must be a number, ${least} or more`,
    );
  }
  assertEquals(limitsOf({ stallTimeout: 0 }).stall, Infinity);
});

Deno.test("the session of a client is closed when the client is gone, however it went", async () => {
  let open = 0;
  const storage = altered(new MemoryStorage(), (session) => {
    open++;
    return {
      close: () => {
        open--;
        session.close();
      },
    };
  });
  await using served = await Served.start({ storage, stallTimeout: 100 });
  const ends: [string, (client: RawClient) => Promise<unknown>][] = [
    ["a dot", (client) => client.send(".")],
    ["the end of the connection", (client) => Promise.resolve(client.close())],
    ["nonsense", (client) => client.send("x")],
    ["half a request", async (client) => {
      await client.send("C");
      client.close();
    }],
    ["a stall", (client) => client.send("L")],
  ];
  for (const [how, end] of ends) {
    const client = await served.connect();
    assertEquals(open, 1, how);
    await end(client);
    for (let tries = 0; open > 0 && tries < 500; tries++) await pause(10);
    assertEquals(open, 0, how);
    client.close();
  }
});

Deno.test("a server goes on taking clients after it could not take one", async () => {
  const listen = Deno.listen;
  let failures = 3;
  const errors: string[] = [];
  const storage = new MemoryStorage();
  const server = new StorageServer({
    storage,
    port: 0,
    log: (level, line) => level === "error" && errors.push(line),
  });
  try {
    Deno.listen = ((options: Deno.TcpListenOptions) => {
      const listener = listen(options);
      const original = listener.accept.bind(listener);
      const accept = () =>
        failures-- > 0
          ? Promise.reject(new Error("too many open files"))
          : original();
      return Object.assign(listener, { accept });
    }) as typeof Deno.listen;
    await server.listen();
  } finally {
    Deno.listen = listen;
  }
  using client = await RawClient.connect(server);
  assertEquals(await client.sync(), []);
  assertEquals(
    errors,
    new Array(3).fill("Cannot take a client: too many open files"),
  );
  await server.shutdown();
  storage.close();
});

Deno.test("a server that could not listen can be tried again", async () => {
  const taken = await Served.start();
  const { port } = taken.server.addr as Deno.NetAddr;
  using storage = new MemoryStorage();
  await using server = new StorageServer({ storage, port });
  await assertRejects(() => server.listen(), ListenError, "something else");
  await taken[Symbol.asyncDispose]();
  await server.listen();
  using client = await RawClient.connect(server);
  assertEquals(await client.sync(), []);
});

Deno.test("shutdown() does not wait for a client that stalls", async () => {
  await using served = await Served.start({ grace: 3_600_000 });
  using client = await served.connect();
  await stallInCommit(client, 0, 10);
  await served.server.shutdown();
  assertEquals(await client.letter(), "");
  await served.logged("it stalled, and the server stops");
});

const unix = { ignore: Deno.build.os === "windows" };

Deno.test(
  "of two servers that start on one stale socket, one gets it and the other is told",
  unix,
  async () => {
    const directory = await Deno.makeTempDir();
    const address = `${directory}/dhara.sock`;
    for (let round = 0; round < 20; round++) {
      const killed = Deno.listen({ transport: "unix", path: `${address}.old` });
      await Deno.rename(`${address}.old`, address);
      killed.close();
      using storage = new MemoryStorage();
      const servers = [1, 2, 3].map(() =>
        new StorageServer({ storage, address })
      );
      const results = await Promise.allSettled(
        servers.map((server) => server.listen()),
      );
      const winners = servers.filter((_, i) =>
        results[i]!.status === "fulfilled"
      );
      assertEquals(winners.length, 1);
      for (const result of results) {
        if (result.status === "fulfilled") continue;
        assert(result.reason instanceof ListenError, String(result.reason));
      }
      using client = await RawClient.connect(winners[0]!);
      assertEquals(await client.sync(), []);
      for (const server of servers) await server.shutdown();
    }
    await Deno.remove(directory, { recursive: true });
  },
);

Deno.test(
  "servers that find a stale socket at the same time wait for each other",
  unix,
  async () => {
    const directory = await Deno.makeTempDir();
    const address = `${directory}/dhara.sock`;
    const killed = Deno.listen({ transport: "unix", path: `${address}.old` });
    await Deno.rename(`${address}.old`, address);
    killed.close();
    using storage = new MemoryStorage();
    const servers = [1, 2].map(() => new StorageServer({ storage, address }));
    const { connect } = Deno;
    // Whoever finds it is slow to do something about it.
    Deno.connect = (async (options: Deno.UnixConnectOptions) => {
      try {
        return await connect(options);
      } finally {
        await pause(50);
      }
    }) as typeof Deno.connect;
    try {
      const results = await Promise.allSettled(
        servers.map((server) => server.listen()),
      );
      const states = results.map(({ status }) => status).sort();
      assertEquals(states, ["fulfilled", "rejected"]);
    } finally {
      Deno.connect = connect;
      for (const server of servers) await server.shutdown();
    }
    await Deno.remove(directory, { recursive: true });
  },
);

Deno.test("the path of a socket is resolved once", unix, () => {
  const address = toAddress({ address: "folder/dhara.sock" });
  assert(address.transport === "unix");
  assertEquals(address.path, `${Deno.cwd()}/folder/dhara.sock`);
  assertEquals(formatAddress(address), "folder/dhara.sock");
  assertEquals(formatAddress(toAddress({ address: "@name" })), "@name");
});
