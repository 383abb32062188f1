/**
 * Verifies the objects of a journal: each that can be reached from the root is
 * read, and its references lead to others.
 *
 * @module
 */
import { getUint64, viewOf } from "../../serialize/bytes.ts";
import { type Oid, ROOT_OID } from "../../serialize/record.ts";
import { OidQueue } from "../oid_queue.ts";
import { OidSet } from "../oid_set.ts";
import type { Progress, Tid } from "../storage.ts";
import type { BlockReader } from "./blocks.ts";
import { READ_PIECE } from "./chunk_reader.ts";
import { BLOCK_TRAILER, ENTRY_HEAD } from "./format.ts";
import type { OffsetTable } from "./offset_table.ts";
import type { Findings } from "./verify_findings.ts";

/** A step ends after so many objects. */
const STEP_OBJECTS = 2000;
/** What is before a record's data: its oid and its length. */
const RECORD_HEAD = 12;

/** One entry, without its record. */
export interface EntryHead {
  readonly oid: Oid;
  readonly tid: Tid;
  readonly length: number;
  readonly previous: number;
  /** Whether its checksum is right. */
  readonly good: boolean;
  /** Where the references begin, `undefined` if the record is not well-formed. */
  readonly references: number | undefined;
}

/** Returns what an entry says, `undefined` if there cannot be one. */
export function readEntryHead(
  blocks: BlockReader,
  at: number,
  last: number,
): EntryHead | undefined {
  const room = last - at - ENTRY_HEAD;
  if (room < RECORD_HEAD) return undefined;
  const view = viewOf(blocks.bytes(at, ENTRY_HEAD + RECORD_HEAD));
  const length = view.getUint32(4);
  if (length < RECORD_HEAD || length > room) return undefined;
  const end = at + ENTRY_HEAD + length;
  const crc = blocks.crc(at + 4, end);
  const data = view.getUint32(ENTRY_HEAD + 8);
  const rest = length - RECORD_HEAD - data;
  return {
    length,
    oid: getUint64(view, ENTRY_HEAD),
    tid: getUint64(view, 8),
    previous: getUint64(view, 16),
    good: view.getUint32(0) === crc,
    references: rest < 0 || rest % 8 !== 0 ? undefined : end - rest,
  };
}

/** Follows all references from the root. */
export class ObjectVerifier {
  /** How many objects it has come to so far. */
  reachable = 0;
  /** How many of them cannot be loaded. */
  unreadable = 0;
  #bytes = 0;
  readonly #blocks: BlockReader;
  readonly #findings: Findings;

  /** Begins with nothing. */
  constructor(blocks: BlockReader, findings: Findings) {
    this.#blocks = blocks;
    this.#findings = findings;
  }

  /** Does the work in steps. `next` is the first number that was not given out. */
  *run(table: OffsetTable, next: Oid): Generator<Progress> {
    const total = table.objects;
    if (total === 0) return;
    if (table.get(ROOT_OID) === 0) {
      this.#findings.note("There is no root, so nothing can be reached");
      return;
    }
    const seen = new OidSet();
    const queue = new OidQueue();
    seen.add(ROOT_OID);
    queue.push(ROOT_OID);
    for (let oid = queue.shift(); oid !== undefined; oid = queue.shift()) {
      this.reachable++;
      for (const reference of this.#references(oid, table.get(oid))) {
        if (reference >= next) this.#findings.danglingAt(reference, oid);
        else if (seen.add(reference)) {
          if (table.get(reference) !== 0) queue.push(reference);
          else this.#findings.danglingAt(reference, oid);
        }
      }
      if (this.reachable % STEP_OBJECTS === 0) {
        yield {
          phase: "following",
          records: this.reachable,
          bytes: this.#bytes,
          fraction: this.reachable / total,
        };
      }
    }
  }

  *#references(oid: Oid, offset: number): Generator<Oid> {
    const blocks = this.#blocks;
    const entry = readEntryHead(blocks, offset, blocks.end - BLOCK_TRAILER);
    this.#bytes += entry?.length ?? 0;
    if (entry?.oid !== oid || !entry.good) {
      this.unreadable++;
      this.#findings.damaged(
        offset,
        `object #${oid} cannot be loaded any more`,
      );
      return;
    }
    const end = offset + ENTRY_HEAD + entry.length;
    for (let from = entry.references ?? end; from < end; from += READ_PIECE) {
      const view = viewOf(blocks.bytes(from, Math.min(READ_PIECE, end - from)));
      for (let i = 0; i < view.byteLength; i += 8) yield getUint64(view, i);
    }
  }
}
