/** What a client asks for, gives back and tells when something is wrong. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  ObjectNotFoundError,
  ProtocolError,
  ServerUnavailableError,
  StorageError,
} from "../../lib/errors.ts";
import {
  BlockingSocket,
  SocketWorker,
} from "../../lib/client/blocking_socket.ts";
import { Requests } from "../../lib/client/requests.ts";
import { ClientStorage } from "../../lib/client/client_storage.ts";
import { record } from "../support/raw_client.ts";
import { GREETING, ServerWorker, type Step } from "../support/server_worker.ts";

const SYNCED: Step[] = [{ read: 1 }, { write: [0, 0, 0, 0] }];
const LOST: Step[] = [{ read: 5 }, { close: true }];
const ANSWER = [0x4f, 0, 0, 0, 13, ...record(5, "x")];

Deno.test("a commit whose last bytes were not sent was not stored", () => {
  const lost = new ServerUnavailableError("Lost the server");
  for (
    const [sent, fate] of [[false, "nothing was"], [true, "or stored it"]]
  ) {
    let read = () => Uint8Array.of(0x4b);
    const socket = {
      sent,
      available: 0,
      writeByte: () => {},
      writeUint32: () => {},
      writeOid: () => {},
      write: () => {},
      readUint32: () => 1,
      read: () => read(),
    } as unknown as BlockingSocket;
    const client = new Requests(socket);
    read = () => {
      throw lost;
    };
    const error = assertThrows(
      () => client.finishCommit(new Map([[5, record(5, "x")]])),
      ServerUnavailableError,
      `Lost the server; `,
    );
    assert(error.message.includes(String(fate)), error.message);
  }
});

Deno.test("a socket that was given up tells why, and has nothing left to read", async () => {
  await using server = await ServerWorker.start({
    script: [[{ read: 5 }, { write: [1, 2, 3, 4] }, { read: 1 }]],
  });
  const worker = new SocketWorker(10_000);
  const socket = new BlockingSocket(worker, {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: server.port,
  });
  try {
    for (let i = 0; i < 5; i++) socket.writeByte(i);
    assertEquals(socket.read(1, 4)[0], 1);
    assertEquals(socket.available, 3);
    const why = new ProtocolError("That made no sense");
    assert(socket.fail(why) === why);
    assertEquals(socket.available, 0);
    for (let i = 0; i < 2; i++) {
      socket.writeByte(1);
      assert(assertThrows(() => socket.read(1)) === why);
      // A later reason does not take the place of the first.
      socket.fail(new ProtocolError("Nor did this"));
    }
  } finally {
    socket.close();
    worker.terminate();
  }
});

Deno.test("a server that takes no more clients says so", async () => {
  await using server = await ServerWorker.start({
    script: [[{ read: 5 }, { write: [0, 0, 0, 0] }]],
  });
  const { port } = server;
  assertThrows(
    () => new ClientStorage({ port }),
    ServerUnavailableError,
    `Cannot connect to 127.0.0.1:${port}: the server has as many clients as it takes`,
  );
});

Deno.test("each time that a server is missed there is time to reconnect", async () => {
  await using server = await ServerWorker.start({
    script: [
      [...GREETING, ...SYNCED, { read: 1 }, { close: true }],
      LOST,
      [...GREETING, { read: 1 }, { close: true }],
      LOST,
      [...GREETING, ...SYNCED],
    ],
  });
  const { now } = performance;
  using storage = new ClientStorage({ port: server.port, reconnect: 60_000 });
  using session = storage.session();
  try {
    assertEquals(session.sync(), "everything");
    performance.now = () => now.call(performance) + 3_600_000;
    assertEquals(session.sync(), "everything");
  } finally {
    performance.now = now;
  }
  assertEquals(session.sync(), []);
});

Deno.test("a worker that does not answer is replaced", async () => {
  await using server = await ServerWorker.start({
    script: [[...GREETING, ...SYNCED], [...GREETING, ...SYNCED]],
  });
  using storage = new ClientStorage({ port: server.port, reconnect: 0 });
  using session = storage.session();
  const { wait } = Atomics;
  Atomics.wait = (() => "timed-out") as typeof Atomics.wait;
  try {
    assertThrows(() => session.load(5), ServerUnavailableError);
  } finally {
    Atomics.wait = wait;
  }
  using other = storage.session();
  assertEquals(other.sync(), []);
});

Deno.test("a worker that dies beside a request is not used any more", async () => {
  const worker = new SocketWorker(
    60_000,
    `export const serve = () => async () => {
      setTimeout(() => {
        throw new Error("out of luck");
      }, 0);
      return 0;
    }`,
  );
  assert(worker.alive);
  worker.exchange(1, 0, 0);
  for (let i = 0; i < 1000 && worker.alive; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert(!worker.alive);
  assertThrows(() => worker.exchange(1, 0, 0), ServerUnavailableError);
});

Deno.test("a worker is given a timeout that a timer can be set to", () => {
  const worker = new SocketWorker(
    Infinity,
    `export const serve = ({ timeout }, control) => async () => {
      control[3] = timeout;
      return 0;
    }`,
  );
  assert(worker.exchange(1, 0, 0) > 2_000_000_000);
  worker.terminate();
});

/** How many threads this process has. */
function threads(): number {
  return [...Deno.readDirSync("/proc/self/task")].length;
}

