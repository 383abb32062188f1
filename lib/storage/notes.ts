/**
 * What is remembered of a transaction beside its records, as bytes.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { viewOf } from "../serialize/bytes.ts";
import { StorageError } from "../errors.ts";
import type { CommitOptions } from "./storage.ts";

/** The longest note, and the longest name of a user, in UTF-16 units. */
const LONGEST = 65_536;

/** What there is to remember of a transaction; absent if there is nothing. */
export interface Notes {
  /** What it was for. */
  readonly note?: string;
  /** Who made it. */
  readonly user?: string;
}

/**
 * Returns what there is to remember of a transaction.
 *
 * @throws {StorageError} if it cannot be kept as it is.
 */
export function notesOf(options: CommitOptions | undefined): Notes {
  const notes: { note?: string; user?: string } = {};
  for (const key of ["note", "user"] as const) {
    const value: unknown = options?.[key];
    if (value === undefined) continue;
    if (typeof value !== "string" || value.length > LONGEST) {
      throw new StorageError(
        `Cannot commit: the ${key} must be a string of at most ${LONGEST} UTF-16 units`,
      );
    }
    notes[key] = value;
  }
  return notes;
}

/** Whether there is nothing to remember. */
export function isEmpty(notes: Notes): boolean {
  return notes.note === undefined && notes.user === undefined;
}

/** Returns the bytes of notes: none if there are none, else a checksum and JSON. */
export function encodeNotes(notes: Notes): Uint8Array {
  if (isEmpty(notes)) return new Uint8Array();
  const json = new TextEncoder().encode(JSON.stringify(notes));
  const bytes = new Uint8Array(4 + json.length);
  bytes.set(json, 4);
  viewOf(bytes).setUint32(0, crc32(json));
  return bytes;
}

/** Returns the notes that bytes hold, or `undefined` if the bytes are damaged. */
export function decodeNotes(bytes: Uint8Array): Notes | undefined {
  if (bytes.length === 0) return {};
  if (bytes.length < 4) return undefined;
  const json = bytes.subarray(4);
  if (viewOf(bytes).getUint32(0) !== crc32(json)) return undefined;
  try {
    const { note, user } = JSON.parse(new TextDecoder().decode(json));
    return {
      ...(typeof note === "string" ? { note } : {}),
      ...(typeof user === "string" ? { user } : {}),
    };
  } catch {
    return undefined;
  }
}
