/** Whether backups bring back what was there, and survive what happens to them. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  DamagedFileError,
  StorageError,
  StorageLockedError,
} from "../../lib/errors.ts";
import { recordData, recordReferences } from "../../lib/serialize/record.ts";
import {
  backup,
  type BackupEntry,
  checkBackups,
} from "../../lib/maintenance/backup.ts";
import { disk } from "../../lib/files/file.ts";
import { BackupDirectory } from "../../lib/maintenance/backup_catalog.ts";
import { restoreBackup } from "../../lib/maintenance/backup_restore.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";
import { restore, restorePoints } from "../../lib/maintenance/restore.ts";
import { verify } from "../../lib/maintenance/verify.ts";
import { dhara, inDirectory, startServer } from "../support/dhara.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";

function test(name: string, run: (directory: string) => Promise<void>): void {
  Deno.test(name, () => inDirectory(run));
}

function names(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
}

/** The root's text after each transaction, by tid. */
type Model = Map<number, string>;

function commitSome(path: string, count: number, model: Model = new Map()) {
  using storage = new FileStorage(path);
  using session = storage.session();
  for (let i = 0; i < count; i++) {
    const text = `state ${model.size} ${"x".repeat(i * 300)}`;
    model.set(
      store(session, textRecord(0, text, [1]), textRecord(1, text)),
      text,
    );
  }
  return model;
}

function packFile(path: string): void {
  using storage = new FileStorage(path);
  storage.pack();
}

function flip(path: string, offset: number): void {
  const bytes = Deno.readFileSync(path);
  bytes[offset]! ^= 4;
  Deno.writeFileSync(path, bytes);
}

async function assertRestores(
  directory: string,
  model: Model,
  tids: Iterable<number>,
  at: (tid: number) => number = (tid) => tid,
): Promise<void> {
  const to = `${directory}/../restored`;
  for (const tid of tids) {
    const restored = await restoreBackup(directory, { at: at(tid), to });
    assertEquals(restored.tid, tid);
    {
      using storage = new FileStorage(to, { readonly: true });
      using session = storage.session();
      assertEquals(textOf(session, 0), model.get(tid));
      assertEquals(textOf(session, 1), model.get(tid));
    }
    assert((await verify(to)).good);
    Deno.removeSync(to);
  }
}

test("a backup adds what is new, and each transaction in it can be restored", async (directory) => {
  const path = `${directory}/a.dhara`;
  const to = `${directory}/backups`;
  const model = commitSome(path, 3);
  const entries: BackupEntry[] = [];
  for (const count of [0, 1, 5, 2]) {
    commitSome(path, count, model);
    const options = { compress: count !== 5, verify: count === 2 };
    const { entry, reason, removed } = await backup(path, { to, ...options });
    assertEquals(reason, count === 0 ? "it is the first one" : undefined);
    assertEquals(removed, []);
    assert(entry !== undefined);
    entries.push(entry);
  }
  assertEquals(entries.map(({ kind, base }) => [kind, base]), [
    ["full", 0],
    ["incremental", 1],
    ["incremental", 2],
    ["incremental", 3],
  ]);
  assertEquals(names(to), [
    "000001-full.journal.gz",
    "000002-incremental.journal.gz",
    "000003-incremental.journal",
    "000004-incremental.journal.gz",
    "backup.lock",
    "catalog.json",
  ]);
  assertEquals((await backup(path, { to })).entry, undefined);
  assertEquals(checkBackups(to), { entries, problems: [] });
  await assertRestores(to, model, model.keys());
  await assertRestores(to, model, [...model.keys()].slice(-1), () => 2 ** 52);
  // The same as from the file.
  const last = [...model.keys()].at(-1)!;
  await restore(path, { at: last, to: `${directory}/b` });
  await restoreBackup(to, { to: `${directory}/c` });
  const [b, c] = ["b", "c"].map((name) =>
    Deno.readFileSync(`${directory}/${name}`)
  ) as [Uint8Array, Uint8Array];
  assertEquals(b.slice(56), c.slice(56));
  // Of the same database, and neither is taken for the other.
  assertEquals(b.slice(0, 28), c.slice(0, 28));
  assert(!same(b.slice(36, 52), c.slice(36, 52)));
});

