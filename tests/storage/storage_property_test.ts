/** Journals that live through kill -9, crashes, packs and reopening. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ObjectNotFoundError } from "../../lib/errors.ts";
import { type Oid, recordData } from "../../lib/serialize/record.ts";
import { disk } from "../../lib/files/file.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";
import type { Session } from "../../lib/storage/storage.ts";
import { store, textRecord } from "../../lib/testing/records.ts";

/** Runs a test with a path in a directory of its own. */
function test(
  name: string,
  run: (path: string) => void | Promise<void>,
): void {
  Deno.test(name, async () => {
    const directory = await Deno.makeTempDir();
    try {
      await run(`${directory}/test.dhara`);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

async function runUntilKilled(path: string, lines: number): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      "--no-config",
      new URL("../support/committer.ts", import.meta.url).pathname,
      path,
    ],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk, { stream: true });
    if (text.split("\n").length > lines) {
      try {
        child.kill("SIGKILL");
      } catch {
        // It is dead already.
      }
    }
  }
  await child.status;
  // The last line may be cut.
  return Math.max(0, ...text.split("\n").slice(0, -1).map(Number));
}

const rounds = Deno.env.get("DHARA_TEST_LONG") ? 50 : 5;

test(`what was committed before kill -9 is there, ${rounds} times`, async (path) => {
  let last = 0;
  for (let round = 0; round < rounds; round++) {
    const lines = 20 + Math.floor(Math.random() * 200);
    last = Math.max(last, await runUntilKilled(path, lines));
    assert(last > 0);
    using storage = new FileStorage(path);
    using session = storage.session();
    const count = numberIn(session.load(0));
    // One more may be there, which there was no time to print.
    assert(count === last || count === last + 1, `${count}, not ${last}`);
    for (let i = 1; i <= count; i++) {
      const record = session.load(i);
      assertEquals(numberIn(record), i);
      assertEquals(recordData(record).length, 4 + i % 3000);
    }
    last = count;
  }
});

function numberIn(record: Uint8Array): number {
  const data = recordData(record);
  return new DataView(data.buffer, data.byteOffset).getUint32(0);
}

interface Change {
  oid: Oid;
  length: number;
  references: Oid[];
}

type Step =
  | { do: "commit"; changes: Change[] }
  | { do: "reopen" | "pack" | "sync" | "crash" }
  | { do: "look"; oid: Oid };

const MOST = 20;
const oid = fc.integer({ min: 0, max: MOST });
const change = fc.record({
  // The root often, or everything is garbage.
  oid: fc.oneof(fc.constant(0), oid),
  length: fc.oneof(fc.nat(30), fc.nat(20_000)),
  references: fc.array(oid, { maxLength: 8 }),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("commit" as const),
      changes: fc.uniqueArray(change, {
        selector: ({ oid }) => oid,
        maxLength: 8,
      }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom<"reopen" | "pack" | "sync" | "crash">(
        "reopen",
        "pack",
        "sync",
        "crash",
      ),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("look" as const), oid }),
  },
);

test("whatever is committed, reopened, cut and packed, it is as in a map", (path) => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 3, maxLength: 40 }), (steps) => {
      if (disk.identity(path) !== undefined) Deno.removeSync(path);
      runSteps(path, steps);
    }),
    { numRuns: 60 },
  );
});

type Model = ReadonlyMap<Oid, { text: string; references: Oid[] }>;

/** Returns what is left after a pack. */
function reachable(model: Model): Model {
  const left: Map<Oid, { text: string; references: Oid[] }> = new Map();
  const waiting = [0];
  for (let oid = waiting.pop(); oid !== undefined; oid = waiting.pop()) {
    const object = model.get(oid);
    if (object === undefined || left.has(oid)) continue;
    left.set(oid, object);
    waiting.push(...object.references);
  }
  return left;
}

function runSteps(path: string, steps: Step[]): void {
  let newest: Model = new Map();
  let seen = newest;
  let storage = new FileStorage(path, { sync: false });
  let writer = storage.session();
  let reader = storage.session();
  function look(session: Session, model: Model, oid: Oid): void {
    const object = model.get(oid);
    if (object === undefined) {
      assertThrows(() => session.load(oid), ObjectNotFoundError);
    } else {
      assertEquals(
        session.load(oid),
        textRecord(oid, object.text, object.references)[1],
      );
    }
  }
  try {
    for (const [number, step] of steps.entries()) {
      switch (step.do) {
        case "commit": {
          const next = new Map(newest);
          for (const { oid, length } of step.changes) {
            next.set(oid, {
              text: `${number} `.repeat(length),
              references: [],
            });
          }
          for (const { oid, references } of step.changes) {
            next.get(oid)!.references = references.filter((to) => next.has(to));
          }
          writer.sync();
          store(
            writer,
            ...step.changes.map(({ oid }) => {
              const { text, references } = next.get(oid)!;
              return textRecord(oid, text, references);
            }),
          );
          newest = next;
          break;
        }
        case "sync":
          reader.sync();
          seen = newest;
          break;
        case "look":
          // It reads its snapshot, also after a pack.
          look(reader, seen, step.oid);
          break;
        case "pack":
          storage.pack();
          newest = reachable(newest);
          break;
        case "crash":
        case "reopen":
          storage.close();
          if (step.do === "crash") leaveZeros(path, number);
          storage = new FileStorage(path, { sync: false });
          writer = storage.session();
          reader = storage.session();
          seen = newest;
          break;
      }
    }
    using last = storage.session();
    for (let oid = 0; oid <= MOST; oid++) look(last, newest, oid);
  } finally {
    storage.close();
  }
}

/** Leaves at the end of a file what a crash may leave of a next transaction. */
function leaveZeros(path: string, count: number): void {
  Deno.writeFileSync(path, new Uint8Array(count), { append: true });
}
