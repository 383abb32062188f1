/** What a session does with what a server says, and with what is asked of it. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  ObjectNotFoundError,
  ProtocolError,
  ReadConflictError,
  ServerUnavailableError,
  StorageError,
} from "../../lib/errors.ts";
import { encodeServed, NO_TID, question } from "../../lib/protocol/identity.ts";
import { ClientStorage } from "../../lib/client/client_storage.ts";
import { Connection, Persistent } from "../../mod.ts";
import { inDirectory, MAP } from "../support/dhara.ts";
import { record, transaction } from "../support/raw_client.ts";
import { GREETING, ServerWorker, type Step } from "../support/server_worker.ts";

const SYNCED: Step[] = [{ read: 1 }, { write: [0, 0, 0, 0] }];
const COMMIT = { read: transaction([5, record(5, "x")]).length };
const GIVEN_UP = { read: 4 };
const OKAY = { write: [0x4f] };
const INVALID = { write: [0x49] };

/** The list of one changed object. */
function changed(oid: number): Step[] {
  return [{ read: 1 }, {
    write: [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, oid],
  }];
}

/** Tells of work with a session whose server says what a script says, and then counts the pieces. */
async function withScript(
  script: Step[],
  work: (session: ReturnType<ClientStorage["session"]>) => void,
): Promise<void> {
  await using server = await ServerWorker.start({
    // What comes last shows that the client is in step with it.
    script: [[...GREETING, ...SYNCED, ...script, ...changed(99)]],
  });
  using storage = new ClientStorage({ port: server.port, timeout: 10_000 });
  using session = storage.session();
  work(session);
  assertEquals(session.sync(), [99], "the client is out of step");
}

Deno.test("a miss in the middle of loadMany() leaves the session in step", async () => {
  await using server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  const oids = session.allocate(20_000);
  const text = (oid: number) => record(oid, `object ${oid}`);
  assert("tid" in session.commit(oids.map((oid) => [oid, text(oid)])));
  const many = oids.slice(10, 12_000);
  for (const at of [0, 1, 4999, 5000, 7000, many.length - 1]) {
    const asked = many.with(at, 99_999);
    const error = assertThrows(
      () => session.loadMany(asked),
      ObjectNotFoundError,
    );
    assertEquals(error.oid, 99_999);
    assertEquals(session.load(3), text(3));
    assertEquals(session.loadMany([7, 2]), [text(7), text(2)]);
  }
});

Deno.test("a conflict in the middle of loadMany() leaves the session in step", async () => {
  const one = [0x4f, 0, 0, 0, 13, ...record(5, "x")];
  const two = [0x4f, 0, 0, 0, 13, ...record(7, "y")];
  await withScript([
    { read: 1 + 4 + 3 * 8 },
    { write: [...one, 0x49, ...two] },
  ], (session) => {
    const error = assertThrows(
      () => session.loadMany([5, 6, 7]),
      ReadConflictError,
    );
    assertEquals(error.oids, [6]);
  });
});

Deno.test("bytes that nobody asked for are noticed before they pass for an answer", async () => {
  const answer = [0x4f, 0, 0, 0, 13, ...record(5, "x")];
  await using server = await ServerWorker.start({
    script: [[...GREETING, ...SYNCED, { read: 9 }, {
      write: [...answer, ...answer],
    }]],
  });
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  assertEquals(session.load(5), record(5, "x"));
  for (const _ of [1, 2]) {
    assertThrows(
      () => session.load(5),
      ProtocolError,
      `Cannot understand the server at 127.0.0.1:${server.port}: it sent 18 bytes that nobody asked for`,
    );
  }
});

Deno.test("a commit is sent although others have changed what it did not access", async () => {
  await withScript([
    ...changed(7),
    COMMIT,
    OKAY,
  ], (session) => {
    const result = session.commit([[5, record(5, "x")]], {
      accessed: (oid) => oid === 5,
    });
    assert("tid" in result);
    assertEquals(result.changed, [7]);
  });
});

Deno.test("a commit that loses a race against what it did not access is sent again at once", async () => {
  await withScript([
    ...changed(7),
    COMMIT,
    INVALID,
    ...changed(8),
    COMMIT,
    OKAY,
  ], (session) => {
    const result = session.commit([[5, record(5, "x")]], {
      accessed: (oid) => oid === 5,
    });
    assert("tid" in result);
    assertEquals(result.changed, [7, 8]);
  });
});

Deno.test("a commit that loses every race comes to its end, and tells what was changed", async () => {
  await withScript([
    ...[1, 2, 3, 4].flatMap((oid) => [...changed(oid), COMMIT, INVALID]),
    ...changed(6),
    ...SYNCED,
  ], (session) => {
    const result = session.commit([[5, record(5, "x")]], {
      accessed: (oid) => oid === 5,
    });
    assertEquals(result, { invalid: [1, 2, 3, 4, 6] });
    assertThrows(() => session.load(4), ReadConflictError);
    assertEquals(session.sync(), [1, 2, 3, 4, 6]);
  });
});

