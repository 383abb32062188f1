import { assert, assertEquals, assertThrows } from "@std/assert";
import { existsSync } from "node:fs";
import { packRecord } from "../../lib/serialize/record.ts";
import {
  ClientStorage,
  convert,
  exportLines,
  importLines,
  MemoryStorage,
  openStorage,
  type Storage,
  StorageError,
} from "../../mod.ts";
import { dhara, inDirectory, Running, startServer } from "../support/dhara.ts";
import { dump, fillWithEverything } from "../support/every_value.ts";
import { ServerWorker } from "../support/server_worker.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";

Deno.test("convert() keeps everything, from each storage to each other and as text", async () => {
  await inDirectory(async (directory) => {
    await using first = await ServerWorker.start();
    await using second = await ServerWorker.start({
      file: `${directory}/served.sqlite`,
    });
    const storages: Storage[] = [
      new MemoryStorage(),
      await openStorage(`${directory}/a.dhara`),
      await openStorage(`${directory}/a.sqlite`),
      new ClientStorage({ port: first.port }),
      await openStorage(`${directory}/b.dhara`),
      await openStorage(`${directory}/b.sqlite`),
      new ClientStorage({ port: second.port }),
      new MemoryStorage(),
    ];
    try {
      fillWithEverything(storages[0]!);
      const everything = dump(storages[0]!);
      assertEquals(everything.size, 7);
      for (const [i, to] of storages.entries()) {
        if (i === 0) continue;
        const from = storages[i - 1]!;
        assertEquals(convert(from, to).records, 7);
        assertEquals(dump(to), everything);
        const again = new MemoryStorage();
        await importLines(exportLines(to), again);
        assertEquals(dump(again), everything);
      }
    } finally {
      for (const storage of storages) storage.close();
    }
  });
});

Deno.test("convert() keeps the numbers, however far apart, and gives out others", () => {
  const far = 2 ** 24 + 2 ** 23;
  using from = new MemoryStorage();
  using session = from.session();
  for (let i = 0; i < 24; i++) session.allocate(1_000_000);
  store(
    session,
    textRecord(0, "root", [far, 5]),
    textRecord(far, "far", [far + 9]),
    textRecord(5, "five"),
    textRecord(6, "garbage"),
  );
  using to = new MemoryStorage();
  const steps: number[] = [];
  convert(from, to, { onProgress: ({ records }) => steps.push(records) });
  assertEquals([...dump(to).keys()], [0, far, 5]);
  assertEquals(steps.at(-1), 3);
  using other = to.session();
  assert(other.allocate(3).every((oid) => oid > far));
});

Deno.test("convert() refuses a storage that has something", () => {
  using from = new MemoryStorage();
  using to = new MemoryStorage();
  using session = to.session();
  assertEquals(convert(from, to), { records: 0, bytes: 0 });
  store(session, textRecord(0, "root"));
  assertThrows(() => convert(from, to), StorageError, "it is not empty");
});

Deno.test("convert() says that somebody else has written to the other storage meanwhile", () => {
  using from = new MemoryStorage();
  using session = from.session();
  const oids = session.allocate(6000).slice(1);
  store(
    session,
    textRecord(0, "root", oids),
    ...oids.map((oid) => textRecord(oid, `${oid}`)),
  );
  using to = new MemoryStorage();
  using other = to.session();
  let written = false;
  const onProgress = () => {
    if (written) return;
    written = true;
    store(other, textRecord(0, "theirs"));
  };
  assertThrows(
    () => convert(from, to, { onProgress }),
    StorageError,
    "somebody else is writing to it",
  );
  assertEquals(textOf(other, 0), "theirs");
});

Deno.test("convert() copies large databases in several transactions, the root last", () => {
  using from = new MemoryStorage();
  using session = from.session();
  const oids = session.allocate(6000).slice(1);
  store(
    session,
    textRecord(0, "root", oids),
    ...oids.slice(1).map((oid) => textRecord(oid, `${oid}`)),
    [7000, packRecord(7000, new Uint8Array(5_000_000), [])],
    textRecord(1, "one", [7000]),
  );
  using to = new MemoryStorage();
  const failing: Storage = {
    ...to,
    session() {
      const session = to.session();
      const commit = session.commit.bind(session);
      session.commit = (records) => {
        const all = [...records];
        if (all.some(([oid]) => oid === 0)) throw new StorageError("no room");
        return commit(all);
      };
      return session;
    },
    pack: () => to.pack(),
    packInSteps: () => to.packInSteps(),
    close: () => to.close(),
    [Symbol.dispose]: () => to.close(),
  };
  assertThrows(() => convert(from, failing), StorageError, "no room");
  assert(to.recordCount > 5000);
  // It counts as empty, so that it can be tried again.
  convert(from, to);
  assertEquals(dump(to), dump(from));
});

