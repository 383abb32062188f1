/** What tells a database from others: where it comes from, and what keeps it. */
import { Database } from "../support/sqlite.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { DamagedFileError, StorageError } from "../../lib/errors.ts";
import { SCHEMAS } from "../../lib/storage/sqlite/schema.ts";
import {
  backup,
  Connection,
  convert,
  FileStorage,
  MemoryStorage,
  openStorage,
  restore,
  restoreBackup,
  SqliteStorage,
  type Storage,
  type Tid,
  verify,
} from "../../mod.ts";
import { inDirectory } from "../support/dhara.ts";
import { askedTid, question } from "../../lib/protocol/identity.ts";
import { int8, join, record } from "../support/raw_client.ts";
import { altered, Served } from "../support/served.ts";

const KINDS = ["a.dhara", "a.sqlite"];

async function identityOf(path: string): Promise<string> {
  using storage = await openStorage(path, { readonly: true });
  const { identity } = storage;
  assert(/^[0-9a-f]{32}$/.test(identity ?? ""), identity);
  return identity!;
}

/** Commits something; returns its tid. */
function commit(storage: Storage, value: number): Tid {
  using connection = new Connection(storage);
  connection.root["value"] = value;
  connection.commit();
  return connection.tid;
}

for (const kind of KINDS) {
  Deno.test(`a database keeps its identity when it is packed and opened again: ${kind}`, () =>
    inDirectory(async (directory) => {
      const path = `${directory}/${kind}`;
      const seen = new Set<string>();
      for (let round = 0; round < 3; round++) {
        using storage = await openStorage(path);
        seen.add(storage.identity!);
        commit(storage, round);
        storage.pack();
        seen.add(storage.identity!);
      }
      seen.add(await identityOf(path));
      assertEquals(seen.size, 1);
      {
        using other = await openStorage(`${directory}/other-${kind}`);
        seen.add(other.identity!);
      }
      {
        using from = await openStorage(path);
        using to = await openStorage(`${directory}/copy-${kind}`);
        await convert(from, to);
      }
      seen.add(await identityOf(`${directory}/copy-${kind}`));
      assertEquals(seen.size, 3);
    }));

  Deno.test(`a database knows its own transactions, and no others: ${kind}`, () =>
    inDirectory(async (directory) => {
      using storage = await openStorage(`${directory}/${kind}`);
      const knows = (tid: Tid) => storage.knows!(tid);
      assertEquals([0, 1, 2 ** 53 - 1].map(knows), [true, false, false]);
      const tids = Array.from({ length: 20 }, (_, i) => commit(storage, i));
      assertEquals(tids.every(knows), true);
      for (const tid of tids) assertEquals(knows(tid + 500), false);
      // What a pack forgets may have been.
      storage.pack();
      const later = commit(storage, 100);
      assertEquals([...tids, later].every(knows), true);
      assertEquals([later - 500, later + 500].map(knows), [false, false]);
    }));
}

Deno.test("storages in memory are different databases", () => {
  using one = new MemoryStorage();
  using two = new MemoryStorage();
  assert(one.identity !== two.identity);
});

Deno.test("what was restored has an identity of its own, which a pack and the next backup keep", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/a.dhara`;
    const backups = `${directory}/backups`;
    {
      using storage = new FileStorage(path);
      commit(storage, 1);
    }
    await backup(path, { to: backups });
    const before = await identityOf(path);
    await restore(path, { to: `${directory}/b` });
    await restoreBackup(backups, { to: `${directory}/c` });
    const [b, c] = [
      await identityOf(`${directory}/b`),
      await identityOf(`${directory}/c`),
    ];
    assertEquals(new Set([before, b, c]).size, 3);
    // To the backups it is the same database, and goes on where that one ended.
    {
      using storage = new FileStorage(`${directory}/c`);
      commit(storage, 2);
    }
    const next = await backup(`${directory}/c`, { to: backups });
    assertEquals(next.entry?.kind, "incremental");
    await restoreBackup(backups, { to: `${directory}/d` });
    {
      using connection = new Connection(`${directory}/d`);
      assertEquals(connection.root["value"], 2);
    }
    assertEquals(
      new Set([before, b, c, await identityOf(`${directory}/d`)]).size,
      4,
    );
    {
      using storage = new FileStorage(`${directory}/c`);
      storage.pack({ prepack: true });
      storage.pack({ prepack: true });
      assertEquals(storage.identity, c);
    }
    assertEquals(await identityOf(`${directory}/c`), c);
    assertEquals((await verify(`${directory}/c`)).good, true);
    assertEquals(await identityOf(path), before);
  }));

Deno.test("a repair that loses transactions gives a new identity, and one that loses none does not", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/a.dhara`;
    let size: number;
    {
      using storage = new FileStorage(path);
      commit(storage, 1);
      size = storage.size;
      commit(storage, 2);
    }
    const before = await identityOf(path);
    const whole = Deno.readFileSync(path);
    const repaired = async (bytes: Uint8Array) => {
      Deno.writeFileSync(path, bytes);
      {
        using storage = new FileStorage(path, { repair: true });
        // It belongs to the cut, and is none of the things that were wrong.
        assert(!storage.repairs.some(({ kind }) => kind === "header"));
      }
      assertEquals((await verify(path)).good, true);
      return await identityOf(path);
    };
    assertEquals(await repaired(whole), before);
    // A transaction that was not written to its end was never confirmed.
    assertEquals(await repaired(whole.subarray(0, -1)), before);
    const damaged = whole.slice();
    damaged[size + 50]! ^= 1;
    const first = await repaired(damaged);
    assert(first !== before);
    const second = await repaired(damaged);
    assertEquals(new Set([before, first, second]).size, 3);
  }));

