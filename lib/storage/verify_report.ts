/**
 * What verifying a database tells, whatever its format.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";
import type { Format } from "./file_format.ts";

/** What `verify()` has found. */
export interface VerifyReport {
  /** The file, as it was given. */
  readonly path: string;
  /** What kind of file it is. */
  readonly format: Format;
  /** How many bytes of it were read: all that it had then. */
  readonly size: number;
  /** How many transactions the file holds, without what a pack has merged. */
  readonly transactions: number;
  /** How many records it holds, old revisions included. */
  readonly records: number;
  /** How many objects there are. */
  readonly objects: number;
  /** How many of them can be reached from the root. */
  readonly reachable: number;
  /** How many cannot; a pack drops them. */
  readonly unreachable: number;
  /** How many of those that can be reached cannot be loaded, since their records are damaged. */
  readonly unreadable: number;
  /** Whether there is neither damage nor a dangling reference. */
  readonly good: boolean;
  /** What is damaged, and where: the first hundred. */
  readonly damage: readonly {
    /** Where, in bytes from the beginning of the file; 0 in SQLite, which hides its places. */
    readonly offset: number;
    /** What is wrong there. */
    readonly message: string;
  }[];
  /** How many places are damaged. */
  readonly damageCount: number;
  /** References that lead nowhere from what can be reached: the first hundred. */
  readonly dangling: readonly {
    /** The object that is not there. */
    readonly oid: Oid;
    /** One that refers to it. */
    readonly from: Oid;
  }[];
  /** How many such references there are. */
  readonly danglingCount: number;
  /** What is worth knowing and no damage. */
  readonly notes: readonly string[];
}
