/** Processes that change the same object again and again lose no transaction. */
import { assert, assertEquals } from "@std/assert";
import { Connection } from "../../mod.ts";
import { ServerWorker } from "../support/server_worker.ts";

const TIMES = 200;
const MAP = import.meta.resolve("@std/assert").startsWith("jsr:")
  ? []
  : [`--import-map=${import.meta.resolve("../../tools/registry/npm.json")}`];

async function count(place: string): Promise<void> {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-q", "-A", "--no-check", ...MAP],
      import.meta.resolve("../support/counter.ts"),
      place,
      `${TIMES}`,
    ],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  assert(success, new TextDecoder().decode(stderr));
}

async function check(place: string): Promise<void> {
  await Promise.all([count(place), count(place)]);
  using connection = await Connection.open(place);
  const counts = [...connection.root.values()];
  assertEquals(counts.sort((a, b) => a - b), [TIMES, TIMES, 2 * TIMES]);
}

Deno.test("Two processes with 200 increments each of one counter in a SQLite file lose none", async () => {
  const directory = await Deno.makeTempDir();
  try {
    await check(`${directory}/counter.sqlite`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("Two processes with 200 increments each of one counter on a server lose none", async () => {
  await using server = await ServerWorker.start();
  await check(`tcp:127.0.0.1:${server.port}`);
});