Deno.test("a commit that is refused although nothing has changed is an error", async () => {
  await withScript([
    ...SYNCED,
    COMMIT,
    INVALID,
    ...SYNCED,
    GIVEN_UP,
  ], (session) => {
    assertThrows(
      () => session.commit([[5, record(5, "x")]]),
      StorageError,
      "refuses it, although nothing has changed; its log tells why",
    );
  });
});

Deno.test("a read-only server refuses a commit, and the session goes on", async () => {
  await inDirectory(async (directory) => {
    const file = `${directory}/data.dhara`;
    {
      await using server = await ServerWorker.start({ file });
      using storage = new ClientStorage({ port: server.port });
      new Connection(storage).close();
    }
    await using server = await ServerWorker.start({ file, readonly: true });
    using storage = new ClientStorage({ port: server.port });
    using connection = new Connection(storage);
    connection.root["a"] = 1;
    assertThrows(
      () => connection.commit(),
      StorageError,
      `Cannot commit: the server at 127.0.0.1:${server.port} refuses it, although nothing has changed; its log tells why`,
    );
    connection.abort();
    assertEquals(connection.root["a"], undefined);
    assertThrows(() => storage.pack(), StorageError, "its log tells why");
  });
});

class Thing extends Persistent {
  name = "thing";
}

Deno.test("what a pack has removed cannot be used or linked again, and the connection goes on", async () => {
  await using server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port });
  const classes = { Thing };
  using connection = new Connection(storage, { classes });
  using other = new Connection(storage, { classes });
  const held = connection.root["a"] = new Thing();
  connection.commit();
  other.abort();
  const ghost: Thing = other.root["a"];
  delete connection.root["a"];
  connection.commit();
  const packs = server.packs();
  storage.pack();
  server.waitForPack(packs);
  assertEquals(other.root["a"], ghost, "the snapshot of before");
  other.abort();
  connection.abort();
  assertThrows(() => ghost.name, ObjectNotFoundError);
  for (const [one, thing] of [[connection, held], [other, ghost]] as const) {
    one.root["again"] = thing;
    assertThrows(() => one.commit(), StorageError);
    one.abort();
    assertEquals(one.root["again"], undefined);
    one.root["fresh"] = new Thing();
    one.commit();
    connection.abort();
    other.abort();
  }
  assertEquals(other.root["fresh"].name, "thing");
});

Deno.test("a hostile server costs neither memory nor time", async () => {
  const stop: Step[] = [{ wait: 100_000 }];
  const lists = [...GREETING, ...SYNCED, { read: 1 }];
  await using server = await ServerWorker.start({
    script: [
      // It announces as much as it can, and sends little of it.
      [...GREETING, ...SYNCED, { read: 9 }, {
        write: [0x4f, 0x40, 0, 0, 0, 1, 2, 3],
      }, ...stop],
      [...lists, { write: [7, 255, 255, 255, 1, 2, 3] }, ...stop],
      // It says nothing to a greeting.
      [{ read: 5 }, ...stop],
    ],
  });
  const { port } = server;
  const silent = "no answer came within 0.3 seconds";
  const uses: ((session: ReturnType<ClientStorage["session"]>) => void)[] = [
    (session) => session.load(5),
    (session) => session.sync(),
  ];
  const { rss } = Deno.memoryUsage();
  for (const use of uses) {
    using storage = new ClientStorage({ port, timeout: 300, reconnect: 0 });
    using session = storage.session();
    assertThrows(() => use(session), ServerUnavailableError, "127.0.0.1");
  }
  assertThrows(
    () => new ClientStorage({ port, timeout: 300 }),
    ServerUnavailableError,
    silent,
  );
  const more = Deno.memoryUsage().rss - rss;
  assert(more < 200_000_000, `it took ${more} bytes`);
});

Deno.test("the sockets of sessions, storages and constructors that failed are given back", async () => {
  await using server = await ServerWorker.start();
  const { port } = server;
  const gone = () => server.log.filter((line) => line.includes("is gone"));
  using storage = new ClientStorage({ port });
  for (let i = 0; i < 5; i++) storage.session().close();
  using _stays = storage.session();
  {
    using other = new ClientStorage({ port });
    other.session();
    other.session();
  }
  for (let i = 0; i < 1000 && gone().length < 7; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assertEquals(gone().length, 7);
  // One whose constructor fails: the server there never says anything.
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  assertThrows(
    () => new ClientStorage({ port: listener.addr.port, timeout: 50 }),
    ServerUnavailableError,
  );
  using conn = await listener.accept();
  const timer = setTimeout(() => conn.close(), 30_000);
  let count: number | null = 0;
  let bytes = 0;
  while ((count = await conn.read(new Uint8Array(64))) !== null) bytes += count;
  clearTimeout(timer);
  assertEquals(bytes, 5, "the greeting, and the end");
});

Deno.test(
  "a relative path of a socket means the same after a change of directory",
  {
    ignore: Deno.build.os === "windows",
  },
  async () => {
    await inDirectory(async (directory) => {
      await using _server = await ServerWorker.start({
        address: `${directory}/dhara.sock`,
      });
      // In a process of its own: other tests are in this one at the same time.
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "-q", "-A", "--no-check", ...MAP],
          import.meta.resolve("../support/wanderer.ts"),
          directory,
        ],
      }).output();
      const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
      assertEquals([text(stdout), text(stderr)], ["0\n", ""]);
    });
  },
);

