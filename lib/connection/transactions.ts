/**
 * One transaction after the other, on one session: what is read, stored and
 * taken back, and what others do meanwhile.
 *
 * @module
 */
import {
  type ConflictError,
  type DharaError,
  ObjectNotFoundError,
  ReadConflictError,
  StorageError,
  WriteConflictError,
} from "../errors.ts";
import type { PersistentObject } from "../persistent/persistent.ts";
import { type Oid, ROOT_OID } from "../serialize/record.ts";
import type {
  Changed,
  CommitOptions,
  CommitResult,
  Session,
  Tid,
} from "../storage/storage.ts";
import { BeforeCommitListeners } from "./before_commit.ts";
import { checkForgottenChanges } from "./forgotten.ts";
import { type Changes, describe, type LiveObjects } from "./live_objects.ts";
import { pause } from "./pause.ts";

/** So often a commit is tried when it is refused for what the transaction did not use. */
const COMMIT_ATTEMPTS = 30;

/** Why no transaction can go on. */
const REPLACED =
  "the server serves another database now, or an earlier state of it";

/** What a connection tells its transactions. */
export interface TransactionsOptions {
  /** Whether each commit looks for changes that nobody has noted. */
  readonly detectForgottenChanges: boolean;
  /** Makes the live objects, which load their records with `read`. */
  makeObjects(read: (oid: Oid) => Uint8Array): LiveObjects;
  /** Stores a root object in a storage that has lost it; returns whether it did. */
  makeRootAgain(): boolean;
}

/** One transaction after the other. */
export class Transactions {
  /** The live objects. */
  readonly objects: LiveObjects;
  /** Who looks at what is about to be stored. */
  readonly listeners: BeforeCommitListeners;
  readonly #session: Session;
  readonly #detectForgottenChanges: boolean;
  readonly #makeRootAgain: () => boolean;
  /** What `abort()` must still invalidate, since `sync()` will not tell it again. */
  #stale: Changed[] = [];

