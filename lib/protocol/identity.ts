/**
 * How a client asks a server which database it serves: with a load of a number
 * that no object has. `docs/protocol.md` describes it.
 *
 * @module
 */
import { fromHex, toHex, viewOf } from "../serialize/bytes.ts";
import { ProtocolError } from "../errors.ts";
import { type Oid, readOid, writeOid } from "../serialize/record.ts";

/** A transaction's number. */
type Tid = number;

/** What a server says of its database. */
export interface Served {
  /** What tells it from others: 32 hexadecimal digits. */
  readonly identity: string;
  /** The snapshot that the session reads. */
  readonly tid: Tid;
  /** Whether the transaction that was asked about is one of this database. */
  readonly known: boolean;
}

/** Asks about no transaction. */
export const NO_TID: Tid = Number.MAX_SAFE_INTEGER;

/** The number of such a question without the tid: from here to 2^63 - 1. Larger ones break a server of Durus. */
const QUESTION = 0x7fe00000;
const MASK = 0x1fffff;
/** The length of what is answered: identity, tid, whether the other one is known. */
const LENGTH = 16 + 8 + 1;

/** The length of a whole answer: `O`, its length, and a record. */
export const SERVED_LENGTH = 1 + 4 + 8 + 4 + LENGTH;

/** Returns the number that asks which database it is, and whether a transaction is one of it. */
export function question(tid: Tid): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = viewOf(bytes);
  writeOid(view, 0, tid);
  view.setUint32(0, QUESTION + view.getUint32(0));
  return bytes;
}

/** Returns the transaction that a load asks about, `undefined` if it is a load of an object. */
export function askedTid(bytes: Uint8Array): Tid | undefined {
  const view = viewOf(bytes);
  const high = view.getUint32(0);
  return (high & ~MASK) === QUESTION
    ? (high & MASK) * 0x100000000 + view.getUint32(4)
    : undefined;
}

/** Returns the record that answers a question. */
export function encodeServed(
  asked: Uint8Array,
  { identity, tid, known }: Served,
): Uint8Array {
  const bytes = new Uint8Array(12 + LENGTH);
  const view = viewOf(bytes);
  bytes.set(asked);
  view.setUint32(8, LENGTH);
  bytes.set(fromHex(identity), 12);
  writeOid(view, 28, tid as Oid);
  bytes[36] = known ? 1 : 0;
  return bytes;
}

/**
 * Reads the record that answers a question.
 *
 * @throws {ProtocolError} if it is none.
 * @throws {DecodeError} if it has no tid.
 */
export function decodeServed(asked: Uint8Array, bytes: Uint8Array): Served {
  const view = viewOf(bytes);
  if (
    bytes.length !== 12 + LENGTH || view.getUint32(8) !== LENGTH ||
    asked.some((byte, i) => byte !== bytes[i]) || bytes[36]! > 1
  ) {
    throw new ProtocolError("it does not say which database it serves");
  }
  return {
    identity: toHex(bytes.subarray(12, 28)),
    tid: readOid(view, 28),
    known: bytes[36] === 1,
  };
}