Deno.test("damage in what a restored journal is told by is found, and repaired", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/a.dhara`;
    {
      using storage = new FileStorage(path);
      commit(storage, 1);
    }
    await restore(path, { to: `${directory}/b` });
    for (const from of [path, `${directory}/b`]) {
      const whole = Deno.readFileSync(from);
      for (let at = 36; at < 56; at++) {
        const damaged = whole.slice();
        damaged[at]! ^= 1 << at % 8;
        Deno.writeFileSync(from, damaged);
        const { good, damage } = await verify(from);
        assertEquals([good, damage[0]?.offset], [false, 0]);
        await assertRejects(() => openStorage(from), DamagedFileError);
        {
          using storage = new FileStorage(from, { repair: true });
          assertEquals(storage.repairs.map(({ kind }) => kind), ["header"]);
        }
        assertEquals((await verify(from)).good, true);
        Deno.removeSync(from);
      }
    }
  }));

Deno.test("a SQLite file of version 2 gets an identity when it is opened for writing", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/a.sqlite`;
    {
      using storage = await SqliteStorage.open(path);
      commit(storage, 1);
    }
    const database = new Database(path);
    database.exec("DROP TABLE identity; PRAGMA user_version = 2");
    database.close();
    const error = await assertRejects(
      () => SqliteStorage.open(path, { readonly: true }),
      StorageError,
      "its tables are of version 2; open it once for writing, which brings them up to version 3",
    );
    assert(!(error instanceof DamagedFileError));
    let identity: string;
    {
      using storage = await SqliteStorage.open(path);
      ({ identity } = storage);
      using connection = new Connection(storage);
      assertEquals(connection.root["value"], 1);
    }
    assertEquals(await identityOf(path), identity);
    assertEquals((await verify(path)).good, true);
    // The tables that can be read are those that are documented.
    assertEquals(SCHEMAS[2]!.length + 1, SCHEMAS[3]!.length);
  }));

Deno.test("damage in what a SQLite file is told by is found", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/a.sqlite`;
    {
      using storage = await SqliteStorage.open(path);
      commit(storage, 1);
    }
    const whole = Deno.readFileSync(path);
    for (
      const damage of [
        "DELETE FROM identity",
        "UPDATE identity SET crc = crc + 1",
        "UPDATE identity SET bytes = zeroblob(16)",
        "UPDATE identity SET bytes = zeroblob(15), crc = 0",
        "UPDATE identity SET bytes = 'text'",
      ]
    ) {
      Deno.writeFileSync(path, whole);
      const database = new Database(path);
      database.exec(damage);
      database.close();
      await assertRejects(
        () => SqliteStorage.open(path),
        DamagedFileError,
        "what tells it from other databases is damaged",
      );
      const { good, damage: found } = await verify(path);
      assertEquals([good, found.map(({ message }) => message)], [false, [
        "what tells it from other databases is damaged",
      ]]);
    }
  }));

Deno.test("a server says which database it serves, what the snapshot is and whether it knows a transaction", async () => {
  await using served = await Served.start();
  using client = await served.connect();
  const ask = async (tid: Tid, expected: number[]) => {
    await client.send("L", question(tid));
    const begin = join("O", [0, 0, 0, 37], question(tid), [0, 0, 0, 25]);
    assertEquals(await client.read(17), begin);
    assertEquals(
      await client.read(16),
      Uint8Array.from(
        served.storage.identity!.match(/../g)!,
        (byte) => parseInt(byte, 16),
      ),
    );
    assertEquals([...await client.read(9)], expected);
  };
  // 2^63 - 1 asks about no transaction.
  assertEquals(
    question(2 ** 53 - 1),
    Uint8Array.from([127, ...Array(7).fill(255)]),
  );
  await ask(2 ** 53 - 1, [...int8(0), 0]);
  await ask(0, [...int8(0), 1]);
  using session = served.storage.session();
  const result = session.commit([[0, record(0, "root")]]);
  assert("tid" in result);
  await ask(result.tid, [...int8(0), 0]);
  await client.send("S", "L", question(result.tid));
  assertEquals([...await client.read(12)], [0, 0, 0, 1, ...int8(0)]);
  const rest = await client.read(5 + 12 + 16 + 9);
  assertEquals([...rest.slice(-9)], [...int8(result.tid), 1]);
  // Numbers beside them are still no numbers.
  await client.send("L", [0x7f, 0xdf, ...Array(6).fill(255)]);
  await served.logged("is 2^53 or more");
});

Deno.test("a server of a storage without an identity says that there is no such object", async () => {
  const storage = altered(new MemoryStorage(), () => ({}));
  await using served = await Served.start({ storage });
  using client = await served.connect();
  await client.send("L", question(2 ** 53 - 1));
  assertEquals([...await client.read(1)], [0x4b]);
});

Deno.test("questions are told from numbers of objects", () => {
  for (const tid of [0, 1, 2 ** 32, 1795475383551000, 2 ** 53 - 1]) {
    assertEquals(askedTid(question(tid)), tid);
    assertEquals(askedTid(int8(tid)), undefined);
  }
});