  /** Begins the first one. */
  constructor(session: Session, options: TransactionsOptions) {
    this.#session = session;
    this.#detectForgottenChanges = options.detectForgottenChanges;
    this.#makeRootAgain = options.makeRootAgain;
    this.objects = options.makeObjects((oid) => this.#read(oid));
    this.listeners = new BeforeCommitListeners(this.objects, session);
  }

  /** The snapshot that the transaction reads. */
  get tid(): Tid {
    return this.#session.tid;
  }

  /** See {@linkcode Connection.get}. */
  get(oid: Oid): PersistentObject | undefined {
    try {
      const slot = this.objects.find(oid);
      slot.noteAccess();
      return slot.self as PersistentObject;
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError && error.oid === oid)) {
        throw error;
      }
      // Somebody who makes it gets in the way of who goes on without it.
      this.objects.noteMissing(oid);
      return undefined;
    }
  }

  /** See {@linkcode Connection.commit}. */
  commit(options: CommitOptions): void {
    if (this.objects.failure) throw this.objects.failure;
    if (this.#detectForgottenChanges) {
      checkForgottenChanges(this.objects, this.#session);
    }
    if (this.objects.changed.size > 0) this.#store(options);
    else this.#renew();
    this.objects.beginNext();
  }

  #store(options: CommitOptions): void {
    let changes = this.listeners.encode();
    for (let attempt = 1;; attempt++) {
      const result = this.#tryToStore(changes, options);
      if ("tid" in result) {
        // From here on nothing can fail: it is stored.
        this.objects.settle(changes);
        this.objects.invalidate(result.changed);
        return;
      }
      // Nothing of it matters here: go on from the newest snapshot.
      this.objects.takeBack(changes);
      const before = this.#session.tid;
      this.#moveOn(this.#session.sync());
      if (attempt >= COMMIT_ATTEMPTS) {
        throw this.#refused(result.invalid, this.#session.tid !== before);
      }
      pause(attempt);
      changes = this.objects.encode();
    }
  }

  #tryToStore(changes: Changes, options: CommitOptions): CommitResult {
    try {
      const result = this.#session.commit(changes.records, {
        ...options,
        accessed: (oid) => this.objects.wasAccessed(oid),
      });
      if ("invalid" in result) this.#checkConflicts(result.invalid);
      return result;
    } catch (error) {
      this.objects.takeBack(changes);
      throw error;
    }
  }

  #refused(oids: readonly Oid[], moved: boolean): DharaError {
    if (oids.length === 0) {
      return new StorageError(
        "Cannot commit: the storage refuses it, and does not say for what change; it may be damaged: verify it",
      );
    }
    const which = oids.slice(0, 3).map((oid) => `#${oid}`).join(", ");
    return moved
      ? new WriteConflictError(
        `Cannot commit: somebody else was faster ${COMMIT_ATTEMPTS} times, at last with a change to object ${which}, which this transaction did not use; call abort() and start over`,
        { oids },
      )
      : new StorageError(
        `Cannot commit: the storage refuses it for a change to object ${which}, which this transaction did not use, and shows no such change; it may be damaged: verify it`,
      );
  }

  /** The snapshot has moved in the middle of a transaction, which is fine unless it shows. */
  #moveOn(invalid: Changed): void {
    try {
      this.#checkConflicts(invalid);
    } catch (error) {
      this.#fail(error as WriteConflictError, invalid);
    }
    this.objects.invalidate(invalid);
  }

  // From now on nothing can be loaded or stored until `abort()`.
  #fail(error: ConflictError, invalid: Changed): never {
    this.objects.failure = error;
    this.#stale.push(invalid);
    throw error;
  }

  #checkConflicts(invalid: readonly Oid[] | Changed): void {
    const oids = this.objects.accessed(invalid);
    if (invalid === "replaced") {
      throw new WriteConflictError(
        `Cannot commit: ${REPLACED}; call abort() and start over from the root`,
        { oids, classes: this.#classNames(oids) },
      );
    }
    if (oids.length === 0) return;
    throw new WriteConflictError(
      `Cannot commit: somebody else has changed ${
        this.list(oids)
      }; call abort() and start over`,
      { oids, classes: this.#classNames(oids) },
    );
  }

  /** See {@linkcode Connection.abort}. */
  abort(): void {
    this.objects.dropChanges();
    this.#renew();
    for (const changed of this.#stale) this.objects.invalidate(changed);
    this.#stale = [];
    this.objects.failure = undefined;
    this.objects.beginNext();
  }

  /** Moves to the newest snapshot. */
  #renew(): void {
    const changed = this.#session.sync();
    this.objects.invalidate(changed);
    const told = [changed, ...this.#stale];
    const isAnother = told.includes("everything") || told.includes("replaced");
    if (!isAnother || this.#session.has(ROOT_OID)) return;
    // The server came back with an empty storage, which gets its root object as any other.
    if (this.#makeRootAgain()) {
      this.objects.invalidate(this.#session.sync());
    }
  }

  #read(oid: Oid): Uint8Array {
    if (this.objects.failure) throw this.objects.failure;
    try {
      return this.#session.load(oid);
    } catch (error) {
      if (!(error instanceof ReadConflictError)) throw error;
      return this.#readNewer(oid, error);
    }
  }

  // The storage no longer has our snapshot. That is fine as long as nothing
  // that the transaction has seen is different in the newest one.
  #readNewer(oid: Oid, cause: ReadConflictError): Uint8Array {
    const invalid = this.#session.sync();
    const conflicts = this.objects.accessed(invalid);
    if (invalid === "replaced") {
      const error = new ReadConflictError(
        `Cannot load object #${oid}: ${REPLACED}; call abort() and start over from the root`,
        { oids: conflicts, classes: this.#classNames(conflicts) },
        { cause },
      );
      this.#fail(error, invalid);
    }
    if (conflicts.length > 0) {
      const error = new ReadConflictError(
        `Cannot load object #${oid}: somebody else has changed ${
          this.list(conflicts)
        } since this transaction began; call abort() and start over`,
        { oids: conflicts, classes: this.#classNames(conflicts) },
        { cause },
      );
      this.#fail(error, invalid);
    }
    this.objects.invalidate(invalid);
    return this.#session.load(oid);
  }

  /** How a message names objects; one that is not in memory has no class. */
  list(oids: readonly Oid[]): string {
    const names = oids.slice(0, 3).map((oid) => {
      const slot = this.objects.cache.get(oid);
      return slot ? describe(slot) : `object #${oid}`;
    }).join(", ");
    const more = oids.length - 3;
    return more > 0 ? `${names} and ${more} more` : names;
  }

  #classNames(oids: readonly Oid[]): string[] {
    return oids.map((oid) =>
      this.objects.cache.get(oid)?.self._p_className ?? ""
    );
  }
}
