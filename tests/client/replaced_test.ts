/** A server comes back with another database, and nothing of the two is mixed. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  ClassError,
  ConnectionError,
  EncodeError,
  ServerUnavailableError,
} from "../../lib/errors.ts";
import { ClientStorage } from "../../lib/client/client_storage.ts";
import {
  backup,
  Connection,
  openStorage,
  Persistent,
  PersistentDict,
  PersistentList,
  PersistentSet,
  restore,
  restoreBackup,
} from "../../mod.ts";
import { inDirectory } from "../support/dhara.ts";
import { ServerWorker } from "../support/server_worker.ts";

class Thing extends Persistent {
  name: string;

  constructor(name: string) {
    super();
    this.name = name;
  }
}

class Box extends Persistent {
  content = "box";
}

class Thing2 extends Persistent {
  name = "root";
}

const classes = { Thing, Box, Thing2 };

/** A server that can be stopped and started again at the same port. */
class Place {
  port = 0;
  #server: ServerWorker | undefined;

  constructor(readonly file: string | undefined) {}

  async start(): Promise<void> {
    this.#server = await ServerWorker.start({
      ...(this.file === undefined ? {} : { file: this.file }),
      port: this.port,
    });
    this.port = this.#server.port;
  }

  async restart(
    meanwhile: () => void | Promise<void> = () => {},
  ): Promise<void> {
    await this.#server!.stop();
    this.#server = undefined;
    await meanwhile();
    await this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.stop();
  }
}

/** Somebody else fills a database with objects whose numbers ours have too. */
function fill(port: number, what: string): void {
  using storage = new ClientStorage({ port });
  using connection = new Connection(storage, { classes });
  for (let i = 0; i < 40; i++) {
    connection.root[`${what}${i}`] = new PersistentList([what]);
  }
  connection.commit();
}

/** Checks that an object refuses whatever is done with it. */
function assertGone(use: () => unknown): void {
  assertThrows(use, ConnectionError, "find the object again from the root");
}

const kinds = ["data.dhara", "data.sqlite"];

/** Ways to another database; `before` is what is prepared while the first one is served. */
const ways: [
  name: string,
  kinds: string[],
  prepare: (file: string) => Promise<unknown> | unknown,
  replace: (file: string) => Promise<unknown> | unknown,
][] = [
  ["an empty file", kinds, () => {}, (file) => Deno.removeSync(file)],
  [
    "an older copy",
    kinds,
    (file) => Deno.copyFileSync(file, `${file}.old`),
    (file) => Deno.copyFileSync(`${file}.old`, file),
  ],
  ["an older state that was restored", kinds.slice(0, 1), async (file) => {
    await restore(file, { to: `${file}.old` });
  }, (file) => Deno.renameSync(`${file}.old`, file)],
  ["a backup that was restored", kinds.slice(0, 1), async (file) => {
    await backup(file, { to: `${file}.backups` });
  }, async (file) => {
    Deno.removeSync(file);
    await restoreBackup(`${file}.backups`, { to: file });
  }],
];

for (const [way, names, prepare, replace] of ways) {
  for (const name of names) {
    Deno.test(`what a program holds never becomes objects of ${way}: ${name}`, () =>
      inDirectory(async (directory) => {
        const file = `${directory}/${name}`;
        await using place = new Place(file);
        await place.start();
        using storage = new ClientStorage({ port: place.port });
        using connection = new Connection(storage, { classes });
        const { root } = connection;
        root["first"] = "stored";
        connection.commit();
        // SQLite copies what was closed.
        await place.restart(async () => void await prepare(file));
        connection.abort();
        assertEquals(root["first"], "stored");
        const list = root["list"] = new PersistentList(["mine"]);
        const dict = root["dict"] = new PersistentDict([["a", "mine"]]);
        const set = root["tags"] = new PersistentSet(["mine"]);
        const thing = root["thing"] = new Thing("mine");
        connection.commit();
        using other = new Connection(storage, { classes });
        // One that was never loaded.
        const ghost: PersistentList<string> = other.root["list"];
        assert(ghost._p_isGhost());
        const fresh = new Thing("not stored");
        const number = list._p_oid!;

        await place.restart(async () => void await replace(file));
        fill(place.port, "theirs");
        // The transaction under way has lost its server, as always.
        list.push("lost");
        assertThrows(() => connection.commit(), ServerUnavailableError);
        connection.abort();
        assertEquals(connection.root, root);
        assertEquals(root["list"], undefined);
        assertEquals([...root["theirs0"]], ["theirs"]);
        for (
          const use of [
            () => list[0],
            () => list.length,
            () => [...list],
            () => list.push("x"),
            () => dict.get("a"),
            () => dict.set("a", "x"),
            () => dict.has("a"),
            () => [...dict],
            () => set.has("mine"),
            () => set.add("x"),
            () => thing.name,
            () => thing.name = "x",
            () => Object.keys(thing),
            () => thing._p_noteChange(),
          ]
        ) assertGone(use);
        assertEquals(list._p_oid, number);
        assertEquals(list._p_connection, undefined);
        assertEquals(connection.hasChanges, false);
        // Nothing can lead to it either.
        root["back"] = list;
        assertThrows(
          () => connection.commit(),
          EncodeError,
          "find the object again from the root",
        );
        connection.abort();
        // What was not stored yet is nobody's.
        root["fresh"] = fresh;
        connection.commit();
        assertEquals(fresh.name, "not stored");
        assert(connection.get(number) !== list as unknown);
        other.abort();
        assertGone(() => ghost.length);
        assertEquals(other.root["fresh"].name, "not stored");
        using last = new Connection(storage, { classes });
        assertEquals(last.root["list"], undefined);
        for (let i = 0; i < 40; i++) {
          assertEquals([...last.root[`theirs${i}`]], ["theirs"]);
        }
      }));
  }
}

