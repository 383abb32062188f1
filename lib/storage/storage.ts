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
  /**
   * The transaction is durable, and it is the session's snapshot now. What
   * others had changed since the last one, none of it accessed, is `changed`:
   * as after `sync()`, it is not told again.
   */
  | { readonly tid: Tid; readonly changed: readonly Oid[] }
  /**
   * Nothing was stored: these objects were changed since the session's
   * snapshot, the last of them by the transaction `newest`, if that is known.
   * The snapshot has not moved; `sync()` moves it.
   */
  | { readonly invalid: readonly Oid[]; readonly newest?: Tid };

/**
 * What others have changed, as {@linkcode Session.sync} tells: numbers of
 * objects; `"everything"` if it is not known what; or `"replaced"` if there is
 * another database now, in which the same numbers mean other objects.
 */
export type Changed = Oid[] | "everything" | "replaced";

/** How far a long piece of work on a database has come. */
export interface Progress {
  /** What is being done, where one thing follows another: reading a file, following references. */
  readonly phase?: "reading" | "following";
  /** Records read or written so far. */
  readonly records: number;
  /** Bytes read or written so far. */
  readonly bytes: number;
  /** How much of the phase is done, from 0 to 1, where that can be told. */
  readonly fraction?: number;
}

/** What to remember of a transaction beside its records. */
export interface CommitOptions {
  /** What it was for: any text of up to 65,536 UTF-16 units. */
  readonly note?: string;
  /** Who made it: any text of up to 65,536 UTF-16 units. */
  readonly user?: string;
}

/** What a session is told with a commit. */
export interface SessionCommitOptions extends CommitOptions {
  /**
   * Whether the transaction has accessed an object, which must be true of all
   * that it stores. Changes that others have made to objects that it did not
   * access do not stand in its way. Without it, every change does.
   */
  readonly accessed?: (oid: Oid) => boolean;
}

/** Which moment a session reads. */
export interface SessionOptions {
  /**
   * The moment, instead of now: the session reads the newest transaction that
   * is not after it, stays there, and is read-only. A `Date` is the end of its
   * millisecond, so the `time` of a transaction is a moment at which it is there.
   */
  readonly at?: Tid | Date;
  /**
   * Whether the storage may let go of the session's snapshot when a pack drops
   * what is in it: for a session that may stand idle for long, such as that of
   * a server's client. Until it moves on, what was changed or removed since its
   * snapshot is refused with `ReadConflictError` then; everything else is read
   * as before. Otherwise a session keeps its snapshot as long as it stays
   * there, and with it a file that a pack has replaced. False by default.
   */
  readonly letsGo?: boolean;
}

/** What a pack keeps. */
export interface PackOptions {
  /**
   * From which moment on the history is kept: a time before now (`"7d"`,
   * `"12h"`, `"30m"`, `"90s"`), a `Date`, or a tid. Every moment since then can
   * still be read completely. Without it no history is kept.
   */
  readonly keep?: string | Date | Tid;
  /** Whether to keep the old file, as `PATH.prepack`, in place of an older one. */
  readonly prepack?: boolean;
}

/** One revision of an object. */
export interface RevisionInfo {
  /** The transaction that made it. */
  readonly tid: Tid;
  /** When that was. */
  readonly time: Date;
  /** The length of its record. */
  readonly bytes: number;
  /** The note of that transaction, if it had one that is still known. */
  readonly note?: string;
  /** The user of that transaction, if it had one that is still known. */
  readonly user?: string;
}

/** One transaction. */
export interface TransactionInfo {
  /** Its number. */
  readonly tid: Tid;
  /** When it was committed. */
  readonly time: Date;
  /** How many records it has. */
  readonly records: number;
  /** How many bytes it takes in the storage. */
  readonly bytes: number;
  /** What it was for, if that was said. */
  readonly note?: string;
  /** Who made it, if that was said. */
  readonly user?: string;
}

/**
 * What a storage can do beyond what every storage can: whoever wants to know
 * need not try. What it lacks it refuses with a `StorageError`.
 */
export interface StorageFeatures {
  /** It keeps notes and users with commits. */
  readonly notes: boolean;
  /** It has sessions at moments of the past, and loads older states of an object. */
  readonly past: boolean;
  /** It tells what was in the past: it is a {@linkcode HistoricalStorage}. */
  readonly history: boolean;
  /** A pack can `keep` what is newer than a moment. */
  readonly keep: boolean;
  /** A pack can keep the old file (`prepack`). */
  readonly prepack: boolean;
}

/** What a storage can do that can do no more than all can. */
export const NO_FEATURES: StorageFeatures = {
  notes: false,
  past: false,
  history: false,
  keep: false,
  prepack: false,
};

/** A transaction, as {@linkcode Storage.onCommit} and {@linkcode Storage.changes} tell it. */
export interface CommitNews {
  /** Its number. */
  readonly tid: Tid;
  /** The objects that it stored. */
  readonly oids: readonly Oid[];
  /** What it was for, if that was said. */
  readonly note?: string;
  /** Who made it, if that was said. */
  readonly user?: string;
}

