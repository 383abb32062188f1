/** Whether a restored database is what was there at the moment. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { DamagedFileError, StorageError } from "../../lib/errors.ts";
import type { Oid } from "../../lib/serialize/record.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";
import { restore, restorePoints } from "../../lib/maintenance/restore.ts";
import { verify } from "../../lib/maintenance/verify.ts";
import { dhara, inDirectory } from "../support/dhara.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";

function test(name: string, run: (directory: string) => Promise<void>): void {
  Deno.test(name, () => inDirectory(run));
}

/** The state after each transaction. */
interface Model {
  tid: number;
  state: Map<Oid, string>;
}

/** Commits `count` transactions and returns the state after each. */
function commitSome(path: string, count: number, size = 10): Model[] {
  using storage = new FileStorage(path);
  using session = storage.session();
  const models: Model[] = [];
  let state = new Map<Oid, string>();
  for (let i = 0; i < count; i++) {
    const root = `root ${i} `.padEnd(size, "x");
    const oid = 1 + i % 5;
    const tid = store(
      session,
      textRecord(0, root, [1, 2, 3, 4, 5].slice(0, i + 1)),
      textRecord(oid, `${oid} at ${i}`),
    );
    state = new Map([...state, [0, root], [oid, `${oid} at ${i}`]]);
    models.push({ tid, state });
  }
  return models;
}

function assertHolds(path: string, { tid, state }: Model): void {
  using storage = new FileStorage(path, { readonly: true });
  using session = storage.session();
  assertEquals(session.tid, tid);
  for (const [oid, text] of state) assertEquals(textOf(session, oid), text);
  assertEquals(
    [1, 2, 3, 4, 5].filter((oid) => {
      try {
        session.load(oid);
        return true;
      } catch {
        return false;
      }
    }),
    [...state.keys()].filter((oid) => oid > 0).sort(),
  );
}

test("restore() to each transaction gives the state after it, and goes on from there", async (directory) => {
  const path = `${directory}/a.dhara`;
  // Large enough for several index blocks.
  const models = commitSome(path, 40, 70_000);
  const bytes = Deno.readFileSync(path);
  const size = bytes.length;
  const to = `${directory}/b.dhara`;
  for (const [i, model] of models.entries()) {
    const moments = [model.tid];
    // Any time before the next transaction is the same moment.
    const next = models[i + 1]?.tid ?? model.tid + 1_000_000;
    if (i % 8 === 0) moments.push(next - 1);
    for (const at of moments) {
      const restored = await restore(path, { at, to });
      assertEquals(
        [restored.path, restored.tid, restored.time.getTime()],
        [to, model.tid, Math.floor(model.tid / 1000)],
      );
      assertEquals(restored.size, Deno.statSync(to).size);
      assertHolds(to, model);
      const report = await verify(to);
      assert(report.good);
      assertEquals([report.transactions, report.notes], [i + 1, []]);
      Deno.removeSync(to);
    }
  }
  assertEquals(Deno.readFileSync(path).length, size);
  await restore(path, { at: models[3]!.tid, to });
  using storage = new FileStorage(to);
  using session = storage.session();
  assert(store(session, textRecord(0, "another way")) > models[3]!.tid);
  assertEquals(
    [...Deno.readDirSync(directory)].map(({ name }) => name).sort(),
    ["a.dhara", "b.dhara"],
  );
});

test("restore() takes a Date, and the newest moment if there is none", async (directory) => {
  const path = `${directory}/a.dhara`;
  const [first] = commitSome(path, 1) as [Model];
  await new Promise((resolve) => setTimeout(resolve, 5));
  const between = new Date(Math.floor(first.tid / 1000) + 1);
  const [last] = commitSome(path, 1) as [Model];
  assert(last.tid > between.getTime() * 1000);
  await restore(path, { at: between, to: `${directory}/b` });
  assertHolds(`${directory}/b`, first);
  await restore(path, { to: `${directory}/c` });
  assertHolds(`${directory}/c`, last);
  // A date that a transaction is shown with includes it.
  const { time } = [...restorePoints(path)][0]!;
  await restore(path, { at: time, to: `${directory}/d` });
  assertHolds(`${directory}/d`, first);
});

