/**
 * `dhara db convert`: copies a database from one storage to another.
 *
 * @module
 */
import {
  ClientStorage,
  type ClientStorageOptions,
} from "../client/client_storage.ts";
import { convert } from "../maintenance/convert.ts";
import { FileStorage } from "../storage/file_storage.ts";
import { namesServer, openStorage, serverAt } from "../open_storage.ts";
import { type Format, formatFor } from "../storage/file_format.ts";
import { SqliteStorage } from "../storage/sqlite_storage.ts";
import type { Progress, Storage } from "../storage/storage.ts";
import type { Command } from "./command.ts";
import { type Option, UsageError, type Values } from "./options.ts";
import { count, ProgressLine } from "./progress.ts";
import { disk } from "../files/file.ts";
import { makeWhole } from "../files/whole_file.ts";

/** The format of a file that a command makes. */
export const TO_FORMAT: Option = {
  name: "to-format",
  value: "FORMAT",
  help: "journal or sqlite (by the name: sqlite for .sqlite and .db)",
};

/** The command `dhara db convert`. */
export const convertCommand: Command = {
  names: ["convert"],
  summary: "Copy a database to a new file, of the same format or another",
  details:
    "FROM and TO are files, or servers: tcp:HOST:PORT or unix:PATH. All objects\nthat can be reached from the root are copied; they keep their numbers.\nHistory is not copied. TO must not be there, or, on a server, be empty.",
  options: [TO_FORMAT],
  arguments: ["from", "to"],
  async run(values) {
    const from = needed(values, "from", "dhara db convert FROM TO");
    const to = needed(values, "to", "dhara db convert FROM TO");
    const format = formatOf(values, to);
    using line = new ProgressLine();
    using source = await openSource(from);
    const { records } = await fill(
      { to, format, like: fileOf(from) },
      (target) =>
        convert(source, target, {
          onProgress: ({ records }) =>
            line.show(`Copying ${from}: ${count(records, "object")}`),
        }),
    );
    console.log(`Copied ${count(records, "object")} from ${from} to ${to}`);
    return 0;
  },
};

/** Returns an argument that there must be. */
export function needed(values: Values, name: string, usage: string): string {
  const value = values.text(name);
  if (value) return value;
  throw new UsageError(`Say ${name.toUpperCase()}: ${usage}`);
}

/** Opens a file that must be there, or a server, for reading. */
export async function openSource(place: string): Promise<Storage> {
  return openServer(place) ?? await openStorage(place, { readonly: true });
}

/** Where a database is copied to. */
export interface Target {
  /** A file, or a server. */
  readonly to: string;
  /** The format of a file. */
  readonly format: Format;
  /** The file that it is made of, if it is one: the same users may use the new one. */
  readonly like: string | undefined;
}

/** Lets `work` fill a new database in a file, which is there when it is complete, or an empty one on a server. */
export async function fill(
  { to, format, like }: Target,
  work: (storage: Storage) => Progress | Promise<Progress>,
): Promise<Progress> {
  using server = openServer(to);
  if (server) return await work(server);
  const options = { files: disk, what: "write", like };
  return await makeWhole(to, options, async (part) => {
    // It is synced when it is complete.
    using storage = format === "sqlite"
      ? await SqliteStorage.open(part, { sync: false })
      : new FileStorage(part, { sync: false });
    return await work(storage);
  });
}

/** Returns a place if it is a file, `undefined` if it is a server. */
export function fileOf(place: string): string | undefined {
  return namesServer(place) ? undefined : place;
}

/** Returns the format of a file that a command makes. */
export function formatOf(values: Values, path: string): Format {
  const format = values.text("to-format") ?? formatFor(path);
  if (format === "journal" || format === "sqlite") return format;
  throw new UsageError(
    `Cannot take --to-format ${format}: it must be journal or sqlite`,
  );
}

function openServer(place: string): Storage | undefined {
  const server = addressIn(place);
  return server && new ClientStorage(server);
}

/** An address that is none is a mistake on the command line. */
function addressIn(place: string): ClientStorageOptions | undefined {
  try {
    return serverAt(place);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}
