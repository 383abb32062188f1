/**
 * What one session sees of a SQLite file: nothing but a moment. What was changed
 * since then is found in the file, whichever process has done it.
 *
 * @module
 */
import type { Oid, Records } from "../../serialize/record.ts";
import type { Notes } from "../notes.ts";
import { OidSet } from "../oid_set.ts";
import type { View } from "../session.ts";
import type { CommitResult, Tid } from "../storage.ts";
import type { News } from "./tables.ts";

/** What a view needs of its storage. */
export interface Owner {
  /** The file, as it was given. */
  readonly path: string;
  /** Whether it was opened for reading only. */
  readonly readonly: boolean;
  /** Throws if the storage was closed. */
  checkOpen(): void;
  /** Returns a record as it was at a moment. */
  load(oid: Oid, tid: Tid): Uint8Array | undefined;
  /** Returns a record as it was at a moment that may be gone. */
  loadAt(oid: Oid, at: Tid): Uint8Array | undefined;
  /** Whether there was one. */
  has(oid: Oid, tid: Tid): boolean;
  /** How long it was, 0 if there was none. */
  length(oid: Oid, tid: Tid): number;
  /** Returns new numbers. */
  allocate(count: number): Oid[];
  /** Returns what was changed since a moment. */
  news(tid: Tid): News;
  /** Stores records, unless others have changed what was accessed. */
  commit(
    view: SqliteView,
    records: Records,
    accessed: (oid: Oid) => boolean,
  ): CommitResult;
  /** Forgets the view of a session that was closed. */
  forget(view: SqliteView): void;
}

/** What one session sees of a SQLite file. */
export class SqliteView implements View {
  readonly name: string;
  readonly readonly: boolean;
  readonly isPast: boolean;
  readonly noNotes = "it keeps no notes";
  /** What packs have removed since it was opened: a program may still hold it. */
  readonly removed: OidSet = new OidSet();
  /** Whether there is anything in `removed`. */
  knowsRemoved = false;
  readonly #owner: Owner;
  #tid: Tid;

  /** Looks at a moment, and stays there if that is in the past. */
  constructor(owner: Owner, tid: Tid, isPast: boolean) {
    this.name = owner.path;
    this.readonly = owner.readonly;
    this.isPast = isPast;
    this.#owner = owner;
    this.#tid = tid;
  }

  get tid(): Tid {
    return this.#tid;
  }

  checkOpen(): void {
    this.#owner.checkOpen();
  }

  allocate(count: number): Oid[] {
    return this.#owner.allocate(count);
  }

  load(oid: Oid): Uint8Array | undefined {
    return this.#owner.load(oid, this.#tid);
  }

  loadAt(oid: Oid, at: Tid): Uint8Array | undefined {
    return this.#owner.loadAt(oid, at);
  }

  has(oid: Oid): boolean {
    return this.#owner.has(oid, this.#tid);
  }

  length(oid: Oid): number {
    return this.#owner.length(oid, this.#tid);
  }

  sync(): Oid[] {
    const news = this.#owner.news(this.#tid);
    this.noteRemoved(news.removed);
    this.#tid = news.state.tid;
    return news.changed;
  }

  commit(
    records: Records,
    _notes: Notes,
    accessed: (oid: Oid) => boolean,
  ): CommitResult {
    const result = this.#owner.commit(this, records, accessed);
    if ("tid" in result) this.#tid = result.tid;
    return result;
  }

  /** Notes what a pack has removed. */
  noteRemoved(oids: readonly Oid[]): void {
    for (const oid of oids) this.removed.add(oid);
    this.knowsRemoved ||= oids.length > 0;
  }

  close(): void {
    this.#owner.forget(this);
  }
}