Deno.test("dhara db convert copies files and servers", async () => {
  await inDirectory(async (directory) => {
    const from = `${directory}/from.dhara`;
    {
      using storage = await openStorage(from);
      fillWithEverything(storage);
    }
    using source = await openStorage(from, { readonly: true });
    const everything = dump(source);
    const places = [from, `${directory}/a.sqlite`, `${directory}/b`];
    for (const [i, to] of places.entries()) {
      if (i === 0) continue;
      const outcome = await dhara(["db", "convert", places[i - 1]!, to]);
      assertEquals(outcome.stderr, "");
      assertEquals(
        outcome.stdout,
        `Copied 7 objects from ${places[i - 1]} to ${to}\n`,
      );
      using storage = await openStorage(to, { readonly: true });
      assertEquals(dump(storage), everything);
    }
    assertEquals(await beginOf(`${directory}/a.sqlite`), "SQLite f");
    assertEquals(await beginOf(`${directory}/b`), "DHARA-1\n");

    const { server, port } = await startServer([
      "--file",
      `${directory}/served.dhara`,
    ]);
    const place = `tcp:127.0.0.1:${port}`;
    assertEquals((await dhara(["db", "convert", from, place])).code, 0);
    const odd = `${directory}/odd`;
    const back = await dhara([
      ...["db", "convert", place, odd, "--to-format", "sqlite"],
    ]);
    assertEquals(back.stderr, "");
    assertEquals(await beginOf(odd), "SQLite f");
    using storage = await openStorage(odd, { readonly: true });
    assertEquals(dump(storage), everything);
    await server.stop();
  });
});

async function beginOf(path: string): Promise<string> {
  return new TextDecoder().decode(await Deno.readFile(path)).slice(0, 8);
}

Deno.test("dhara db convert refuses what makes no sense", async () => {
  await inDirectory(async (directory) => {
    const from = `${directory}/from.dhara`;
    (await openStorage(from)).close();
    const to = `${directory}/to`;
    Deno.writeTextFileSync(to, "mine");
    const cases: [string[], number, string][] = [
      [[], 2, "Say FROM: dhara db convert FROM TO"],
      [[from], 2, "Say TO: dhara db convert FROM TO"],
      [[from, "x", "y"], 2, "Unexpected argument y"],
      [[from, "x", "--to-format", "zip"], 2, "it must be journal or sqlite"],
      [[from, "tcp:7"], 2, "a server is tcp:HOST:PORT or unix:PATH"],
      [[from, to], 1, `there is a file ${to} already`],
      [[`${to}2`, `${to}3`], 1, "there is no such file"],
      [[to, `${to}3`], 1, "it looks like text"],
    ];
    for (const [args, code, message] of cases) {
      const outcome = await dhara(["db", "convert", ...args]);
      assert(outcome.stderr.includes(message), outcome.stderr);
      assertEquals(outcome.stderr.split("\n").length, 2);
      assertEquals(outcome.code, code);
    }
    assertEquals(Deno.readTextFileSync(to), "mine");
    assertEquals([...Deno.readDirSync(directory)].length, 2);
  });
});

Deno.test("dhara db convert leaves a whole file or none when it is killed", async () => {
  await inDirectory(async (directory) => {
    const from = `${directory}/from.dhara`;
    {
      using storage = await openStorage(from, { sync: false });
      using session = storage.session();
      const oids = session.allocate(30_000);
      store(
        session,
        textRecord(0, "root", oids.slice(1)),
        ...oids.slice(1).map((oid) => textRecord(oid, "text ".repeat(40))),
      );
    }
    const before = Deno.readFileSync(from);
    let killed = 0;
    for (const name of ["to.sqlite", "to.dhara"]) {
      const to = `${directory}/${name}`;
      /** Files that were begun, and not finished. */
      const parts = () =>
        [...Deno.readDirSync(directory)].map(({ name }) => name)
          .filter((other) => other.startsWith(`${name}.`));
      const left = new Set<string>();
      for (const size of [1, 500_000, 2_000_000]) {
        const running = new Running(["db", "convert", from, to]);
        const end = Date.now() + 20_000;
        const grown = () => {
          try {
            return parts().some((part) =>
              Deno.statSync(`${directory}/${part}`).size >= size
            );
          } catch {
            return false;
          }
        };
        while (!grown() && !existsSync(to) && Date.now() < end) {
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
        const { code } = await running.stop("SIGKILL").catch(() => ({
          code: 0,
        }));
        if (code !== 0) {
          killed++;
          // It may be killed just when the file has both names.
          const begun = parts().filter((part) => !left.has(part))
            .map((part) => Deno.statSync(`${directory}/${part}`).ino);
          assert(
            !existsSync(to) ||
              begun.every((ino) => ino === Deno.statSync(to).ino),
          );
        }
        if (existsSync(to)) {
          using storage = await openStorage(to);
          assertEquals(dump(storage).size, 30_000);
          storage.close();
          Deno.removeSync(to);
        }
        for (const part of parts()) left.add(part);
      }
      // What was left does not stand in the way.
      const { code, stderr } = await dhara(["db", "convert", from, to]);
      assertEquals([code, stderr], [0, ""]);
      using storage = await openStorage(to);
      assertEquals(dump(storage).size, 30_000);
      assertEquals(new Set(parts()), left);
    }
    assert(killed > 0);
    assertEquals(Deno.readFileSync(from), before);
  });
});
