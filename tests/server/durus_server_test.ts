/**
 * Our client in front of a server of Durus. It needs a Python that has Durus
 * (`pip install Durus`): `python3`, or the one that `DHARA_PYTHON` names.
 */
import { assert, assertEquals } from "@std/assert";
import { ClientStorage } from "../../lib/client/client_storage.ts";
import { inDirectory, Running } from "../support/dhara.ts";
import { record } from "../support/raw_client.ts";
import { ServerWorker } from "../support/server_worker.ts";

const PYTHON = Deno.env.get("DHARA_PYTHON") || "python3";

const PROGRAM = `
import importlib, sys
from durus.storage_server import StorageServer
module, name, path, port = sys.argv[1:]
storage = getattr(importlib.import_module("durus." + module), name)(path)
print("serving", flush=True)
StorageServer(storage, host="127.0.0.1", port=int(port)).serve()
`;

function hasDurus(): boolean {
  try {
    const { success } = new Deno.Command(PYTHON, {
      args: ["-c", "import durus.storage_server"],
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
    `SKIPPED: the tests with Durus' own server, since ${PYTHON} has no Durus (pip install Durus; DHARA_PYTHON names another Python)`,
  );
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

const kinds = [
  ["file_storage", "FileStorage"],
  ["file_storage2", "FileStorage2"],
  ["sqlite_storage", "SqliteStorage"],
] as const;

for (const [module, name] of kinds) {
  Deno.test(
    `a server of Durus says nothing of its database, and is believed: ${name}`,
    {
      ignore,
    },
    () =>
      inDirectory(async (directory) => {
        const port = freePort();
        const start = async (file: string) => {
          const path = `${directory}/${file}`;
          const args = ["-c", PROGRAM, module, name, path, String(port)];
          const server = new Running(args, {}, PYTHON);
          await server.until("serving");
          return server;
        };
        let server = await start("first");
        try {
          using storage = new ClientStorage({ port });
          using session = storage.session();
          assertEquals(storage.identity, undefined);
          // That of Durus' SQLite gives 0 to nobody.
          const [oid] = session.allocate(1) as [number];
          const one = record(oid, "one");
          assert("tid" in session.commit([[oid, one]]));
          assertEquals(session.load(oid), one);
          assertEquals(session.sync(), []);
          for (const file of ["first", "first", "second"]) {
            await server.stop("SIGKILL");
            server = await start(file);
            assertEquals(session.sync(), "everything");
            assertEquals(session.has(oid), file === "first");
          }
          await server.stop("SIGKILL");
          await using ours = await ServerWorker.start({ port });
          assertEquals(session.sync(), "replaced");
          assert(storage.identity !== undefined);
          await ours.stop();
          server = await start("first");
          assertEquals(session.sync(), "replaced");
          assertEquals(session.load(oid), one);
        } finally {
          await server.stop("SIGKILL").catch(() => {});
        }
      }),
  );
}
