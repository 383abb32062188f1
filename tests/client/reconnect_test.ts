/** Clients outlive their server: it is killed, and comes back. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  ObjectNotFoundError,
  ServerUnavailableError,
  StorageError,
} from "../../lib/errors.ts";
import { ClientStorage } from "../../lib/client/client_storage.ts";
import {
  Connection,
  FileStorage,
  Persistent,
  PersistentDict,
  PersistentList,
} from "../../mod.ts";
import { inDirectory, startServer } from "../support/dhara.ts";
import { record, transaction } from "../support/raw_client.ts";
import { GREETING, ServerWorker, type Step } from "../support/server_worker.ts";

class Thing extends Persistent {
  name: string;

  constructor(name: string) {
    super();
    this.name = name;
  }
}

class Box extends Persistent {
  content = new PersistentList<number>();
}

const classes = { Thing, Box };

/** Tells of work with a server, which `restart` kills and starts again at the same port. */
async function withServer(
  work: (
    port: number,
    restart: (meanwhile?: (file: string) => void) => Promise<void>,
  ) => Promise<void>,
): Promise<void> {
  await inDirectory(async (directory) => {
    const file = `${directory}/data.dhara`;
    let { server, port } = await startServer(["--file", file]);
    try {
      await work(Number(port), async (meanwhile = () => {}) => {
        await server.stop("SIGKILL");
        meanwhile(file);
        ({ server } = await startServer(["--file", file, "--port", port]));
      });
    } finally {
      await server.stop("SIGKILL");
    }
  });
}

Deno.test("a connection outlives a server that comes back with nothing, as one of a temporary file does", async () => {
  await withServer(async (port, restart) => {
    using storage = new ClientStorage({ port });
    using connection = new Connection(storage, { classes });
    using other = new Connection(storage, { classes });
    connection.root["a"] = new Thing("a");
    connection.commit();
    other.abort();
    await restart((file) => Deno.removeSync(file));
    for (const one of [connection, other]) {
      one.abort();
      assertEquals([...one.root.keys()], one === other ? ["b"] : []);
      one.transact((): void => {
        one.root["b"] = new Thing("b");
      });
    }
    connection.abort();
    assertEquals([...connection.root.keys()], ["b"]);
    // Also when it is of a class of the program.
    await restart((file) => Deno.removeSync(file));
    using things = new ClientStorage({ port });
    using mine = new Connection(things, { classes, rootClass: Box });
    mine.root.content.push(1);
    mine.commit();
    await restart((file) => Deno.removeSync(file));
    mine.abort();
    assertEquals([...mine.root.content], []);
  });
});

Deno.test("a connection outlives its server: the transaction under way ends, and the next one works", async () => {
  await withServer(async (port, restart) => {
    using storage = new ClientStorage({ port });
    using connection = new Connection(storage, { classes });
    const { root } = connection;
    const a = root["a"] = new Thing("a");
    const b = root["b"] = new Thing("b");
    connection.commit();
    // Something to be loaded, and a change that will not be stored.
    using reader = new Connection(storage, { classes });
    const other: Thing = reader.root["b"];
    root["lost"] = new Thing("lost");
    a.name = "changed";

    await restart();
    for (const _ of [1, 2]) {
      assertThrows(
        () => connection.commit(),
        ServerUnavailableError,
        `Lost the server at 127.0.0.1:${port}: the server closed the connection; call abort() and start over`,
      );
      assertThrows(
        () => other.name,
        ServerUnavailableError,
        "call abort() and start over",
      );
    }
    // Somebody else goes on before we do.
    {
      using elsewhere = new ClientStorage({ port });
      using writer = new Connection(elsewhere, { classes });
      writer.root["b"].name = "b, changed";
      for (let i = 0; i < 20; i++) writer.root[`theirs ${i}`] = new Thing("");
      writer.commit();
    }
    reader.abort();
    assertEquals(other.name, "b, changed");
    connection.abort();
    assertEquals(a._p_status, "ghost");
    assertEquals(b._p_status, "ghost");
    assertEquals([a.name, b.name], ["a", "b, changed"]);
    assertEquals(root["lost"], undefined);
    for (let i = 0; i < 20; i++) root[`ours ${i}`] = new Thing(`${i}`);
    connection.commit();
    reader.abort();
    const numbers = new Set(
      [...reader.root.values()].map((thing) => thing._p_oid),
    );
    assertEquals(numbers.size, 42, "two objects have one number");
    assertEquals(reader.root["ours 7"].name, "7");
  });
});

