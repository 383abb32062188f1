/**
 * Storages whose answers take time, such as those behind a network: the same
 * as `storage.ts`, with promises.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";
import type {
  Changed,
  CommitResult,
  PackOptions,
  Progress,
  SessionCommitOptions,
  SessionOptions,
  StorageFeatures,
  Tid,
} from "./storage.ts";

/**
 * A {@linkcode Storage} that answers with promises. A program cannot wait for
 * one where it reads a property, so a connection works on a
 * {@linkcode BlockingStorage}, which waits in its place. That one checks what
 * it is asked, so that an `AsyncStorage` is only asked what makes sense.
 */
export interface AsyncStorage {
  /** What it can do, nothing unless it says so; `history` is of no use yet. */
  readonly features?: Partial<StorageFeatures>;
  /**
   * Opens a session on the newest snapshot, or on one of the past.
   *
   * @throws {StorageError} if the storage cannot read that moment.
   */
  session(options?: SessionOptions): Promise<AsyncSession>;
  /**
   * Drops what cannot be reached from the root. It may take as long as it
   * takes. See {@linkcode Storage.pack}.
   *
   * @throws {StorageError} if the storage cannot keep what it is told to.
   */
  pack(options?: PackOptions): Promise<Progress>;
  /** Closes the storage and every session on it. */
  close(): Promise<void>;
}

/**
 * A {@linkcode Session} that answers with promises. It is asked for one thing
 * at a time.
 */
export interface AsyncSession {
  /** The snapshot that the session reads. */
  readonly tid: Tid;
  /** Returns numbers for new objects, which nobody else will get. See {@linkcode Session.allocate}. */
  allocate(count: number): Promise<Oid[]>;
  /**
   * Returns a record as of the snapshot, or as of an earlier moment. See
   * {@linkcode Session.load}.
   *
   * @throws {ObjectNotFoundError} if there is no such object.
   * @throws {ReadConflictError} if the storage no longer has that revision.
   */
  load(oid: Oid, at?: Tid): Promise<Uint8Array>;
  /** Like `load` for each number, in one request. */
  loadMany(oids: readonly Oid[]): Promise<Uint8Array[]>;
  /** Whether there is an object of this number in the snapshot. */
  has(oid: Oid): Promise<boolean>;
  /** How many bytes a record as of the snapshot has, 0 if there is none. See {@linkcode Session.length}. */
  length(oid: Oid): Promise<number>;
  /** Moves to the newest snapshot and returns what others have changed. See {@linkcode Session.sync}. */
  sync(): Promise<Changed>;
  /**
   * Stores records durably, all of them or none, and moves the snapshot to the
   * new transaction. See {@linkcode Session.commit}. `accessed` may be called
   * until the promise is settled.
   *
   * @throws {ReadonlyError} if the storage is read-only.
   * @throws {StorageError} if there is a note or a user, and the storage cannot keep them.
   */
  commit(
    records: Iterable<readonly [Oid, Uint8Array]>,
    options?: SessionCommitOptions,
  ): Promise<CommitResult>;
  /** Ends the session. */
  close(): Promise<void>;
}