test("a backup is full where it cannot continue the one before, and says why", async (directory) => {
  const path = `${directory}/a.dhara`;
  const to = `${directory}/backups`;
  const model = commitSome(path, 3);
  await backup(path, { to });
  await restore(path, { at: [...model.keys()][1]!, to: `${directory}/b` });
  const reasons: (string | undefined)[] = [];
  const run = async (file = path, full = false) => {
    const { entry, reason } = await backup(file, { to, full });
    assertEquals(entry?.kind, reason === undefined ? "incremental" : "full");
    reasons.push(reason);
  };
  packFile(path);
  await run();
  // The database went on from an earlier state.
  Deno.removeSync(path);
  Deno.renameSync(`${directory}/b`, path);
  await run();
  commitSome(path, 1);
  await run(path, true);
  commitSome(path, 1);
  commitSome(`${directory}/other`, 1);
  await run(`${directory}/other`);
  commitSome(`${directory}/other`, 1);
  Deno.removeSync(`${to}/000005-full.journal.gz`);
  await run(`${directory}/other`);
  commitSome(`${directory}/other`, 1);
  await run(`${directory}/other`);
  assertEquals(reasons, [
    "the database was packed since the backup before",
    "the database was packed since the backup before",
    "it was asked for",
    "the backup before is of another database",
    "000005-full.journal.gz is not as it was",
    undefined,
  ]);
});

test("a file that was set back and went on differently is backed up in full", async (directory) => {
  const path = `${directory}/a.dhara`;
  const to = `${directory}/backups`;
  const model = commitSome(path, 3);
  await backup(path, { to });
  await restore(path, { at: [...model.keys()][1]!, to: `${directory}/b` });
  Deno.renameSync(`${directory}/b`, path);
  const other = commitSome(path, 20);
  const { entry, reason } = await backup(path, { to });
  assertEquals(
    [entry?.kind, reason],
    ["full", "the file does not continue the backup before"],
  );
  await assertRestores(to, other, [...other.keys()].slice(-1));
});

test("what is restored is what session({ at }) reads, also after packs that keep a history", async (directory) => {
  const path = `${directory}/a.dhara`;
  const to = `${directory}/backups`;
  using storage = new FileStorage(path);
  using session = storage.session();
  const tids: number[] = [];
  const commit = () => {
    const i = tids.length;
    // Links come and go.
    const linked = [1, 2, 3, 4, 5, 6, 7]
      .filter((oid) => oid <= i + 1 && (oid * 13 + i) % 3 !== 0);
    tids.push(store(
      session,
      textRecord(0, `root ${i}`, linked),
      textRecord(1 + i % 7, `${i}`),
    ));
  };
  for (let i = 0; i < 15; i++) commit();
  for (const keep of [5, 14]) {
    for (const _ of storage.packInSteps({ keep: tids[keep]! })) {
      session.sync();
      if (tids.length < 40) commit();
    }
    session.sync();
    commit();
    assert((await verify(path)).good);
    assertEquals((await backup(path, { to })).entry?.kind, "full");
    const points = [...restorePoints(path)];
    assertEquals(points.map(({ tid }) => tid), tids.slice(keep));
    assertEquals(points.filter(({ packed }) => packed).length, 1);
    for (const { tid: at } of points) {
      await restore(path, { at, to: `${directory}/b` });
      await restoreBackup(to, { at, to: `${directory}/c` });
      using then = storage.session({ at });
      for (const name of ["b", "c"]) {
        using restored = new FileStorage(`${directory}/${name}`);
        using now = restored.session();
        assertEquals(now.tid, at);
        for (const oid of [0, ...recordReferences(then.load(0))]) {
          assertEquals(now.load(oid), then.load(oid));
        }
      }
      for (const name of ["b", "c"]) Deno.removeSync(`${directory}/${name}`);
    }
  }
});

test("what a pack took between two backups is a hole, and restoring says so", async (directory) => {
  const path = `${directory}/a.dhara`;
  const to = `${directory}/backups`;
  const model = commitSome(path, 3);
  await backup(path, { to });
  const kept = [...model.keys()];
  commitSome(path, 3, model);
  const packed = [...model.keys()].at(-1)!;
  packFile(path);
  commitSome(path, 2, model);
  await backup(path, { to });
  const after = [...model.keys()].slice(6);
  await assertRestores(to, model, [...kept, packed, ...after]);
  const [hole] = [...model.keys()].slice(3);
  const restored = `${directory}/b`;
  await assertRejects(
    () => restoreBackup(to, { at: hole!, to: restored }),
    StorageError,
    `the backups hold nothing between ${kept[2]} (`,
  );
  await assertRejects(
    () => restoreBackup(to, { at: kept[0]! - 1, to: restored }),
    StorageError,
    "the oldest state in the backups is of",
  );
  await assertRejects(
    () => restoreBackup(directory, { to: restored }),
    StorageError,
    "there are no backups in it",
  );
  assertThrows(() => checkBackups(directory), StorageError, "no backups in it");
});

