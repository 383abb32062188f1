/**
 * `dhara db export` and `dhara db import`: a database as text, and back.
 *
 * @module
 */
import type { Progress } from "../storage/storage.ts";
import { StorageError } from "../errors.ts";
import { exportLines, importLines } from "../maintenance/export_text.ts";
import type { Command } from "./command.ts";
import {
  fileOf,
  fill,
  formatOf,
  needed,
  openSource,
  TO_FORMAT,
} from "./db_convert.ts";
import { refuseServer, UsageError } from "./options.ts";
import { count, ProgressLine } from "./progress.ts";
import { makeWhole } from "../files/whole_file.ts";
import { disk, type Files, writeFully } from "../files/file.ts";

const EXPORT_USAGE = "dhara db export FROM [--to FILE]";
const IMPORT_USAGE = "dhara db import FROM --to FILE";
/** So many characters are written at once. */
const OUTPUT_PIECE = 65_536;

/** The command `dhara db export`. */
export const exportCommand: Command = {
  names: ["export"],
  summary: "Write a database as text: JSON lines, one object a line",
  details:
    "FROM is a file, or a server: tcp:HOST:PORT or unix:PATH. All objects that can\nbe reached from the root are written, without loss; history is not.",
  options: [{
    name: "to",
    value: "FILE",
    help: "The file to write, which must not be there (standard output)",
  }],
  arguments: ["from"],
  async run(values) {
    const from = needed(values, "from", EXPORT_USAGE);
    const to = values.text("to") ?? "-";
    refuseServer("export to", to);
    using line = new ProgressLine();
    const onProgress = ({ records }: Progress) =>
      line.show(`Exporting ${from}: ${count(records, "object")}`);
    using storage = await openSource(from);
    if (to === "-") {
      writeLines(exportLines(storage, { onProgress }), (bytes) => {
        let rest = bytes;
        while (rest.length > 0) {
          rest = rest.subarray(Deno.stdout.writeSync(rest));
        }
      });
      return 0;
    }
    const options = { files: disk, what: "write", like: fileOf(from) };
    const { records } = await makeWhole(to, options, (part) => {
      return writeText(disk, part, exportLines(storage, { onProgress }));
    });
    console.log(`Exported ${count(records, "object")} from ${from} to ${to}`);
    return 0;
  },
};

/** The command `dhara db import`. */
export const importCommand: Command = {
  names: ["import"],
  summary: "Make a database of what `dhara db export` wrote",
  details:
    "FROM is a file, or - for standard input. The new database is a file that must\nnot be there, or an empty one on a server: tcp:HOST:PORT or unix:PATH.",
  options: [
    { name: "to", value: "FILE", help: "The file of the new database" },
    TO_FORMAT,
  ],
  arguments: ["from"],
  async run(values) {
    const from = needed(values, "from", IMPORT_USAGE);
    const to = values.text("to");
    if (to === undefined) throw new UsageError(`Say --to: ${IMPORT_USAGE}`);
    const format = formatOf(values, to);
    using file = from === "-" ? undefined : openText(from);
    const name = file === undefined ? "the standard input" : from;
    const like = file === undefined ? undefined : from;
    using line = new ProgressLine();
    const { records } = await fill(
      { to, format, like },
      async (storage) =>
        await importLines(
          linesOf((file ?? Deno.stdin).readable, name),
          storage,
          {
            name,
            onProgress: ({ records }) =>
              line.show(`Importing ${from}: ${count(records, "object")}`),
          },
        ),
    );
    console.log(`Imported ${count(records, "object")} from ${from} to ${to}`);
    return 0;
  },
};

function openText(path: string): Deno.FsFile {
  try {
    return Deno.openSync(path);
  } catch (error) {
    throw cannotImport(path, error);
  }
}

function cannotImport(name: string, error: unknown): StorageError {
  const why = error instanceof Deno.errors.NotFound
    ? "there is no such file"
    : (error as Error).message;
  return new StorageError(`Cannot import ${name}: ${why}`, { cause: error });
}

/** Writes an export to a file that is there and empty. */
export function writeText(
  files: Files,
  path: string,
  lines: Generator<string, Progress>,
): Progress {
  const file = files.open(path, { write: true });
  let size = 0;
  try {
    return writeLines(lines, (bytes) => {
      writeFully(file, bytes, size);
      size += bytes.length;
    });
  } finally {
    file.close();
  }
}

/** Writes lines, many at once. */
function writeLines(
  lines: Generator<string, Progress>,
  write: (bytes: Uint8Array) => void,
): Progress {
  const encoder = new TextEncoder();
  let waiting = "";
  for (;;) {
    const { done, value } = lines.next();
    if (!done) waiting += value;
    if (!done && waiting.length < OUTPUT_PIECE) continue;
    write(encoder.encode(waiting));
    waiting = "";
    if (done) return value;
  }
}

/** Cuts a stream into lines. */
async function* linesOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  name: string,
): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const decode = (bytes?: Uint8Array<ArrayBuffer>) => {
    try {
      return decoder.decode(bytes, { stream: bytes !== undefined });
    } catch (error) {
      throw new StorageError(`Cannot import ${name}: it is not UTF-8 text`, {
        cause: error,
      });
    }
  };
  // A long line comes in many pieces, which are joined once.
  let pieces: string[] = [];
  for await (const bytes of readable(stream, name)) {
    const parts = decode(bytes).split("\n");
    const rest = parts.pop()!;
    for (const part of parts) {
      pieces.push(part);
      yield pieces.join("");
      pieces = [];
    }
    pieces.push(rest);
  }
  pieces.push(decode());
  const last = pieces.join("");
  if (last !== "") yield last;
}

/** Says whose error it is when reading fails. */
async function* readable<T>(
  stream: ReadableStream<T>,
  name: string,
): AsyncGenerator<T> {
  try {
    yield* stream;
  } catch (error) {
    throw cannotImport(name, error);
  }
}