/** How many sockets are open that are connected to the ports. Other tests in this process have theirs. */
function open(...ports: number[]): number {
  return Deno.readTextFileSync("/proc/self/net/tcp").split("\n").filter(
    (line) => {
      const [, , remote, , , , , , , inode] = line.trim().split(/\s+/);
      // A socket that was closed lives on in the system for a while, without a number.
      return ports.includes(Number.parseInt(remote?.split(":")[1] ?? "", 16)) &&
        inode !== "0";
    },
  ).length;
}

/** Waits until so many sockets are open: ends come a little later than the calls that close them. */
async function untilOpen(count: number, ...ports: number[]): Promise<void> {
  for (let i = 0; i < 500 && open(...ports) !== count; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assertEquals(open(...ports), count, "so many sockets are open");
}

Deno.test("a session that was closed or lost keeps no socket open", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  await using server = await ServerWorker.start();
  const garbage: Step[] = [{ read: 9 }, { write: [63] }, { read: 1 }, {
    close: true,
  }];
  await using nonsense = await ServerWorker.start({
    script: [
      [...GREETING, ...SYNCED, ...garbage],
      ...Array(19).fill([...GREETING, ...garbage]),
    ],
  });
  using storage = new ClientStorage({ port: server.port });
  storage.session().close();
  using other = new ClientStorage({ port: nonsense.port });
  const ports = [server.port, nonsense.port];
  await untilOpen(1, ...ports);
  using one = storage.session();
  await untilOpen(2, ...ports);
  for (let i = 0; i < 20; i++) storage.session().close();
  const lost = Array.from({ length: 20 }, () => {
    const session = other.session();
    assertThrows(() => session.load(5), ProtocolError);
    return session;
  });
  await untilOpen(1, ...ports);
  one.sync();
  for (const session of lost) session.close();
});

/** What a server says of its database, in answer to a question about a transaction. */
function served(identity: number, tid: number, known: boolean, asked: number) {
  const record = encodeServed(question(asked), {
    identity: identity.toString(16).padStart(32, "0"),
    tid,
    known,
  });
  return { write: [0x4f, 0, 0, 0, record.length, ...record] };
}

Deno.test("a commit that was confirmed counts, though it is not known as which transaction", async () => {
  const greeting = (...answer: Step[]): Step[] => [
    ...GREETING.slice(0, 3),
    ...answer,
  ];
  const seven = served(7, 5, false, NO_TID);
  await using server = await ServerWorker.start({
    script: [
      [
        ...greeting(seven),
        { read: 10 },
        { write: [0, 0, 0, 0, ...seven.write] },
        ...SYNCED,
        { read: COMMIT.read + 9 },
        // It dies between the two answers.
        { write: [0x4f, 0x4f, 0] },
        { close: true },
      ],
      greeting(served(7, 6, false, NO_TID)),
    ],
  });
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  assertEquals(storage.identity, "7".padStart(32, "0"));
  assert("tid" in session.commit([[5, record(5, "x")]]));
  assertThrows(() => session.load(5), ServerUnavailableError);
  assertEquals(session.sync(), "replaced");
});

Deno.test("a session asks whether what it has seen last is known", async () => {
  const greeting = (...answer: Step[]): Step[] => [
    ...GREETING.slice(0, 3),
    ...answer,
  ];
  const first = served(7, 5, false, NO_TID);
  const synced: Step[] = [
    { read: 10 },
    { write: [0, 0, 0, 0, ...served(7, 6, false, NO_TID).write] },
    { close: true },
  ];
  const cases: [Step, "everything" | "replaced"][] = [
    [served(7, 8, true, 6), "everything"],
    [served(7, 8, false, 6), "replaced"],
    [served(8, 8, true, 6), "replaced"],
    [{ write: [0x4b] }, "replaced"],
  ];
  await using server = await ServerWorker.start({
    script: cases.flatMap(([answer]) => [
      [...greeting(first), ...synced],
      greeting(answer),
    ]),
  });
  for (const [, expected] of cases) {
    using storage = new ClientStorage({ port: server.port });
    using session = storage.session();
    assertEquals(session.sync(), expected);
  }
});

Deno.test("nonsense about the database is a ProtocolError", async () => {
  const { write } = served(7, 5, false, NO_TID);
  const answers = [
    [63],
    [0x49],
    write.with(4, 36),
    write.with(7, 1),
    write.with(16, 24),
    write.with(-1, 2),
    write.with(-9, 255),
  ];
  await using server = await ServerWorker.start({
    script: answers.map((write) => [...GREETING.slice(0, 3), { write }]),
  });
  for (const _ of answers) {
    assertThrows(
      () => new ClientStorage({ port: server.port, timeout: 5000 }),
      ProtocolError,
      "Cannot understand the server",
    );
  }
});
