/**
 * `dhara db verify`: whether a database is as it should be, and repairing it.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { DharaError, StorageError } from "../errors.ts";
import { ROOT_OID } from "../serialize/record.ts";
import { FileStorage, type Repair } from "../storage/file_storage.ts";
import { formatOf } from "../storage/file_format.ts";
import { verify, type VerifyReport } from "../maintenance/verify.ts";
import { openStorage } from "../open_storage.ts";
import type { Command } from "./command.ts";
import { UsageError } from "./options.ts";
import { count, percent, ProgressLine } from "./progress.ts";

/** `dhara db verify`. */
export const verifyCommand: Command = {
  names: ["verify"],
  summary: "Read all of a database and tell what is damaged",
  details:
    "It changes nothing, and the database may be in use. The exit code is 1 if\nanything is damaged or a reference leads nowhere, 0 otherwise.\nWith --repair nobody else may have the file open for writing.",
  options: [
    {
      name: "file",
      short: "f",
      value: "PATH",
      help: "The file, in place of FILE",
    },
    {
      name: "repair",
      help: "Save what follows damage beside the file, and cut it off",
    },
  ],
  arguments: ["file"],
  async run(values) {
    const file = values.text("file");
    if (file === undefined) {
      throw new UsageError(
        "Cannot verify: say which file; see dhara db verify --help",
      );
    }
    if (values.has("repair")) repair(file);
    const report = await verifyWithProgress(file);
    for (const line of describe(report)) console.log(line);
    if (report.good) return 0;
    const repaired = values.has("repair");
    const opens = await canBeOpened(file);
    for (const line of advise(report, repaired, opens)) console.log(line);
    return 1;
  },
};

/** Whether the file can be opened and read, damaged as it is. */
async function canBeOpened(file: string): Promise<boolean> {
  try {
    using storage = await openStorage(file, { readonly: true });
    using session = storage.session();
    session.load(ROOT_OID);
    return true;
  } catch (error) {
    if (error instanceof DharaError) return false;
    throw error;
  }
}

/** Verifies a file, and says how far it has come. */
export async function verifyWithProgress(path: string): Promise<VerifyReport> {
  using line = new ProgressLine();
  return await verify(path, {
    onProgress({ phase, fraction = 0 }) {
      const what = phase === "reading" ? "reading" : "following references";
      line.show(`${path}: ${what}, ${percent(fraction)}`);
    },
  });
}

function repair(file: string): void {
  // Opening would make a file that is not there.
  if (!existsSync(file)) {
    throw new StorageError(`Cannot repair ${file}: there is no such file`);
  }
  if (formatOf(file) === "sqlite") {
    throw new StorageError(
      `Cannot repair ${file}: it is a SQLite database, which cannot be repaired here; restore a copy of it`,
    );
  }
  using storage = new FileStorage(file, { repair: true });
  for (const line of describeRepairs(storage)) console.log(line);
}

/** Says what opening a file with `repair` has done. */
export function describeRepairs(
  { path, repairs }: { path: string; repairs: readonly Repair[] },
): string[] {
  if (repairs.length === 0) {
    return [`Repaired ${path}: nothing had to be cut or written anew`];
  }
  return repairs.map(({ kind, offset, bytes, saved }) => {
    const cut = count(bytes, "byte");
    switch (kind) {
      case "cut":
        return `Repaired ${path}: ${cut} were cut off from byte ${offset} on, and saved as ${saved}`;
      case "unfinished":
        return `Repaired ${path}: ${cut} of a transaction that was never confirmed were cut off from byte ${offset} on`;
      case "index":
        return `Repaired ${path}: the index was written anew`;
      case "header":
        return `Repaired ${path}: the header was written anew`;
    }
  });
}

function* describe(report: VerifyReport): Generator<string> {
  const { path, size, transactions, records, objects } = report;
  yield `${path}: ${count(size, "byte")}, ${
    count(transactions, "transaction")
  }, ${count(records, "record")}`;
  yield `${
    count(objects, "object")
  }: ${report.reachable} can be reached from the root, ${report.unreachable} cannot`;
  for (const note of report.notes) yield `Note: ${note}`;
  for (const { offset, message } of report.damage) {
    yield report.format === "sqlite"
      ? `Damage: ${message}`
      : `Damage at byte ${offset}: ${message}`;
  }
  yield* others(report.damageCount - report.damage.length, "damaged place");
  for (const { oid, from } of report.dangling) {
    yield `Object #${from} refers to #${oid}, which is not there`;
  }
  yield* others(
    report.danglingCount - report.dangling.length,
    "such reference",
  );
  const { damageCount, danglingCount } = report;
  yield report.good
    ? "No damage was found"
    : `${count(damageCount, "place is", "places are")} damaged, ${
      count(danglingCount, "reference leads", "references lead")
    } nowhere`;
}

function* others(number: number, one: string): Generator<string> {
  if (number > 0) yield `And ${count(number, `other ${one}`)}`;
}

function* advise(
  { format, damageCount, danglingCount, unreadable }: VerifyReport,
  repaired: boolean,
  opens: boolean,
): Generator<string> {
  if (format === "sqlite") {
    const loadable = unreadable === 0 && danglingCount === 0 && opens;
    yield `A SQLite file cannot be repaired here; restore a copy of it${
      loadable
        ? ". All objects that can be reached can be loaded, and `dhara db export` saves them"
        : ""
    }`;
    return;
  }
  if (damageCount > 0 && !repaired) {
    yield "`dhara db verify --repair` mends what keeps the file from being opened; what it cuts off it saves";
  } else if (damageCount > 0) {
    yield "What is damaged now was committed before good transactions, so it was not cut off";
    if (unreadable === 0 && danglingCount === 0) {
      yield "All objects that can be reached can be loaded; `dhara db pack` drops the rest, and the damage with it";
    }
  }
  yield "`dhara db restore` brings back an earlier state, from a backup or from this file";
}
