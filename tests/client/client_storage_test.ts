import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  ObjectNotFoundError,
  ProtocolError,
  ReadConflictError,
  ServerUnavailableError,
  StorageClosedError,
  WriteConflictError,
} from "../../lib/errors.ts";
import { ClientStorage } from "../../lib/client/client_storage.ts";
import type { Session } from "../../lib/storage/storage.ts";
import { Connection } from "../../mod.ts";
import { record } from "../support/raw_client.ts";
import { GREETING, ServerWorker, type Step } from "../support/server_worker.ts";

/** Commits, and must not meet anybody else. */
function commit(session: Session, ...records: [number, Uint8Array][]): void {
  assert("tid" in session.commit(records));
}

/** Makes a root and returns further numbers. */
function makeRoot(session: Session): number[] {
  const oids = session.allocate(8);
  assertEquals(oids[0], 0);
  commit(session, [0, record(0, "root")]);
  return oids.slice(1);
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

Deno.test("ClientStorage says at once that no server answers", () => {
  const port = freePort();
  assertThrows(
    () => new ClientStorage({ port }),
    ServerUnavailableError,
    `Cannot connect to 127.0.0.1:${port}: no server answers there`,
  );
  assertThrows(
    () => new ClientStorage({ address: "/nowhere/dhara.sock" }),
    ServerUnavailableError,
    "Cannot connect to /nowhere/dhara.sock: no server answers there",
  );
});

Deno.test("ClientStorage stores and loads records of any size", async () => {
  await using server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  const [a, b, c] = makeRoot(session);
  // Around and far beyond what is shared with the worker at once.
  const sizes = [0, 1, 64_000, 1_048_560, 1_048_576, 1_048_577, 5_000_000];
  for (const size of sizes) {
    const large = record(a!, "x".repeat(size));
    commit(
      session,
      [b!, record(b!, "b")],
      [a!, large],
      [c!, record(c!, "c", [0])],
    );
    using other = storage.session();
    assertEquals(other.load(a!), large);
    assertEquals(other.loadMany([b!, a!, c!, a!]), [
      record(b!, "b"),
      large,
      record(c!, "c", [0]),
      large,
    ]);
  }
});

Deno.test("ClientStorage allocates, commits and loads many objects", async () => {
  await using server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  const few = session.allocate(3);
  const oids = [...few, ...session.allocate(12_345), ...session.allocate(1)];
  assertEquals(oids, Array.from({ length: 12_349 }, (_, i) => i));
  const records = oids.map((oid) => record(oid, `object ${oid}`));
  commit(
    session,
    ...oids.map((oid, i) => [oid, records[i]!] as [number, Uint8Array]),
  );
  using other = storage.session();
  assertEquals(other.loadMany(oids), records);
  assertEquals(other.loadMany([]), []);
  assertEquals(other.allocate(0), []);
});

Deno.test("a missing object is an error, and the session goes on", async () => {
  await using server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  makeRoot(session);
  const error = assertThrows(() => session.load(77), ObjectNotFoundError);
  assertEquals(error.oid, 77);
  assertThrows(
    () => session.loadMany([0, 78, 0, 79]),
    ObjectNotFoundError,
    "#78",
  );
  assertEquals(session.load(0), record(0, "root"));
});

Deno.test("after a refused commit what others changed cannot be loaded until sync()", async () => {
  await using server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port });
  using one = storage.session();
  const [a, b] = makeRoot(one);
  commit(one, [a!, record(a!, "old")], [b!, record(b!, "b")]);
  using two = storage.session();
  commit(one, [a!, record(a!, "new")]);
  const before = two.tid;
  const result = two.commit([[b!, record(b!, "other")]]);
  assertEquals(result, { invalid: [a!] });
  assertEquals(two.tid, before);
  const error = assertThrows(() => two.load(a!), ReadConflictError);
  assertEquals(error.oids, [a!]);
  assertThrows(() => two.loadMany([b!, a!]), ReadConflictError);
  assertEquals(two.load(b!), record(b!, "b"));
  assertEquals(
    two.commit([[b!, record(b!, "other")]]),
    { invalid: [a!] },
    "asking again changes nothing",
  );
  assertEquals(two.sync(), [a!]);
  assert(two.tid > before);
  assertEquals(two.load(a!), record(a!, "new"));
  commit(two, [b!, record(b!, "other")]);
});