/** Where committed records live. Shared: any number of sessions may be open on it. */
export interface Storage extends Disposable {
  /** What it can do. */
  readonly features: StorageFeatures;
  /**
   * Calls `listener` after each commit that is made through this object, when
   * the program's synchronous work has come to its end; returns how to stop
   * that. A storage that lacks it cannot tell.
   */
  onCommit?(listener: (news: CommitNews) => void): () => void;
  /**
   * Goes through the transactions after a moment, the oldest first: what to read
   * again, for whoever has a copy as of then. A storage that lacks it cannot
   * tell.
   *
   * @throws {StorageError} if that is not known any more, since a pack has dropped it.
   */
  changes?(since: Tid): Iterable<CommitNews>;
  /**
   * Tells this database from others: 32 hexadecimal digits, of 16 random bytes
   * that it gets when it is made and keeps for good. A server tells it to its
   * clients, which otherwise could not see that another database has come to
   * the same address.
   */
  readonly identity?: string | undefined;
  /**
   * Whether there was such a transaction in this database, as far as that is
   * known: true of one before the oldest that it remembers. An earlier state of
   * the database that was put back knows nothing of the transactions that it
   * has lost. A storage that has an `identity` and can go back has this too.
   */
  knows?(tid: Tid): boolean;
  /**
   * Opens a session on the newest snapshot, or on one of the past.
   *
   * @throws {StorageError} if the storage cannot read that moment.
   */
  session(options?: SessionOptions): Session;
  /**
   * Drops what cannot be reached from the root, and old revisions, except for
   * what it is told to keep. Returns how much it has copied.
   *
   * @throws {StorageError} if the storage cannot keep what it is told to.
   */
  pack(options?: PackOptions): Progress;
  /**
   * Packs in steps, so that a server can go on serving: one for each step of
   * the iteration, and commits and loads may happen between them. What it is
   * told is checked at once, but nothing is packed unless it is iterated to the
   * end; whoever has no use for the steps calls `pack()`.
   *
   * @throws {StorageError} if the storage cannot keep what it is told to.
   */
  packInSteps(options?: PackOptions): Iterable<Progress>;
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
   * Returns a record as of the snapshot, or as of an earlier moment `at`, which
   * needs `features.past`. The bytes are the caller's own to read; they must not
   * be changed.
   *
   * @throws {ObjectNotFoundError} if there is no such object in the snapshot,
   * or there was none at that moment.
   * @throws {ReadConflictError} if the storage no longer has that revision.
   * @throws {StorageError} if it cannot read that moment.
   */
  load(oid: Oid, at?: Tid): Uint8Array;
  /** Like `load` for each number, in one request where there is a network. */
  loadMany(oids: readonly Oid[]): Uint8Array[];
  /** Whether there is an object of this number in the snapshot. It costs less than to load it. */
  has(oid: Oid): boolean;
  /**
   * How many bytes a record as of the snapshot has, as far as can be told at
   * less cost than by loading it: whoever has little room wants to know before.
   * 0 where `load` would throw.
   */
  length(oid: Oid): number;
  /**
   * Moves to the newest snapshot and returns what others have changed since the
   * last one, or `"everything"` if nobody can say what it was, such as after a
   * server was away: then whatever the caller holds is to be loaded again. It
   * returns `"replaced"` if the snapshot is one of another database, or of an
   * earlier state of this one that has gone on differently: then nothing that
   * the caller holds may be loaded or stored by its number, but for the root.
   * A session that has lost its snapshot, and can find another, throws from
   * `load` and `commit` until it is asked to `sync()`.
   */
  sync(): Changed;
  /**
   * Stores records durably, all of them or none, and moves the snapshot to the
   * new transaction. Stores nothing if others have changed anything since the
   * snapshot that this transaction has accessed, as `accessed` tells; anything
   * at all without it. Without records it stores nothing and answers the
   * session's own `tid`.
   *
   * @throws {ReadonlyError} if the storage, or the session, is read-only.
   * @throws {StorageError} if there is a note or a user, and the storage cannot keep them.
   */
  commit(
    records: Iterable<readonly [Oid, Uint8Array]>,
    options?: SessionCommitOptions,
  ): CommitResult;
  /** Ends the session. Closing twice is fine. */
  close(): void;
}

/** A storage that keeps old revisions, and what is known of its transactions. */
export interface HistoricalStorage extends Storage {
  /**
   * Goes through the revisions of an object that are still there, the newest first.
   *
   * @throws {ObjectNotFoundError} if there is no such object.
   */
  history(oid: Oid): Iterable<RevisionInfo>;
  /** Goes through the transactions that are still there, the newest first. */
  transactions(): Iterable<TransactionInfo>;
  /** See {@linkcode Storage.changes}. */
  changes(since: Tid): Iterable<CommitNews>;
  /**
   * Stores what the objects of a transaction were before it, as a new
   * transaction, and returns that one's tid. Objects that the transaction
   * made have no earlier state: they stay as they are.
   *
   * @throws {UndoError} if a later transaction has changed one of the objects.
   * @throws {StorageError} if there is no such transaction, or none any more.
   */
  undo(tid: Tid, options?: CommitOptions): Tid;
}

/**
 * Whether a storage keeps a history that can be looked at.
 *
 * @example
 * ```ts
 * import { isHistorical, MemoryStorage } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(isHistorical(new MemoryStorage()), false);
 * ```
 */
export function isHistorical(storage: Storage): storage is HistoricalStorage {
  const { history, transactions, undo } = storage as Partial<HistoricalStorage>;
  return [history, transactions, undo].every((f) => typeof f === "function");
}
