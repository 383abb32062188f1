/** The options of `dhara db start` that concern what clients may do. */
import { assert, assertEquals } from "@std/assert";
import { disk } from "../../lib/files/file.ts";
import { readHeader } from "../../lib/storage/journal/header.ts";
import { inDirectory, startServer } from "../support/dhara.ts";
import { int4, RawClient, record, transaction } from "../support/raw_client.ts";

async function connect(port: string): Promise<RawClient> {
  const conn = await Deno.connect({
    hostname: "127.0.0.1",
    port: Number(port),
  });
  return new RawClient(conn);
}

async function greeted(port: string): Promise<RawClient> {
  const client = await connect(port);
  await client.send("V", int4(1));
  assertEquals(await client.int4(), 1);
  return client;
}

Deno.test("db start --no-quit does not let a client stop the server", async () => {
  const { server, port } = await startServer(["--no-quit"]);
  {
    using client = await greeted(port);
    await client.send("Q");
    assertEquals(await client.letter(), "");
    using other = await greeted(port);
    assertEquals(await other.sync(), []);
  }
  const { code, stderr } = await server.stop("SIGTERM");
  assertEquals(code, 0);
  assert(stderr.includes("Cannot stop the server for a client"), stderr);
});

Deno.test("a client that has greeted stops db start without --no-quit", async () => {
  const { server, port } = await startServer([]);
  using client = await greeted(port);
  await client.send("Q");
  const { code, stdout } = await server.end();
  assertEquals(code, 0);
  assert(stdout.includes("dhara stopped on"), stdout);
});

Deno.test("db start takes limits, and they hold", async () => {
  const { server, port } = await startServer([
    ...["--max-clients", "2", "--max-commit", "1000", "--max-load", "5"],
    ...["--max-unused", "10", "--greeting-timeout", "1"],
    ...["--stall-timeout", "2", "--idle-timeout", "20", "--grace", "1"],
    ...["--max-buffered", "100000"],
  ]);
  {
    using silent = await connect(port);
    using one = await greeted(port);
    using third = await connect(port);
    await third.send("V", int4(1));
    assertEquals(await third.int4(), 0);
    assertEquals(await silent.letter(), "");

    using long = await greeted(port);
    const bytes = transaction([0, record(0, "x".repeat(1000))]);
    await long.send("C", bytes.subarray(0, 4));
    await long.oids();
    assertEquals(await long.letter(), "");
    await one.send("B", int4(6));
    assertEquals(await one.letter(), "");
    using greedy = await greeted(port);
    await greedy.send("M", [11]);
    assertEquals(await greedy.letter(), "");
    using stalled = await greeted(port);
    await stalled.send("L");
    assertEquals(await stalled.letter(), "");
  }
  const { stderr } = await server.stop("SIGTERM");
  for (
    const complaint of [
      "there are 2 clients, which are the most",
      "it asked for nothing within 1 seconds",
      "1000 are the most",
      "Cannot load 6 objects at once: 5 are the most",
      "it holds 0 unused ones",
      "it stalled for 2 seconds",
    ]
  ) assert(stderr.includes(complaint), `${complaint} is not in ${stderr}`);
});

Deno.test("db start says which options are without effect", async () => {
  const { server } = await startServer(["--cache-size", "5", "--insecure"]);
  const { code, stderr } = await server.stop("SIGTERM");
  assertEquals(code, 0);
  assert(stderr.includes("--cache-size is without effect"), stderr);
  assert(stderr.includes("--insecure is without effect"), stderr);
});

/** How often a file was packed. */
function packsOf(path: string): number {
  const file = disk.open(path, { write: false });
  try {
    return readHeader(file, path)!.packs;
  } finally {
    file.close();
  }
}

/** Waits until a file was packed so often, for ten seconds at most. */
async function packed(path: string, times: number): Promise<void> {
  for (let i = 0; i < 1000 && packsOf(path) < times; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assertEquals(packsOf(path), times);
}

Deno.test("db start --gcbytes packs each time when so many bytes were committed, and --gcbytes 0 never", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/t.dhara`;
    const serve = async (
      gcbytes: string,
      work: (commit: (count: number) => Promise<void>) => Promise<void>,
    ) => {
      const { server, port } = await startServer(
        ["-f", path, "--gcbytes", gcbytes],
      );
      {
        using client = await greeted(port);
        await work(async (count) => {
          for (let i = 0; i < count; i++) {
            const { answer } = await client.commit(
              [0, record(0, "x".repeat(1000))],
            );
            assertEquals(answer, "O");
          }
        });
      }
      assertEquals((await server.stop("SIGTERM")).code, 0);
    };
    await serve("10000", async (commit) => {
      await commit(9);
      assertEquals(packsOf(path), 0);
      await commit(1);
      await packed(path, 1);
      // What was packed does not count again.
      await commit(9);
      assertEquals(packsOf(path), 1);
      // A few may have come before the first pack was over.
      await commit(3);
      await packed(path, 2);
    });
    await serve("0", (commit) => commit(30));
    assertEquals(packsOf(path), 2);
  });
});