test("a damaged backup is found, and another one taken that holds the moment", async (directory) => {
  const path = `${directory}/a.dhara`;
  const to = `${directory}/backups`;
  const model = commitSome(path, 3);
  await backup(path, { to });
  commitSome(path, 2, model);
  await backup(path, { to, full: true });
  commitSome(path, 2, model);
  await backup(path, { to, compress: false });
  const tids = [...model.keys()];
  flip(`${to}/000002-full.journal.gz`, 100);
  assertEquals(checkBackups(to).problems, [
    "000002-full.journal.gz is damaged: its checksum is wrong",
  ]);
  await assertRestores(to, model, tids.slice(0, 3));
  const restored = `${directory}/b`;
  for (const at of [tids[4], tids[6]]) {
    await assertRejects(
      () => restoreBackup(to, { at, to: restored }),
      DamagedFileError,
      "000002-full.journal.gz is damaged: its checksum is wrong",
    );
  }
  assertEquals(names(directory), ["a.dhara", "backups"]);
  Deno.removeSync(`${to}/000001-full.journal.gz`);
  Deno.truncateSync(`${to}/000003-incremental.journal`, 50);
  assertEquals(checkBackups(to).problems.length, 3);
  const { code, stdout } = await dhara(["db", "backup", "--check", to]);
  assertEquals(code, 1);
  assert(stdout.includes("Damage: 000001-full.journal.gz is not there"));
  assert(stdout.includes("000003-incremental.journal has 50 bytes, and"));
});

test("a list of backups that leads elsewhere is refused", async (directory) => {
  const path = `${directory}/a.dhara`;
  const to = `${directory}/backups`;
  commitSome(path, 1);
  await backup(path, { to });
  const catalog = `${to}/catalog.json`;
  const right = Deno.readTextFileSync(catalog);
  for (
    const wrong of [
      "",
      "{}",
      right.slice(0, -20),
      right.replace("000001-full.journal.gz", "../a.dhara"),
      right.replace('"size": ', '"size": -'),
      right.replace('"kind": "full"', '"kind": "half"'),
    ]
  ) {
    assert(wrong !== right);
    Deno.writeTextFileSync(catalog, wrong);
    for (
      const work of [
        () => backup(path, { to }),
        () => restoreBackup(to, { to: `${directory}/b` }),
        () => Promise.resolve().then(() => checkBackups(to)),
      ]
    ) {
      await assertRejects(work, StorageError, `Cannot read ${catalog}: `);
    }
    assertEquals(Deno.readTextFileSync(catalog), wrong);
  }
  assert(names(directory).includes("a.dhara"));
});

test("backup({ keepLast }) removes old backups when the new one is there", async (directory) => {
  const path = `${directory}/a.dhara`;
  const to = `${directory}/backups`;
  const model: Model = new Map();
  const removed: number[][] = [];
  for (const full of [true, false, true, false, false, true]) {
    commitSome(path, 1, model);
    const result = await backup(path, { to, keepLast: 2, full });
    removed.push(result.removed.map(({ id }) => id));
  }
  assertEquals(removed, [[], [], [], [], [], [1, 2]]);
  assertEquals(checkBackups(to).entries.map(({ id }) => id), [3, 4, 5, 6]);
  assertEquals(names(to).length, 4 + 2);
  await assertRestores(to, model, model.keys());
  // A damaged file is not backed up, and nothing is removed for it.
  commitSome(path, 2, model);
  flip(path, Deno.statSync(path).size - 30);
  await assertRejects(
    () => backup(path, { to, keepLast: 1, full: true }),
    DamagedFileError,
    `Cannot read ${path}: it is damaged at byte`,
  );
  assertEquals(checkBackups(to).entries.length, 4);
  await assertRejects(
    () => backup(path, { to, keepLast: 0 }),
    StorageError,
    "Cannot keep the last 0 backups",
  );
});

