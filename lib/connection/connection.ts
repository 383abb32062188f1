/**
 * A connection: a session on a storage plus live objects.
 *
 * @module
 */
import type { PersistentDict } from "../collections/dict.ts";
import { ConflictError, ConnectionError } from "../errors.ts";
import {
  openJournal,
  openStorage,
  type OpenStorageOptions,
  serverAt,
} from "../open_storage.ts";
import {
  ClassRegistry,
  type PersistentClass,
  PROGRAM_CLASSES,
} from "../persistent/classes.ts";
import { isPromise } from "../persistent/is_promise.ts";
import type { PersistentObject } from "../persistent/persistent.ts";
import { isOid, type Oid } from "../serialize/record.ts";
import type {
  CommitOptions,
  PackOptions,
  Session,
  Storage,
  Tid,
} from "../storage/storage.ts";
import type { BeforeCommit } from "./before_commit.ts";
import { LiveObjects } from "./live_objects.ts";
import { openRoot } from "./open_root.ts";
import { pause } from "./pause.ts";
import { Transactions } from "./transactions.ts";

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
  /**
   * How many times to run the function at most, when others get in the way: 100
   * by default. The pauses between them are random, and grow to a tenth of a second.
   */
  attempts?: number;
}

/** What {@linkcode Connection.transact} does not take: a function that returns a promise, or may. */
export type Synchronous<T> = 0 extends 1 & T ? unknown // It is `any`.
  : [Extract<T, PromiseLike<unknown>>] extends [never] ? unknown
  : "the function given to transact() must not be asynchronous";

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
  #transactions: Transactions;
  #ownsStorage: boolean;
  #isPast: boolean;
  /** The classes that the program has given. */
  #programClasses: NonNullable<ConnectionOptions["classes"]>;
  #closed = false;
  #transacting = false;

  /**
   * Connects to a storage, or to the journal file at a path, which is made if
   * there is none and closed with the connection. An empty storage gets its
   * root object at once. What is no journal, `Connection.open` opens.
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
    this.#programClasses = options.classes ?? {};
    for (const [name, value] of Object.entries(this.#programClasses)) {
      classes.register(name, value);
    }
    const cacheSize = checkCacheSize(options.cacheSize ?? 100_000);
    this.#ownsStorage = typeof storage === "string";
    const { at } = options;
    this.#isPast = at !== undefined;
    this.storage = typeof storage === "string"
      ? openJournal(storage, { readonly: this.#isPast })
      : storage;
    try {
      this.#session = this.storage.session(at === undefined ? {} : { at });
      this.#transactions = new Transactions(this.#session, {
        detectForgottenChanges: options.detectForgottenChanges ?? false,
        makeObjects: (read) =>
          new LiveObjects(
            this,
            this.#session,
            read,
            classes,
            cacheSize,
            this.#isPast,
          ),
        makeRootAgain: () => this.#makeRootAgain(),
      });
      this.root = openRoot(this.#transactions, {
        name: "path" in this.storage ? `${this.storage.path}` : "the database",
        rootClass: options.rootClass,
        otherwise: classes.classOf("PersistentDict")!,
        isPast: this.#isPast,
      }) as unknown as Root;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Opens the database at a place, whatever is there, and connects to it: a
   * file of any format, or a server at `tcp:HOST:PORT` or `unix:PATH`. Closing
   * the connection closes the storage. See {@linkcode openStorage}.
   *
   * With `at` a file is opened for reading only, and not made.
   *
   * @throws {StorageError} if the file is no database of ours, or cannot be opened.
   * @throws {ServerUnavailableError} if no server answers at the address.
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
    place: string,
    options: ConnectionOptions<Root> & OpenStorageOptions = {},
  ): Promise<Connection<Root>> {
    const { at, readonly, sync, create, repair } = options;
    // A server says by itself that it has no past.
    const past = at !== undefined && !serverAt(place);
    const storage = await openStorage(place, {
      ...(readonly || past ? { readonly: true } : {}),
      ...(sync === undefined ? {} : { sync }),
      ...(create === undefined ? {} : { create }),
      ...(repair === undefined ? {} : { repair }),
    });
    try {
      const connection = new Connection<Root>(storage, options);
      connection.#ownsStorage = true;
      return connection;
    } catch (error) {
      storage.close();
      throw error;
    }
  }

  /** How many objects are held in memory; more than `cacheSize` only within a transaction. */
  get cacheCount(): number {
    return this.#transactions.objects.cache.count;
  }

  /** How many objects to keep in memory between transactions, about. */
  get cacheSize(): number {
    return this.#transactions.objects.cache.size;
  }

  set cacheSize(size: number) {
    this.#transactions.objects.cache.size = checkCacheSize(size);
  }

  /** How many times an object's state was loaded from the storage. */
  get loadCount(): number {
    return this.#transactions.objects.loadCount;
  }

  /** The number of the transaction under way: 1 for the first; each `commit()` and `abort()` begins the next. */
  get transactionSerial(): number {
    return this.#transactions.objects.serial;
  }

  /** The snapshot that this transaction reads, in microseconds since 1970. */
  get tid(): Tid {
    return this.#session.tid;
  }

  /** Whether there are changes that `commit()` would store. */
  get hasChanges(): boolean {
    return this.#transactions.objects.changed.size > 0;
  }

  /**
   * Returns the object with a number, or `undefined` if there is none in this
   * snapshot. That counts as access, too.
   *
   * @typeParam T What the program knows the object to be; it is not checked.
   * @throws {ConnectionError} if the connection was closed.
   */
  get<T extends PersistentObject = PersistentObject>(oid: Oid): T | undefined {
    this.#checkOpen("get()");
    if (!isOid(oid)) {
      throw new ConnectionError(
        `Cannot get object ${
          String(oid)
        }: an object's number is an integer from 0 to 2^53 - 1`,
      );
    }
    return this.#transactions.get(oid) as T | undefined;
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
    this.#checkIdle("commit()");
    this.#commit(options);
  }

  #commit(options: CommitOptions): void {
    this.#checkOpen("commit()");
    this.#transactions.commit(options);
  }

  /**
   * Calls `listener` in each commit that stores something, with all objects
   * that it is about to store; returns how to stop that. The listener may
   * change objects, which are stored too: all listeners are called again, in the
   * order in which they were added, with what was changed since they were shown
   * it, until nothing is. So one that keeps an index is added after those that
   * change what is indexed. If it throws, the commit
   * ends with that error, and nothing was stored.
   *
   * @throws {ConnectionError} if the connection was closed.
   *
   * @example Accounts may not be overdrawn
   * ```ts
   * import { Connection, MemoryStorage, Persistent } from "@dhara/dhara";
   * import { assertEquals, assertThrows } from "@std/assert";
   *
   * class Account extends Persistent {
   *   balance = 0;
   * }
   *
   * using connection = new Connection(new MemoryStorage(), {
   *   classes: { Account },
   * });
   * connection.beforeCommit((changes) => {
   *   for (const { object } of changes) {
   *     if (object instanceof Account && object.balance < 0) {
   *       throw new Error("an account is overdrawn");
   *     }
   *   }
   * });
   * const account = connection.root["ada"] = new Account();
   * connection.commit();
   * account.balance = -10;
   * assertThrows(() => connection.commit(), Error, "overdrawn");
   * connection.abort();
   * assertEquals(account.balance, 0);
   * ```
   */
  beforeCommit(listener: BeforeCommit): () => void {
    this.#checkOpen("beforeCommit()");
    return this.#transactions.listeners.add(listener);
  }

  /**
   * Takes all changes since the last `commit()` or `abort()` back, and moves to
   * the newest snapshot. If a server has another database by then, all objects
   * but the root can no longer be used: find them again from the root.
   *
   * @throws {ConnectionError} if the connection was closed.
   */
  abort(): void {
    this.#checkIdle("abort()");
    this.#abort();
  }

  #abort(): void {
    this.#checkOpen("abort()");
    this.#transactions.abort();
  }

  #makeRootAgain(): boolean {
    const root = this.root as unknown as PersistentObject | undefined;
    if (root === undefined) return false;
    new Connection(this.storage, {
      // Asking the object itself would load it.
      rootClass: Object.getPrototypeOf(root).constructor as PersistentClass,
      classes: this.#programClasses,
    }).close();
    return true;
  }

  /**
   * Lets go of objects within a transaction, once more than `cacheSize` are in
   * memory: those that were not used for longest, but none that is changed. It
   * is for a transaction that reads far more than fits into memory. What it has
   * read stays read: a change of somebody else to it is a conflict.
   *
   * An object that was let go is loaded again when it is next used. So a plain
   * array or object that the program took out of one before is no longer a part
   * of it. Until the program's synchronous job ends, something of each object
   * stays in memory: see the guide.
   *
   * @throws {ConnectionError} if the connection was closed, or a class's
   * `_p_getState()`, `_p_setState()` or the like calls it.
   *
   * @example
   * ```ts
   * import { Connection, MemoryStorage, PersistentDict } from "@dhara/dhara";
   * import { assertEquals } from "@std/assert";
   *
   * using connection = new Connection(new MemoryStorage(), { cacheSize: 10 });
   * const { root } = connection;
   * for (let i = 0; i < 100; i++) root[`page${i}`] = new PersistentDict([["n", i]]);
   * connection.commit();
   * let sum = 0;
   * for (const page of root.values()) {
   *   sum += page["n"];
   *   connection.shrink();
   * }
   * assertEquals(sum, 4950);
   * assertEquals(connection.cacheCount, 10);
   * ```
   */
  shrink(): void {
    this.#checkOpen("shrink()");
    this.#checkNoHook("shrink()");
    this.#transactions.objects.shrink();
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
  transact<T>(
    work: (() => T) & Synchronous<T>,
    options: TransactOptions = {},
  ): T {
    const { attempts = 100 } = options;
    if (typeof work !== "function") {
      throw new ConnectionError(
        `Cannot begin a transaction: transact() takes a function, not ${
          String(work)
        }`,
      );
    }
    if (!Number.isInteger(attempts) || attempts < 1) {
      throw new ConnectionError(
        `Cannot begin a transaction: attempts must be an integer of 1 or more, not ${attempts}`,
      );
    }
    this.#checkOpen("transact()");
    if (this.#transacting) {
      throw new ConnectionError(
        "Cannot begin a transaction: transact() is running already",
      );
    }
    this.#checkNoHook("transact()");
    this.#checkNoChanges("begin a transaction");
    this.#transacting = true;
    try {
      for (let attempt = 1;; attempt++) {
        this.#abort();
        let running: PromiseLike<unknown> | undefined;
        try {
          const result = work();
          if (isPromise(result)) {
            running = result;
            throw new ConnectionError(
              "Cannot commit: the function given to transact() is asynchronous",
            );
          }
          this.#commit(options);
          return result;
        } catch (error) {
          try {
            this.#abort();
          } catch {
            // Such as a server that is gone: what came first tells more.
          }
          if (running !== undefined) this.#waitFor(running);
          if (!(error instanceof ConflictError) || attempt >= attempts) {
            throw error;
          }
        }
        pause(attempt);
      }
    } finally {
      this.#transacting = false;
    }
  }

  // A function that goes on after its transaction has ended must change nothing.
  #waitFor(running: PromiseLike<unknown>): void {
    this.#transactions.objects.locked = new ConnectionError(
      "Cannot use the connection: the asynchronous function given to transact() has not ended yet; its changes are not stored",
    );
    const end = () => {
      this.#transactions.objects.locked = undefined;
      try {
        if (!this.#closed) this.#abort();
      } catch {
        // The next transaction will find out.
      }
    };
    // Whatever becomes of it was not asked for.
    Promise.resolve(running).then(end, end);
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
    this.#checkIdle("pack()");
    this.#checkNoChanges("pack");
    this.storage.pack(options);
    this.#abort();
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
    this.#transactions?.objects.close();
    this.#session?.close();
    if (this.#ownsStorage) this.storage?.close();
  }

  /** Ends the connection, as `close()` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  #checkOpen(what: string): void {
    if (this.#closed) {
      throw new ConnectionError(
        `Cannot call ${what}: the connection was closed`,
      );
    }
    if (this.#transactions.objects.locked) {
      throw this.#transactions.objects.locked;
    }
  }

  /** Nothing must be going on that needs the transaction as it is. */
  #checkIdle(what: string): void {
    this.#checkNoHook(what);
    if (this.#transacting) {
      throw new ConnectionError(
        `Cannot call ${what}: transact() is running, which commits when its function returns, and aborts when it throws`,
      );
    }
  }

  #checkNoHook(what: string): void {
    if (this.#transactions.objects.busy) {
      throw new ConnectionError(
        `Cannot call ${what}: ${this.#transactions.objects.busy}`,
      );
    }
  }

  #checkNoChanges(what: string): void {
    if (!this.hasChanges) return;
    throw new ConnectionError(
      `Cannot ${what}: there are uncommitted changes to ${
        this.#transactions.list([...this.#transactions.objects.changed.keys()])
      }; call commit() or abort() first`,
    );
  }
}

function checkCacheSize(size: number): number {
  if (!Number.isSafeInteger(size) || size < 1) {
    throw new ConnectionError(
      `Cannot set the cache size to ${size}: it must be an integer of 1 or more`,
    );
  }
  return size;
}
