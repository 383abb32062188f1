/**
 * A connection: a session on a storage plus live objects.
 *
 * @module
 */
import type { PersistentDict } from "../collections/dict.ts";
import {
  ClassError,
  ConflictError,
  ConnectionError,
  ObjectNotFoundError,
  ReadConflictError,
  WriteConflictError,
} from "../errors.ts";
import { type Oid, ROOT_OID } from "../serialize/record.ts";
import { FileStorage } from "../storage/file_storage.ts";
import { describeTid } from "../storage/moment.ts";
import type {
  Changed,
  CommitOptions,
  PackOptions,
  Session,
  Storage,
  Tid,
} from "../storage/storage.ts";
import {
  openStorage,
  type OpenStorageOptions,
} from "../storage/open_storage.ts";
import {
  ClassRegistry,
  type PersistentClass,
  PROGRAM_CLASSES,
} from "./classes.ts";
import { checkForgottenChanges } from "./forgotten.ts";
import { describe, LiveObjects } from "./live_objects.ts";
import type { PersistentObject } from "./persistent.ts";
import { type Slot, slotOf } from "./slot.ts";

/**
 * Settings of a {@linkcode Connection}.
 *
 * @typeParam Root The type of the root object.
 */
export interface ConnectionOptions<Root extends object = DefaultRoot> {
  /** Classes by the names that they are stored under, beside those of `registerClass`. */
  classes?: Record<string, PersistentClass>;
  /** The class of the root object, `PersistentDict` by default. It must be registered. */
  rootClass?: PersistentClass & { readonly prototype: Root };
  /** How many objects to keep in memory between transactions, about: 100,000 by default. */
  cacheSize?: number;
  /**
   * At each commit, compare every object that the transaction read with what is
   * stored, and throw {@linkcode ForgottenChangeError} if a plain value inside
   * it was changed and `_p_noteChange()` was not called. Slow: for development.
   */
  detectForgottenChanges?: boolean;
  /**
   * A moment of the past: the connection shows the database as it was then, and
   * nothing can be changed. See {@linkcode SessionOptions}.
   */
  at?: Tid | Date;
}

/** Settings of {@linkcode Connection.transact}. */
export interface TransactOptions extends CommitOptions {
  /** How many times to run the function at most, when others get in the way: 10 by default. */
  attempts?: number;
}

/** The root's type where the program does not say another. */
// deno-lint-ignore no-explicit-any
export type DefaultRoot = PersistentDict<string, any> & Record<string, any>;

/**
 * One participant's view of a database: live objects, the changes made to
 * them, `commit()` and `abort()`. Between two of these calls the program sees
 * one snapshot, whatever others commit meanwhile. Any number of connections
 * can share one storage; a connection is not to be shared among threads.
 *
 * @example
 * ```ts
 * import { Connection, MemoryStorage } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * const storage = new MemoryStorage();
 * using connection = new Connection(storage);
 * connection.root["hello"] = "world";
 * connection.commit();
 *
 * using other = new Connection(storage);
 * assertEquals(other.root["hello"], "world");
 * ```
 *
 * @typeParam Root The type of the root object.
 */
