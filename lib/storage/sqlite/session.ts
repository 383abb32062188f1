/**
 * A session on a SQLite file: nothing but a moment. What was changed since then
 * is found in the file, whichever process has done it.
 *
 * @module
 */
import {
  ObjectNotFoundError,
  ReadonlyError,
  StorageClosedError,
  StorageError,
} from "../../errors.ts";
import type { Oid } from "../../serialize/record.ts";
import { checkRecords, type Records } from "../session.ts";
import { describeTid } from "../moment.ts";
import { OidSet } from "../oid_set.ts";
import type { News } from "./tables.ts";
import type {
  CommitResult,
  Session,
  SessionCommitOptions,
  Tid,
} from "../storage.ts";

/** What a session needs of its storage. */
export interface Owner {
  readonly name: string;
  readonly readonly: boolean;
  checkOpen(): void;
  load(oid: Oid, tid: Tid): Uint8Array | undefined;
  has(oid: Oid, tid: Tid): boolean;
  length(oid: Oid, tid: Tid): number;
  allocate(count: number): Oid[];
  news(tid: Tid): News;
  /** Stores records, unless others have changed what was accessed. */
  commit(
    session: SqliteSession,
    records: Records,
    accessed: (oid: Oid) => boolean,
  ): CommitResult;
  forget(session: SqliteSession): void;
}

/** A session on a SQLite file. */
export class SqliteSession implements Session {
  /** What packs have removed since the session was opened: a program may still hold it. */
  readonly removed = new OidSet();
  /** Whether there is anything in `removed`. */
  knowsRemoved = false;
  readonly #owner: Owner;
  readonly #past: boolean;
  #tid: Tid;
  #closed = false;

  /** Opens a session, which stays at its moment if that is in the past. */
  constructor(owner: Owner, tid: Tid, past: boolean) {
    this.#owner = owner;
    this.#past = past;
    this.#tid = tid;
  }

  /** The snapshot that the session reads. */
  get tid(): Tid {
    return this.#tid;
  }

  /** See {@linkcode Session.allocate}. */
  allocate(count: number): Oid[] {
    this.#checkOpen();
    if (this.#past) throw this.#refusal("make new objects in");
    return this.#owner.allocate(count);
  }

  /** See {@linkcode Session.load}. */
  load(oid: Oid): Uint8Array {
    this.#checkOpen();
    const record = Number.isSafeInteger(oid) && oid >= 0
      ? this.#owner.load(oid, this.#tid)
      : undefined;
    if (record === undefined) throw new ObjectNotFoundError(oid);
    return record;
  }

  /** See {@linkcode Session.loadMany}. */
  loadMany(oids: readonly Oid[]): Uint8Array[] {
    this.#checkOpen();
    return oids.map((oid) => this.load(oid));
  }

  /** See {@linkcode Session.has}. */
  has(oid: Oid): boolean {
    this.#checkOpen();
    return Number.isSafeInteger(oid) && oid >= 0 &&
      this.#owner.has(oid, this.#tid);
  }

  /** See {@linkcode Session.length}. */
  length(oid: Oid): number {
    this.#checkOpen();
    return Number.isSafeInteger(oid) && oid >= 0
      ? this.#owner.length(oid, this.#tid)
      : 0;
  }

  /** See {@linkcode Session.sync}. */
  sync(): Oid[] {
    this.#checkOpen();
    if (this.#past) return [];
    const news = this.#owner.news(this.#tid);
    this.noteRemoved(news.removed);
    this.#tid = news.state.tid;
    return news.changed;
  }

  /** See {@linkcode Session.commit}. */
  commit(
    records: Iterable<readonly [Oid, Uint8Array]>,
    { note, user, accessed = () => true }: SessionCommitOptions = {},
  ): CommitResult {
    this.#checkOpen();
    if (note !== undefined || user !== undefined) {
      throw new StorageError(
        `Cannot commit with a note or a user to ${this.#owner.name}: it keeps no notes`,
      );
    }
    const checked = checkRecords(records);
    // Taking the records may have run code of the caller.
    this.#checkOpen();
    if (checked.size === 0) return { tid: this.#tid, changed: [] };
    if (this.#past) throw this.#refusal("commit to");
    if (this.#owner.readonly) {
      throw new ReadonlyError(
        `Cannot commit to ${this.#owner.name}: it was opened for reading only`,
      );
    }
    const result = this.#owner.commit(this, checked, accessed);
    if ("tid" in result) this.#tid = result.tid;
    return result;
  }

  /** Notes what a pack has removed. */
  noteRemoved(oids: readonly Oid[]): void {
    for (const oid of oids) this.removed.add(oid);
    this.knowsRemoved ||= oids.length > 0;
  }

  /** See {@linkcode Session.close}. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#owner.forget(this);
  }

  /** Ends the session, as `close()` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  #refusal(what: string): ReadonlyError {
    return new ReadonlyError(
      `Cannot ${what} ${this.#owner.name}: the session reads the past, as of ${
        describeTid(this.#tid)
      }`,
    );
  }

  #checkOpen(): void {
    this.#owner.checkOpen();
    if (this.#closed) {
      throw new StorageClosedError(
        `Cannot use the session on ${this.#owner.name}: it was closed`,
      );
    }
  }
}