const EMPTY = [0, 0, 0, 0];
const SYNCED: Step[] = [{ read: 1 }, { write: EMPTY }];

Deno.test("a commit that loses the race is refused, and nothing of the list is lost", async () => {
  await using server = await ServerWorker.start({
    script: [[
      ...GREETING,
      ...SYNCED,
      { read: 1 },
      { write: EMPTY },
      { read: 4 + 12 + 15 },
      { write: [0x49] },
      { read: 1 },
      { write: [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7] },
      { read: 1 },
      { write: [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8] },
    ]],
  });
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  assertEquals(session.commit([[3, record(3, "abc")]]), { invalid: [7] });
  assertThrows(() => session.load(7), ReadConflictError);
  assertEquals(session.sync(), [7, 8]);
});

Deno.test("an object that the server cannot show is a read conflict", async () => {
  await using server = await ServerWorker.start({
    script: [[...GREETING, ...SYNCED, { read: 9 }, { write: [0x49] }]],
  });
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  const error = assertThrows(() => session.load(5), ReadConflictError);
  assertEquals(error.oids, [5]);
});

Deno.test("a server that talks nonsense is a ProtocolError, and the next sync() connects anew", async () => {
  const load = (session: Session) => session.load(5);
  const cases: [string, (session: Session) => unknown, number[]][] = [
    ["a load with byte 63", load, [63]],
    ["a record of 4294967295 bytes", load, [0x4f, 255, 255, 255, 255]],
    ["it has 1 bytes", load, [0x4f, 0, 0, 0, 1, 0]],
    ["object #6 instead of #5", load, [0x4f, 0, 0, 0, 12, ...[
      ...[0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0],
    ]]],
    ["4294967295 numbers", (session) => session.sync(), [255, 255, 255, 255]],
    [
      "2^53 or more",
      (session) => session.sync(),
      [0, 0, 0, 1, 255, 255, 255, 255, 255, 255, 255, 255],
    ],
    [
      "a commit with byte 63",
      (session) => session.commit([[5, record(5, "")]]),
      [...EMPTY, 63],
    ],
  ];
  await using server = await ServerWorker.start({
    script: cases.flatMap(([, , write]) => [
      [...GREETING, ...SYNCED, { read: 1 }, { write }],
      [...GREETING],
    ]),
  });
  for (const [complaint, use] of cases) {
    using storage = new ClientStorage({ port: server.port });
    using session = storage.session();
    if (complaint === "4294967295 numbers" || complaint === "2^53 or more") {
      // It was to find another snapshot anyway.
      assertEquals(use(session), "everything");
    } else {
      assertThrows(() => use(session), ProtocolError, complaint);
      assertThrows(() => session.load(1), ProtocolError, complaint);
      assertEquals(session.sync(), "everything");
    }
  }
});

Deno.test("what is not a server of ours is a ProtocolError", async () => {
  const http = new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\n\r\n");
  await using server = await ServerWorker.start({
    script: [[{ read: 5 }, { write: [...http] }], [{ read: 5 }, {
      close: true,
    }]],
  });
  const { port } = server;
  assertThrows(
    () => new ClientStorage({ port }),
    ProtocolError,
    "it speaks protocol 1213486160, not 1",
  );
  assertThrows(
    () => new ClientStorage({ port }),
    ServerUnavailableError,
    `Lost the server at 127.0.0.1:${port}: the server closed the connection`,
  );
});

