/** Backup, restore, convert and export on a disk that fails at any operation. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { writeText } from "../../lib/cli/db_export.ts";
import { DharaError, StorageError } from "../../lib/errors.ts";
import { backupOn } from "../../lib/maintenance/backup.ts";
import { BackupDirectory } from "../../lib/maintenance/backup_catalog.ts";
import { restoreBackupOn } from "../../lib/maintenance/backup_restore.ts";
import { convert } from "../../lib/maintenance/convert.ts";
import { exportLines } from "../../lib/maintenance/export_text.ts";
import { openOn } from "../../lib/storage/file_storage.ts";
import { restoreOn } from "../../lib/maintenance/restore.ts";
import { verifyOn } from "../../lib/maintenance/verify.ts";
import { makeWhole } from "../../lib/files/whole_file.ts";
import {
  type Fault,
  type Keep,
  type Operation,
  SimulatedDisk,
} from "../support/simulated_disk.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";

const FROM = "a.dhara";
const TO = "b";
const BACKUPS = "backups";

/** Commits so often; each state is named by its number. */
function commit(disk: SimulatedDisk, count: number): void {
  using storage = openOn(disk, FROM);
  using session = storage.session();
  for (let i = 0; i < count; i++) {
    let number = 0;
    if (session.tid > 0) number = Number(textOf(session, 0).split(" ")[0]) + 1;
    const text = `${number} ${"x".repeat(600 * i)}`;
    store(session, textRecord(0, text, [1]), textRecord(1, text));
  }
}

/** Returns the number of the state in a file, which must be good. */
async function stateIn(disk: SimulatedDisk, path: string): Promise<number> {
  assert((await verifyOn(disk, path)).good);
  using storage = openOn(disk, path, { readonly: true });
  using session = storage.session();
  assertEquals(textOf(session, 0), textOf(session, 1));
  return Number(textOf(session, 0).split(" ")[0]);
}

/** What is done, and what must be true before, while and after. */
interface Program {
  /** What there is before. */
  prepare?(disk: SimulatedDisk): Promise<unknown>;
  run(disk: SimulatedDisk): Promise<unknown>;
  /** Fails if something is there in part; returns whether it is there. */
  isDone(disk: SimulatedDisk): Promise<boolean>;
  /** What is done to the disk at last: a rename between syncs of the file and of the names. */
  operations: string;
}

const whole = async (disk: SimulatedDisk) => {
  if (disk.identity(TO) === undefined) return false;
  assertEquals(await stateIn(disk, TO), 2);
  return true;
};

/** Fails if a backup that is listed cannot be restored; returns the newest state of each full one and what continues it. */
async function backedUp(disk: SimulatedDisk): Promise<number[]> {
  const place = new BackupDirectory(BACKUPS, disk);
  const states: number[] = [];
  for (const entry of place.entries() ?? []) {
    assertEquals(place.problemOf(entry), undefined);
    const { lastTid: at, kind } = entry;
    disk.remove("tried");
    await restoreBackupOn(disk, BACKUPS, { at, to: "tried" });
    if (kind === "incremental") states.pop();
    states.push(await stateIn(disk, "tried"));
  }
  return states;
}

const options = { compress: false };

const PROGRAMS: Record<string, Program> = {
  convert: {
    run: (files) =>
      makeWhole(TO, { files, what: "write", like: FROM }, (part) => {
        using from = openOn(files, FROM, { readonly: true });
        using to = openOn(files, part, { sync: false });
        return convert(from, to);
      }),
    isDone: whole,
    operations: "sync, link, remove, sync directory",
  },
  export: {
    run: (files) =>
      makeWhole(TO, { files, what: "write", like: FROM }, (part) => {
        using from = openOn(files, FROM, { readonly: true });
        return writeText(files, part, exportLines(from));
      }),
    // deno-lint-ignore require-await
    async isDone(disk) {
      if (disk.identity(TO) === undefined) return false;
      const file = disk.open(TO, {});
      const bytes = new Uint8Array(file.size());
      file.read(bytes, 0);
      using from = openOn(disk, FROM, { readonly: true });
      const text = new TextDecoder().decode(bytes);
      assertEquals(text, [...exportLines(from)].join(""));
      return true;
    },
    operations: "sync, link, remove, sync directory",
  },
  restore: {
    run: (files) => restoreOn(files, FROM, { to: TO }),
    isDone: whole,
    operations: "sync, link, remove, sync directory",
  },
  "restore from backups": {
    prepare: async (disk) => {
      await backupOn(disk, FROM, { ...options, to: BACKUPS });
    },
    run: (files) => restoreBackupOn(files, BACKUPS, { to: TO }),
    isDone: whole,
    operations: "sync, link, remove, sync directory",
  },
  "first backup": {
    run: (files) => backupOn(files, FROM, { ...options, to: BACKUPS }),
    isDone: async (disk) => (await backedUp(disk)).includes(2),
    operations:
      "sync directory, remove, write, sync, rename, sync directory, write, sync, rename, sync directory, remove, write, sync, rename, sync directory",
  },
  "verified backup": {
    run: (files) =>
      backupOn(files, FROM, { ...options, to: BACKUPS, verify: true }),
    isDone: async (disk) => (await backedUp(disk)).includes(2),
    operations:
      "remove, write, sync, rename, sync directory, write, sync, sync, sync directory, sync, link, remove, sync directory, remove",
  },
  "incremental backup": {
    prepare: async (disk) => {
      await backupOn(disk, FROM, { ...options, to: BACKUPS });
      commit(disk, 2);
    },
    run: (files) => backupOn(files, FROM, { ...options, to: BACKUPS }),
    async isDone(disk) {
      const states = await backedUp(disk);
      assert(states.join() === "2" || states.join() === "4", states.join());
      return states[0] === 4;
    },
    operations:
      "write, sync, rename, sync directory, remove, write, sync, rename, sync directory",
  },
  "backup that removes older ones": {
    prepare: async (disk) => {
      for (let i = 0; i < 2; i++) {
        await backupOn(disk, FROM, { ...options, to: BACKUPS, full: true });
        commit(disk, 1);
      }
    },
    run: (files) =>
      backupOn(files, FROM, {
        ...options,
        to: BACKUPS,
        full: true,
        keepLast: 1,
      }),
    async isDone(disk) {
      const states = await backedUp(disk);
      assert(
        ["2,3", "2,3,4", "4"].includes(states.join()),
        `there is ${states}`,
      );
      return states[0] === 4;
    },
    operations:
      "write, sync, rename, sync directory, remove, write, sync, rename, sync directory, remove, write, sync, rename, sync directory, remove, remove",
  },
};

