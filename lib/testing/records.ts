/**
 * Records that are made of a text, and what tests do with them.
 *
 * @module
 */
import { assert } from "@std/assert";
import { type Oid, packRecord, recordData } from "../serialize/record.ts";
import type { Changed, Session } from "../storage/storage.ts";

/** Makes a record whose data is a text. */
export function textRecord(
  oid: Oid,
  text: string,
  references: Oid[] = [],
): [Oid, Uint8Array] {
  return [oid, packRecord(oid, new TextEncoder().encode(text), references)];
}

/** Returns the text in an object's record. */
export function textOf(session: Session, oid: Oid): string {
  return new TextDecoder().decode(recordData(session.load(oid)));
}

/** Commits what must not conflict, and returns the tid. */
export function store(
  session: Session,
  ...records: (readonly [Oid, Uint8Array])[]
): number {
  const result = session.commit(records);
  assert("tid" in result, `conflict: ${JSON.stringify(result)}`);
  return result.tid;
}

/** Returns what was changed in the order of its numbers. */
export function sorted(oids: readonly Oid[] | Changed): Changed {
  if (typeof oids === "string") return oids;
  return [...oids].sort((a, b) => a - b);
}

/** Whether two arrays have the same bytes; for long ones. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