Deno.test("transact() begins anew after the server was away, and nothing is lost", async () => {
  await withServer(async (port, restart) => {
    using storage = new ClientStorage({ port });
    using connection = new Connection(storage);
    const count = () =>
      connection.transact(() => {
        const { root } = connection;
        return root["count"] = (root["count"] ?? 0) + 1;
      });
    assertEquals(count(), 1);
    for (const expected of [2, 3]) {
      await restart();
      assertEquals(count(), expected, "nothing was under way");
    }
    await restart();
    connection.root["count"] = 100;
    assertThrows(() => connection.commit(), ServerUnavailableError);
    connection.abort();
    assertEquals(count(), 4);
  });
});

Deno.test("new objects of a commit that was taken back get numbers of the new server", async () => {
  await withServer(async (port, restart) => {
    using storage = new ClientStorage({ port });
    using connection = new Connection(storage, { classes });
    const { root } = connection;
    root["a"] = new Thing("a");
    connection.commit();
    const ours = Array.from({ length: 10 }, (_, i) => new Thing(`ours ${i}`));
    const keep = () => ours.forEach((thing) => root[thing.name] = thing);
    keep();
    await restart();
    assertThrows(() => connection.commit(), ServerUnavailableError);
    assertEquals(ours[0]!._p_oid, undefined);
    // The same numbers go to somebody else now.
    using elsewhere = new ClientStorage({ port });
    using session = elsewhere.session();
    const theirs = session.allocate(100);
    connection.abort();
    keep();
    connection.commit();
    for (const { _p_oid } of ours) assert(!theirs.includes(_p_oid!));
    using reader = new Connection(storage, { classes });
    assertEquals(reader.root["ours 3"].name, "ours 3");
  });
});

Deno.test("sync() waits for a server that comes back, and says that everything may have changed", async () => {
  await inDirectory(async (directory) => {
    const file = `${directory}/data.dhara`;
    const { server, port } = await startServer(["--file", file]);
    using storage = new ClientStorage({
      port: Number(port),
      reconnect: 60_000,
    });
    using one = storage.session();
    using two = storage.session();
    const [root] = one.allocate(3);
    assert("tid" in one.commit([[root!, record(root!, "root")]]));
    await server.stop("SIGKILL");
    // This thread will stand still; the server starts in the meantime.
    const again = startServer(["--file", file, "--port", port]);
    const before = one.tid;
    assertEquals(one.sync(), "everything");
    assert(one.tid > before);
    assertEquals(one.sync(), []);
    assertEquals(one.load(root!), record(root!, "root"));
    assertThrows(() => two.load(0), ServerUnavailableError);
    assertEquals(two.sync(), "everything");
    assertEquals(two.load(root!), record(root!, "root"));
    const numbers = [...one.allocate(5), ...two.allocate(5)];
    assertEquals(new Set(numbers).size, 10);
    await (await again).server.stop("SIGKILL");
  });
});

/** A listener that closes each connection at once, in a thread of its own, and counts them. */
class Refusing implements Disposable {
  #worker: Worker;
  #count = new Int32Array(new SharedArrayBuffer(4));
  private constructor(port: number) {
    const program = `
      self.onmessage = async ({ data: count }) => {
        const listener = Deno.listen({ hostname: "127.0.0.1", port: ${port} });
        self.postMessage("ready");
        for await (const conn of listener) {
          Atomics.add(count, 0, 1);
          conn.close();
        }
      };`;
    this.#worker = new Worker(
      `data:text/javascript,${encodeURIComponent(program)}`,
      { type: "module" },
    );
  }

  static async start(port: number): Promise<Refusing> {
    const refusing = new Refusing(port);
    await new Promise((resolve) => {
      refusing.#worker.onmessage = resolve;
      refusing.#worker.postMessage(refusing.#count);
    });
    return refusing;
  }

  /** How many connections there were since the last call. */
  taken(): number {
    return Atomics.exchange(this.#count, 0, 0);
  }

  [Symbol.dispose](): void {
    this.#worker.terminate();
  }
}