async function prepared(program: Program): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  commit(disk, 3);
  await program.prepare?.(disk);
  return disk.clone();
}

/** What the disk may keep of what was not synced. */
const KEPT: Record<string, Keep> = {
  nothing: () => false,
  everything: () => true,
  "the names": (what) => what === "names",
  "the names and lengths": (what) => what !== "sector",
  "the bytes": (what) => what !== "names",
};

for (const [name, program] of Object.entries(PROGRAMS)) {
  Deno.test(`${name}: when it is done, it is on the disk`, async () => {
    for (const [what, keep] of Object.entries(KEPT)) {
      const disk = await prepared(program);
      assertEquals(await program.isDone(disk), false);
      await program.run(disk);
      disk.crash(keep);
      assert(await program.isDone(disk), `the disk has kept ${what}`);
    }
  });

  Deno.test(`${name}: each sync comes before what relies on it`, async () => {
    const disk = await prepared(program);
    await program.run(disk);
    // Opening matters to nobody, and how many writes it takes.
    const log = disk.log.filter((operation) => operation !== "open").join(", ")
      .replaceAll(/(write|truncate)(, (write|truncate))*/g, "write");
    assert(log.endsWith(program.operations), log);
  });

  Deno.test(`${name}: the power fails at any operation, and nothing is there in part`, async () => {
    for (let at = 0;; at++) {
      const disk = await prepared(program);
      disk.plans = [{ at, fault: "power" }];
      await program.run(disk).catch(() => {});
      if (!disk.faulted) break;
      for (const keep of Object.values(KEPT)) {
        const after = disk.clone();
        after.crash(keep);
        const done = await program.isDone(after.clone());
        // What is left is in nobody's way.
        if (!done) await program.run(after);
        assert(await program.isDone(after));
      }
    }
  });

  Deno.test(`${name}: any operation fails, and nothing is there in part`, async () => {
    const log = (await prepared(program).then(async (disk) => {
      await program.run(disk);
      return disk;
    })).log;
    for (let at = 0; at < log.length; at++) {
      for (const fault of FAULTS[log[at]!]) {
        const disk = await prepared(program);
        disk.plans = [{ at, fault }];
        let error: unknown;
        await program.run(disk).catch((thrown) => error = thrown);
        assert(disk.faulted);
        assert(error === undefined || error instanceof DharaError, `${error}`);
        const after = disk.clone();
        const done = await program.isDone(after.clone());
        assert(done || error !== undefined, `${log[at]} ${fault}`);
        if (!done) await program.run(after);
        assert(await program.isDone(after));
      }
    }
  });
}

/** How each operation can go wrong. */
const FAULTS: Record<Operation, Fault[]> = {
  open: ["fails"],
  write: ["fails", "cut short", "partial", "fails late"],
  truncate: ["fails", "fails late"],
  sync: ["fails", "fails and forgets", "fails late"],
  link: ["fails", "fails late"],
  rename: ["fails"],
  remove: ["fails"],
  "sync directory": ["fails", "fails late"],
};

Deno.test("nothing is written to a place that is taken", async () => {
  for (const program of Object.values(PROGRAMS)) {
    if (program.isDone !== whole) continue;
    const disk = await prepared(program);
    disk.open(TO, { create: true });
    await assertRejects(
      () => program.run(disk),
      StorageError,
      "there is a",
    );
  }
});