test("databases that share a directory keep their own backups", async (directory) => {
  const to = `${directory}/backups`;
  const [a, b] = [`${directory}/a.dhara`, `${directory}/b.dhara`];
  const models = new Map([[a, commitSome(a, 2)], [b, commitSome(b, 2)]]);
  const ids = new Map<string, string>();
  const removed: [string, number][] = [];
  for (let i = 0; i < 3; i++) {
    for (const [path, model] of models) {
      const full = await backup(path, { to, full: true, keepLast: 1 });
      for (const { id } of full.removed) removed.push([path, id]);
      commitSome(path, 1, model);
      const next = await backup(path, { to, keepLast: 1 });
      assertEquals([next.entry?.kind, next.removed], ["incremental", []]);
      assertEquals(next.entry!.name, path.slice(directory.length + 1));
      ids.set(path, next.entry!.database);
    }
  }
  // deno-fmt-ignore
  assertEquals(removed, [[a, 1], [a, 2], [b, 3], [b, 4], [a, 5], [a, 6], [b, 7], [b, 8]]);
  assertEquals(checkBackups(to).entries.map(({ id }) => id), [9, 10, 11, 12]);
  assertEquals(checkBackups(to).problems, []);
  for (const [path, model] of models) {
    const restored = `${directory}/restored`;
    const database = ids.get(path)!.slice(0, 8);
    const { tid } = await restoreBackup(to, { to: restored, database });
    assertEquals(tid, [...model.keys()].at(-1));
    {
      using storage = new FileStorage(restored, { readonly: true });
      using session = storage.session();
      assertEquals(textOf(session, 0), [...model.values()].at(-1));
    }
    Deno.removeSync(restored);
    const cli = await dhara(
      ["db", "restore", "--from", to, "--to", restored, "--database", database],
    );
    assertEquals([cli.code, cli.stderr], [0, ""]);
    Deno.removeSync(restored);
  }
  await assertRejects(
    () => restoreBackup(to, { to: `${directory}/c` }),
    StorageError,
    "it has backups of several databases, say of which: ",
  );
  await assertRejects(
    () => restoreBackup(to, { to: `${directory}/c`, database: "x" }),
    StorageError,
    "there is no backup of database x; there are ",
  );
  const { stdout } = await dhara(["db", "backup", "--check", to]);
  assert(stdout.includes(`, of a.dhara (${ids.get(a)})`), stdout);
});

test("backups whose list is gone are not taken for what an interrupted one has left", async (directory) => {
  const path = `${directory}/a.dhara`;
  const to = `${directory}/backups`;
  commitSome(path, 2);
  await backup(path, { to });
  const list = Deno.readTextFileSync(`${to}/catalog.json`);
  Deno.removeSync(`${to}/catalog.json`);
  const before = names(to);
  await assertRejects(
    () => backup(path, { to }),
    StorageError,
    "it has backups such as 000001-full.journal.gz, but their list, catalog.json, is not there",
  );
  assertEquals(names(to), before);
  Deno.writeTextFileSync(`${to}/catalog.json`, list);
  assertEquals((await backup(path, { to })).entry, undefined);
});

test("a second backup into a directory at the same time is refused", async (directory) => {
  const path = `${directory}/a.dhara`;
  const to = `${directory}/backups`;
  commitSome(path, 1);
  await backup(path, { to });
  const lock = new BackupDirectory(to, disk).lock();
  try {
    await assertRejects(
      () => backup(path, { to }),
      StorageLockedError,
      "this process is at work there",
    );
  } finally {
    lock.close();
  }
  await Promise.all([
    backup(path, { to: `${directory}/b` }),
    assertRejects(
      () => backup(path, { to: `${directory}/b` }),
      StorageLockedError,
    ),
  ]);
  // What an interrupted one has left is removed, and nothing else.
  for (
    const name of [
      "000007-full.journal",
      "000002-incremental.journal.gz.part",
      "catalog.json.part",
      "000002-incremental.journal.gz.verify.part",
      "notes.txt",
    ]
  ) Deno.writeTextFileSync(`${to}/${name}`, "left");
  await backup(path, { to });
  assertEquals(names(to), [
    "000001-full.journal.gz",
    "backup.lock",
    "catalog.json",
    "notes.txt",
  ]);
});