export class Connection<Root extends object = DefaultRoot>
  implements Disposable {
  /** The storage underneath. */
  readonly storage: Storage;
  /** The root object: whatever can be reached from it is stored. */
  readonly root: Root;
  #session: Session;
  #objects: LiveObjects;
  #ownsStorage: boolean;
  #detectForgottenChanges: boolean;
  #isPast: boolean;
  #closed = false;
  #transacting = false;

  /**
   * Connects to a storage, or to the journal file at a path, which is made if
   * there is none and closed with the connection. An empty storage gets its
   * root object at once.
   *
   * With `at` it is read-only, and a file at a path is opened for reading only.
   *
   * @throws {ConnectionError} if there was no root object at the moment `at`.
   * @throws {ClassError} if a class cannot be registered, or the root is of another class.
   * @throws {StorageError} if the file cannot be opened, or the storage cannot
   * show the moment `at`.
   */
  constructor(
    storage: Storage | string,
    options: ConnectionOptions<Root> = {},
  ) {
    const classes = new ClassRegistry(PROGRAM_CLASSES);
    for (const [name, value] of Object.entries(options.classes ?? {})) {
      classes.register(name, value);
    }
    const cacheSize = checkCacheSize(options.cacheSize ?? 100_000);
    this.#detectForgottenChanges = options.detectForgottenChanges ?? false;
    this.#ownsStorage = typeof storage === "string";
    const { at } = options;
    this.#isPast = at !== undefined;
    this.storage = typeof storage === "string"
      ? new FileStorage(storage, { readonly: this.#isPast })
      : storage;
    try {
      this.#session = this.storage.session(at === undefined ? {} : { at });
      this.#objects = new LiveObjects(
        this,
        this.#session,
        (oid) => this.#read(oid),
        classes,
        cacheSize,
        this.#isPast,
      );
      const root = this.#openRoot(options.rootClass, classes);
      this.root = root as unknown as Root;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Opens the database in a file, whatever its format, and connects to it.
   * Closing the connection closes the storage. See {@linkcode openStorage}.
   *
   * @throws {StorageError} if the file is no database of ours, or cannot be opened.
   *
   * @example
   * ```ts
   * import { Connection } from "@dhara/dhara";
   * import { assertEquals } from "@std/assert";
   *
   * const path = Deno.makeTempDirSync() + "/example.sqlite";
   * using connection = await Connection.open(path);
   * connection.root["hello"] = "world";
   * connection.commit();
   * assertEquals(connection.root["hello"], "world");
   * ```
   *
   * @typeParam Root The type of the root object.
   */
  static async open<Root extends object = DefaultRoot>(
    path: string,
    options: ConnectionOptions<Root> & OpenStorageOptions = {},
  ): Promise<Connection<Root>> {
    const storage = await openStorage(path, options);
    try {
      const connection = new Connection<Root>(storage, options);
      connection.#ownsStorage = true;
      return connection;
    } catch (error) {
      storage.close();
      throw error;
    }
  }

  #openRoot(
    rootClass: PersistentClass | undefined,
    classes: ClassRegistry,
  ): PersistentObject {
    const type = rootClass ?? classes.classOf("PersistentDict")!;
    let root = this.get(ROOT_OID);
    if (root === undefined && this.#isPast) {
      throw new ConnectionError(
        `Cannot show the database as of ${
          describeTid(this.tid)
        }: there was no root object yet`,
      );
    }
    if (root === undefined) {
      const made = this.#makeRoot(type);
      try {
        this.commit();
        root = made;
      } catch (error) {
        // Somebody else may have made it in the meantime.
        if (!(error instanceof WriteConflictError)) throw error;
        this.abort();
        root = this.get(ROOT_OID)!;
      }
    }
    const found = root._p_className;
    if (rootClass !== undefined && !(root instanceof rootClass)) {
      throw new ClassError(
        `Cannot open the database: its root is a ${found}, not a ${rootClass.name}`,
      );
    }
    return root;
  }

  #makeRoot(type: PersistentClass): PersistentObject {
    const made = new type();
    try {
      this.#objects.adopt(slotOf(made)!, ROOT_OID);
    } catch (cause) {
      if (!(cause instanceof ClassError)) throw cause;
      throw new ClassError(
        `Cannot make the root object: ${cause.message}`,
        { cause },
      );
    }
    return made;
  }

  /** How many objects are held in memory; more than `cacheSize` only within a transaction. */
  get cacheCount(): number {
    return this.#objects.cache.count;
  }

  /** How many objects to keep in memory between transactions, about. */
  get cacheSize(): number {
    return this.#objects.cache.size;
  }

  set cacheSize(size: number) {
    this.#objects.cache.size = checkCacheSize(size);
  }

  /** How many times an object's state was loaded from the storage. */
  get loadCount(): number {
    return this.#objects.loadCount;
  }

  /** The number of the transaction under way: 1 for the first; each `commit()` and `abort()` begins the next. */
  get transactionSerial(): number {
    return this.#objects.serial;
  }

  /** The snapshot that this transaction reads, in microseconds since 1970. */
  get tid(): number {
    return this.#session.tid;
  }

  /** Whether there are changes that `commit()` would store. */
  get hasChanges(): boolean {
    return this.#objects.changed.size > 0;
  }

  /**
   * Returns the object with a number, or `undefined` if there is none in this
   * snapshot.
   *
   * @throws {ConnectionError} if the connection was closed.
   */
  get(oid: Oid): PersistentObject | undefined {
    this.#checkOpen("get()");
    if (!Number.isSafeInteger(oid) || oid < 0) {
      throw new ConnectionError(
        `Cannot get object ${
          String(oid)
        }: an object's number is an integer from 0 to 2^53 - 1`,
      );
    }
    try {
      const slot = this.#objects.find(oid);
      slot.noteAccess();
      return slot.self;
    } catch (error) {
      if (error instanceof ObjectNotFoundError && error.oid === oid) return;
      throw error;
    }
  }

  /**
   * Makes all changes since the last `commit()` or `abort()` durable, all of
   * them or none, and moves to the newest snapshot. If it throws, nothing was
   * stored, and the changes are still there. A storage that keeps a history
   * keeps a note and a user with the transaction, if there is anything to store.
   *
   * @throws {WriteConflictError} if somebody else has changed an object that
   * this transaction accessed: call `abort()` and start over.
   * @throws {EncodeError} if something cannot be stored; the message names the path to it.
   * @throws {ForgottenChangeError} if that was asked for, see {@linkcode ConnectionOptions}.
   * @throws {StorageError} if the storage cannot store it, or keeps no notes.
   * @throws {ReadonlyError} if nothing can be changed.
   * @throws {ServerUnavailableError} if a server went away; then, alone of all,
   * the changes may have been stored.
   */
  commit(options: CommitOptions = {}): void {
    this.#checkOpen("commit()");
    this.#checkIdle("commit()");
    if (this.#objects.failure) throw this.#objects.failure;
    if (this.#detectForgottenChanges) {
      checkForgottenChanges(this.#objects, this.#session);
    }
    if (this.hasChanges) this.#store(options);
    else this.#objects.invalidate(this.#session.sync());
    this.#begin();
  }

  #store(options: CommitOptions): void {
    const changes = this.#objects.encode();
    let changed: readonly Oid[];
    try {
      for (;;) {
        const result = this.#session.commit(changes.records, {
          ...options,
          accessed: (oid) => this.#objects.wasAccessed(oid),
        });
        if ("tid" in result) {
          changed = result.changed;
          break;
        }
        this.#checkConflicts(result.invalid);
        // Nothing of it matters here: go on from the newest snapshot.
        this.#moveOn(this.#session.sync());
      }
    } catch (error) {
      this.#objects.takeBack(changes);
      throw error;
    }
    this.#objects.settle(changes);
    this.#objects.invalidate(changed);
  }

  /** The snapshot has moved in the middle of a transaction, which is fine unless it shows. */
  #moveOn(invalid: Changed): void {
    try {
      this.#checkConflicts(invalid);
    } catch (error) {
      this.#fail(error as WriteConflictError, invalid);
    }
    this.#objects.invalidate(invalid);
  }

  // What `abort()` must still invalidate, since `sync()` will not tell it again.
  #stale: Changed[] = [];

  // From now on nothing can be loaded or stored until `abort()`.
  #fail(error: ConflictError, invalid: Changed): never {
    this.#objects.failure = error;
    this.#stale.push(invalid);
    throw error;
  }

  #checkConflicts(invalid: readonly Oid[] | "everything"): void {
    const oids = this.#objects.accessed(invalid);
    if (oids.length === 0) return;
    const slots = oids.map((oid) => this.#objects.cache.get(oid)!);
    throw new WriteConflictError(
      `Cannot commit: somebody else has changed ${
        list(slots)
      }; call abort() and start over`,
      { oids, classes: slots.map((slot) => slot.self._p_className) },
    );
  }

  /**
   * Takes all changes since the last `commit()` or `abort()` back, and moves to
   * the newest snapshot.
   *
   * @throws {ConnectionError} if the connection was closed.
   */
  abort(): void {
    this.#checkOpen("abort()");
    this.#checkIdle("abort()");
    this.#objects.dropChanges();
    this.#objects.invalidate(this.#session.sync());
    for (const changed of this.#stale) this.#objects.invalidate(changed);
    this.#stale = [];
    this.#objects.failure = undefined;
    this.#begin();
  }

  #begin(): void {
    this.#objects.cache.shrink(this.#objects.serial);
    this.#objects.serial++;
  }

  /**
   * Runs a function as one transaction: commits when it returns, aborts when it
   * throws, and runs it again, on the newest snapshot, when somebody else got
   * in the way. The function must bear running more than once.
   *
   * @throws {ConnectionError} if there are uncommitted changes already, or the
   * function is asynchronous or calls `transact` itself.
   * @throws {ConflictError} if it still conflicts after the last attempt.
   *
   * @example
   * ```ts
   * import { Connection, MemoryStorage } from "@dhara/dhara";
   * import { assertEquals } from "@std/assert";
   *
   * using connection = new Connection(new MemoryStorage());
   * const visits = connection.transact(() => {
   *   const { root } = connection;
   *   return root["visits"] = (root["visits"] ?? 0) + 1;
   * });
   * assertEquals(visits, 1);
   * ```
   */
  transact<T>(work: () => T, options: TransactOptions = {}): T {
    const { attempts = 10 } = options;
    if (!Number.isInteger(attempts) || attempts < 1) {
      throw new ConnectionError(
        `Cannot begin a transaction: attempts must be an integer of 1 or more, not ${attempts}`,
      );
    }
    if (this.#transacting) {
      throw new ConnectionError(
        "Cannot begin a transaction: transact() is running already",
      );
    }
    this.#checkNoChanges("begin a transaction");
    this.#transacting = true;
    try {
      for (let attempt = 1;; attempt++) {
        this.abort();
        try {
          const result = work();
          if (typeof (result as PromiseLike<T>)?.then === "function") {
            throw new ConnectionError(
              "Cannot commit: the function given to transact() is asynchronous",
            );
          }
          this.commit(options);
          return result;
        } catch (error) {
          try {
            this.abort();
          } catch {
            // Such as a server that is gone: what came first tells more.
          }
          if (!(error instanceof ConflictError) || attempt >= attempts) {
            throw error;
          }
        }
      }
    } finally {
      this.#transacting = false;
    }
  }

  /**
   * Packs the storage: drops objects that cannot be reached from the root, and
   * old revisions, except for what it is told to keep.
   *
   * @throws {ConnectionError} if there are uncommitted changes.
   * @throws {StorageError} if the storage cannot be packed.
   */
  pack(options: PackOptions = {}): void {
    this.#checkOpen("pack()");
    this.#checkNoChanges("pack");
    this.storage.pack(options);
    this.abort();
  }

  /**
   * Ends the connection; uncommitted changes are dropped, and its objects can
   * no longer be used. The storage is closed too if the connection was made
   * from a path. Closing twice is fine.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // Either may be missing if the constructor failed.
    this.#objects?.close();
    this.#session?.close();
    if (this.#ownsStorage) this.storage?.close();
  }

  /** Ends the connection, as `close()` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  #read(oid: Oid): Uint8Array {
    if (this.#objects.failure) throw this.#objects.failure;
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
    const conflicts = this.#objects.accessed(invalid);
    if (conflicts.length > 0) {
      const slots = conflicts.map((oid) => this.#objects.cache.get(oid)!);
      const error = new ReadConflictError(
        `Cannot load object #${oid}: somebody else has changed ${
          list(slots)
        } since this transaction began; call abort() and start over`,
        {
          oids: conflicts,
          classes: slots.map((slot) => slot.self._p_className),
        },
        { cause },
      );
      this.#fail(error, invalid);
    }
    this.#objects.invalidate(invalid);
    return this.#session.load(oid);
  }

  #checkOpen(what: string): void {
    if (this.#closed) {
      throw new ConnectionError(
        `Cannot call ${what}: the connection was closed`,
      );
    }
  }

  #checkIdle(what: string): void {
    if (this.#objects.encoding) {
      throw new ConnectionError(
        `Cannot call ${what}: commit() is running already`,
      );
    }
  }

  #checkNoChanges(what: string): void {
    if (!this.hasChanges) return;
    const slots = [...this.#objects.changed.values()];
    throw new ConnectionError(
      `Cannot ${what}: there are uncommitted changes to ${
        list(slots)
      }; call commit() or abort() first`,
    );
  }
}

function list(slots: readonly Slot[]): string {
  const names = slots.slice(0, 3).map(describe).join(", ");
  const more = slots.length - 3;
  return more > 0 ? `${names} and ${more} more` : names;
}

function checkCacheSize(size: number): number {
  if (!Number.isSafeInteger(size) || size < 1) {
    throw new ConnectionError(
      `Cannot set the cache size to ${size}: it must be an integer of 1 or more`,
    );
  }
  return size;
}
