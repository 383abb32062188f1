/**
 * Revisions of objects: how one is read from its entry in a journal, and how
 * some are written as a block.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { getUint64, viewOf } from "../../serialize/bytes.ts";
import type { Oid } from "../../serialize/record.ts";
import type { Tid } from "../storage.ts";
import type { OpenFile } from "../../files/file.ts";
import { BlockWriter } from "./block_writer.ts";
import type { BlockSource } from "./blocks.ts";
import { CHUNK } from "./chunk_reader.ts";
import {
  BLOCK_HEAD,
  BLOCK_TRAILER,
  type BlockHead,
  ENTRY_HEAD,
} from "./format.ts";
import type { JournalHealth } from "./health.ts";

/** Why an entry cannot be read that is beyond the end of what there is. */
const CUT = "the file ends too early";

/** One revision of one object. */
export interface Revision {
  readonly tid: Tid;
  readonly record: Uint8Array;
  /** Where the revision before it is, 0 if there is none. */
  readonly previous: number;
}

/** One revision to be written. */
export interface NewRevision {
  readonly oid: Oid;
  readonly tid: Tid;
  readonly record: Uint8Array;
}

/**
 * Returns the revision whose entry is at an offset. What is wrong with it
 * is noted as damage.
 */
export function readRevision(
  { reader, end }: BlockSource,
  offset: number,
  oid: Oid,
  health: JournalHealth,
): Revision {
  const number = Math.floor(offset / CHUNK);
  const at = offset - number * CHUNK;
  const room = end - BLOCK_TRAILER - ENTRY_HEAD - offset;
  if (room < 8) throw health.damaged(offset, oid, "nothing can be there");
  let bytes: Uint8Array | undefined;
  let view: DataView | undefined;
  let from = 0;
  let length: number;
  const few = reader.few(offset, end);
  const isFew = few !== undefined && few.filled >= ENTRY_HEAD &&
    ENTRY_HEAD + few.view.getUint32(4) <= few.filled;
  if (isFew) {
    ({ bytes, view } = few);
    length = view.getUint32(4);
  } else if (at + ENTRY_HEAD <= CHUNK) {
    // The usual case costs nothing but looking: the entry is within a chunk.
    const chunk = reader.chunk(number, at + ENTRY_HEAD, end);
    if (chunk === undefined) throw health.damaged(offset, oid, CUT);
    length = chunk.view.getUint32(at + 4);
    const after = at + ENTRY_HEAD + length;
    if (
      length <= room && after <= CHUNK &&
      reader.chunk(number, after, end) !== undefined
    ) {
      ({ bytes, view } = chunk);
      from = at;
    }
  } else {
    const head = reader.bytes(offset, ENTRY_HEAD, end);
    if (head === undefined) throw health.damaged(offset, oid, CUT);
    length = viewOf(head).getUint32(4);
  }
  if (length < 12 || length > room) {
    throw health.damaged(offset, oid, "its length cannot be right");
  }
  if (bytes === undefined || view === undefined) {
    bytes = reader.bytes(offset, ENTRY_HEAD + length, end);
    if (bytes === undefined) throw health.damaged(offset, oid, CUT);
    view = viewOf(bytes);
  }
  const start = from + ENTRY_HEAD;
  const crc = crc32(bytes.subarray(from + 4, start + length));
  if (view.getUint32(from) !== crc) {
    throw health.damaged(offset, oid, "its checksum is wrong");
  }
  const previous = getUint64(view, from + 16);
  if (getUint64(view, start) !== oid || previous >= offset) {
    throw health.damaged(offset, oid, "it is of another object");
  }
  return {
    tid: getUint64(view, from + 8),
    record: isFew
      ? bytes.slice(start, start + length)
      : bytes.subarray(start, start + length),
    previous,
  };
}

/** A block that is in the file, perhaps not on the disk yet. */
export interface WrittenBlock {
  readonly head: BlockHead;
  readonly revisions: readonly NewRevision[];
  /** Where the entry of each revision is. */
  readonly offsets: readonly number[];
  /** Where the block ends. */
  readonly end: number;
}

/** Writes a block of revisions. `previousOf` tells where an object's revision before is. */
export function writeBlock(
  file: OpenFile,
  { kind, offset, tid, next }: Pick<
    BlockHead,
    "kind" | "offset" | "tid" | "next"
  >,
  revisions: readonly NewRevision[],
  notes: Uint8Array,
  previousOf: (oid: Oid) => number,
): WrittenBlock {
  let length = BLOCK_HEAD + notes.length + BLOCK_TRAILER;
  for (const { record } of revisions) length += ENTRY_HEAD + record.length;
  const head: BlockHead = {
    kind,
    count: revisions.length,
    offset,
    length,
    tid,
    next,
    notes: notes.length,
  };
  const writer = new BlockWriter(file, head);
  writer.put(notes);
  const offsets: number[] = [];
  for (const { oid, tid, record } of revisions) {
    offsets.push(writer.putEntry(record, tid, previousOf(oid)));
  }
  return { head, revisions, offsets, end: writer.finish() };
}
