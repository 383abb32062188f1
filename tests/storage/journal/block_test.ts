/** Blocks of a journal at the bounds of what is written at once, and one inside of another. */
import { crc32 } from "node:zlib";
import { getUint64, setUint64, viewOf } from "../../../lib/serialize/bytes.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { DamagedFileError } from "../../../lib/errors.ts";
import { packRecord, recordData } from "../../../lib/serialize/record.ts";
import type { OpenFile } from "../../../lib/files/file.ts";
import { BlockWriter } from "../../../lib/storage/journal/block_writer.ts";
import {
  BLOCK_HEAD,
  BLOCK_TRAILER,
  BlockKind,
  decodeBlockHead,
  encodeBlockHead,
  ENTRY_HEAD,
} from "../../../lib/storage/journal/format.ts";
import { encodeNotes } from "../../../lib/storage/notes.ts";
import { openOn } from "../../../lib/storage/file_storage.ts";
import { JournalVerifier } from "../../../lib/storage/journal/verify.ts";
import type { VerifyReport } from "../../../lib/maintenance/verify.ts";
import { SimulatedDisk } from "../../support/simulated_disk.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";

const PIECE = 4 * 1024 * 1024;
const PATH = "x";

function bytesOf(disk: SimulatedDisk): Uint8Array {
  const file = disk.open(PATH, {});
  const bytes = new Uint8Array(file.size());
  file.read(bytes, 0);
  return bytes;
}

