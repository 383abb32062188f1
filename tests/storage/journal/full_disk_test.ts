/** A real disk that takes no more: here, a file that may not grow. */
import { assert, assertEquals } from "@std/assert";
import { recordData } from "../../../lib/serialize/record.ts";
import { FileStorage } from "../../../lib/storage/file_storage.ts";

const unix = { ignore: Deno.build.os === "windows" };

/** Runs a program whose files may have so many KiB; returns its lines. */
async function fill(
  path: string,
  kib: number,
  { killed = false, args = [] as string[] } = {},
): Promise<string[]> {
  const script = decodeURIComponent(
    new URL("../../support/filler.ts", import.meta.url).pathname,
  );
  // Without the trap the system ends a program that writes beyond the limit.
  const limit = `${killed ? "" : "trap '' XFSZ; "}ulimit -f ${kib * 2}`;
  const { stdout } = await new Deno.Command("sh", {
    args: [
      "-c",
      // Blocks of 512 bytes, or of 1024 in some shells.
      `${limit}; exec "$@"`,
      "sh",
      Deno.execPath(),
      ...["run", "-A", "--no-check", "--no-config", "--no-code-cache"],
      ...[script, path],
      ...args,
    ],
    // What Deno keeps for later has a limit, too: it begins with little.
    env: { DENO_DIR: `${path}.deno` },
    stderr: "null",
  }).output();
  return new TextDecoder().decode(stdout).trim().split("\n");
}

function lastNumber(lines: string[]): number {
  return Math.max(...lines.filter((line) => /^\d+$/.test(line)).map(Number));
}

function numberIn(path: string): number {
  using storage = new FileStorage(path);
  using session = storage.session();
  const data = recordData(session.load(0));
  return new DataView(data.buffer, data.byteOffset).getUint32(0);
}

Deno.test(
  "a disk that takes no more: it is said, nothing is lost, and smaller commits go on",
  unix,
  async () => {
    const directory = await Deno.makeTempDir();
    try {
      const path = `${directory}/test.dhara`;
      const lines = await fill(path, 1500);
      const full = lines.findIndex((line) => line.startsWith("StorageError"));
      assert(full > 0, lines.join("\n"));
      const count = Number(lines[full - 1]);
      assert(count > 10);
      assert(lines[full]!.includes("nothing was stored"), lines[full]);
      assertEquals(lines.slice(full + 1), [
        `reads ${count}`,
        `${count + 1}`,
        "closed",
      ]);
      assertEquals(numberIn(path), count + 1);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
);

Deno.test(
  "a program that the system ends at a full disk loses nothing",
  unix,
  async () => {
    const directory = await Deno.makeTempDir();
    try {
      const path = `${directory}/test.dhara`;
      const lines = await fill(path, 1500, { killed: true });
      assert(!lines.includes("closed"));
      assertEquals(numberIn(path), lastNumber(lines));
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
);

Deno.test(
  "packing keeps a database going where there is not room for all revisions",
  unix,
  async () => {
    const directory = await Deno.makeTempDir();
    try {
      const path = `${directory}/test.dhara`;
      const lines = await fill(path, 1500, { args: ["pack"] });
      assertEquals(lines.at(-1), "closed");
      assertEquals(numberIn(path), lastNumber(lines));
      assert(lastNumber(lines) > 200);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
);
