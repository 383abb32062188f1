/** Files that commands make: for whom they are, and whose place they take. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { StorageError } from "../../lib/errors.ts";
import { disk, type Files, writeFully } from "../../lib/files/file.ts";
import { backupOn } from "../../lib/maintenance/backup.ts";
import { restoreBackupOn } from "../../lib/maintenance/backup_restore.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";
import { restoreOn } from "../../lib/maintenance/restore.ts";
import { makeWhole } from "../../lib/files/whole_file.ts";
import { inDirectory } from "../support/dhara.ts";
import { inProcess } from "../support/in_process.ts";
import { store, textRecord } from "../../lib/testing/records.ts";

const WINDOWS = Deno.build.os === "windows";

function names(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
}

/** Runs a command that must succeed. */
async function run(...args: string[]): Promise<void> {
  const { code, stderr } = await inProcess(["db", ...args]);
  assertEquals([code, stderr], [0, ""]);
}

function makeDatabase(path: string): void {
  using storage = new FileStorage(path);
  using session = storage.session();
  store(session, textRecord(0, "root"));
}

/** Mode, owner and group. */
function accessOf(path: string): string {
  const { mode, uid, gid } = Deno.statSync(path);
  return `${(mode! & 0o777).toString(8)} ${uid}:${gid}`;
}

/** A file system on which no new file may ever be open to more than its owner. */
function secretive(): { files: Files; made: string[] } {
  const made: string[] = [];
  const check = (path: string) =>
    assertEquals(Deno.statSync(path).mode! & 0o077, 0, path);
  return {
    made,
    files: {
      ...disk,
      open(path, options) {
        const file = disk.open(path, options);
        if (!options.write || path.endsWith("backup.lock")) return file;
        check(path);
        if (options.createNew) made.push(path);
        return new Proxy(file, {
          get(file, key) {
            if (key === "write") check(path);
            const value = Reflect.get(file, key, file);
            return typeof value === "function" ? value.bind(file) : value;
          },
        });
      },
    },
  };
}

Deno.test({
  name: "whatever is made of a file is for those who may use that file",
  ignore: WINDOWS,
  fn: () =>
    inDirectory(async (directory) => {
      const path = `${directory}/a.dhara`;
      makeDatabase(path);
      for (const mode of [0o600, 0o640, 0o664]) {
        // Only the superuser can give files away.
        if (Deno.uid() === 0) Deno.chownSync(path, 12_345, 23_456);
        Deno.chmodSync(path, mode);
        const expected = accessOf(path);
        const to = `${directory}/${mode}`;
        await run("convert", path, `${to}.dhara`);
        await run("convert", path, `${to}.sqlite`);
        await run("convert", `${to}.sqlite`, `${to}-2.dhara`);
        await run("export", path, "--to", `${to}.jsonl`);
        await run("import", `${to}.jsonl`, "--to", `${to}-3.dhara`);
        await run("import", `${to}.jsonl`, "--to", `${to}-3.sqlite`);
        await run("restore", "--file", path, "--to", `${to}-4.dhara`);
        await run("backup", "--file", path, "--to", `${to}.backups`);
        await run(
          "restore",
          "--from",
          `${to}.backups`,
          "--to",
          `${to}-5.dhara`,
        );
        const backups = [`${to}.backups/catalog.json`];
        backups.push(`${to}.backups/000001-full.journal.gz`);
        const made = names(directory).filter((name) =>
          name.startsWith(`${mode}`) && !name.endsWith(".backups")
        ).map((name) => `${directory}/${name}`);
        assertEquals(made.length, 8);
        for (const file of [...made, ...backups]) {
          assertEquals(accessOf(file), expected, file);
        }
        // Who may read the file may go in; what more, the process' umask says.
        const [access, owner] = accessOf(`${to}.backups`).split(" ");
        assertEquals(owner, expected.split(" ")[1]);
        const others = parseInt(access!, 8) & 0o055;
        assertEquals(others, { 0o600: 0, 0o640: 0o050, 0o664: 0o055 }[mode]);
      }
    }),
});

