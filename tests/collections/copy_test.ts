/** Copies of a journal that are made while another process commits and packs. */
import { assert, assertEquals } from "@std/assert";
import { recordData } from "../../lib/serialize/record.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";
import type { Session } from "../../lib/storage/storage.ts";

const rounds = Deno.env.get("DHARA_TEST_LONG") ? 120 : 20;

/** A process that commits, and says so, until it is ended. */
function startCommitter(path: string) {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-check", "--no-config"],
      decodeURIComponent(
        new URL("../support/committer.ts", import.meta.url).pathname,
      ),
      path,
    ],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const begun = Promise.withResolvers<void>();
  let count = 0;
  const reading = (async () => {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of child.stdout) {
      const lines = (rest + decoder.decode(chunk, { stream: true }))
        .split("\n");
      rest = lines.pop()!;
      if (lines.length > 0) count = Number(lines.at(-1));
      if (count > 5) begun.resolve();
    }
    begun.reject(new Error("it ended"));
  })();
  begun.promise.catch(() => {});
  return {
    begun: begun.promise,
    /** How many commits it is known to have made. */
    count: () => count,
    async end(): Promise<number> {
      child.kill("SIGKILL");
      await child.status;
      await reading;
      return count;
    },
  };
}

/** A copy in small pieces, which takes its time. */
async function copySlowly(from: string, to: string): Promise<void> {
  using source = await Deno.open(from);
  using target = await Deno.open(to, { write: true, create: true });
  const buffer = new Uint8Array(
    1 + Math.floor(Math.random() * (Math.random() < 0.5 ? 5000 : 100_000)),
  );
  for (;;) {
    const count = await source.read(buffer);
    if (count === null) return;
    for (let at = 0; at < count;) {
      at += await target.write(buffer.subarray(at, count));
    }
    if (Math.random() < 0.1) await new Promise((done) => setTimeout(done, 2));
  }
}

async function copyWithCp(from: string, to: string): Promise<void> {
  const { success } = await new Deno.Command("cp", { args: [from, to] })
    .output();
  assert(success);
}

function numberIn(session: Session, oid: number): number {
  const data = recordData(session.load(oid));
  return new DataView(data.buffer, data.byteOffset).getUint32(0);
}

/** Returns how many commits a copy holds, all of which must be whole. */
function commitsIn(path: string, readonly: boolean): number {
  using storage = new FileStorage(path, { readonly });
  using session = storage.session();
  const count = numberIn(session, 0);
  for (let oid = 1; oid <= count; oid++) {
    assertEquals(numberIn(session, oid), oid);
    assertEquals(recordData(session.load(oid)).length, 4 + oid % 3000);
  }
  return count;
}

for (
  const [name, copy] of [
    ["cp", copyWithCp],
    ["a slow copy", copySlowly],
    ["Deno.copyFile", Deno.copyFile],
  ] as const
) {
  Deno.test(
    `${name} of a journal in use opens, and holds what was committed before, ${rounds} times`,
    // There is no cp.
    { ignore: Deno.build.os === "windows" },
    async () => {
      const directory = await Deno.makeTempDir();
      const path = `${directory}/test.dhara`;
      const committer = startCommitter(path);
      const counts: { before: number; count: number }[] = [];
      try {
        await committer.begun;
        for (let round = 0; round < rounds; round++) {
          const before = committer.count();
          const to = `${directory}/copy-${round}.dhara`;
          await copy(path, to);
          // Reading alone changes nothing, so both ways can be tried.
          const count = commitsIn(to, true);
          assertEquals(commitsIn(to, false), count);
          assert(count >= before, `${count}, but ${before} when it began`);
          counts.push({ before, count });
          await Deno.remove(to);
        }
      } finally {
        const last = await committer.end();
        // It was not told of one that was under way.
        assert(counts.every(({ count }) => count <= last + 1));
        await Deno.remove(directory, { recursive: true });
      }
      assert(new Set(counts.map(({ count }) => count)).size > 1);
    },
  );
}

Deno.test(`a journal in use can be opened for reading, ${rounds} times`, async () => {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/test.dhara`;
  const committer = startCommitter(path);
  try {
    await committer.begun;
    let last = 0;
    for (let round = 0; round < 5 * rounds; round++) {
      const before = committer.count();
      const count = commitsIn(path, true);
      assert(count >= before && count >= last, `${count} after ${last}`);
      last = count;
      await new Promise((done) => setTimeout(done, 1));
    }
  } finally {
    await committer.end();
    await Deno.remove(directory, { recursive: true });
  }
});