function verify(disk: SimulatedDisk): VerifyReport {
  const steps = new JournalVerifier(disk.open(PATH, {}), PATH).run();
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** Every length around what is written at once, and around twice that. */
function* lengths(): Generator<number> {
  for (let more = -14; more <= 30; more++) yield PIECE + more;
  for (const more of [-1, 0, 1, 4, 12]) yield 2 * PIECE + more;
}

Deno.test("a block of any length around what is written at once is whole", () => {
  const record = packRecord(7, new Uint8Array(2 * PIECE).fill(5), []);
  for (const length of lengths()) {
    // Two entries, so that the second one's head is where it is written.
    const rest = length - BLOCK_HEAD - BLOCK_TRAILER - 2 * ENTRY_HEAD;
    for (const first of [20, rest - 20]) {
      const bytes = new Uint8Array(length);
      let written = 0;
      const file = {
        write(piece: Uint8Array, offset: number) {
          assertEquals(offset, 1000 + written);
          bytes.set(piece, written);
          written += piece.length;
          return piece.length;
        },
      } as unknown as OpenFile;
      const writer = new BlockWriter(file, {
        kind: BlockKind.transaction,
        count: 2,
        offset: 1000,
        length,
        tid: 3,
        next: 8,
        notes: 0,
      });
      const records = [record.slice(0, first), record.slice(0, rest - first)];
      const places = records.map((one) => writer.putEntry(one, 3, 0) - 1000);
      assertEquals(writer.finish(), 1000 + length);
      assertEquals(written, length);
      const view = viewOf(bytes);
      assertEquals(
        decodeBlockHead(bytes.subarray(0, 48), 1000)?.length,
        length,
      );
      assertEquals(getUint64(view, length - 12), length);
      const crc = crc32(bytes.subarray(0, length - 4));
      assertEquals(view.getUint32(length - 4), crc, `${length}`);
      for (const [i, place] of places.entries()) {
        const end = place + ENTRY_HEAD + records[i]!.length;
        const crc = crc32(bytes.subarray(place + 4, end));
        assertEquals(view.getUint32(place), crc, `${length}`);
      }
    }
  }
});

Deno.test("a transaction of 4 MiB and a few bytes is stored, read and packed", () => {
  const fixed = BLOCK_HEAD + BLOCK_TRAILER + ENTRY_HEAD + 12;
  for (const more of [-1, 0, 1, 3, 4, 8, 11, 12, 13, 60]) {
    const disk = new SimulatedDisk();
    const data = new Uint8Array(PIECE + more - fixed);
    for (let i = 0; i < data.length; i += 1000) data[i] = i;
    for (const options of [{}, { indexInMemory: true }]) {
      using storage = openOn(disk, PATH, options);
      using session = storage.session();
      const before = storage.size;
      session.commit([[0, packRecord(0, data, [])]]);
      assert(storage.size >= before + PIECE + more);
      assertEquals(recordData(session.load(0)), data);
    }
    using storage = openOn(disk, PATH);
    storage.pack();
    using session = storage.session();
    assertEquals(recordData(session.load(0)), data);
    assertEquals(verify(disk).damage, []);
  }
});

/** A whole block, as it would be at an offset, that stores `text` as the root. */
function blockAt(offset: number, tid: number, text: string): Uint8Array {
  const [, record] = textRecord(0, text);
  const length = BLOCK_HEAD + ENTRY_HEAD + record.length + BLOCK_TRAILER;
  const bytes = new Uint8Array(length);
  const view = viewOf(bytes);
  bytes.set(encodeBlockHead({
    kind: BlockKind.transaction,
    count: 1,
    offset,
    length,
    tid,
    next: 10,
    notes: 0,
  }));
  view.setUint32(BLOCK_HEAD + 4, record.length);
  setUint64(view, BLOCK_HEAD + 8, tid);
  bytes.set(record, BLOCK_HEAD + ENTRY_HEAD);
  const end = length - BLOCK_TRAILER;
  view.setUint32(BLOCK_HEAD, crc32(bytes.subarray(BLOCK_HEAD + 4, end)));
  setUint64(view, length - 12, length);
  view.setUint32(length - 4, crc32(bytes.subarray(0, length - 4)));
  return bytes;
}

Deno.test("a whole block inside of a record is never taken for one", () => {
  const disk = new SimulatedDisk();
  let storage = openOn(disk, PATH);
  let session = storage.session();
  store(session, textRecord(0, "first"));
  const outer = storage.size;
  const notes = { note: "outer" };
  const before = BLOCK_HEAD + encodeNotes(notes).length;
  const inner = outer + before + ENTRY_HEAD + 12;
  const tid = session.tid + 1e9;
  const block = blockAt(inner, tid, "from inside");
  // It is a good one: in its place it would be taken.
  assert(decodeBlockHead(block.subarray(0, BLOCK_HEAD), inner));
  // Another one ends where the outer block ends, but for its trailer.
  const second = inner + block.length;
  const data = new Uint8Array([
    ...block,
    ...blockAt(second, tid, "from its end"),
  ]);
  session.commit([[1, packRecord(1, data, [])]], notes);
  assertEquals(bytesOf(disk).subarray(inner, second), block);
  const end = storage.size;
  store(session, textRecord(2, "last"));
  storage.close();
  const bytes = bytesOf(disk);

  const check = (whole: number) => {
    assertEquals(textOf(session, 0), "first");
    const found = [...storage.transactions()].map(({ note }) => note);
    assertEquals(found, [undefined, "outer", undefined].slice(3 - whole));
    assertEquals([...storage.history(0)].length, 1);
    assert(session.tid < tid);
    if (whole > 1) assertEquals(recordData(session.load(1)), data);
  };
  storage = openOn(disk, PATH);
  session = storage.session();
  check(3);
  assertEquals(verify(disk).damage, []);
  storage.close();

  const diskOf = (bytes: Uint8Array) => {
    const disk = new SimulatedDisk();
    disk.open(PATH, { create: true }).write(bytes, 0);
    return disk;
  };
  // Cut behind the inner blocks: the outer one was not written to its end.
  for (let size = second; size < end; size++) {
    const cut = diskOf(bytes.slice(0, size));
    storage = openOn(cut, PATH);
    session = storage.session();
    check(1);
    assertEquals(storage.size, outer);
    storage.close();
  }
  // The outer one's head is damaged: what is inside does not come to light.
  for (let at = outer; at < inner; at++) {
    const changed = bytes.slice();
    changed[at]! ^= 0x55;
    const damaged = diskOf(changed);
    const error = assertThrows(
      () => openOn(damaged, PATH),
      DamagedFileError,
    );
    assertEquals(error.offset, outer);
    assert(!verify(damaged).good);
    storage = openOn(damaged, PATH, { repair: true });
    session = storage.session();
    check(1);
    storage.close();
  }
});

Deno.test("a copy of a block inside of a record is no block in its new place", () => {
  const disk = new SimulatedDisk();
  const storage = openOn(disk, PATH);
  const session = storage.session();
  const first = storage.size;
  store(session, textRecord(0, "first"));
  const outer = storage.size;
  const block = bytesOf(disk).slice(first, outer);
  session.commit([[1, packRecord(1, block, [])]]);
  const last = storage.size;
  store(session, textRecord(2, "last"));
  storage.close();
  const bytes = bytesOf(disk).slice();
  bytes[outer + 20]! ^= 0x55;
  const damaged = new SimulatedDisk();
  damaged.open(PATH, { create: true }).write(bytes, 0);
  // The next good one is the last.
  const { damage, transactions } = verify(damaged);
  assertEquals(transactions, 2);
  assertEquals(damage[0]?.offset, outer);
  assert(damage[0]!.message.endsWith(`the next one is at byte ${last}`));
});
