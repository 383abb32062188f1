/**
 * Durus' own Python client against our server. It needs a Python that has Durus
 * (`pip install Durus`): `python3`, or the one that `DHARA_PYTHON` names.
 */
import { assertEquals } from "@std/assert";
import { ServerWorker, type Task } from "../support/server_worker.ts";

const PYTHON = Deno.env.get("DHARA_PYTHON") || "python3";

const SCRIPT = new URL("../support/durus_client.py", import.meta.url);

function hasDurus(): boolean {
  try {
    const { success } = new Deno.Command(PYTHON, {
      args: ["-c", "import durus.client_storage"],
      stdout: "null",
      stderr: "null",
    }).outputSync();
    return success;
  } catch {
    return false;
  }
}

const ignore = !hasDurus();
if (ignore) {
  console.log(
    `SKIPPED: the tests with Durus' own client, since ${PYTHON} has no Durus (pip install Durus; DHARA_PYTHON names another Python)`,
  );
}

/** Runs a part of the Python program; returns the steps that it came to. */
async function durus(
  what: string,
  server: ServerWorker,
  path?: string,
  ...args: string[]
) {
  const { code, stdout, stderr } = await new Deno.Command(PYTHON, {
    args: [
      decodeURIComponent(SCRIPT.pathname),
      what,
      path ?? `127.0.0.1:${server.port}`,
      ...args,
    ],
    signal: AbortSignal.timeout(120_000),
  }).output();
  const steps = new TextDecoder().decode(stdout).trim().split("\n");
  if (code !== 0) {
    throw new Error(
      [
        `${what} failed after ${steps.join(", ")}`,
        new TextDecoder().decode(stderr),
        ...server.log,
      ].join("\n"),
    );
  }
  return steps;
}

const STORAGE_STEPS = ["stored", "synced", "refused"];
const WORK_STEPS = [
  ...["committed", "read back", "conflict"],
  ...["no conflict", "packed", "crawled"],
];

async function temporary(
  use: (directory: string) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await use(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const kinds: [string, (directory: string) => Task][] = [
  ["MemoryStorage", () => ({})],
  ["FileStorage", (directory) => ({ file: `${directory}/durus.dhara` })],
];

for (const [name, task] of kinds) {
  Deno.test(`Durus' client storage works with our server in front of ${name}`, {
    ignore,
  }, () =>
    temporary(async (directory) => {
      await using server = await ServerWorker.start(task(directory));
      assertEquals(await durus("storages", server), STORAGE_STEPS);
    }));

  Deno.test(`Durus' connection works with our server in front of ${name}`, {
    ignore,
  }, () =>
    temporary(async (directory) => {
      await using server = await ServerWorker.start(task(directory));
      assertEquals(await durus("work", server), WORK_STEPS);
      assertEquals(await durus("check", server), ["checked"]);
    }));
}

Deno.test(
  "Durus' client finds its objects after the server was started again",
  {
    ignore,
  },
  () =>
    temporary(async (directory) => {
      const task = { file: `${directory}/durus.dhara` };
      {
        await using server = await ServerWorker.start(task);
        assertEquals(await durus("work", server), WORK_STEPS);
      }
      await using server = await ServerWorker.start(task);
      assertEquals(await durus("check", server), ["checked"]);
    }),
);

Deno.test(
  "Durus' client works over a Unix socket, and Durus can stop the server",
  {
    ignore: ignore || Deno.build.os === "windows",
  },
  () =>
    temporary(async (directory) => {
      const address = `${directory}/durus.sock`;
      await using server = await ServerWorker.start({ address });
      assertEquals(await durus("work", server, address), WORK_STEPS);
      assertEquals(await durus("stop", server, address), ["stopped"]);
      await server.logged("Stopped");
    }),
);

Deno.test("Durus' client can go on after a commit to a read-only server", {
  ignore,
}, () =>
  temporary(async (directory) => {
    const file = `${directory}/durus.dhara`;
    {
      await using server = await ServerWorker.start({ file });
      assertEquals(await durus("plant", server), ["planted"]);
    }
    await using server = await ServerWorker.start({ file, readonly: true });
    assertEquals(await durus("readonly", server), ["refused"]);
    await server.logged("Refused the commit");
    await server.logged("it was opened for reading only");
  }));

Deno.test(
  "Durus' clients that change a tree while it is packed are not cut off",
  {
    ignore,
  },
  () =>
    temporary(async (directory) => {
      const seed = Math.floor(Math.random() * 1e9);
      console.log(`seed ${seed}`);
      const file = `${directory}/durus.dhara`;
      await using server = await ServerWorker.start({ file });
      assertEquals(await durus("plant", server), ["planted"]);
      const all = [0, 1, 2, 3].map((i) =>
        durus("graft", server, undefined, `${seed + i}`)
      );
      assertEquals(await Promise.all(all), all.map(() => ["grafted"]));
      assertEquals(
        server.log.filter((line) => line.startsWith("error")),
        [],
      );
      assertEquals(server.packs() > 0, true);
    }),
);
