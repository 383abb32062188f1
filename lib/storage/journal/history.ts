/**
 * The history in an open journal: what was committed when, what an object was
 * before, and where each moment of the past ends.
 *
 * @module
 */
import { getUint64, viewOf } from "../../serialize/bytes.ts";
import { DamagedFileError, StorageError } from "../../errors.ts";
import type { Oid } from "../../serialize/record.ts";
import type { Journal } from "./journal.ts";
import type { NewRevision } from "./revision.ts";
import { BlockCursor, BlockReader } from "./blocks.ts";
import type { CommitPoint } from "./commit_points.ts";
import {
  BLOCK_HEAD,
  BLOCK_TRAILER,
  type BlockHead,
  BlockKind,
  ENTRY_HEAD,
  HEADER_SIZE,
} from "./format.ts";
import { decodeNotes, type Notes } from "../notes.ts";
import { describeTid, timeOf } from "../moment.ts";
import type {
  CommitNews,
  RevisionInfo,
  Tid,
  TransactionInfo,
} from "../storage.ts";

/** Reads the blocks of an open journal, all of which are whole. */
function blocksOf(journal: Journal): BlockReader {
  return new BlockReader(
    journal,
    (offset) => damaged(journal, offset, "the file ends too early"),
  );
}

/** A cursor in an open journal: at its end if no place is given. */
export class JournalCursor extends BlockCursor {
  readonly #journal: Journal;
  #lastIndex: number;

  /** Begins at a place between two blocks. */
  constructor(journal: Journal, at = journal.end) {
    super(blocksOf(journal), {
      at,
      whole: true,
      damaged: (offset, why) => damaged(journal, offset, why),
    });
    this.#journal = journal;
    this.#lastIndex = journal.indexOffset;
  }

  /**
   * Goes back over what is behind a place, as far as index blocks lead and so
   * it costs nothing.
   */
  skip(isBehind: (head: BlockHead) => boolean): void {
    for (const head of this.#indexes()) {
      if (!isBehind(head)) return;
      this.at = head.offset;
    }
  }

  // Each index block leads to the one before.
  *#indexes(): Generator<BlockHead> {
    const blocks = blocksOf(this.#journal);
    let offset = this.#lastIndex;
    while (offset !== 0) {
      const head = blocks.find(offset);
      // Then it takes a little longer.
      if (head?.kind !== BlockKind.index) return;
      if (offset < this.at) {
        this.#lastIndex = offset;
        yield head;
      }
      const previous = getUint64(
        viewOf(blocks.bytes(offset + BLOCK_HEAD, 8)),
        0,
      );
      if (previous >= offset) return;
      offset = previous;
    }
  }
}

/**
 * Returns the oldest moment that a journal can read completely: that of the
 * pack that made it, or else 0, before the first transaction.
 */
export function oldestMoment(journal: Journal): Tid {
  if (journal.end <= HEADER_SIZE) return 0;
  const first = new JournalCursor(journal, HEADER_SIZE).next()!;
  return first.kind === BlockKind.transaction ? 0 : first.tid;
}

/**
 * Returns the commit point of the newest transaction that is not after a moment.
 *
 * @throws {StorageError} if a pack has dropped what was there then.
 */
export function commitPointAt(
  journal: Journal,
  moment: Tid,
): Pick<CommitPoint, "tid" | "end"> {
  const oldest = oldestMoment(journal);
  if (moment < oldest) {
    throw new StorageError(
      `Cannot read ${journal.name} as of ${
        describeTid(moment)
      }: a pack has dropped what was there then; the oldest moment that can be read is ${
        describeTid(oldest)
      }`,
    );
  }
  if (moment >= journal.tid) return { tid: journal.tid, end: journal.end };
  const blocks = new JournalCursor(journal);
  blocks.skip(({ tid }) => tid > moment);
  for (const head of blocks.backward()) {
    if (head.tid <= moment) {
      return { tid: head.tid, end: head.offset + head.length };
    }
  }
  return { tid: 0, end: HEADER_SIZE };
}

