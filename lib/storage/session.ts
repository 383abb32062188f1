/**
 * One session for every storage: it checks what it is asked, and its storage's
 * view does the rest.
 *
 * @module
 */
import {
  ObjectNotFoundError,
  ReadonlyError,
  StorageClosedError,
  StorageError,
} from "../errors.ts";
import { isOid, type Oid, type Records } from "../serialize/record.ts";
import { checkRecords } from "./check_records.ts";
import { checkCount } from "./limits.ts";
import { describeTid, tidOf } from "./moment.ts";
import { isEmpty, type Notes, notesOf } from "./notes.ts";
import type {
  Changed,
  CommitResult,
  Session,
  SessionCommitOptions,
  Tid,
} from "./storage.ts";

/** What a storage does for one of its sessions. What it is asked was checked before. */
export interface View {
  /** What to call the storage in messages: `bank.dhara`, `the storage`. */
  readonly name: string;
  /** The snapshot that is read. */
  readonly tid: Tid;
  /** Whether it stays at a moment of the past. */
  readonly isPast: boolean;
  /** Whether nothing can be stored, since the storage was opened for reading only. */
  readonly readonly: boolean;
  /** Why no notes can be stored; absent if they can. */
  readonly noNotes?: string;
  /** Throws a {@linkcode StorageClosedError} if the storage was closed. */
  checkOpen(): void;
  /** See {@linkcode Session.allocate}. */
  allocate(count: number): Oid[];
  /** Returns a record, `undefined` if there is none. */
  load(oid: Oid): Uint8Array | undefined;
  /**
   * Returns a record as it was at an earlier moment, `undefined` if there was
   * none. Who keeps no past lacks it.
   */
  loadAt?(oid: Oid, at: Tid): Uint8Array | undefined;
  /** Returns many records, where that is better than one after the other. */
  loadMany?(oids: readonly Oid[]): Uint8Array[];
  /** See {@linkcode Session.has}. */
  has(oid: Oid): boolean;
  /** See {@linkcode Session.length}. */
  length(oid: Oid): number;
  /** See {@linkcode Session.sync}; not asked in the past. */
  sync(): Changed;
  /** Stores records, one at least, unless others have changed what was accessed. */
  commit(
    records: Records,
    notes: Notes,
    accessed: (oid: Oid) => boolean,
  ): CommitResult;
  /** Gives back what it holds. Called once by the session, and perhaps by the storage. */
  close(): void;
}

const everything = () => true;

/** A session on any storage. */
export class StorageSession implements Session {
  readonly #view: View;
  #closed = false;

  /** Makes the session that looks through a view. */
  constructor(view: View) {
    this.#view = view;
  }

  /** The snapshot that the session reads. */
  get tid(): Tid {
    return this.#view.tid;
  }

  /** See {@linkcode Session.allocate}. */
  allocate(count: number): Oid[] {
    this.#checkOpen();
    if (this.#view.isPast) throw this.#refusal("make new objects in");
    checkCount(count);
    return this.#view.allocate(count);
  }

  /** See {@linkcode Session.load}. */
  load(oid: Oid, at?: Tid): Uint8Array {
    this.#checkOpen();
    const record = !isOid(oid)
      ? undefined
      : at === undefined || at === this.tid
      ? this.#view.load(oid)
      : this.#loadAt(oid, at);
    if (record === undefined) throw new ObjectNotFoundError(oid);
    return record;
  }

  #loadAt(oid: Oid, at: Tid): Uint8Array | undefined {
    const view = this.#view;
    if (tidOf(at) > view.tid) {
      throw new StorageError(
        `Cannot load object #${oid} as of ${
          describeTid(at)
        }: the session reads ${view.name} as of ${
          describeTid(view.tid)
        }, and nothing later`,
      );
    }
    if (view.loadAt === undefined) {
      throw new StorageError(
        `Cannot load object #${oid} as of ${
          describeTid(at)
        }: ${view.name} keeps no history`,
      );
    }
    return view.loadAt(oid, at);
  }

  /** See {@linkcode Session.loadMany}. */
  loadMany(oids: readonly Oid[]): Uint8Array[] {
    this.#checkOpen();
    const view = this.#view;
    if (view.loadMany === undefined) return oids.map((oid) => this.load(oid));
    const wrong = oids.find((oid) => !isOid(oid));
    if (wrong !== undefined) throw new ObjectNotFoundError(wrong);
    return view.loadMany(oids);
  }

  /** See {@linkcode Session.has}. */
  has(oid: Oid): boolean {
    this.#checkOpen();
    return isOid(oid) && this.#view.has(oid);
  }

  /** See {@linkcode Session.length}. */
  length(oid: Oid): number {
    this.#checkOpen();
    return isOid(oid) ? this.#view.length(oid) : 0;
  }

  /** See {@linkcode Session.sync}. */
  sync(): Changed {
    this.#checkOpen();
    return this.#view.isPast ? [] : this.#view.sync();
  }

  /** See {@linkcode Session.commit}. */
  commit(
    records: Iterable<readonly [Oid, Uint8Array]>,
    options: SessionCommitOptions = {},
  ): CommitResult {
    this.#checkOpen();
    const view = this.#view;
    const notes = notesOf(options);
    if (view.noNotes !== undefined && !isEmpty(notes)) {
      throw new StorageError(
        `Cannot commit with a note or a user to ${view.name}: ${view.noNotes}`,
      );
    }
    const checked = checkRecords(records);
    // Taking the records may have run code of the caller.
    this.#checkOpen();
    if (checked.size === 0) return { tid: this.tid, changed: [] };
    if (view.isPast) throw this.#refusal("commit to");
    if (view.readonly) {
      throw new ReadonlyError(
        `Cannot commit to ${view.name}: it was opened for reading only`,
      );
    }
    return view.commit(checked, notes, options.accessed ?? everything);
  }

  /** See {@linkcode Session.close}. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#view.close();
  }

  /** Ends the session, as `close()` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  #refusal(what: string): ReadonlyError {
    return new ReadonlyError(
      `Cannot ${what} ${this.#view.name} as of ${
        describeTid(this.tid)
      }: the past cannot be changed`,
    );
  }

  #checkOpen(): void {
    this.#view.checkOpen();
    if (this.#closed) {
      throw new StorageClosedError(
        `Cannot use the session on ${this.#view.name}: it was closed`,
      );
    }
  }
}
