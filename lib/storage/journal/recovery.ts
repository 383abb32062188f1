/**
 * What opening a journal finds in it: recovery begins at the newest good index
 * block and reads what follows, cuts off a transaction that was not written to
 * its end, and refuses damage or repairs it.
 *
 * @module
 */
import { getUint64, viewOf } from "../../serialize/bytes.ts";
import { DamagedFileError, StorageError } from "../../errors.ts";
import {
  type Files,
  type OpenFile,
  readFully,
  writeFully,
} from "../../files/file.ts";
import { BlockCursor, BlockReader } from "./blocks.ts";
import { ChunkReader } from "./chunk_reader.ts";
import { Journal } from "./journal.ts";
import { type Repair, saveTail, tailPath } from "./repair.ts";
import {
  BLOCK_HEAD,
  BLOCK_TRAILER,
  type BlockHead,
  BlockKind,
  decodePointer,
  encodeHeader,
  ENTRY_HEAD,
  type Header,
  HEADER_SIZE,
  POINTER_SIZE,
  POINTERS,
  withNewIdentity,
} from "./format.ts";
import { writeOwnIdentity } from "./header.ts";
import { DamagedPage, type IndexBlock, readIndexBlock } from "./index.ts";

/** How to open a journal. */
export interface OpenOptions {
  readonly readonly: boolean;
  readonly repair: boolean;
  readonly sync: boolean;
  readonly indexInMemory: boolean;
}

/** Returns the error of a file that cannot be opened, as it is damaged. */
export function damaged(
  name: string,
  offset: number,
  why: string,
): DamagedFileError {
  return new DamagedFileError(
    `Cannot open ${name}: it is damaged at byte ${offset}: ${why}`,
    { path: name, offset },
  );
}

/** Makes an open journal of the bytes of a file. */
export class Recovery {
  #journal: Journal;
  /** The newest index block that a pointer leads to, if it is damaged. */
  #badIndex: number | undefined;
  /** The furthest place that a pointer leads to: it was on the disk before the pointer. */
  #pointersLeadTo = 0;
  readonly #repairs: Repair[] = [];

  /** Begins with a header that was read already. */
  constructor(
    readonly files: Files,
    readonly file: OpenFile,
    readonly path: string,
    readonly name: string,
    private header: Header,
    private readonly options: OpenOptions,
  ) {
    this.#journal = this.#blank();
  }

  /** Reads what there is up to a size, and returns the journal. `start` is the header and the index pointers. */
  run(start: Uint8Array, size: number): Journal {
    try {
      this.#useIndex(start, size);
      this.#readOn(size);
      if (this.options.repair) this.#checkIndex();
      if (this.options.indexInMemory) this.#journal.index.readAll();
    } catch (error) {
      if (!(error instanceof DamagedPage)) throw error;
      if (!this.options.repair) {
        throw damaged(
          this.name,
          error.offset,
          "a page of the index is bad; --repair (or repair: true) makes a new index",
        );
      }
      this.#journal = this.#blank();
      this.#readOn(this.file.size());
      this.#writeIndex();
    }
    if (this.options.repair) this.#repairHeader();
    this.#journal.repairs = this.#repairs;
    return this.#journal;
  }

  /** Makes sure that whoever opens the file finds a good index. */
  #checkIndex(): void {
    const journal = this.#journal;
    if (this.#badIndex !== undefined) throw new DamagedPage(this.#badIndex);
    journal.index.check();
    const offset = journal.indexOffset;
    if (offset === 0) return;
    const blocks = this.#blocks(journal.end);
    const head = blocks.find(offset);
    if (head === undefined || !blocks.isIntact(head)) {
      throw new DamagedPage(offset);
    }
  }