Deno.test("a server that stays away is tried for the time to reconnect, once for all sessions, and then once each time", async () => {
  const server = await ServerWorker.start();
  const { port } = server;
  using storage = new ClientStorage({ port, reconnect: 400 });
  using one = storage.session();
  using two = storage.session();
  await server.stop();
  using refusing = await Refusing.start(port);
  const begin = performance.now();
  const { random } = Math;
  // The pauses are 10, 20, 40, 80 and 160 milliseconds then, and what is left.
  Math.random = () => 0;
  try {
    assertThrows(() => one.sync(), ServerUnavailableError, "Lost the server");
  } finally {
    Math.random = random;
  }
  assert(performance.now() - begin >= 400, "it was given up too early");
  const attempts = refusing.taken();
  assert(attempts > 2, `only ${attempts} attempts`);
  assert(attempts <= 8, `${attempts} attempts: the pauses do not grow`);
  for (const use of [() => two.sync(), () => one.sync()]) {
    assertThrows(use, ServerUnavailableError);
    assertEquals(refusing.taken(), 1);
  }
  assertThrows(() => storage.session(), ServerUnavailableError);
  assertEquals(refusing.taken(), 1);
  assertThrows(() => one.load(0), ServerUnavailableError);
  assertEquals(refusing.taken(), 0, "only sync() connects");
});

const SYNCED: Step[] = [{ read: 1 }, { write: [0, 0, 0, 0] }];
const RECORD = [0x4f, 0, 0, 0, 13, ...record(5, "x")];

Deno.test("a session whose server is silent does not end the others, and goes on after sync()", async () => {
  await using server = await ServerWorker.start({
    script: [
      [...GREETING, ...SYNCED, { read: 9 }],
      [...GREETING, { read: 9 }, { write: RECORD }, ...SYNCED],
      [...GREETING, { read: 9 }, { write: RECORD }],
    ],
  });
  using storage = new ClientStorage({ port: server.port, timeout: 500 });
  using silent = storage.session();
  using other = storage.session();
  assertThrows(
    () => silent.load(5),
    ServerUnavailableError,
    `Lost the server at 127.0.0.1:${server.port}: no answer came within 0.5 seconds; call abort() and start over`,
  );
  assertEquals(other.load(5), record(5, "x"));
  assertEquals(other.sync(), []);
  assertEquals(silent.sync(), "everything");
  assertEquals(silent.load(5), record(5, "x"));
});

Deno.test("an answer may take longer than the timeout, as long as bytes keep coming", async () => {
  const slowly: Step[] = RECORD.flatMap((byte) => [
    { write: [byte] },
    { wait: 60 },
  ]);
  await using server = await ServerWorker.start({
    script: [[...GREETING, ...SYNCED, { read: 9 }, ...slowly]],
  });
  using storage = new ClientStorage({ port: server.port, timeout: 500 });
  using session = storage.session();
  const begin = performance.now();
  assertEquals(session.load(5), record(5, "x"));
  assert(performance.now() - begin > 500, "it was no test of the timeout");
});

Deno.test("a server may take its time to take a large commit, as long as it takes bytes", async () => {
  // Far more than the system holds between the two.
  const size = 24_000_000;
  const slowly = Array.from({ length: 12 }, (): Step[] => [
    { read: 2_000_000 },
    { wait: 250 },
  ]).flat();
  await using server = await ServerWorker.start({
    script: [[
      ...GREETING,
      ...SYNCED,
      ...SYNCED,
      ...slowly,
      { read: 4 + 12 + 12 },
      { write: [0x4f] },
    ]],
  });
  using storage = new ClientStorage({ port: server.port, timeout: 2000 });
  using session = storage.session();
  assert("tid" in session.commit([[5, record(5, "x".repeat(size))]]));
});

Deno.test("a commit whose fate is unknown says so, and one that was not sent says that", async () => {
  const begin = [...GREETING, ...SYNCED, ...SYNCED];
  await using server = await ServerWorker.start({
    script: [
      [...begin, { read: 4 + 12 + 13 }, { close: true }],
      [...begin, { read: 4 }],
      [...begin, { read: 4 + 12 + 13 }],
    ],
  });
  const { port } = server;
  const cases: [string, string][] = [
    [
      "x",
      "the server closed the connection; it may have refused the commit (its log tells why) or stored it",
    ],
    [
      "x".repeat(30_000_000),
      "no answer came within 0.5 seconds; nothing was stored",
    ],
    [
      "x",
      "no answer came within 0.5 seconds; it may have refused the commit (its log tells why) or stored it",
    ],
  ];
  for (const [text, message] of cases) {
    using storage = new ClientStorage({ port, timeout: 500, reconnect: 0 });
    using session = storage.session();
    assertThrows(
      () => session.commit([[5, record(5, text)]]),
      ServerUnavailableError,
      `Lost the server at 127.0.0.1:${port}: ${message}; call abort() and start over`,
    );
  }
});

