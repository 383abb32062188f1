/** Going through the blocks of a journal, and where it ends, for all who do so. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { DamagedFileError, StorageError } from "../../../lib/errors.ts";
import { disk, type OpenFile } from "../../../lib/files/file.ts";
import { restorePoints } from "../../../lib/maintenance/restore.ts";
import {
  BlockCursor,
  BlockReader,
} from "../../../lib/storage/journal/blocks.ts";
import { ChunkReader } from "../../../lib/storage/journal/chunk_reader.ts";
import {
  BLOCK_HEAD,
  BLOCK_TRAILER,
  BlockKind,
  decodeBlockHead,
  HEADER_SIZE,
} from "../../../lib/storage/journal/format.ts";
import { JournalCursor } from "../../../lib/storage/journal/history.ts";
import { openJournal } from "../../../lib/storage/journal/open.ts";
import { JournalVerifier } from "../../../lib/storage/journal/verify.ts";
import { FileStorage } from "../../../lib/storage/file_storage.ts";
import { textRecord } from "../../../lib/testing/records.ts";

function test(name: string, run: (path: string) => void): void {
  Deno.test(name, () => {
    const directory = Deno.makeTempDirSync();
    try {
      run(`${directory}/test.dhara`);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}

/** Commits so many transactions; returns their tids. */
function fill(path: string, count: number): number[] {
  using storage = new FileStorage(path);
  using session = storage.session();
  return Array.from({ length: count }, (_, i) => {
    session.commit([textRecord(0, `text ${i}`)]);
    return session.tid;
  });
}

function withFile<T>(path: string, act: (file: OpenFile) => T): T {
  const file = disk.open(path, { write: true });
  try {
    return act(file);
  } finally {
    file.close();
  }
}

const OPTIONS = {
  readonly: false,
  repair: false,
  sync: true,
  indexInMemory: false,
};

test("a cursor goes through the transactions from any place, either way, and sees what is appended", (path) => {
  const tids = fill(path, 5);
  withFile(path, (file) => {
    const journal = openJournal(disk, file, path, path, OPTIONS);
    const cursor = new JournalCursor(journal, HEADER_SIZE);
    const heads = [...cursor.forward()];
    assertEquals(heads.map(({ tid }) => tid), tids);
    assertEquals(cursor.at, journal.end);
    assertEquals(cursor.next(), undefined);
    const [, , third] = heads;
    const back = [...new JournalCursor(journal).backward()];
    assertEquals(back.reverse(), heads);
    // From the middle there and back again.
    const middle = new JournalCursor(journal, third!.offset);
    assertEquals(middle.next(), third);
    assertEquals(middle.previous(), third);
    assertEquals(middle.previous(), heads[1]);
    assertEquals([...middle.forward()], heads.slice(1));
    const records = new Map([textRecord(0, "more")]);
    const tid = tids.at(-1)! + 1;
    journal.append(records, tid, 1, new Uint8Array());
    assertEquals([...middle.forward()].map(({ tid }) => tid), [tid]);
  });
});

test("going back finds a block whose end does not lead to its beginning", (path) => {
  fill(path, 3);
  withFile(path, (file) => {
    const journal = openJournal(disk, file, path, path, OPTIONS);
    const [, second] = [...new JournalCursor(journal, HEADER_SIZE).forward()];
    const end = second!.offset + second!.length;
    for (const length of [0, 1, second!.length - 1, 2 ** 40]) {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, BigInt(length));
      file.write(bytes, end - BLOCK_TRAILER);
      const fresh = openReader(file);
      const cursor = new BlockCursor(fresh, {
        at: end,
        whole: true,
        damaged: (offset, why) => new Error(`${offset}: ${why}`),
      });
      assertThrows(
        () => cursor.previous(),
        Error,
        `${end - BLOCK_TRAILER}: the end of a block does not lead`,
      );
      assertEquals(cursor.at, end);
    }
  });
});

function openReader(file: OpenFile): BlockReader {
  const source = { reader: new ChunkReader(file), end: file.size() };
  return new BlockReader(source, (at) => new Error(`too short at ${at}`));
}

/** What may be at the end of a journal, made of its last block. */
const ENDS: readonly [string, boolean, (block: Uint8Array) => Uint8Array][] = [
  ["less than a head", true, (block) => block.slice(0, BLOCK_HEAD - 1)],
  ["a byte", true, () => new Uint8Array([7])],
  ["a head alone", true, (block) => block.slice(0, BLOCK_HEAD)],
  ["all but a byte", true, (block) => block.slice(0, -1)],
  ["zeros", true, () => new Uint8Array(100_000)],
  ["a trailer of zeros", true, (block) => block.fill(0, -BLOCK_TRAILER)],
  [
    "zeros and a byte",
    false,
    () => new Uint8Array(100_000).fill(7, 99_999),
  ],
  ["a wrong head", false, (block) => block.fill(7, 20, 21)],
];

for (const [what, isUnfinished, change] of ENDS) {
  test(`${what} at the end of a journal is ${isUnfinished ? "unfinished" : "damage"} to everybody who reads it`, (path) => {
    const tids = fill(path, 3);
    const bytes = Deno.readFileSync(path);
    const heads = withFile(path, (file) => {
      const damaged = () => new Error("damaged");
      const cursor = new BlockCursor(openReader(file), { damaged });
      return [...cursor.forward()];
    });
    const last = heads.findLast(({ kind }) => kind === BlockKind.transaction)!;
    const block = bytes.slice(last.offset, last.offset + last.length);
    assertEquals(decodeBlockHead(block, last.offset), last);
    Deno.writeFileSync(
      path,
      new Uint8Array([...bytes.subarray(0, last.offset), ...change(block)]),
    );
    const readonly = () => {
      using storage = new FileStorage(path, { readonly: true });
      assertEquals(storage.size, last.offset);
      using session = storage.session();
      assertEquals(session.tid, tids[1]);
    };
    const points = () => {
      const found = [...restorePoints(path)].map(({ tid }) => tid);
      assertEquals(found, tids.slice(0, 2));
    };
    const report = withFile(path, (file) => {
      const steps = new JournalVerifier(file, path).run();
      for (;;) {
        const { done, value } = steps.next();
        if (done) return value;
      }
    });
    if (isUnfinished) {
      readonly();
      points();
      assert(report.good, JSON.stringify(report.damage));
      assertEquals(report.notes.length, 1);
    } else {
      assertThrows(readonly, DamagedFileError);
      assertThrows(points, DamagedFileError);
      assertEquals(report.damage[0]!.offset, last.offset);
    }
    // What is known to be whole has no unfinished end.
    withFile(path, (file) => {
      const cursor = new BlockCursor(openReader(file), {
        at: last.offset,
        whole: true,
        damaged: (offset, why) => new StorageError(`${offset}: ${why}`),
      });
      assertThrows(
        () => [...cursor.forward()],
        StorageError,
        `${last.offset}: there is no good block`,
      );
    });
  });
}