Deno.test("a server that is silent is given up after the timeout", () => {
  // The system takes the connection, and nobody ever reads from it.
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  assertThrows(
    () => new ClientStorage({ port: listener.addr.port, timeout: 100 }),
    ServerUnavailableError,
    "no answer came within 0.1 seconds",
  );
});

Deno.test("a session whose server is silent is given up, and the storage connects anew", async () => {
  await using server = await ServerWorker.start({
    script: [[...GREETING, ...SYNCED], [...GREETING, ...SYNCED]],
  });
  using storage = new ClientStorage({ port: server.port, timeout: 2000 });
  using session = storage.session();
  assertThrows(() => session.load(0), ServerUnavailableError, "no answer");
  assertThrows(() => session.load(0), ServerUnavailableError, "no answer");
  using other = storage.session();
  assertEquals(other.sync(), []);
});

Deno.test("a server that dies is an error at once, for every session", async () => {
  const server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port, reconnect: 0 });
  using one = storage.session();
  using two = storage.session();
  makeRoot(one);
  await server.stop();
  for (const session of [one, two, one]) {
    assertThrows(
      () => session.load(0),
      ServerUnavailableError,
      "Lost the server",
    );
    assertThrows(() => session.sync(), ServerUnavailableError);
    assertThrows(
      () => session.commit([[0, record(0, "new")]]),
      ServerUnavailableError,
    );
  }
  assertThrows(
    () => storage.session(),
    ServerUnavailableError,
    "no server answers there",
  );
});

Deno.test("a storage can be used again when its server is back", async () => {
  const directory = await Deno.makeTempDir();
  const file = `${directory}/data.dhara`;
  const server = await ServerWorker.start({ file });
  const { port } = server;
  using storage = new ClientStorage({ port });
  makeRoot(storage.session());
  await server.stop();
  {
    await using _again = await ServerWorker.start({ file, port });
    using session = storage.session();
    assertEquals(session.load(0), record(0, "root"));
  }
  await Deno.remove(directory, { recursive: true });
});

Deno.test("a commit that the server refuses stores nothing and ends the session", async () => {
  await using server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  makeRoot(session);
  assertThrows(
    () => session.commit([[0, record(0, "new")], [99, record(99, "?")]]),
    ServerUnavailableError,
    "the server closed the connection; it may have refused the commit (its log tells why) or stored it",
  );
  await server.logged("nobody was given the number #99");
  using other = storage.session();
  assertEquals(other.load(0), record(0, "root"));
});

Deno.test("a closed session or storage says so", async () => {
  await using server = await ServerWorker.start();
  const storage = new ClientStorage({ port: server.port });
  const session = storage.session();
  const other = storage.session();
  session.close();
  session.close();
  assertThrows(() => session.load(0), StorageClosedError);
  assertThrows(() => session.sync(), StorageClosedError);
  assertThrows(() => session.allocate(1), StorageClosedError);
  assertThrows(() => session.commit([]), StorageClosedError);
  assertEquals(other.sync(), []);
  storage.close();
  storage.close();
  assertThrows(() => other.sync(), StorageClosedError);
  assertThrows(() => storage.session(), StorageClosedError);
  assertThrows(() => storage.pack(), StorageClosedError);
});

Deno.test("a commit of nothing answers the session's own tid", async () => {
  await using server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  assertEquals(session.commit([]), { tid: session.tid, changed: [] });
});

Deno.test("pack() makes the server pack", async () => {
  await using server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  const [a] = makeRoot(session);
  commit(session, [a!, record(a!, "garbage")]);
  assertEquals(storage.pack(), { records: 0, bytes: 0 });
  await server.logged("Packed");
  using later = storage.session();
  assertThrows(() => later.load(a!), ObjectNotFoundError);
});