Deno.test("storages that were closed or could not connect leave no thread", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  await using server = await ServerWorker.start({
    script: [
      ...Array(10).fill(GREETING),
      ...Array(10).fill(LOST),
    ],
  });
  const { port } = server;
  const before = threads();
  for (let i = 0; i < 10; i++) new ClientStorage({ port }).close();
  for (let i = 0; i < 10; i++) {
    assertThrows(() => new ClientStorage({ port }), ServerUnavailableError);
  }
  for (let i = 0; i < 1000 && threads() > before + 5; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert(threads() <= before + 5, `${threads() - before} more threads`);
});

Deno.test("pack() gives its connection back, and takes no options", async () => {
  await using server = await ServerWorker.start();
  const gone = () => server.log.filter((line) => line.includes("is gone"));
  using storage = new ClientStorage({ port: server.port });
  storage.pack();
  for (let i = 0; i < 1000 && gone().length === 0; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assertEquals(gone().length, 1);
  for (const options of [{ keep: "1d" }, { prepack: true }]) {
    assertThrows(
      () => storage.pack(options),
      StorageError,
      "Cannot tell a server what to keep",
    );
  }
});

Deno.test("bytes that nobody asked for do not pass for numbers", async () => {
  await using server = await ServerWorker.start({
    script: [[...GREETING, ...SYNCED, { read: 9 }, {
      write: [...ANSWER, ...Array(8 * 32).fill(0)],
    }]],
  });
  using storage = new ClientStorage({ port: server.port, timeout: 10_000 });
  using session = storage.session();
  assertEquals(session.load(5), record(5, "x"));
  assertThrows(
    () => session.allocate(3),
    ProtocolError,
    "it sent 256 bytes that nobody asked for",
  );
});

Deno.test("what was wrong with a server first is what every later use tells, until the session syncs", async () => {
  await using server = await ServerWorker.start({
    script: [[...GREETING, ...SYNCED, { read: 9 }, {
      write: [63, 1, 2, 3, ...ANSWER],
    }], [...GREETING, { read: 9 }, { write: ANSWER }]],
  });
  using storage = new ClientStorage({ port: server.port, timeout: 10_000 });
  using session = storage.session();
  for (
    const use of [
      () => session.load(5),
      () => session.load(5),
      () => session.allocate(1),
    ]
  ) {
    assertThrows(
      use,
      ProtocolError,
      "it answered a load with byte 63; call abort() and start over",
    );
  }
  assertEquals(session.sync(), "everything");
  assertEquals(session.load(5), record(5, "x"));
});

Deno.test("a commit that is given up does not keep the server waiting", async () => {
  const server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port });
  using one = storage.session();
  using two = storage.session();
  assert("tid" in one.commit([[0, record(0, "one")]]));
  assertEquals(two.commit([[0, record(0, "two")]]), { invalid: [0] });
  await server.stop();
  const late = server.log.filter((line) => line.includes("stalled"));
  assertEquals(late, [], "the server waited for the client when it stopped");
});

Deno.test("numbers beyond 32 bits are not mistaken for smaller ones", async () => {
  await using server = await ServerWorker.start();
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  assert("tid" in session.commit([[0, record(0, "root")]]));
  for (const oid of [2 ** 32, 2 ** 40, 2 ** 52]) {
    const error = assertThrows(() => session.load(oid), ObjectNotFoundError);
    assertEquals(error.oid, oid);
  }
  assertEquals(session.load(0), record(0, "root"));
});
