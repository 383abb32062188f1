/**
 * `dhara db backup`: backups of a database in a directory.
 *
 * @module
 */
import { StorageError } from "../errors.ts";
import {
  backup,
  type BackupEntry,
  checkBackups,
} from "../maintenance/backup.ts";
import type { Command } from "./command.ts";
import { refuseServer, UsageError, type Values } from "./options.ts";
import { count } from "./progress.ts";
import { formatTime } from "./time.ts";

/** `dhara db backup`. */
export const backupCommand: Command = {
  names: ["backup"],
  summary: "Back up a database to a directory, or check the backups there",
  details:
    "The database may be in use. If the directory has a backup of it already, only\nwhat is new is added. `dhara db restore --from DIR` brings it back.",
  options: [
    {
      name: "file",
      short: "f",
      value: "PATH",
      help: "The file that holds the database",
    },
    { name: "to", value: "DIR", help: "The directory for the backups" },
    { name: "full", help: "Back up everything again" },
    {
      name: "keep-last",
      value: "N",
      range: [1, 1_000_000],
      help: "Remove all but the last N full backups and what continues them",
    },
    { name: "verify", help: "Try to restore the backup, and verify that" },
    { name: "no-compress", help: "Do not compress" },
    { name: "check", value: "DIR", help: "Check all backups in DIR instead" },
  ],
  async run(values) {
    const directory = values.text("check");
    if (directory !== undefined) return check(values, directory);
    const file = values.text("file");
    const to = values.text("to");
    if (file === undefined || to === undefined) {
      throw new UsageError(
        "Cannot back up: say what and where to, with --file PATH --to DIR",
      );
    }
    refuseServer("back up", file);
    refuseServer("back up to", to);
    const { entry, reason, removed } = await backup(file, {
      to,
      full: values.has("full"),
      keepLast: values.number("keep-last"),
      verify: values.has("verify"),
      compress: !values.has("no-compress"),
    });
    if (entry === undefined) {
      console.log(`Nothing is new in ${file} since the last backup in ${to}`);
    } else {
      const why = reason === undefined ? "" : ` (full, since ${reason})`;
      console.log(
        `Backed up ${file} to ${to}${why}: ${describe(entry)}${
          values.has("verify") ? ", verified" : ""
        }`,
      );
    }
    for (const { file } of removed) console.log(`Removed ${file}`);
    return 0;
  },
};

function check(values: Values, directory: string): number {
  const others = ["file", "to", "full", "keep-last", "verify", "no-compress"];
  const other = others.find((name) => values.has(name));
  if (other !== undefined) {
    throw new UsageError(
      `Cannot use --check with --${other}: it backs up nothing`,
    );
  }
  const { entries, problems } = checkBackups(directory);
  if (entries.length === 0) {
    throw new StorageError(
      `Cannot check ${directory}: no backup in it was ever complete`,
    );
  }
  const several = new Set(entries.map(({ database }) => database)).size > 1;
  for (const entry of entries) {
    const { name, database } = entry;
    const of = name === undefined ? database : `${name} (${database})`;
    console.log(`${describe(entry)}${several ? `, of ${of}` : ""}`);
  }
  for (const problem of problems) console.log(`Damage: ${problem}`);
  console.log(
    problems.length === 0
      ? `${count(entries.length, "backup")}, all good`
      : `${count(entries.length, "backup")}, ${
        count(problems.length, "problem")
      }`,
  );
  return problems.length === 0 ? 0 : 1;
}

function describe({ file, size, firstTid, lastTid }: BackupEntry): string {
  const [first, last] = [firstTid, lastTid]
    .map((tid) => formatTime(new Date(Math.floor(tid / 1000))));
  return `${file}, ${count(size, "byte")}, ${first} to ${last}`;
}