Deno.test({
  name: "at no time can anybody else read what is made of a secret file",
  ignore: WINDOWS,
  fn: () =>
    inDirectory(async (directory) => {
      const path = `${directory}/a.dhara`;
      makeDatabase(path);
      Deno.chmodSync(path, 0o600);
      const { files, made } = secretive();
      const backups = `${directory}/backups`;
      await restoreOn(files, path, { to: `${directory}/b` });
      await backupOn(files, path, { to: backups, verify: true });
      await restoreBackupOn(files, backups, { to: `${directory}/c` });
      await makeWhole(`${directory}/d`, {
        files,
        what: "write",
        like: path,
      }, (part) => {
        const file = files.open(part, { write: true });
        writeFully(file, new Uint8Array(9), 0);
        file.close();
      });
      assert(made.length >= 6, made.join());
    }),
});

Deno.test("a new file takes nobody's place, and what has a name like it stays", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/a.dhara`;
    makeDatabase(path);
    for (const [i, name] of ["b.dhara", "b.sqlite", "b.jsonl"].entries()) {
      const to = `${directory}/${name}`;
      const others = [`${to}.part`, `${to}.part-wal`, `${to}.part-journal`];
      for (const other of others) Deno.writeTextFileSync(other, "mine");
      await run(
        ...i === 2 ? ["export", path, "--to", to] : ["convert", path, to],
      );
      if (i === 0) {
        await run("restore", "--file", path, "--to", `${directory}/r`);
      }
      for (const other of others) {
        assertEquals(Deno.readTextFileSync(other), "mine");
      }
    }
  });
});

/** Makes a file while somebody else does the same. */
function race(files: Files, to: string, appear: string | undefined) {
  return makeWhole(to, { files, what: "write" }, (part) => {
    Deno.writeTextFileSync(part, "complete");
    if (appear !== undefined) Deno.writeTextFileSync(appear, "somebody's");
  });
}

Deno.test("a file that appears while another is made keeps its place", async () => {
  const noLinks: Files = {
    ...disk,
    link() {
      throw new Deno.errors.PermissionDenied("no file can have two names here");
    },
  };
  await inDirectory(async (directory) => {
    const to = `${directory}/to`;
    const late = (path: string): Files => ({
      ...disk,
      link(from, name) {
        Deno.writeTextFileSync(path, "somebody's");
        disk.link(from, name);
      },
    });
    for (
      const [files, appear] of [
        [disk, to],
        [disk, `${to}-wal`],
        [noLinks, to],
        [noLinks, `${to}-journal`],
        // At the last moment.
        [late(to), undefined],
      ] as const
    ) {
      const place = appear ?? to;
      await assertRejects(
        () => race(files, to, appear),
        StorageError,
        `Cannot write ${to}: there is a file ${place} already; remove it`,
      );
      assertEquals(Deno.readTextFileSync(place), "somebody's");
      assertEquals(names(directory), [place.slice(directory.length + 1)]);
      Deno.removeSync(place);
    }
    if (!WINDOWS) {
      // A link to a disk that is not there is somebody's, too.
      Deno.symlinkSync(`${directory}/none`, to);
      await assertRejects(
        () => race(disk, to, undefined),
        StorageError,
        `Cannot write ${to}: there is a file ${to} already`,
      );
      assertEquals(Deno.readLinkSync(to), `${directory}/none`);
      Deno.removeSync(to);
    }
    for (const files of [disk, noLinks]) {
      await race(files, to, undefined);
      assertEquals(Deno.readTextFileSync(to), "complete");
      assertEquals(names(directory), ["to"]);
      Deno.removeSync(to);
    }
  });
});

Deno.test("makeWhole() says in an error of ours what the system says", async () => {
  await inDirectory(async (directory) => {
    Deno.writeTextFileSync(`${directory}/file`, "");
    for (
      const [name, why] of [
        ["none/to", "the folder that it should be in is not there"],
        ["file/to", ""],
        ["x".repeat(5000), ""],
        ["\0", ""],
      ] as const
    ) {
      const to = `${directory}/${name}`;
      await assertRejects(
        () => race(disk, to, undefined),
        StorageError,
        `Cannot write ${to}: ${why}`,
      );
    }
    await assertRejects(
      () =>
        makeWhole(`${directory}/to`, { files: disk, what: "write" }, (part) => {
          assertEquals(names(directory).length, 2);
          Deno.removeSync(part);
        }),
      StorageError,
      `Cannot write ${directory}/to: `,
    );
    assertEquals(names(directory), ["file"]);
  });
});
