/**
 * `dhara db export` and `dhara db import`: a database as text, and back.
 *
 * @module
 */
import { StorageError } from "../errors.ts";
import { exportLines, importLines } from "../storage/export_text.ts";
import type { CopyProgress } from "../storage/convert.ts";
import type { Storage } from "../storage/storage.ts";
import type { Command } from "./command.ts";
import { fill, needed, openSource, TO_FORMAT } from "./db_convert.ts";
import { UsageError } from "./options.ts";
import { count, ProgressLine } from "./progress.ts";
import { makeWhole } from "./whole_file.ts";

const EXPORT_USAGE = "dhara db export FROM [--to FILE]";
const IMPORT_USAGE = "dhara db import FROM --to FILE";
/** So many characters are written at once. */
const PIECE = 65_536;

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
    using line = new ProgressLine();
    const progress = ({ objects }: CopyProgress) =>
      line.show(`Exporting ${from}: ${count(objects, "object")}`);
    using storage = await openSource(from);
    if (to === "-") {
      writeAll(Deno.stdout, exportLines(storage, { progress }));
      return 0;
    }
    const { objects } = await makeWhole(to, (part) => {
      using file = Deno.openSync(part, { write: true, createNew: true });
      return Promise.resolve(
        writeAll(file, exportLines(storage, { progress })),
      );
    });
    console.log(`Exported ${count(objects, "object")} from ${from} to ${to}`);
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
    using line = new ProgressLine();
    const { objects } = await fill(to, values, async (storage: Storage) => {
      const { readable } = from === "-" ? Deno.stdin : openText(from);
      return await importLines(linesOf(readable), storage, {
        name: from === "-" ? "the standard input" : from,
        progress: ({ objects }) =>
          line.show(`Importing ${from}: ${count(objects, "object")}`),
      });
    });
    console.log(`Imported ${count(objects, "object")} from ${from} to ${to}`);
    return 0;
  },
};

function openText(path: string): Deno.FsFile {
  try {
    return Deno.openSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new StorageError(`Cannot import ${path}: there is no such file`, {
      cause: error,
    });
  }
}

function writeAll(
  file: { writeSync(bytes: Uint8Array): number },
  lines: Generator<string, CopyProgress>,
): CopyProgress {
  const encoder = new TextEncoder();
  let waiting = "";
  const flush = () => {
    let bytes = encoder.encode(waiting);
    while (bytes.length > 0) bytes = bytes.subarray(file.writeSync(bytes));
    waiting = "";
  };
  for (;;) {
    const { done, value } = lines.next();
    if (done) {
      flush();
      return value;
    }
    waiting += value;
    if (waiting.length >= PIECE) flush();
  }
}

/** Cuts a stream into lines. */
async function* linesOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  // A long line comes in many pieces, which are joined once.
  let pieces: string[] = [];
  for await (const bytes of stream) {
    const parts = decoder.decode(bytes, { stream: true }).split("\n");
    const rest = parts.pop()!;
    for (const part of parts) {
      pieces.push(part);
      yield pieces.join("");
      pieces = [];
    }
    pieces.push(rest);
  }
  pieces.push(decoder.decode());
  const last = pieces.join("");
  if (last !== "") yield last;
}