test("restore() says what the oldest state is, and that a pack took the rest", async (directory) => {
  const path = `${directory}/a.dhara`;
  const models = commitSome(path, 6);
  const to = `${directory}/b.dhara`;
  await assertRejects(
    () => restore(path, { at: models[0]!.tid - 1, to }),
    StorageError,
    `the oldest state in it is of ${models[0]!.tid} (${
      new Date(models[0]!.tid / 1000).toISOString()
    })`,
  );
  {
    using storage = new FileStorage(path);
    storage.pack();
    using session = storage.session();
    store(session, textRecord(0, "after", [1]));
  }
  await assertRejects(
    () => restore(path, { at: models[4]!.tid, to }),
    StorageError,
    `the oldest state in it is of ${models[5]!.tid} (`,
  );
  await restore(path, { at: models[5]!.tid, to });
  assertHolds(to, models[5]!);
  assertEquals(
    [...restorePoints(path)].map(({ tid, records, packed }) => [
      tid > models[5]!.tid || tid,
      records,
      packed,
    ]),
    [[models[5]!.tid, 6, true], [true, 1, false]],
  );
});

test("restore() overwrites nothing, and leaves nothing when it fails", async (directory) => {
  const path = `${directory}/a.dhara`;
  const models = commitSome(path, 4);
  const to = `${directory}/b.dhara`;
  Deno.writeTextFileSync(to, "precious");
  await assertRejects(
    () => restore(path, { to }),
    StorageError,
    `Cannot restore to ${to}: there is a file of that name`,
  );
  assertEquals(Deno.readTextFileSync(to), "precious");
  Deno.removeSync(to);
  // Somebody's file is in nobody's way, and stays.
  Deno.writeTextFileSync(`${to}.part`, "x".repeat(5000));
  // Damage later than the moment does not matter; earlier it does.
  const bytes = Deno.readFileSync(path);
  bytes[bytes.length - 200]! ^= 1;
  bytes[bytes.length - 5]! ^= 1;
  Deno.writeFileSync(path, bytes);
  const error = await assertRejects(
    () => restore(path, { to }),
    DamagedFileError,
    `Cannot restore ${path}: it is damaged at byte`,
  );
  assert(error instanceof DamagedFileError && error.path === path);
  assertEquals([...Deno.readDirSync(directory)].length, 2);
  assertEquals(Deno.readTextFileSync(`${to}.part`), "x".repeat(5000));
  await restore(path, { at: models[1]!.tid, to });
  assertHolds(to, models[1]!);

  for (
    const [from, message] of [
      [`${directory}/nothing`, "there is no such file"],
      [`${directory}/empty`, "nothing was ever stored in it"],
      [`${directory}/text`, "it is not a Dhara journal"],
    ] as const
  ) {
    Deno.writeTextFileSync(`${directory}/empty`, "");
    Deno.writeTextFileSync(`${directory}/text`, "x".repeat(3000));
    await assertRejects(
      () => restore(from, { to: `${directory}/c` }),
      StorageError,
      message,
    );
  }
  await assertRejects(
    () => restore(path, { at: new Date(NaN), to: `${directory}/c` }),
    StorageError,
    "an invalid date",
  );
});

test("dhara db restore lists transactions and restores one", async (directory) => {
  const cwd = directory;
  const models = commitSome(`${directory}/a.dhara`, 3);
  {
    using storage = new FileStorage(`${directory}/a.dhara`);
    using session = storage.session();
    const options = { user: "ada", note: "two\nlines" };
    const result = session.commit([textRecord(0, "noted", [])], options);
    assert("tid" in result);
    models.push({ tid: result.tid, state: new Map() });
  }
  const listed = await dhara(["db", "restore", "-f", "a.dhara", "--list"], {
    cwd,
  });
  assertEquals(listed.code, 0);
  const lines = listed.stdout.trimEnd().split("\n");
  assertEquals(
    lines.map((line) => Number(line.split(/ +/)[1])),
    models.map(({ tid }) => tid),
  );
  assert(lines[3]!.endsWith("  ada  two lines"), lines[3]);
  const { code, stdout, stderr } = await dhara([
    ...["db", "restore", "--file", "a.dhara", "--to", "b.dhara"],
    ...["--at", `${models[1]!.tid}`],
  ], { cwd });
  assertEquals([code, stderr], [0, ""]);
  assert(stdout.startsWith("Restored a.dhara as of "), stdout);
  assertHolds(`${directory}/b.dhara`, models[1]!);
  const again = await dhara([
    ...["db", "restore", "--file", "a.dhara", "--to", "b.dhara"],
  ], { cwd });
  assertEquals(
    [again.code, again.stderr.trimEnd().split("\n").length],
    [1, 1],
  );
});
