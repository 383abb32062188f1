/**
 * The bytes of a journal, without any file. Integers are big-endian; a CRC is
 * CRC-32; the numbers below are lengths in bytes. `docs/format.md` tells more,
 * and why.
 *
 * A journal is a header, and blocks without gaps, to which it only appends:
 *
 * ```text
 *  0        512          1024         1536
 * | header | pointer    | pointer    | block | block | block ...
 *
 * header, once: "DHARA-1\n"
 * |  magic 8 | version 4 | database 16 | packs 4 | CRC 4 | own identity 16 | CRC 4 |
 *
 * index pointer, written in place: the two lead to the last two index blocks,
 * and are hints
 * |  offset 8 | tid 8 | CRC 4 |
 * ```
 *
 * A block is a transaction, what a pack has copied, or a part of the index:
 *
 * ```text
 * | head 48 | notes | entries (TXN1, CPY1), or pages (IDX1) | trailer 12 |
 *
 * head: its own place tells it from a head within somebody's record
 * |  kind 4 | count 4 | offset 8 | length 8 | tid 8 | next oid 8 | notes' length 4 | CRC of this 4 |
 *
 * notes: nothing, or
 * |  CRC 4 | JSON |
 *
 * trailer: with it one comes to the block before
 * |  length 8 | CRC of the whole block 4 |
 * ```
 *
 * An entry is one revision of one object; `previous` is the offset of the
 * entry of the revision before, 0 if there is none:
 *
 * ```text
 * |  CRC of the rest 4 | record's length 4 | tid 8 | previous 8 | record ... |
 *
 * record, of which a journal looks at the oids only:
 * |  oid 8 | data's length 4 | data | oid 8 | oid 8 ... that the data refers to |
 * ```
 *
 * An index block says where each object's newest entry is; `index.ts` has it:
 *
 * ```text
 * | head 48 | directory | changed pages | trailer 12 |
 *
 * directory: where every page is
 * |  previous index block 8 | pages 4 | page's number 8, its offset 8 ... | CRC 4 |
 *
 * page: of 1024 neighbouring objects
 * |  CRC 4 | number 8 | offset 8 ... |
 * ```
 *
 * @module
 */
import { crc32 } from "node:zlib";
import {
  fromHex,
  getUint64,
  setUint64,
  toHex,
  viewOf,
} from "../../serialize/bytes.ts";
import { StorageError } from "../../errors.ts";
import type { Oid } from "../../serialize/record.ts";
import { newIdentity } from "../identity.ts";
import type { Tid } from "../storage.ts";

/** The bytes that a journal begins with. */
export const MAGIC = "DHARA-1\n";
/** The version of the format. */
export const VERSION = 1;
/** The length of what comes before the first block: three sectors. */
export const HEADER_SIZE = 1536;
/** Where the two index pointers are: each in its own sector, so that writing one spares the rest. */
export const POINTERS = [512, 1024] as const;
/** The length of an index pointer. */
export const POINTER_SIZE = 20;
/** The length of a block's head. */
export const BLOCK_HEAD = 48;
/** The length of a block's trailer. */
export const BLOCK_TRAILER = 12;
/** The length of an entry's head: the record follows. */
export const ENTRY_HEAD = 24;
/** The length of what the header says, its checksum included. */
export const HEADER_HEAD = 36;
/** Where the header says that the file has an identity of its own: that, and its checksum. */
export const OWN_IDENTITY = {
  from: HEADER_HEAD,
  to: HEADER_HEAD + 20,
} as const;

/** Set in the number of packs while a pack is writing the file. */
const PACKING = 0x80000000;

/** What is in a journal's header. */
export interface Header {
  /** Tells this database, and all that was restored from it, from others: 16 random bytes. */
  readonly database: Uint8Array;
  /**
   * Tells what was restored, or has lost transactions in a repair, from what it
   * was before: 16 random bytes. Others have none.
   */
  readonly own?: Uint8Array | undefined;
  /** How often it was packed. */
  readonly packs: number;
  /** Whether it is what a pack is writing, or was when it was interrupted. */
  readonly packing?: boolean;
}

/** A hint to where an index block is, in the header. */
export interface IndexPointer {
  readonly offset: number;
  readonly tid: Tid;
}

/** The kinds of blocks. */
export const BlockKind = {
  /** One transaction. */
  transaction: 0x54584e31, // TXN1
  /** Records that a pack has copied: nothing without the block that follows. */
  copy: 0x43505931, // CPY1
  /** A part of the index. */
  index: 0x49445831, // IDX1
} as const;

/** What is in the head of a block. */
export interface BlockHead {
  readonly kind: number;
  /** How many entries, or pages of the index. */
  readonly count: number;
  /** Where the block begins. */
  readonly offset: number;
  /** How long it is, head and trailer included. */
  readonly length: number;
  /** The transaction; of other blocks, the last transaction up to there. */
  readonly tid: Tid;
  /** The first number that was never given out. */
  readonly next: Oid;
  /** How long the notes are, which follow the head. */
  readonly notes: number;
}

/** Returns the header, and room for the index pointers. */
export function encodeHeader(
  { database, own, packs, packing = false }: Header,
): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE);
  const view = viewOf(bytes);
  bytes.set(new TextEncoder().encode(MAGIC));
  view.setUint32(8, VERSION);
  bytes.set(database, 12);
  view.setUint32(28, packing ? packs + PACKING : packs);
  view.setUint32(32, crc32(bytes.subarray(0, 32)));
  if (own !== undefined) {
    bytes.set(own, OWN_IDENTITY.from);
    view.setUint32(OWN_IDENTITY.to - 4, crc32(own));
  }
  return bytes;
}