  /** Writes the header anew, without pointers that lead nowhere, if it is not as it should be. */
  #repairHeader(): void {
    const journal = this.#journal;
    const start = new Uint8Array(HEADER_SIZE);
    readFully(this.file, start, 0);
    const right = encodeHeader(this.header);
    for (const at of POINTERS) {
      const bytes = start.subarray(at, at + POINTER_SIZE);
      const pointer = decodePointer(bytes);
      if (pointer === undefined) continue;
      const block = readIndexBlock(journal.reader, pointer.offset, journal.end);
      if (block?.tid === pointer.tid) right.set(bytes, at);
    }
    const offset = right.findIndex((byte, i) => byte !== start[i]);
    if (offset < 0) return;
    writeFully(this.file, right, 0);
    this.file.sync();
    this.#repairs.push({ kind: "header", offset, bytes: 0 });
  }

  #blank(): Journal {
    return new Journal(this.file, this.name, this.header, this.options);
  }

  /** Begins with the newest index block that a pointer leads to. */
  #useIndex(start: Uint8Array, size: number): void {
    const journal = this.#journal;
    const pointers = POINTERS.map((at, number) => {
      const pointer = decodePointer(start.subarray(at, at + POINTER_SIZE));
      return { number, offset: pointer?.offset ?? 0 };
    });
    pointers.sort((a, b) => b.offset - a.offset);
    this.#pointersLeadTo = pointers[0]!.offset;
    for (const { number, offset } of pointers) {
      const block = readIndexBlock(journal.reader, offset, size);
      if (block === undefined) {
        if (offset > 0 && offset < size) this.#badIndex ??= offset;
        continue;
      }
      this.#takeIndex(offset, block);
      journal.lastPointer = number;
      return;
    }
  }

  #takeIndex(offset: number, block: IndexBlock): void {
    const journal = this.#journal;
    journal.index = journal.newIndex(block.directory);
    journal.tid = block.tid;
    journal.next = block.next;
    journal.end = block.end;
    journal.indexOffset = offset;
    journal.indexedTo = block.end;
  }

  /** Reads what follows, and decides what becomes of what is wrong there. */
  #readOn(size: number): void {
    const journal = this.#journal;
    let repaired = false;
    try {
      this.#scan(size);
    } catch (error) {
      if (!(error instanceof DamagedFileError)) throw error;
      if (!this.options.repair) {
        const remedy = error.offset < size
          ? `saves everything from there on as ${
            tailPath(this.name, error.offset, 0)
          } and cuts it off`
          : "goes on with what is left";
        throw damaged(
          this.name,
          error.offset,
          `${error.message}; --repair (or repair: true) ${remedy}`,
        );
      }
      const { offset } = error;
      if (offset < size) {
        const saved = saveTail(this, offset, size);
        const bytes = size - offset;
        this.#repairs.push({ kind: "cut", offset, bytes, saved });
      }
      // What a number meant in what is lost, it will not mean from now on.
      this.header = journal.header = withNewIdentity(this.header);
      writeOwnIdentity(this.file, this.header);
      repaired = true;
    }
    if (journal.end < size && !this.options.readonly) {
      if (!repaired && this.options.repair) {
        const offset = journal.end;
        const bytes = size - offset;
        this.#repairs.push({ kind: "unfinished", offset, bytes });
      }
      this.file.truncate(journal.end);
      this.file.sync();
      journal.reader = new ChunkReader(this.file);
    }
    // What comes after a copy makes it valid.
    if (repaired) this.#writeIndex();
  }

  // Takes block after block. What was not written to its end is left alone,
  // `journal.end` is before it then.
  #scan(size: number): void {
    const journal = this.#journal;
    const blocks = this.#blocks(size);
    const cursor = new BlockCursor(blocks, {
      at: journal.end,
      damaged: (_, why) => this.#damaged(why),
    });
    for (const head of cursor.forward()) this.#take(head, blocks);
    if (journal.endsWithCopy) {
      throw this.#damaged("what a pack wrote ends too early");
    }
    if (this.#pointersLeadTo >= journal.end) {
      throw this.#damaged(
        `the file was cut there, since its header leads to byte ${this.#pointersLeadTo}`,
      );
    }
  }

  /** Reads the blocks up to the size that the file had. */
  #blocks(size: number): BlockReader {
    const source = { reader: this.#journal.reader, end: size };
    return new BlockReader(source, () =>
      new StorageError(
        `Cannot open ${this.name}: it became shorter while it was read`,
      ));
  }

  #take(head: BlockHead, blocks: BlockReader): void {
    const journal = this.#journal;
    const end = head.offset + head.length;
    const late = head.kind === BlockKind.transaction
      ? head.tid > journal.tid
      : head.tid >= journal.tid;
    if (!late || head.next < journal.next) {
      throw this.#damaged("the block is older than the one before it");
    }
    const good = blocks.isIntact(head);
    if (head.kind === BlockKind.index) {
      // An index block holds nothing that is not elsewhere, so a bad one is
      // no loss; unless it is the end of what a pack wrote.
      if (good) journal.endsWithCopy = false;
    } else {
      if (!good) throw this.#damaged("the block's checksum is wrong");
      this.#takeEntries(head, blocks);
      journal.endsWithCopy = head.kind === BlockKind.copy;
    }
    journal.tid = head.tid;
    journal.next = head.next;
    journal.end = end;
  }

  #takeEntries(head: BlockHead, blocks: BlockReader): void {
    const { index } = this.#journal;
    const last = head.offset + head.length - BLOCK_TRAILER;
    let at = head.offset + BLOCK_HEAD + head.notes;
    for (let i = 0; i < head.count; i++) {
      // A record begins with its oid.
      const room = last - at - ENTRY_HEAD;
      if (room < 12) throw this.#damaged("the block has too few entries");
      const view = viewOf(blocks.bytes(at, ENTRY_HEAD + 8));
      const length = view.getUint32(4);
      const oid = getUint64(view, ENTRY_HEAD);
      if (length < 12 || length > room || oid >= head.next) {
        throw this.#damaged("the block has an entry that cannot be");
      }
      index.set(oid, at);
      at += ENTRY_HEAD + length;
    }
    if (at !== last) throw this.#damaged("the block has too many bytes");
  }

  #writeIndex(): void {
    const offset = this.#journal.end;
    if (this.#journal.writeIndex()) {
      this.#repairs.push({ kind: "index", offset, bytes: 0 });
      return;
    }
    throw new StorageError(
      `Cannot repair ${this.name}: the index cannot be written; make room on the disk and try again`,
    );
  }

  #damaged(why: string): DamagedFileError {
    const offset = this.#journal.end;
    return new DamagedFileError(why, { path: this.name, offset });
  }
}