test("a backup of what is not there, or empty, says so and leaves nothing", async (directory) => {
  const to = `${directory}/backups`;
  await assertRejects(
    () => backup(`${directory}/nothing`, { to }),
    StorageError,
    `Cannot back up ${directory}/nothing: there is no such file`,
  );
  assertEquals(names(directory), []);
  new FileStorage(`${directory}/empty`).close();
  await assertRejects(
    () => backup(`${directory}/empty`, { to }),
    StorageError,
    "nothing was ever stored in it",
  );
  // The list is there before anything is in it.
  assertEquals(checkBackups(to), { entries: [], problems: [] });
  const { code, stderr } = await dhara(["db", "backup", "--check", to]);
  assertEquals(
    [code, stderr],
    [1, `Cannot check ${to}: no backup in it was ever complete\n`],
  );
  await assertRejects(
    () => restoreBackup(to, { to: `${directory}/a` }),
    StorageError,
    "there are no backups in it",
  );
  await assertRejects(
    () => backup(`${directory}/empty`, { to: `${directory}/empty` }),
    StorageError,
    `Cannot back up ${directory}/empty to ${directory}/empty`,
  );
});

/** Starts a program of the tests. */
function start(program: string, ...args: string[]) {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", import.meta.resolve(program), ...args],
    stdout: "piped",
  }).spawn();
}

/** The whole lines that a process prints. */
class Lines {
  readonly all: string[] = [];
  readonly #done: Promise<void>;
  #ended = false;
  #more = Promise.withResolvers<void>();

  constructor(process: Deno.ChildProcess) {
    this.#done = this.#collect(process.stdout);
  }

  async #collect(stdout: ReadableStream<Uint8Array<ArrayBuffer>>) {
    let rest = "";
    for await (const text of stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      this.all.push(...lines);
      this.#more.resolve();
      this.#more = Promise.withResolvers();
    }
    this.#ended = true;
    this.#more.resolve();
  }

  /** Waits until there are so many; fails if the process ends before. */
  async until(count: number): Promise<void> {
    while (this.all.length < count) {
      assert(!this.#ended, "it has ended by itself");
      await this.#more.promise;
    }
  }

  /** All of them, once the process has ended. */
  async toEnd(): Promise<string[]> {
    await this.#done;
    return this.all;
  }
}

/** The number that `_committer.ts` has stored last, with all objects before. */
function countIn(path: string): number {
  using storage = new FileStorage(path, { readonly: true });
  using session = storage.session();
  const number = (oid: number) => {
    const data = recordData(session.load(oid));
    return new DataView(data.buffer, data.byteOffset).getUint32(0);
  };
  const count = number(0);
  for (let oid = 1; oid <= count; oid++) assertEquals(number(oid), oid);
  return count;
}

test("backups of a database in use, killed again and again, restore to what was committed", async (directory) => {
  const path = `${directory}/a.dhara`;
  const to = `${directory}/backups`;
  let committed = 0;
  const acknowledged: [number, number][] = [];
  for (let round = 0; round < 6; round++) {
    const committer = start("../support/committer.ts", path);
    const commits = new Lines(committer);
    await commits.until(1);
    const worker = start("../support/backup_worker.ts", path, to);
    const backups = new Lines(worker);
    // What is done counts, not time: a busy machine may need long to begin. The first one is killed before its end.
    if (round > 0) await backups.until(round);
    else while (!exists(to)) await delay(1);
    await delay(3 * round);
    worker.kill("SIGKILL");
    await worker.status;
    committer.kill("SIGKILL");
    await committer.status;
    acknowledged.length = 0;
    for (const line of await backups.toEnd()) {
      acknowledged.push(JSON.parse(line));
    }
    committed = Number((await commits.toEnd()).at(-1));
    if (!exists(`${to}/catalog.json`)) continue;
    const { entries, problems } = checkBackups(to);
    assertEquals(problems, []);
    // What was said to be backed up is there.
    const last = acknowledged.at(-1);
    if (last !== undefined) {
      assert(entries.some(({ lastTid }) => lastTid >= last[1]), `${last}`);
    }
    let before = 0;
    for (const at of entries.map(({ lastTid }) => lastTid)) {
      const restored = `${directory}/restored`;
      const { tid } = await restoreBackup(to, { at, to: restored });
      assertEquals(tid, at);
      const count = countIn(restored);
      assert(count >= before && count <= committed + 1);
      before = count;
      Deno.removeSync(restored);
    }
  }
  assert(committed > 0 && exists(`${to}/catalog.json`));
  // All goes on.
  await backup(path, { to, verify: true });
  assertEquals(names(to).filter((name) => /part|verify/.test(name)), []);
});