Deno.test("what is not a time is refused", () => {
  for (const value of [-1, NaN, "5" as unknown as number]) {
    assertThrows(
      () => new ClientStorage({ timeout: value }),
      StorageError,
      "Cannot connect to a server: timeout must be a number of milliseconds of 1 or more, not",
    );
    assertThrows(
      () => new ClientStorage({ reconnect: value }),
      StorageError,
      "Cannot connect to a server: reconnect must be a number of milliseconds of 0 or more, not",
    );
  }
});

Deno.test("a timeout may be as long as one likes", async () => {
  await using server = await ServerWorker.start();
  const { port } = server;
  using storage = new ClientStorage({ port, timeout: Infinity });
  using session = storage.session();
  // A timer that is set to too much goes off at once.
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals(session.sync(), []);
});

Deno.test("what a pack has removed while the server was away cannot be linked again", async () => {
  await withServer(async (port, restart) => {
    using storage = new ClientStorage({ port });
    using connection = new Connection(storage, { classes });
    const { root } = connection;
    const held = root["held"] = new Thing("held");
    const kept = root["kept"] = new Thing("kept");
    const box = root["box"] = new Thing("box");
    connection.commit();
    await restart((file) => {
      using storage = new FileStorage(file);
      using other = new Connection(storage, { classes });
      delete other.root["held"];
      other.commit();
      storage.pack();
    });
    connection.abort();
    for (let attempt = 0; attempt < 2; attempt++) {
      box.name = "changed";
      root["again"] = held;
      assertThrows(
        () => connection.commit(),
        StorageError,
        `it refers to object #${held._p_oid}, which is not there any more`,
      );
      assert(connection.hasChanges, "they are still there");
      connection.abort();
      assertEquals([root["again"], box.name], [undefined, "box"]);
    }
    assertThrows(() => held.name, ObjectNotFoundError);
    // What is there is linked, though nobody has looked at it since.
    root["list"] = new PersistentList([kept, new Thing("new"), root]);
    connection.commit();
    root["list"].push(new Thing("newer"), box);
    connection.commit();
    using reader = new Connection(storage, { classes });
    assertEquals(
      reader.root["list"].map(({ name }: Thing) => name),
      ["kept", "new", undefined, "newer", "box"],
    );
  });
});

Deno.test("a client that has connected again asks once for what it links, and not for what was linked before", async () => {
  const begin = [...GREETING, ...SYNCED];
  const commit = (...references: number[]): Step[] => [
    ...SYNCED,
    { read: transaction([5, record(5, "x", references)]).length },
    { write: [0x4f] },
  ];
  const load = (...references: number[]): Step[] => {
    const bytes = record(5, "x", references);
    return [{ read: 9 }, { write: [0x4f, 0, 0, 0, bytes.length, ...bytes] }];
  };
  await using server = await ServerWorker.start({
    script: [
      [...begin, { close: true }],
      [
        ...GREETING,
        ...load(1, 2),
        // The commit: the record of before, then number 3, which is new in it.
        ...load(1, 2),
        { read: 9 },
        { write: [0x49] },
        ...commit(1, 2, 3),
        ...commit(3, 2, 1),
        // Number 4 is not there.
        ...load(3, 2, 1),
        { read: 9 },
        { write: [0x4b] },
        ...SYNCED,
        { wait: 60_000 },
      ],
    ],
  });
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  assertEquals(session.sync(), "everything");
  session.load(5);
  for (const references of [[1, 2, 3], [3, 2, 1]]) {
    const result = session.commit([[5, record(5, "x", references)]]);
    assert("tid" in result);
  }
  assertThrows(
    () => session.commit([[5, record(5, "x", [4, 1])]]),
    StorageError,
    "Cannot commit object #5: it refers to object #4",
  );
  assertEquals(session.sync(), []);
});

Deno.test("a connection says what became of a dict when its server was away", async () => {
  await withServer(async (port, restart) => {
    using storage = new ClientStorage({ port, reconnect: 0 });
    using connection = new Connection(storage);
    const inner = connection.root["inner"] = new PersistentDict([["a", 1]]);
    connection.commit();
    await restart(() => {
      inner.set("a", 2);
      assertThrows(() => connection.abort(), ServerUnavailableError);
      assertThrows(() => connection.commit(), ServerUnavailableError);
    });
    connection.abort();
    assertEquals(inner.get("a"), 1);
    inner.set("a", 3);
    connection.commit();
    assertEquals(inner.get("a"), 3);
  });
});
