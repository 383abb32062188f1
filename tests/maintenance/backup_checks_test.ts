/** What backups and what is made of them are checked for before anybody relies on them. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { DamagedFileError, StorageError } from "../../lib/errors.ts";
import { disk, type Files, type OpenFile } from "../../lib/files/file.ts";
import {
  backup,
  backupOn,
  checkBackups,
} from "../../lib/maintenance/backup.ts";
import {
  restoreBackup,
  restoreBackupOn,
} from "../../lib/maintenance/backup_restore.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";
import { restoreOn } from "../../lib/maintenance/restore.ts";
import { verifyOn } from "../../lib/maintenance/verify.ts";
import { dhara, inDirectory } from "../support/dhara.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";

/** A database to back up, and where its backups go. */
interface Place {
  directory: string;
  path: string;
  to: string;
  commit(text: string): void;
}

function test(name: string, run: (place: Place) => Promise<void>): void {
  Deno.test(name, () =>
    inDirectory(async (directory) => {
      const path = `${directory}/a.dhara`;
      const commit = (text: string) => {
        using storage = new FileStorage(path);
        using session = storage.session();
        store(session, textRecord(0, text));
      };
      commit("first");
      await run({ directory, path, to: `${directory}/backups`, commit });
    }));
}

/** The real file system, with other open files. */
function wrapped(wrap: (file: OpenFile, path: string) => OpenFile): Files {
  return {
    ...disk,
    open: (path, options) => wrap(disk.open(path, options), path),
  };
}

/** Like another file but for some of what it does. */
function like(file: OpenFile, other: Partial<OpenFile>): OpenFile {
  return new Proxy(file, {
    get(_, key: keyof OpenFile) {
      const value = other[key] ?? file[key];
      return typeof value === "function" ? value.bind(file) : value;
    },
  });
}

test("a backup does not continue one whose file was cut short", async ({ path, to, commit }) => {
  await backup(path, { to });
  const first = `${to}/000001-full.journal.gz`;
  Deno.truncateSync(first, Deno.statSync(first).size - 1);
  commit("second");
  const { entry, reason } = await backup(path, { to });
  assertEquals(
    [entry?.kind, reason],
    ["full", "000001-full.journal.gz is not as it was"],
  );
});

test("a backup is not listed if the disk has kept something else than was written", async ({ path, to }) => {
  const files = wrapped((file, name) =>
    name.endsWith(".journal.part")
      ? like(file, {
        write(bytes, offset) {
          const other = bytes.slice();
          other[other.length - 1]! ^= 1;
          return file.write(other, offset);
        },
      })
      : file
  );
  await assertRejects(
    () => backupOn(files, path, { to, compress: false }),
    StorageError,
    `what was written to ${to} is not what is there: 000001-full.journal is damaged`,
  );
  const { entry } = await backup(path, { to, verify: true });
  assertEquals([entry?.id, entry?.kind], [1, "full"]);
  assertEquals(checkBackups(to).problems, []);
});

test("checking sees that a backup continues one that is not in the list", async ({ path, to, commit }) => {
  await backup(path, { to });
  commit("second");
  await backup(path, { to });
  const catalog = `${to}/catalog.json`;
  const list = JSON.parse(Deno.readTextFileSync(catalog));
  list.entries.shift();
  Deno.writeTextFileSync(catalog, JSON.stringify(list));
  assertEquals(checkBackups(to).problems, [
    "000002-incremental.journal.gz continues backup 1, which is not in the list",
  ]);
});

test("each backup that is needed is checked before it is restored", async ({ directory, path, to, commit }) => {
  await backup(path, { to });
  commit("second");
  await backup(path, { to, compress: false });
  const second = `${to}/000002-incremental.journal`;
  const bytes = Deno.readFileSync(second);
  bytes[bytes.length - 1]! ^= 1;
  Deno.writeFileSync(second, bytes);
  await assertRejects(
    () => restoreBackup(to, { to: `${directory}/b` }),
    DamagedFileError,
    "000002-incremental.journal is damaged: its checksum is wrong",
  );
});

test("db backup --verify restores what it has backed up", async ({ path, to }) => {
  await backup(path, { to: `${to}/other` });
  // What is restored cannot have its place, so that there is something to notice.
  Deno.mkdirSync(`${to}/000001-full.journal.gz.verify`);
  const command = ["db", "backup", "--file", path, "--to", to];
  const failed = await dhara([...command, "--verify"]);
  assertEquals([failed.code, failed.stdout], [1, ""]);
  assert(failed.stderr.includes("000001-full.journal.gz.verify"));
  assertEquals((await dhara(command)).code, 0);
});

test("whatever was opened is closed again, also when it fails", async ({ directory, path, to, commit }) => {
  const open = new Set<string>();
  const files = wrapped((file, name) => {
    const id = `${name} ${crypto.randomUUID()}`;
    open.add(id);
    return like(file, {
      close() {
        open.delete(id);
        file.close();
      },
    });
  });
  const restored = `${directory}/b`;
  const damaged = `${directory}/damaged`;
  const work: [name: string, work: () => Promise<unknown>, fails: boolean][] = [
    ["backup", () => backupOn(files, path, { to, verify: true }), false],
    ["nothing new", () => backupOn(files, path, { to }), false],
    ["restore", () => restoreBackupOn(files, to, { to: restored }), false],
    ["taken", () => restoreBackupOn(files, to, { to: restored }), true],
    ["taken", () => restoreOn(files, path, { to: restored }), true],
    ["verify", () => verifyOn(files, path), false],
    ["restore", () => restoreOn(files, path, { to: `${restored}2` }), false],
    ["damaged", () => restoreOn(files, damaged, { to: `${restored}3` }), true],
    ["damaged", () => backupOn(files, damaged, { to: `${to}2` }), true],
    ["damaged", () => verifyOn(files, damaged), false],
    ["text", () => verifyOn(files, `${directory}/text`), true],
    ["text", () => backupOn(files, `${directory}/text`, { to }), true],
    ["nothing", () => verifyOn(files, `${directory}/nothing`), true],
    ["empty", () => backupOn(files, `${directory}/empty`, { to }), true],
  ];
  commit("x".repeat(5000));
  const bytes = Deno.readFileSync(path);
  bytes[bytes.length - 2000]! ^= 1;
  bytes[bytes.length - 200]! ^= 1;
  Deno.writeFileSync(damaged, bytes);
  Deno.writeTextFileSync(`${directory}/text`, "text ".repeat(1000));
  Deno.writeTextFileSync(`${directory}/empty`, "");
  for (const [name, act, fails] of work) {
    let failed = false;
    await act().catch(() => failed = true);
    assertEquals([name, failed, ...open], [name, fails]);
  }
  using storage = new FileStorage(restored);
  using session = storage.session();
  assertEquals(textOf(session, 0).length, 5000);
});
