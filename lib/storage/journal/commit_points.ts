/**
 * A journal as a list of commit points, and copying the beginning of one up to
 * such a point: what backups and restoring are made of.
 *
 * @module
 */
import { DamagedFileError, StorageError } from "../../errors.ts";
import { type OpenFile, readFully } from "../../files/file.ts";
import { BlockCursor, BlockReader } from "./blocks.ts";
import { ChunkReader, READ_PIECE } from "./chunk_reader.ts";
import {
  BLOCK_HEAD,
  BlockKind,
  decodeBlockHead,
  HEADER_SIZE,
} from "./format.ts";
import { pointersLeadTo } from "./header.ts";
import { decodeNotes, type Notes } from "../notes.ts";
import type { Tid } from "../storage.ts";

/** A place in a journal where what is before it is a good database. */
export interface CommitPoint {
  /** The last transaction up to there. */
  readonly tid: Tid;
  /** Where the last block up to there begins. */
  readonly last: number;
  /** Where it ends. */
  readonly end: number;
  /** How many records the transaction has, or the pack has copied. */
  readonly records: number;
  /** How many bytes they take in the file. */
  readonly bytes: number;
  /** Whether a pack has merged this transaction with all before it. */
  readonly packed: boolean;
}

/**
 * Goes through the commit points of a journal, the oldest first. It ends before a
 * transaction that was not written to its end.
 *
 * @throws {DamagedFileError} where there is no good block, or the file was cut.
 */
export function* commitPoints(
  file: OpenFile,
  name: string,
  from = HEADER_SIZE,
): Generator<CommitPoint, void> {
  // Before the length: so they lead to nothing that is not there yet.
  const led = pointersLeadTo(file);
  const blocks = blocksOf(file, file.size(), name);
  const cursor = cursorOf(blocks, name, { at: from });
  // A pack begins with copies and index blocks, which are complete before the
  // first transaction. What it copies later belongs to the transaction after it.
  let copied: CommitPoint | undefined;
  let records = 0;
  let transactions = 0;
  for (const head of cursor.forward()) {
    const { kind, tid, count, length, offset: last } = head;
    const end = last + length;
    if (kind === BlockKind.transaction) {
      if (copied !== undefined) yield copied;
      copied = undefined;
      transactions++;
      const packed = false;
      yield { tid, last, end, records: count, bytes: length, packed };
    } else if (kind === BlockKind.copy) {
      copied = undefined;
      records += count;
    } else if (records > 0 && transactions === 0) {
      const bytes = end - from;
      copied = { tid, last, end, records, bytes, packed: true };
    }
  }
  if (copied !== undefined) yield copied;
  const { at } = cursor;
  if (led < at) return;
  throw new DamagedFileError(
    `Cannot read ${name} any further: it was cut at byte ${at}, since its header leads to byte ${led}`,
    { path: name, offset: at },
  );
}

/** Returns what was noted at the transaction of a commit point. */
export function notesAt(file: OpenFile, { last }: CommitPoint): Notes {
  const start = new Uint8Array(BLOCK_HEAD);
  readFully(file, start, last);
  const notes = new Uint8Array(decodeBlockHead(start, last)?.notes ?? 0);
  readFully(file, notes, last + BLOCK_HEAD);
  return decodeNotes(notes) ?? {};
}

function blocksOf(file: OpenFile, end: number, name: string): BlockReader {
  const source = { reader: new ChunkReader(file), end };
  return new BlockReader(source, () => becameShorter(name));
}

function cursorOf(
  blocks: BlockReader,
  name: string,
  options: { at: number; whole?: boolean },
): BlockCursor {
  return new BlockCursor(blocks, {
    ...options,
    damaged: (offset, why) =>
      new DamagedFileError(
        `Cannot read ${name} any further: it is damaged at byte ${offset}: ${why}`,
        { path: name, offset },
      ),
  });
}

/**
 * Compares whole blocks with their checksums.
 *
 * @throws {DamagedFileError} if one is wrong.
 */
export function checkBlocks(
  file: OpenFile,
  from: number,
  to: number,
  name: string,
): void {
  const blocks = blocksOf(file, to, name);
  const at = Math.max(from, HEADER_SIZE);
  const cursor = cursorOf(blocks, name, { at, whole: true });
  for (const head of cursor.forward()) {
    // The index can be made anew from the rest.
    if (head.kind === BlockKind.index || blocks.isIntact(head)) continue;
    const { offset } = head;
    throw new DamagedFileError(
      `Cannot read ${name}: it is damaged at byte ${offset}: the block's checksum is wrong; see dhara db verify`,
      { path: name, offset },
    );
  }
}

/** Reads a part of a file piece by piece. */
export function* pieces(
  file: OpenFile,
  from: number,
  to: number,
  name: string,
): Generator<Uint8Array> {
  for (let at = from; at < to; at += READ_PIECE) {
    const bytes = new Uint8Array(Math.min(READ_PIECE, to - at));
    if (readFully(file, bytes, at) < bytes.length) {
      throw becameShorter(name);
    }
    yield bytes;
  }
}

function becameShorter(name: string): StorageError {
  return new StorageError(
    `Cannot read ${name}: it became shorter while it was read; try again`,
  );
}