for (const name of kinds) {
  Deno.test(`what a program holds stays usable when the server comes back with the same database: ${name}`, () =>
    inDirectory(async (directory) => {
      await using place = new Place(`${directory}/${name}`);
      await place.start();
      using storage = new ClientStorage({ port: place.port });
      using connection = new Connection(storage, { classes });
      const thing = connection.root["thing"] = new Thing("mine");
      connection.commit();
      for (let round = 0; round < 3; round++) {
        fill(place.port, `before${round} `);
        await place.restart(async () => {
          // A pack drops the transaction that our program has seen last.
          using storage = await openStorage(place.file!);
          if (round === 1) storage.pack();
        });
        fill(place.port, `after${round} `);
        connection.abort();
        assertEquals(thing.name, round === 0 ? "mine" : `round ${round - 1}`);
        thing.name = `round ${round}`;
        connection.commit();
      }
      assertEquals(connection.root["thing"], thing);
    }));
}

Deno.test("each storage in memory is another database", async () => {
  await using place = new Place(undefined);
  await place.start();
  using storage = new ClientStorage({ port: place.port });
  const before = storage.identity;
  using connection = new Connection(storage, { classes });
  const thing = connection.root["thing"] = new Thing("mine");
  connection.commit();
  await place.restart();
  connection.abort();
  assertGone(() => thing.name);
  assertEquals([...connection.root.keys()], []);
  assert(storage.identity !== before);
});

Deno.test("a commit without changes notices another database too, and transact() goes on from the root", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/data.dhara`;
    await using place = new Place(file);
    await place.start();
    using storage = new ClientStorage({ port: place.port });
    using connection = new Connection(storage, { classes });
    using other = new Connection(storage, { classes });
    const { root } = connection;
    const thing = root["thing"] = new Thing("mine");
    connection.commit();
    other.abort();
    const theirs: Thing = other.root["thing"];
    await place.restart(() => Deno.removeSync(file));
    fill(place.port, "theirs");
    connection.commit();
    assertGone(() => thing.name);
    other.transact((): void => {
      const { root } = other;
      root["count"] = (root["count"] ?? 0) + 1;
    });
    connection.abort();
    assertEquals(root["count"], 1);
    assertThrows(
      () => other.transact(() => void (theirs.name = "x")),
      ConnectionError,
      "Cannot use Thing#1: it is of the database that was there before",
    );
  }));

Deno.test("a root of another class is an error, and not a mix", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/data.dhara`;
    await using place = new Place(file);
    await place.start();
    using storage = new ClientStorage({ port: place.port });
    using connection = new Connection(storage, { classes, rootClass: Thing2 });
    assertEquals(connection.root.name, "root");
    await place.restart(() => {
      Deno.removeSync(file);
      using made = new Connection(file, { classes, rootClass: Box });
      made.root.content = "theirs";
      made.commit();
    });
    for (const _ of [1, 2]) {
      connection.abort();
      assertThrows(
        () => connection.root.name,
        ClassError,
        "Cannot go on with the root, a Thing2: the server serves another database now, whose root is a Box; make a new connection",
      );
      assertThrows(() => connection.root.name = "x", ClassError);
      connection.commit();
    }
    using anew = new Connection(storage, { classes, rootClass: Box });
    assertEquals(anew.root.content, "theirs");
    // With the first one back, all is well.
    await place.restart(() => {
      Deno.removeSync(file);
      using made = new Connection(file, {
        classes: { Thing2 },
        rootClass: Thing2,
      });
      made.root.name = "again";
      made.commit();
    });
    connection.abort();
    assertEquals(connection.root.name, "again");
  }));

Deno.test("what a session was told by sync() counts as seen, also where its own commits are older", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/data.dhara`;
    await using place = new Place(file);
    await place.start();
    using storage = new ClientStorage({ port: place.port });
    using connection = new Connection(storage, { classes });
    connection.root["mine"] = 1;
    connection.commit();
    using other = new Connection(storage, { classes });
    other.root["first"] = new Thing("first");
    other.commit();
    // What is there now is what we have not seen yet.
    Deno.copyFileSync(file, `${file}.old`);
    other.root["second"] = new Thing("second");
    other.commit();
    connection.abort();
    const second: Thing = connection.root["second"];
    assertEquals(second.name, "second");
    await place.restart(() => Deno.copyFileSync(`${file}.old`, file));
    fill(place.port, "theirs");
    connection.abort();
    assertGone(() => second.name);
    assertEquals(connection.root["first"].name, "first");
    assertEquals(connection.root["second"], undefined);
  }));

Deno.test("a state that has lost nothing that was seen is the same database", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/data.dhara`;
    await using place = new Place(file);
    await place.start();
    using storage = new ClientStorage({ port: place.port });
    using connection = new Connection(storage, { classes });
    const thing = connection.root["thing"] = new Thing("mine");
    connection.commit();
    Deno.copyFileSync(file, `${file}.old`);
    fill(place.port, "lost");
    await place.restart(() => Deno.copyFileSync(`${file}.old`, file));
    connection.abort();
    assertEquals(thing.name, "mine");
    assertEquals(connection.root["lost0"], undefined);
  }));