Deno.test("a Unix socket works as well", {
  ignore: Deno.build.os === "windows",
}, async () => {
  const directory = await Deno.makeTempDir();
  const address = `${directory}/dhara.sock`;
  {
    await using _server = await ServerWorker.start({ address });
    using storage = new ClientStorage({ address });
    using session = storage.session();
    makeRoot(session);
    assertEquals(session.load(0), record(0, "root"));
  }
  await Deno.remove(directory);
});

Deno.test("two programs share objects, and the second to change one has a conflict", async () => {
  await using server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port });
  using otherStorage = new ClientStorage({ port: server.port });
  using one = new Connection(storage);
  using two = new Connection(otherStorage);
  one.root.set("hello", "world");
  assertEquals(two.root.get("hello"), undefined);
  one.commit();
  assertEquals(
    two.root.get("hello"),
    undefined,
    "not before the transaction ends",
  );
  two.abort();
  assertEquals(two.root.get("hello"), "world");

  one.root.set("hello", "one");
  two.root.set("hello", "two");
  one.commit();
  const error = assertThrows(() => two.commit(), WriteConflictError);
  assertEquals(error.oids, [0]);
  one.abort();
  assertEquals(one.root.get("hello"), "one");
  two.abort();
  assertEquals(two.root.get("hello"), "one");
  two.root.set("hello", "two");
  two.commit();
  one.commit();
  assertEquals(one.root.get("hello"), "two");
});

/** Runs a program in a process of its own, with as few permissions as it needs. */
async function run(program: string): Promise<Deno.CommandOutput> {
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, program);
    return await new Deno.Command(Deno.execPath(), {
      args: ["run", "-q", "--no-check", "--no-prompt", "--allow-net", file],
      stdin: "null",
      signal: AbortSignal.timeout(60_000),
    }).output();
  } finally {
    await Deno.remove(file);
  }
}

const RECORD = JSON.stringify(
  import.meta.resolve("../../lib/serialize/record.ts"),
);

const MODULE = JSON.stringify(
  import.meta.resolve("../../lib/client/client_storage.ts"),
);

Deno.test("a program that forgets close() ends all the same, and needs --allow-net alone", async () => {
  await using server = await ServerWorker.start();
  const { code, stdout, stderr } = await run(`
    import { ClientStorage } from ${MODULE};
    const storage = new ClientStorage({ port: ${server.port} });
    const session = storage.session();
    console.log(session.allocate(2), session.sync());
  `);
  assertEquals(new TextDecoder().decode(stderr), "");
  assertEquals(new TextDecoder().decode(stdout), "[ 0, 1 ] []\n");
  assertEquals(code, 0);
});

Deno.test("programs that count at the same time lose no count", async () => {
  await using server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  commit(session, [0, record(0, "0")]);
  const counting = `
    import { ClientStorage } from ${MODULE};
    import { packRecord, recordData } from ${RECORD};
    const storage = new ClientStorage({ port: ${server.port} });
    const session = storage.session();
    for (let i = 0; i < 100; i++) {
      for (;;) {
        const old = Number(new TextDecoder().decode(recordData(session.load(0))));
        const next = packRecord(0, new TextEncoder().encode(String(old + 1)), []);
        if ("tid" in session.commit([[0, next]])) break;
        session.sync();
      }
    }`;
  const outputs = await Promise.all([1, 2, 3].map(() => run(counting)));
  for (const { code, stderr } of outputs) {
    assertEquals(code, 0, new TextDecoder().decode(stderr));
  }
  session.sync();
  assertEquals(session.load(0), record(0, "300"));
});

Deno.test("a program that may not use the network is told so", async () => {
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(
    file,
    `import { ClientStorage } from ${MODULE}; new ClientStorage({ port: 1 });`,
  );
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "--no-check", "--no-prompt", file],
    signal: AbortSignal.timeout(60_000),
  }).output();
  await Deno.remove(file);
  assertEquals(code, 1);
  const text = new TextDecoder().decode(stderr);
  assert(
    text.includes("Cannot connect to 127.0.0.1:1: Requires net access"),
    text,
  );
});
