/**
 * What the rows of a SQLite file of ours say, as bytes: their checksums, and
 * lists of numbers. `docs/format.md` tells how.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { fromHex, getUint64, viewOf } from "../../serialize/bytes.ts";
import { type Oid, writeOid } from "../../serialize/record.ts";
import { IDENTITY_BYTES, newIdentity } from "../identity.ts";
import type { Sql } from "./library.ts";
import type { Tid } from "../storage.ts";

/** The one row of the table `dhara`. */
export interface State {
  /** The first number that was never given out. */
  readonly next: Oid;
  /** The last transaction, 0 before the first. */
  readonly tid: Tid;
  /** Packs may have dropped what only snapshots before this one show. */
  readonly cut: Tid;
  /** Sessions with an older snapshot can no longer learn what was changed. */
  readonly forgotten: Tid;
  /** 1 once a root was stored. */
  readonly root: number;
}

const three = new Uint8Array(1 + 3 * 8);
const threeNumbers = new DataView(three.buffer);
const five = new Uint8Array(1 + 5 * 8);
const fiveNumbers = new DataView(five.buffer);

/** Returns the CRC-32 of a table's number and of three numbers, 8 bytes each; NaN if one is none. */
function checksum(table: number, a: number, b: number, c: number): number {
  if (!(isNumber(a) && isNumber(b) && isNumber(c))) return NaN;
  three[0] = table;
  writeOid(threeNumbers, 1, a);
  writeOid(threeNumbers, 9, b);
  writeOid(threeNumbers, 17, c);
  return crc32(three);
}

/** Whether what was read is what it should be. */
function isNumber(value: unknown): boolean {
  return Number.isSafeInteger(value) && value as number >= 0;
}

/** The checksum of the row of the table `dhara`. */
export function stateChecksum(state: State): number {
  const { next, tid, cut, forgotten, root } = state;
  const values = [next, tid, cut, forgotten, root];
  if (!values.every(isNumber)) return NaN;
  five[0] = 1;
  values.forEach((value, i) => writeOid(fiveNumbers, 1 + 8 * i, value));
  return crc32(five);
}

/** The checksum of a row of the table `object`. */
export function objectChecksum(oid: Oid, tid: Tid, revision: number): number {
  return checksum(2, oid, tid, revision === 0 ? 0 : 1);
}

/** The checksum of a row of the table `revision`. */
export function revisionChecksum(
  oid: Oid,
  tid: Tid,
  before: Tid,
  record: unknown,
): number {
  const first = checksum(3, oid, tid, before);
  if (record === null || Number.isNaN(first)) return first;
  return record instanceof Uint8Array ? crc32(record, first) : NaN;
}

/** The checksum of a row of the table `changes`. */
export function changesChecksum(
  tid: Tid,
  before: Tid,
  removed: number,
  oids: unknown,
): number {
  const first = checksum(4, tid, before, removed);
  if (Number.isNaN(first) || !(oids instanceof Uint8Array)) return NaN;
  return crc32(oids, first);
}

/** The checksum of the row of the table `identity`; NaN if that holds none. */
export function identityChecksum(bytes: unknown): number {
  if (!(bytes instanceof Uint8Array)) return NaN;
  return bytes.length === IDENTITY_BYTES
    ? crc32(bytes, crc32(Uint8Array.of(5)))
    : NaN;
}

/** Gives a database that has just been made, or had none, its identity. */
export function addIdentity(database: Sql): void {
  const bytes = fromHex(newIdentity());
  database.run(
    "INSERT INTO identity VALUES (0, ?, ?)",
    identityChecksum(bytes),
    bytes,
  );
}

/** Returns the numbers in the column `oids`. */
export function unpackOids(bytes: Uint8Array): Oid[] {
  const view = viewOf(bytes);
  const oids: Oid[] = new Array(bytes.length / 8);
  for (let i = 0; i < oids.length; i++) {
    oids[i] = getUint64(view, 8 * i);
  }
  return oids;
}

/** Returns what the column `oids` holds for some numbers. */
export function packOids(oids: readonly Oid[]): Uint8Array {
  const bytes = new Uint8Array(8 * oids.length);
  const view = new DataView(bytes.buffer);
  oids.forEach((oid, i) => writeOid(view, 8 * i, oid));
  return bytes;
}
