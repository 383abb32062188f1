/** The worker of a blocking client: its program is a text, which must run wherever the client does. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ServerUnavailableError } from "../../lib/errors.ts";
import { SocketWorker } from "../../lib/client/blocking_socket.ts";
import { LOADER } from "../../lib/client/shared_loader.ts";
import { SOCKET_PROGRAM } from "../../lib/client/socket_program.ts";
import { STORAGE_PROGRAM } from "../../lib/client/storage_program.ts";
import { ClientStorage } from "../../lib/client/client_storage.ts";
import { inDirectory } from "../support/dhara.ts";
import { ServerWorker } from "../support/server_worker.ts";

const decoder = new TextDecoder();

/** Runs `deno` to its end. */
async function deno(
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
    signal: AbortSignal.timeout(120_000),
  }).output();
  return {
    code,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
  };
}

const MODULE = import.meta.resolve("../../lib/client/client_storage.ts");

const STORAGE = import.meta.resolve("../../lib/client/storage_program.ts");

/** A program that uses a server. */
function client(module: string, port: number): string {
  return `
    import { ClientStorage } from ${JSON.stringify(module)};
    using storage = new ClientStorage({ port: ${port} });
    using session = storage.session();
    console.log(session.allocate(2), session.sync());`;
}

const EXPECTED = "[ 0, 1 ] []\n";

Deno.test("the worker's texts have no error of types", async () => {
  await inDirectory(async (directory) => {
    const types = Object.entries({
      "client/shared_loader": ["Ask", "Room", "SharedData", "Told"],
      "client/socket_program": ["SocketData"],
      "client/storage_program": ["StorageData", "StorageModule"],
      "storage/async_storage": ["AsyncSession"],
    }).flatMap(([file, names]) => {
      const from = import.meta.resolve(`../../lib/${file}.ts`);
      return names.map((name) =>
        `/** @typedef {import(${JSON.stringify(from)}).${name}} ${name} */\n`
      );
    }).join("") +
      `/**
        * @template {import(${JSON.stringify(STORAGE)}).What} [W=import(${
        JSON.stringify(STORAGE)
      }).What]
        * @typedef {import(${
        JSON.stringify(STORAGE)
      }).StorageRequest<W>} StorageRequest
        */\n`;
    const check = async (texts: Record<string, string>) => {
      const files = Object.keys(texts).map((name) => `${directory}/${name}.js`);
      for (const [i, text] of Object.values(texts).entries()) {
        await Deno.writeTextFile(
          files[i]!,
          `// @ts-check\n${types}${text}`,
        );
      }
      return await deno(["check", "-q", "--no-lock", ...files]);
    };
    const good = await check({ LOADER, SOCKET_PROGRAM, STORAGE_PROGRAM });
    assertEquals(good.code, 0, good.stderr);
    const wrong = SOCKET_PROGRAM.replace("Slot.target", "Slot.targets");
    const { code, stderr } = await check({ wrong });
    assertEquals(code, 1, "nothing is checked at all");
    assert(stderr.includes("'targets' does not exist"), stderr);
  });
});

Deno.test("a worker that cannot start says why, at once", () => {
  const programs: [string, string][] = [
    [`throw new TypeError("it is broken")`, "it is broken"],
    [`export function serve() { throw new Error("no memory") }`, "no memory"],
    ["export function serve( {", "Unexpected"],
    ["await import('node:nothing')", "node:nothing"],
    ["export const other = 1", "serve is not a function"],
  ];
  for (const [program, why] of programs) {
    const error = assertThrows(
      () => new SocketWorker(60_000, program),
      ServerUnavailableError,
      "Cannot start the worker for the network: ",
    );
    assert(error.message.includes(why), error.message);
  }
});

Deno.test("a worker that fails at work says why, and serves on", () => {
  const worker = new SocketWorker(
    60_000,
    `export const serve = (_, control) => async () => {
      if (control[2] === 1) throw new RangeError("out of luck");
      return 0;
    }`,
  );
  const address = { transport: "tcp", hostname: "127.0.0.1", port: 1 } as const;
  assertThrows(() => worker.open(address), Error, "out of luck");
  assertEquals(worker.open(address), 2);
  worker.terminate();
});

Deno.test("a client works in a bundle, however names are kept or shortened", async () => {
  await using server = await ServerWorker.start();
  await inDirectory(async (directory) => {
    const program = `${directory}/program.ts`;
    await Deno.writeTextFile(program, client(MODULE, server.port));
    for (
      const options of [[], ["--keep-names"], ["--keep-names", "--minify"]]
    ) {
      const bundle = `${directory}/bundle${options.length}.js`;
      const made = await deno([
        ...["bundle", "-q", "--no-lock", ...options],
        ...["--output", bundle, program],
      ]);
      // Deno 2.6 cannot be told to keep names.
      if (made.stderr.includes("unexpected argument")) continue;
      if (/client error|error sending request/.test(made.stderr)) {
        console.log("Not tested: the bundler cannot be downloaded");
        return;
      }
      assertEquals(made.code, 0, made.stderr);
      const { stdout, stderr } = await deno(["run", "--allow-net", bundle]);
      // The server gets the numbers back each time.
      assertEquals(stdout, EXPECTED, stderr);
    }
  });
});

Deno.test("a client works when its modules come from the network", async () => {
  await using server = await ServerWorker.start();
  const root = new URL("../../", import.meta.url);
  const types = { headers: { "content-type": "application/typescript" } };
  const files = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => {
      const { pathname } = new URL(request.url);
      return new Response(
        await Deno.readTextFile(new URL(`.${pathname}`, root)),
        types,
      );
    },
  );
  try {
    await inDirectory(async (directory) => {
      const { port } = files.addr as Deno.NetAddr;
      const module = `http://127.0.0.1:${port}/lib/client/client_storage.ts`;
      const program = `${directory}/program.ts`;
      await Deno.writeTextFile(program, client(module, server.port));
      const { stdout, stderr } = await deno(
        [
          ...["run", "-q", "--no-lock", "--no-check", "--no-config"],
          ...[`--allow-import=127.0.0.1:${port}`, "--allow-net", program],
        ],
        { DENO_DIR: `${directory}/cache` },
      );
      assertEquals(stdout, EXPECTED, stderr);
    });
  } finally {
    await files.shutdown();
  }
});

Deno.test(
  "a server that does not take the connection is given up after the timeout",
  {
    // Elsewhere a full queue refuses.
    ignore: Deno.build.os !== "linux",
  },
  async () => {
    // Nobody accepts here, and the queue of those who wait is soon full.
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    const waiting: Deno.Conn[] = [];
    for (let full = false; !full;) {
      const connecting = Deno.connect({ hostname: "127.0.0.1", port });
      let timer;
      const conn = await Promise.race([
        connecting,
        new Promise<undefined>((resolve) => {
          timer = setTimeout(() => resolve(undefined), 300);
        }),
      ]);
      clearTimeout(timer);
      if (conn !== undefined) waiting.push(conn);
      else {
        full = true;
        connecting.then((conn) => conn.close(), () => {});
      }
    }
    assertThrows(
      () => new ClientStorage({ port, timeout: 200 }),
      ServerUnavailableError,
      `Cannot connect to 127.0.0.1:${port}: no answer came within 0.2 seconds`,
    );
    for (const conn of waiting) conn.close();
  },
);