/** Returns what the header says, and whether its checksum is right. */
export function decodeHeader(bytes: Uint8Array): Header & { good: boolean } {
  const view = viewOf(bytes);
  const { from, to } = OWN_IDENTITY;
  const hasOwn = bytes.subarray(from, to).some((byte) => byte !== 0);
  const own = hasOwn ? bytes.slice(from, to - 4) : undefined;
  const good = view.getUint32(32) === crc32(bytes.subarray(0, 32)) &&
    (own === undefined ||
      bytes.length >= to && view.getUint32(to - 4) === crc32(own));
  const packs = view.getUint32(28);
  return {
    database: bytes.slice(12, 28),
    own,
    packs: packs % PACKING,
    packing: packs >= PACKING,
    good,
  };
}

/** Returns what tells the database in a file from all others, as hexadecimal digits. */
export function identityIn({ database, own }: Header): string {
  return toHex(own ?? database);
}

/** Returns the header of the same database in another state: nobody must take it for the one before. */
export function withNewIdentity(header: Header): Header {
  return { ...header, own: fromHex(newIdentity()) };
}

/**
 * Makes sure that a file is a journal of a version that we know.
 *
 * @throws {StorageError} if it is not.
 */
export function checkMagic(bytes: Uint8Array, path: string): void {
  if (!startsWithMagic(bytes)) {
    const kind = kindOf(bytes);
    throw new StorageError(
      `Cannot open ${path}: it is not a Dhara journal${
        kind === undefined ? "" : `, it seems to be ${kind}`
      }`,
    );
  }
  // Where the checksum is wrong, the version may be.
  const { good } = decodeHeader(bytes);
  const version = viewOf(bytes).getUint32(8);
  if (good && version !== VERSION) {
    throw new StorageError(
      `Cannot open ${path}: it is a Dhara journal of version ${version}, and this Dhara knows version ${VERSION} only`,
    );
  }
}

/** Whether a file that begins with these bytes is a journal, as far as they tell. */
export function startsWithMagic(bytes: Uint8Array): boolean {
  return startsWith(bytes, MAGIC);
}

function kindOf(bytes: Uint8Array): string | undefined {
  if (startsWith(bytes, "SQLite format 3\0")) return "an SQLite database";
  if (startsWith(bytes, "SHELF-1\n")) return "a Durus file (SHELF-1)";
  if (startsWith(bytes, "DFS20\0")) return "a Durus file (DFS20)";
  if (startsWith(bytes, "FS21")) return "a ZODB file";
  return undefined;
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  return bytes.length >= text.length &&
    Array.from(text).every((char, i) => char.charCodeAt(0) === bytes[i]);
}

/** Whether a file of these bytes is what is left when making a journal was interrupted. */
export function isUnfinishedHeader(bytes: Uint8Array): boolean {
  // After a power failure the length may be there without the bytes.
  if (bytes.every((byte) => byte === 0)) return bytes.length <= HEADER_SIZE;
  if (bytes.length >= HEADER_SIZE) return false;
  const whole = encodeHeader({ database: new Uint8Array(16), packs: 0 });
  // What has a pointer was used, and cut.
  return bytes.subarray(0, 12).every((byte, i) => byte === whole[i]) &&
    bytes.subarray(HEADER_HEAD).every((byte) => byte === 0);
}

/** Returns the bytes of an index pointer. */
export function encodePointer({ offset, tid }: IndexPointer): Uint8Array {
  const bytes = new Uint8Array(POINTER_SIZE);
  const view = viewOf(bytes);
  setUint64(view, 0, offset);
  setUint64(view, 8, tid);
  view.setUint32(16, crc32(bytes.subarray(0, 16)));
  return bytes;
}

/** Returns what an index pointer says, or `undefined` if it is empty or damaged. */
export function decodePointer(bytes: Uint8Array): IndexPointer | undefined {
  const view = viewOf(bytes);
  const offset = getUint64(view, 0);
  if (offset === 0) return undefined;
  if (view.getUint32(16) !== crc32(bytes.subarray(0, 16))) return undefined;
  return { offset, tid: getUint64(view, 8) };
}

/** Returns the bytes of a block's head. */
export function encodeBlockHead(head: BlockHead): Uint8Array {
  const bytes = new Uint8Array(BLOCK_HEAD);
  const view = viewOf(bytes);
  view.setUint32(0, head.kind);
  view.setUint32(4, head.count);
  setUint64(view, 8, head.offset);
  setUint64(view, 16, head.length);
  setUint64(view, 24, head.tid);
  setUint64(view, 32, head.next);
  view.setUint32(40, head.notes);
  view.setUint32(44, crc32(bytes.subarray(0, 44)));
  return bytes;
}

/** Returns what a block's head says, or `undefined` if it is damaged or not of that place. */
export function decodeBlockHead(
  bytes: Uint8Array,
  offset: number,
): BlockHead | undefined {
  const view = viewOf(bytes);
  if (view.getUint32(44) !== crc32(bytes.subarray(0, 44))) return undefined;
  const head: BlockHead = {
    kind: view.getUint32(0),
    count: view.getUint32(4),
    offset: getUint64(view, 8),
    length: getUint64(view, 16),
    tid: getUint64(view, 24),
    next: getUint64(view, 32),
    notes: view.getUint32(40),
  };
  const { kind } = head;
  const sane = head.offset === offset &&
    (kind === BlockKind.transaction || kind === BlockKind.copy ||
      kind === BlockKind.index) &&
    Number.isSafeInteger(offset + head.length) &&
    Number.isSafeInteger(head.tid) && Number.isSafeInteger(head.next) &&
    head.length >= BLOCK_HEAD + head.notes + BLOCK_TRAILER;
  return sane ? head : undefined;
}