test("a repair that is killed loses nothing: it is in the file or beside it", async (directory) => {
  const path = `${directory}/a.dhara`;
  const model = commitSome(path, 40);
  // Without the index at its end, as if it had not been closed.
  const points = [...restorePoints(path)];
  const end = (count: number) =>
    points.slice(0, count).reduce((sum, { bytes }) => sum + bytes, 1536);
  const whole = Deno.readFileSync(path).slice(0, end(40)).fill(0, 512, 1536);
  const at = end(10);
  whole[at + 30]! ^= 1;
  const outcomes = new Set<string>();
  for (let round = 0; round < 10; round++) {
    for (const name of names(directory)) {
      Deno.removeSync(`${directory}/${name}`);
    }
    Deno.writeFileSync(path, whole);
    const repairer = start("../support/repairer.ts", path, "20");
    const lines = new Lines(repairer);
    while (names(directory).length < 2 && !(await isOver(repairer))) {
      await delay(2);
    }
    await delay(round * 25);
    try {
      repairer.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await repairer.status;
    const done = (await lines.toEnd()).includes("done");
    // All bytes are still there: before the damage in the file, the rest in it or beside it.
    const now = Deno.readFileSync(path);
    const complete = names(directory).filter((name) => name.includes(".tail-"))
      .some((name) =>
        same(Deno.readFileSync(`${directory}/${name}`), whole.subarray(at))
      );
    // Between these bytes there is the identity that it gets.
    assert(same(now.subarray(56, 512), whole.subarray(56, 512)));
    assert(same(now.subarray(1536, at), whole.subarray(1536, at)));
    assert(complete || same(now, whole));
    outcomes.add(done ? "done" : complete ? "saved" : "begun");
    // And it can be finished.
    {
      using storage = new FileStorage(path, { repair: true });
      using session = storage.session();
      assertEquals(session.tid, [...model.keys()][9]);
    }
    assert((await verify(path)).good);
    assert(
      names(directory).filter((name) => name.includes(".tail-"))
        .some((name) =>
          same(Deno.readFileSync(`${directory}/${name}`), whole.subarray(at))
        ),
    );
  }
  assert(outcomes.size >= 2, [...outcomes].join());
});

test("dhara db backup and verify work while a server has the file", async (directory) => {
  const cwd = directory;
  const file = ["--file", "a.dhara"];
  const { server, port } = await startServer(file, { cwd });
  const commit = (value: number) =>
    dhara([
      ...["db", "client", "--port", port, "-e"],
      `root["n"] = ${value}; connection.commit()`,
    ], { cwd });
  try {
    await commit(1);
    const first = await dhara(["db", "backup", ...file, "--to", "b"], { cwd });
    assertEquals([first.code, first.stderr], [0, ""]);
    assert(first.stdout.includes("(full, since it is the first one)"));
    await commit(2);
    const next = await dhara([
      ...["db", "backup", ...file, "--to", "b", "--verify", "--no-compress"],
    ], { cwd });
    assertEquals([next.code, next.stderr], [0, ""]);
    assert(next.stdout.includes("000002-incremental.journal,"), next.stdout);
    const verified = await dhara(["db", "verify", "a.dhara"], { cwd });
    assertEquals([verified.code, verified.stderr], [0, ""]);
    assert(verified.stdout.endsWith("No damage was found\n"));
    const repair = await dhara(["db", "verify", "--repair", "a.dhara"], {
      cwd,
    });
    assertEquals(repair.code, 1);
    assert(repair.stderr.includes("has it open"), repair.stderr);
    const check = await dhara(["db", "backup", "--check", "b"], { cwd });
    assert(check.stdout.endsWith("2 backups, all good\n"), check.stdout);
  } finally {
    await server.stop();
  }
  const restored = await dhara(
    ["db", "restore", "--from", "b", "--to", "c.dhara"],
    { cwd },
  );
  assertEquals([restored.code, restored.stderr], [0, ""]);
  const value = await dhara(
    ["db", "client", "--file", "c.dhara", "-e", 'root["n"]'],
    { cwd },
  );
  assertEquals(value.stdout, "2\n");
});

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function isOver(process: Deno.ChildProcess): Promise<boolean> {
  return Promise.race([
    process.status.then(() => true),
    Promise.resolve().then(() => false),
  ]);
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
