/**
 * The waist of the design: what every storage offers, and all that a
 * connection, a server or a tool asks of one. A storage knows bytes and
 * numbers, never objects.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";

/**
 * A transaction's number: microseconds since 1970, made strictly increasing,
 * so that a `Date` names a moment in the database. 0 before the first one.
 */
export type Tid = number;

/** What {@linkcode Session.commit} answers. */
export type CommitResult =
  /** The transaction is durable, and it is the session's snapshot now. */
  | { readonly tid: Tid }
  /**
   * Nothing was stored: these objects were changed since the session's
   * snapshot. The snapshot has not moved; `sync()` moves it.
   */
  | { readonly invalid: readonly Oid[] };

/** How far a {@linkcode Storage.pack} has come. */
export interface PackProgress {
  /** Records copied so far. */
  readonly records: number;
  /** Bytes written so far. */
  readonly bytes: number;
}

/** Where committed records live. Shared: any number of sessions may be open on it. */
export interface Storage extends Disposable {
  /** Opens a session on the newest snapshot. */
  session(): Session;
  /**
   * Drops what cannot be reached from the root, and old revisions. It does its
   * work in steps, one for each step of the iteration, and nothing unless it
   * is iterated to the end; commits and loads may happen between steps.
   */
  pack(): Iterable<PackProgress>;
  /** Closes the storage and every session on it. Closing twice is fine. */
  close(): void;
}

/** One participant's view of a storage. */
export interface Session extends Disposable {
  /** The snapshot that the session reads. */
  readonly tid: Tid;
  /**
   * Returns numbers for new objects, which nobody else will get.
   * An empty storage begins with 0, the root's number.
   */
  allocate(count: number): Oid[];
  /**
   * Returns a record as of the snapshot. The bytes are the caller's own to
   * read; they must not be changed.
   *
   * @throws {ObjectNotFoundError} if there is no such object in the snapshot.
   * @throws {ReadConflictError} if the storage no longer has that revision.
   */
  load(oid: Oid): Uint8Array;
  /** Like `load` for each number, in one request where there is a network. */
  loadMany(oids: readonly Oid[]): Uint8Array[];
  /** Moves to the newest snapshot and returns what others have changed since the last one. */
  sync(): Oid[];
  /**
   * Stores records durably, all of them or none, and moves the snapshot to the
   * new transaction. Stores nothing if anything at all was changed by others
   * since the snapshot: which of it matters is for the caller to know. Without
   * records it stores nothing and answers the session's own `tid`.
   *
   * @throws {ReadonlyError} if the storage is read-only.
   */
  commit(records: Iterable<readonly [Oid, Uint8Array]>): CommitResult;
  /** Ends the session. Closing twice is fine. */
  close(): void;
}
