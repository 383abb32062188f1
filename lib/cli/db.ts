/**
 * `dhara db`: serving a database, a shell on one, packing one.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ServerUnavailableError, StorageError } from "../errors.ts";
import { Connection } from "../connection/connection.ts";
import {
  DEFAULT_HOST,
  DEFAULT_PORT,
  formatAddress,
  isLocal,
  toAddress,
} from "../protocol/address.ts";
import { ClientStorage } from "../client/client_storage.ts";
import { FileStorage } from "../storage/file_storage.ts";
import { openStorage } from "../open_storage.ts";
import type { StorageServerOptions } from "../server/options.ts";
import type { Storage } from "../storage/storage.ts";
import type { Command, Group } from "./command.ts";
import { backupCommand } from "./db_backup.ts";
import { restoreCommand } from "./db_restore.ts";
import { convertCommand } from "./db_convert.ts";
import { exportCommand, importCommand } from "./db_export.ts";
import { describeRepairs, verifyCommand } from "./db_verify.ts";
import { type Option, UsageError, type Values } from "./options.ts";
import { readonlyView } from "./readonly.ts";
import { LIMIT_OPTIONS, limitsFrom } from "./server_limits.ts";
import { openShell, runCode, runShell } from "./shell.ts";

/** A storage server, which the commands start and stop. */
export interface Server extends AsyncDisposable {
  /** Where it listens. */
  readonly name: string;
  /** Resolves when it has stopped. */
  readonly finished: Promise<void>;
  /** Starts it. */
  listen(): Promise<void>;
  /** Stops it when the requests under way are finished. */
  shutdown(): Promise<void>;
}

/** What the commands must be told, since nothing in here imports it. */
export interface Program {
  /** The version, for the lines that begin a server and a shell. */
  readonly version: string;
  /** All that the library exports, for the shell. */
  readonly library: Record<string, unknown>;
  /** Makes a storage server. */
  readonly makeServer: (options: StorageServerOptions) => Server;
}

const FILE: Option = {
  name: "file",
  short: "f",
  value: "PATH",
  help: "The file that holds the database",
};
const SERVER: readonly Option[] = [
  {
    name: "host",
    short: "h",
    value: "HOST",
    help: `The server's host (${DEFAULT_HOST})`,
  },
  {
    name: "port",
    short: "p",
    value: "PORT",
    range: [0, 65535],
    help: `The server's TCP port (${DEFAULT_PORT})`,
  },
  {
    name: "address",
    value: "PATH",
    help: "A Unix socket instead of host and port",
  },
];
const READONLY: Option = {
  name: "readonly",
  help: "Refuse all changes",
};
const CACHE_SIZE: Option = {
  name: "cache-size",
  value: "N",
  range: [1, Number.MAX_SAFE_INTEGER],
  help: "How many objects to keep in memory (100000)",
};
const COUNT = [0, Number.MAX_SAFE_INTEGER] as const;
const GCBYTES = 100_000_000;

/** The group `dhara db`. */
export function dbCommands(program: Program): Group {
  return {
    names: ["db"],
    summary: "Serve a database, work in one, pack one",
    commands: [
      start(program),
      client(program),
      pack,
      verifyCommand,
      backupCommand,
      restoreCommand,
      convertCommand,
      exportCommand,
      importCommand,
    ],
  };
}

function start(program: Program): Command {
  return {
    names: ["start", "server"],
    summary: "Serve a database to other processes",
    details:
      "Without --file it serves a temporary file, which goes away with the server.\nControl-C or SIGTERM stops it when the commit under way is finished.",
    options: [
      FILE,
      ...SERVER,
      READONLY,
      {
        ...CACHE_SIZE,
        help: "Without effect: a server keeps no objects in memory",
      },
      {
        name: "gcbytes",
        value: "N",
        range: COUNT,
        help: `Pack after so many bytes, 0 for never (${GCBYTES})`,
      },
      {
        name: "repair",
        help: "Cut a damaged file at the damage; the rest is saved",
      },
      {
        name: "insecure",
        help: "Let other machines connect, read and write",
      },
      {
        name: "no-quit",
        help: "Do not let a client stop the server",
      },
      ...LIMIT_OPTIONS,
    ],
    run: (values) => serve(values, program),
  };
}

async function serve(
  values: Values,
  { version, makeServer }: Program,
): Promise<number> {
  const place = placeOf(values);
  if (!isLocal(toAddress(place)) && !values.has("insecure")) {
    throw new UsageError(
      `Cannot listen on ${
        formatAddress(toAddress(place))
      }: other machines could read and write everything; listen on ${DEFAULT_HOST}, or add --insecure`,
    );
  }
  const file = values.text("file");
  if (values.has("repair") && file === undefined) {
    throw new UsageError("Cannot repair: say which file with --file PATH");
  }
  if (values.has("readonly") && file === undefined) {
    throw new UsageError(
      "Cannot serve nothing but reading: say which file with --file PATH",
    );
  }
  for (const note of withoutEffect(values)) console.error(note);
  const stop = Promise.withResolvers<void>();
  const unlisten = onStopSignal(stop.resolve);
  const directory = file === undefined
    ? Deno.makeTempDirSync({ prefix: "dhara-" })
    : undefined;
  try {
    using storage = await openStorage(file ?? join(directory!, "temporary"), {
      readonly: values.has("readonly"),
      repair: values.has("repair"),
    });
    if (values.has("repair") && storage instanceof FileStorage) {
      for (const line of describeRepairs(storage)) console.log(line);
    }
    await using server = makeServer({
      storage,
      ...place,
      ...limitsFrom(values),
      allowQuit: !values.has("no-quit"),
      gcbytes: values.number("gcbytes") ?? GCBYTES,
      insecure: values.has("insecure"),
      log: (level, message) => level === "error" && console.error(message),
    });
    await server.listen();
    const { name } = server;
    console.log(
      `dhara ${version} ready on ${name}, serving ${
        file ?? "a temporary file"
      }`,
    );
    await Promise.race([stop.promise, server.finished]);
    await server.shutdown();
    console.log(`dhara stopped on ${name}`);
    return 0;
  } finally {
    unlisten();
    if (directory) Deno.removeSync(directory, { recursive: true });
  }
}