/** Returns a transaction's block, or `undefined` if there is none in the journal. */
export function findTransaction(
  journal: Journal,
  tid: Tid,
): BlockHead | undefined {
  const blocks = new JournalCursor(journal);
  blocks.skip((head) => head.tid > tid);
  for (const head of blocks.backward()) {
    if (head.tid < tid) break;
    if (head.kind === BlockKind.transaction && head.tid === tid) return head;
  }
  return undefined;
}

/**
 * Whether there was a transaction, as far as the journal says: what a pack has
 * merged with others is taken for one.
 */
export function hadTransaction(journal: Journal, tid: Tid): boolean {
  if (tid >= journal.tid) return tid === journal.tid;
  return tid <= oldestMoment(journal) ||
    commitPointAt(journal, tid).tid === tid;
}

/** One entry of a block, and where it and its object's revision before are. */
export interface PlacedRevision extends NewRevision {
  readonly offset: number;
  readonly previous: number;
}

/** Goes through the entries of a transaction's block. */
export function* entriesOf(
  journal: Journal,
  head: BlockHead,
): Generator<PlacedRevision, void> {
  const blocks = blocksOf(journal);
  const last = head.offset + head.length - BLOCK_TRAILER;
  let offset = head.offset + BLOCK_HEAD + head.notes;
  for (let i = 0; i < head.count; i++) {
    if (offset + ENTRY_HEAD + 8 > last) {
      throw damaged(journal, offset, "the block has too few entries");
    }
    const oid = getUint64(viewOf(blocks.bytes(offset + ENTRY_HEAD, 8)), 0);
    const entry = journal.entry(offset, oid);
    yield { oid, offset, ...entry };
    offset += ENTRY_HEAD + entry.record.length;
  }
}

/** Returns the notes of a transaction's block, as bytes. */
export function notesBytes(
  journal: Journal,
  { offset, notes }: BlockHead,
): Uint8Array {
  return blocksOf(journal).bytes(offset + BLOCK_HEAD, notes);
}

function notesAt(journal: Journal, head: BlockHead): Notes {
  const notes = decodeNotes(notesBytes(journal, head));
  if (notes !== undefined) return notes;
  throw damaged(
    journal,
    head.offset + BLOCK_HEAD,
    `the note of transaction ${head.tid} is bad`,
  );
}

/** Goes through the transactions of a journal, the newest first. */
export function* transactionsOf(
  journal: Journal,
): Generator<TransactionInfo, void> {
  const blocks = new JournalCursor(journal);
  for (const head of blocks.backward()) {
    if (head.kind !== BlockKind.transaction) continue;
    const { tid, count: records, length: bytes } = head;
    const notes = notesAt(journal, head);
    yield { tid, time: timeOf(tid), records, bytes, ...notes };
  }
}

/**
 * Goes through the transactions of a journal after a moment, the oldest first.
 *
 * @throws {StorageError} if a pack has dropped what was there then.
 */
export function* changesSince(
  journal: Journal,
  since: Tid,
): Generator<CommitNews, void> {
  const blocks = new JournalCursor(journal, commitPointAt(journal, since).end);
  for (const head of blocks.forward()) {
    if (head.kind !== BlockKind.transaction) continue;
    const oids: Oid[] = [];
    for (const { oid } of entriesOf(journal, head)) oids.push(oid);
    yield { tid: head.tid, oids, ...notesAt(journal, head) };
  }
}

/** Goes through the revisions of an object, the newest first. */
export function* revisionsOf(
  journal: Journal,
  oid: Oid,
): Generator<RevisionInfo, void> {
  const blocks = new JournalCursor(journal);
  let offset = journal.offsetOf(oid);
  while (offset !== 0) {
    const { tid, record, previous } = journal.entry(offset, oid);
    // The block that it is in, which comes before that of the last one.
    blocks.skip((head) => head.offset > offset);
    let head = blocks.previous();
    while (head !== undefined && head.offset > offset) head = blocks.previous();
    const notes = head?.kind === BlockKind.transaction
      ? notesAt(journal, head)
      : {};
    yield { tid, time: timeOf(tid), bytes: record.length, ...notes };
    offset = previous;
  }
}

function damaged(
  journal: Journal,
  offset: number,
  why: string,
): DamagedFileError {
  return new DamagedFileError(
    `Cannot read the history of ${journal.name}: the file is damaged at byte ${offset}: ${why}`,
    { path: journal.name, offset },
  );
}
