/**
 * `dhara db restore`: a database as it was at a moment.
 *
 * @module
 */
import { restoreBackup } from "../maintenance/backup_restore.ts";
import { restore, restorePoints } from "../maintenance/restore.ts";
import type { Command } from "./command.ts";
import { refuseServer, UsageError, type Values } from "./options.ts";
import { count } from "./progress.ts";
import { formatTime, parseMoment } from "./time.ts";

/** `dhara db restore`. */
export const restoreCommand: Command = {
  names: ["restore"],
  summary: "Write a database as it was at a moment to a new file",
  details:
    "TIME is as in 2026-11-23T10:00:00, in local time, or with Z or an offset such\nas +01:00; or a transaction's number, as --list shows them. What counts is the\nnewest transaction that is not later. The database may be in use meanwhile.",
  options: [
    {
      name: "file",
      short: "f",
      value: "PATH",
      help: "The file that holds the database",
    },
    { name: "from", value: "DIR", help: "A directory with backups instead" },
    {
      name: "database",
      value: "ID",
      help: "Which database, if DIR has backups of several",
    },
    { name: "at", value: "TIME", help: "The moment (the newest one)" },
    { name: "to", value: "PATH", help: "The new file" },
    { name: "list", help: "Show the transactions instead" },
  ],
  async run(values) {
    const file = values.text("file");
    const directory = values.text("from");
    if ((file === undefined) === (directory === undefined)) {
      throw new UsageError(
        "Cannot restore: say what from, with either --file PATH or --from DIR",
      );
    }
    const database = values.text("database");
    if (file !== undefined && database !== undefined) {
      throw new UsageError(
        "Cannot use --database with --file: a file holds one database",
      );
    }
    if (values.has("list")) return list(values, file);
    const { at, to } = target(values);
    const restored = file === undefined
      ? await restoreBackup(directory!, { at, to, database })
      : await restore(file, { at, to });
    console.log(
      `Restored ${file ?? directory} as of ${
        formatTime(restored.time)
      } (${restored.tid}) to ${to}: ${count(restored.size, "byte")}`,
    );
    return 0;
  },
};

function target(values: Values) {
  const to = values.text("to");
  if (to === undefined) {
    throw new UsageError("Cannot restore: say where to, with --to PATH");
  }
  refuseServer("restore to", to);
  const at = values.text("at");
  return { to, at: at === undefined ? undefined : parseMoment(at) };
}

function list(values: Values, file: string | undefined): number {
  if (file === undefined) {
    throw new UsageError(
      "Cannot list the transactions of backups; dhara db backup --check DIR lists the backups",
    );
  }
  if (values.has("to") || values.has("at")) {
    throw new UsageError(
      "Cannot use --list with --at or --to: it writes nothing",
    );
  }
  for (const point of restorePoints(file)) {
    const { time, tid, records, bytes, packed, user, note } = point;
    const more = [packed ? "packed" : undefined, user, note]
      .filter((text) => text !== undefined)
      // Whatever is in a note, it stays on its line.
      // deno-lint-ignore no-control-regex
      .map((text) => `  ${text.replaceAll(/[\x00-\x1f\x7f-\x9f]+/g, " ")}`);
    console.log(
      `${formatTime(time)}  ${tid}  ${count(records, "record")}  ${
        count(bytes, "byte")
      }${more.join("")}`,
    );
  }
  return 0;
}