/** What was given and changes nothing. */
function withoutEffect(values: Values): string[] {
  const notes: string[] = [];
  if (values.has("cache-size")) {
    notes.push(
      "--cache-size is without effect: a server keeps no objects in memory",
    );
  }
  if (values.has("readonly") && values.number("gcbytes")) {
    notes.push(
      "--gcbytes is without effect with --readonly: nothing is committed or packed",
    );
  }
  const address = toAddress(placeOf(values));
  if (values.has("insecure") && isLocal(address)) {
    notes.push(
      `--insecure is without effect: no other machine can reach ${
        formatAddress(address)
      }`,
    );
  }
  return notes;
}

/** Calls back when the process is asked to end; returns how to undo that. */
function onStopSignal(callback: () => void): () => void {
  const signals: Deno.Signal[] = Deno.build.os === "windows"
    ? ["SIGINT", "SIGBREAK"]
    : ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) Deno.addSignalListener(signal, callback);
  return () => {
    for (const signal of signals) Deno.removeSignalListener(signal, callback);
  };
}

function client(program: Program): Command {
  return {
    names: ["client"],
    summary: "Open a shell on a database, through a server or on its file",
    options: [
      FILE,
      ...SERVER,
      READONLY,
      CACHE_SIZE,
      {
        name: "eval",
        short: "e",
        value: "CODE",
        dash: true,
        help: "Run the code, print its last value and end",
      },
    ],
    async run(values) {
      using storage = await openPlace(values);
      const cacheSize = values.number("cache-size");
      using connection = new Connection(
        storage,
        cacheSize === undefined ? {} : { cacheSize },
      );
      openShell(connection, program.library);
      const code = values.text("eval");
      return code === undefined
        ? await runShell(
          connection,
          `dhara ${program.version} on ${nameOf(values)}`,
        )
        : await runCode(connection, code);
    },
  };
}

const pack: Command = {
  names: ["pack"],
  summary: "Drop old revisions and what cannot be reached from the root",
  details:
    "A server packs while it goes on serving; a file is packed when this ends.",
  options: [
    FILE,
    ...SERVER,
    {
      name: "keep",
      value: "TIME",
      help: "Keep the history of so long, as in 7d, 12h, 30m or 90s",
    },
    {
      name: "prepack",
      help: "Keep the old file as PATH.prepack, in place of an older one",
    },
  ],
  async run(values) {
    const file = fileOf(values);
    const keep = values.text("keep");
    const prepack = values.has("prepack");
    if (file === undefined && (keep !== undefined || prepack)) {
      throw new UsageError(
        "Cannot tell a server what to keep: use --keep and --prepack with --file PATH",
      );
    }
    // Opening would make a file that is not there.
    if (file !== undefined && !existsSync(file)) {
      throw new StorageError(`Cannot pack ${file}: there is no such file`);
    }
    const before = file === undefined ? 0 : Deno.statSync(file).size;
    using storage = await openPlace(values);
    const options = { prepack, ...(keep === undefined ? {} : { keep }) };
    storage.pack(options);
    if (file === undefined) {
      console.log(`Packing has begun on ${nameOf(values)}`);
    } else {
      const after = Deno.statSync(file).size;
      const kept = prepack ? `; the old file is ${file}.prepack` : "";
      console.log(
        `Packed ${file}: ${before} bytes before, ${after} after${kept}`,
      );
    }
    return 0;
  },
};

/** Where the options say that the server is. */
function placeOf(values: Values) {
  const address = values.text("address");
  const host = values.text("host");
  const port = values.number("port");
  if (address !== undefined && (host !== undefined || port !== undefined)) {
    throw new UsageError(
      "Cannot use --address with --host or --port: a server has one place",
    );
  }
  return { address, host, port };
}

function nameOf(values: Values): string {
  return values.text("file") ?? formatAddress(toAddress(placeOf(values)));
}

/** The file that the options name, `undefined` if it is a server that they name. */
function fileOf(values: Values): string | undefined {
  const file = values.text("file");
  const server = SERVER.some((option) => values.has(option.name));
  if (file !== undefined && server) {
    throw new UsageError(
      "Cannot use --file with --host, --port or --address: it opens the file without a server",
    );
  }
  return file;
}

/** Opens the file, or connects to the server, that the options name. */
async function openPlace(values: Values): Promise<Storage> {
  const file = fileOf(values);
  const readonly = values.has("readonly");
  if (file !== undefined) return await openStorage(file, { readonly });
  const storage = connect(placeOf(values));
  return readonly ? readonlyView(storage) : storage;
}

function connect(place: ReturnType<typeof placeOf>): Storage {
  try {
    return new ClientStorage(place);
  } catch (error) {
    if (!(error instanceof ServerUnavailableError)) throw error;
    // Starting one helps only where nobody answers, and on this machine.
    const { message } = error;
    const nobody = message.endsWith("no server answers there");
    if (!nobody || !isLocal(toAddress(place))) throw error;
    const start = place.address !== undefined
      ? ` --address ${place.address}`
      : place.port !== undefined
      ? ` --port ${place.port}`
      : "";
    throw new ServerUnavailableError(
      `${message}; start one with: dhara db start${start}`,
      { cause: error },
    );
  }
}
