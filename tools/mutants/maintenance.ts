import type { MutantList } from "./mutant.ts";

const FAULTS = ["maintenance_faults"];
const WHOLE = ["whole_file"];
const CHECKS = ["backup_checks"];
const COMMAND = ["cli"];

const list: MutantList = {
  part: "backup, restore, convert, export and the command",
  tests: ["backup"],
  mutants: [
    // Files that are there whole or not at all.
    {
      bug: "a new file has its name before its bytes are on the disk",
      file: "lib/files/whole_file.ts",
      find: "sync(files, part);",
      replace: "",
      tests: FAULTS,
    },
    {
      bug: "a new file's name is not on the disk when it is done",
      file: "lib/files/whole_file.ts",
      find: "files.syncDirectory(path);",
      replace: "",
      tests: FAULTS,
    },
    {
      bug: "a file that appears meanwhile is replaced, where links cannot be",
      file: "lib/files/whole_file.ts",
      find: "refuseTaken(path, options);\n    files.rename",
      replace: "files.rename",
      tests: WHOLE,
    },
    {
      bug: "a file that appears at the last moment is replaced",
      file: "lib/files/whole_file.ts",
      find: "files.link(part, path);",
      replace: "return files.rename(part, path);",
      tests: WHOLE,
    },
    {
      bug: "what failed is left",
      file: "lib/files/whole_file.ts",
      find: "if (ours) {",
      replace: "if (!ours) {",
      tests: WHOLE,
    },
    {
      bug: "anybody can read a secret database's copy while it is made",
      file: "lib/files/whole_file.ts",
      find: "secret: like !== undefined,",
      replace: "",
      tests: WHOLE,
    },
    {
      bug: "a copy is not for those who may use the database",
      file: "lib/files/whole_file.ts",
      find: "if (like !== undefined) files.copyAccess(like, part);",
      replace: "",
      tests: WHOLE,
    },

    // Backups.
    {
      bug: "a backup's bytes are not on the disk when it is listed",
      file: "lib/maintenance/backup.ts",
      find: "out.sync();",
      replace: "",
      tests: FAULTS,
    },
    {
      bug: "a backup's name is not on the disk when it is listed",
      file: "lib/maintenance/backup.ts",
      find: "files.syncDirectory(target);",
      replace: "",
      tests: FAULTS,
    },
    {
      bug: "old backups are removed before the list says so",
      file: "lib/maintenance/backup.ts",
      find: "  place.write(entries.filter(",
      replace:
        "  for (const { file } of removed) place.files.remove(place.pathOf(file));\n  place.write(entries.filter(",
      tests: FAULTS,
    },
    {
      bug: "one full backup too many is removed",
      file: "lib/maintenance/backup.ts",
      find: ".at(-keepLast)?.id",
      replace: ".at(1 - keep)?.id",
    },
    {
      bug: "old backups of another database are removed too",
      file: "lib/maintenance/backup.ts",
      find: "entries.filter((entry) => entry.database === database);",
      replace: "entries;",
    },
    {
      bug: "a file that was set back is taken to continue its backup",
      file: "lib/maintenance/backup.ts",
      find: "hashOf(file, before.last, before.to, path) === before.lastHash",
      replace: "true",
    },
    {
      bug: "a backup continues one that was cut short",
      file: "lib/maintenance/backup.ts",
      find: "sizeOf(place, name) !== size",
      replace: "sizeOf(place, name) === undefined",
      tests: CHECKS,
    },
    {
      bug: "what was written is not compared with what should have been",
      file: "lib/maintenance/backup.ts",
      find: "place.problemOf(entry);\n  if (problem !== undefined)",
      replace: "place.problemOf(entry);\n  if (false)",
      tests: CHECKS,
    },
    {
      bug: "a backup that could not be restored stays in the list",
      file: "lib/maintenance/backup.ts",
      find: "place.write(entries, path);",
      replace: "",
      tests: FAULTS,
    },
    {
      bug: "a damaged journal is backed up",
      file: "lib/maintenance/backup.ts",
      find: "checkBlocks(file, range.from, range.to, path);",
      replace: "",
    },
    {
      bug: "checking does not see that the backup before is not in the list",
      file: "lib/maintenance/backup.ts",
      find: 'if (typeof chain === "string") problems.push(chain);',
      replace: "",
      tests: CHECKS,
    },
    {
      bug: "two back up to one directory at once",
      file: "lib/maintenance/backup_catalog.ts",
      find: "if (file.lock()) return file;",
      replace: "return file;",
    },
    {
      bug: "the list of backups is not on the disk before the old one is gone",
      file: "lib/maintenance/backup_catalog.ts",
      find: "file.sync();",
      replace: "",
      tests: FAULTS,
    },
    {
      bug: "the list's name is not on the disk when a backup is done",
      file: "lib/maintenance/backup_catalog.ts",
      find: "files.syncDirectory(path);",
      replace: "",
      tests: FAULTS,
    },
    {
      bug: "the name of a new directory is not on the disk",
      file: "lib/maintenance/backup_catalog.ts",
      find: 'this.files.syncDirectory(path.replace(/\\/+$/, ""));',
      replace: "",
      tests: FAULTS,
    },
    {
      bug: "the list of backups is not for those who may use the database",
      file: "lib/maintenance/backup_catalog.ts",
      find:
        "files.copyAccess(files.identity(path) === undefined ? like : path, part);",
      replace: "",
      tests: WHOLE,
    },
    {
      bug: "a hole between backups is not seen",
      file: "lib/maintenance/backup_restore.ts",
      find: "first <= limit && (limit <= last || last === newest)",
      replace: "first <= limit",
    },
    {
      bug: "only a full backup is looked at before it is restored",
      file: "lib/maintenance/backup_restore.ts",
      find: "for (const entry of chain) {",
      replace: "for (const entry of chain.slice(0, 1)) {",
      tests: CHECKS,
    },

    // Restore, convert and export.
    {
      bug: "the transaction that was asked for is not restored",
      file: "lib/maintenance/restore.ts",
      find: "if (point.tid > limit)",
      replace: "if (point.tid >= limit)",
      tests: ["restore"],
    },
    {
      bug: "what was restored is not verified",
      file: "lib/maintenance/restore.ts",
      find: "const failure = await finish(files, path);",
      replace: "const failure = (await finish(files, path), undefined);",
      tests: ["restore"],
    },
    {
      bug: "the root is not copied last",
      file: "lib/maintenance/convert.ts",
      find: "if (oid === ROOT_OID) {",
      replace: "if (false) {",
      tests: ["convert"],
    },
    {
      bug: "a copy is one transaction, however many bytes it has",
      file: "lib/maintenance/convert.ts",
      find: "this.#waitingBytes >= BATCH_BYTES ||",
      replace: "",
      tests: ["convert"],
    },
    {
      bug: "somebody else's commit to the target goes unnoticed",
      file: "lib/maintenance/convert.ts",
      find: 'if (!("tid" in this.#session.commit(records))) {',
      replace: "if (this.#session.commit(records) === undefined) {",
      tests: ["convert"],
    },
    {
      bug: "an export that lost a line is imported",
      file: "lib/maintenance/export_text.ts",
      find: 'if (json["objects"] !== this.#objects) {',
      replace: "if (false) {",
      tests: ["export"],
    },
    {
      bug: "what others have written is exported as we would write it",
      file: "lib/maintenance/export_text.ts",
      find:
        "return isSame(this.record(JSON.parse(line)), record) ? line : undefined;",
      replace: "return line;",
      tests: ["export"],
    },
    {
      bug: "a file is not closed when it was verified",
      file: "lib/maintenance/verify.ts",
      find: "file?.close();",
      replace: "",
      tests: CHECKS,
    },

    // The command.
    {
      bug: "db verify ends with 0 on damage",
      file: "lib/cli/db_verify.ts",
      find: "return 1;",
      replace: "return 0;",
      tests: ["db_commands"],
    },
    {
      bug: "db backup --check ends with 0 on damage",
      file: "lib/cli/db_backup.ts",
      find: "return problems.length === 0 ? 0 : 1;",
      replace: "return 0;",
    },
    {
      bug: "db backup does not verify",
      file: "lib/cli/db_backup.ts",
      find: 'verify: values.has("verify"),',
      replace: "",
      tests: CHECKS,
    },
    {
      bug: "db import loses a last line without a line feed",
      file: "lib/cli/db_export.ts",
      find: 'if (last !== "") yield last;',
      replace: "",
      tests: ["export"],
    },
    {
      bug: "db start --gcbytes is without effect",
      file: "lib/cli/db.ts",
      find: 'values.number("gcbytes") ?? GCBYTES',
      replace: "GCBYTES",
      tests: ["db_start"],
    },
    {
      bug: "db start --no-quit is without effect",
      file: "lib/cli/db.ts",
      find: 'allowQuit: !values.has("no-quit"),',
      replace: "allowQuit: true,",
      tests: ["db_start"],
    },
    {
      bug: "times of db start's limits are taken for milliseconds",
      file: "lib/cli/server_limits.ts",
      find: "factor: 1000,",
      replace: "factor: 1,",
      tests: ["db_start"],
    },
    {
      bug: "SIGTERM kills a server",
      file: "lib/cli/db.ts",
      find: '"SIGTERM", "SIGHUP"',
      replace: '"SIGHUP"',
      tests: COMMAND,
    },
    {
      bug: "db client --readonly lets commits through to a server",
      file: "lib/cli/readonly.ts",
      find: 'for (const _ of records) throw refusal("commit");',
      replace: "return session.commit(records);",
      tests: COMMAND,
    },
    {
      bug: "db client --eval ends with 0 when the code throws",
      file: "lib/cli/shell.ts",
      find: "console.error(describeError(error));\n    return 1;",
      replace: "console.error(describeError(error));\n    return 0;",
      tests: COMMAND,
    },
    {
      bug: "the greatest number that makes sense is refused",
      file: "lib/cli/options.ts",
      find: "number <= greatest",
      replace: "number < greatest",
      tests: ["options"],
    },
    {
      bug: "anybody can read what was typed into the shell",
      file: "lib/cli/history.ts",
      find: "mode: 0o600",
      replace: "mode: 0o644",
      tests: ["shell"],
    },
    {
      bug: "a day without a time of day is taken for UTC",
      file: "lib/cli/time.ts",
      find: "new Date(`${day}T${time}${zone.toUpperCase()}`)",
      replace: "new Date(text)",
      tests: ["time"],
    },
    {
      bug: "what was restored passes for the same, not for another database",
      file: "lib/maintenance/restore.ts",
      find: "      renewIdentity(part, from);\n",
      replace: "",
      tests: ["identity"],
    },
  ],
};

export default list;
