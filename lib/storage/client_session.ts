/**
 * A session on the storage of a server: one connection to it after the other,
 * as long as there is a server.
 *
 * @module
 */
import {
  ObjectNotFoundError,
  ReadConflictError,
  ServerUnavailableError,
  StorageClosedError,
  StorageError,
} from "../errors.ts";
import type { Client1 } from "../protocol/client1.ts";
import { type Records, transactionLength } from "../protocol/transaction.ts";
import type { Oid } from "../serialize/record.ts";
import { checkCount, checkRecords } from "./local_session.ts";
import { isEmpty, notesOf } from "./metadata.ts";
import type {
  Changed,
  CommitResult,
  Session,
  SessionCommitOptions,
  Tid,
} from "./storage.ts";

/** The least numbers asked of the server at once. */
const POOL = 32;

/** How often a commit is sent, when others are faster but change nothing that matters to it. */
const ATTEMPTS = 4;

/** A session on the storage of a server. */
export class ClientSession implements Session {
  #client: Client1;
  #reconnect: () => Client1;
  #onClose: () => void;
  #tid: Tid;
  /** Numbers from the server that were not asked for yet, the next one last. */
  #pool: Oid[] = [];
  /** What others changed since the snapshot, as far as the server told already. */
  #pending = new Set<Oid>();
  /** Why the snapshot is lost, if it is; `sync()` finds another. */
  #lost: ServerUnavailableError | undefined;
  #closed = false;

  /** Begins on a connection; `reconnect` makes another when that one is lost. */
  constructor(
    client: Client1,
    reconnect: () => Client1,
    onClose: () => void,
  ) {
    this.#client = client;
    this.#reconnect = reconnect;
    this.#onClose = onClose;
    this.#tid = newTid(0);
  }

  get tid(): Tid {
    return this.#tid;
  }

  allocate(count: number): Oid[] {
    this.#check();
    checkCount(count);
    if (this.#pool.length < count) {
      const missing = Math.max(POOL, count - this.#pool.length);
      const more = this.#ask((client) => client.allocate(missing));
      this.#pool = more.reverse().concat(this.#pool);
    }
    return this.#pool.splice(this.#pool.length - count).reverse();
  }

  load(oid: Oid): Uint8Array {
    this.#check();
    this.#checkLoad(oid);
    return this.#ask((client) => client.load(oid));
  }

  loadMany(oids: readonly Oid[]): Uint8Array[] {
    this.#check();
    for (const oid of oids) this.#checkLoad(oid);
    return this.#ask((client) => client.loadMany(oids));
  }

  /** The protocol has no such request: the object is loaded. */
  has(oid: Oid): boolean {
    try {
      this.load(oid);
      return true;
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return false;
      throw error;
    }
  }

  sync(): Changed {
    this.#check();
    if (this.#lost === undefined) {
      try {
        this.#learn(this.#ask((client) => client.sync()));
        const changed = [...this.#pending];
        this.#pending.clear();
        this.#tid = newTid(this.#tid);
        return changed;
      } catch (error) {
        // There is no snapshot to be lost: this was to find another anyway.
        if (this.#lost === undefined) throw error;
      }
    }
    this.#client.end();
    this.#client = this.#reconnect();
    this.#lost = undefined;
    this.#pending.clear();
    // They may be anybody's now.
    this.#pool = [];
    this.#tid = newTid(this.#tid);
    return "everything";
  }

  commit(
    records: Iterable<readonly [Oid, Uint8Array]>,
    options: SessionCommitOptions = {},
  ): CommitResult {
    this.#check();
    if (!isEmpty(notesOf(options))) {
      throw new StorageError(
        "Cannot commit with a note or a user through a server: its protocol has no place for them",
      );
    }
    const checked = checkRecords(records);
    // Taking the records may have run code of the caller.
    this.#check();
    if (checked.size === 0) return { tid: this.#tid, changed: [] };
    if (transactionLength(checked) >= 2 ** 32) {
      throw new StorageError(
        "Cannot commit: the protocol takes less than 4 GiB at once",
      );
    }
    const accessed = options.accessed ?? (() => true);
    return this.#ask((client) => this.#commit(client, checked, accessed));
  }

  #commit(
    client: Client1,
    records: Records,
    accessed: (oid: Oid) => boolean,
  ): CommitResult {
    for (let attempt = 1;; attempt++) {
      const news = client.beginCommit();
      this.#learn(news);
      const changed = [...this.#pending];
      if (changed.some(accessed)) {
        client.giveUpCommit();
        return { invalid: changed };
      }
      if (attempt > 1 && news.length === 0) {
        client.giveUpCommit();
        throw new StorageError(
          `Cannot commit: the server at ${client.name} refuses it, although nothing has changed; its log tells why`,
        );
      }
      if (client.finishCommit(records)) {
        this.#pending.clear();
        this.#tid = newTid(this.#tid);
        return { tid: this.#tid, changed };
      }
      // Somebody was faster while the records travelled.
      if (attempt === ATTEMPTS) {
        this.#learn(client.sync());
        return { invalid: [...this.#pending] };
      }
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#client.end();
    this.#onClose();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Asks the server for something; notes it when the server is lost. */
  #ask<T>(request: (client: Client1) => T): T {
    if (this.#lost !== undefined) throw this.#lost;
    try {
      return request(this.#client);
    } catch (cause) {
      if (!(cause instanceof ServerUnavailableError)) throw cause;
      throw this.#lost = new ServerUnavailableError(
        `${cause.message}; call abort() and start over`,
        { cause },
      );
    }
  }

  #learn(changed: readonly Oid[]): void {
    for (const oid of changed) this.#pending.add(oid);
  }

  #checkLoad(oid: Oid): void {
    if (!Number.isSafeInteger(oid) || oid < 0) {
      throw new ObjectNotFoundError(oid);
    }
    if (!this.#pending.has(oid)) return;
    throw new ReadConflictError(
      `Cannot load object #${oid}: it was changed since the snapshot`,
      { oids: [oid] },
    );
  }

  #check(): void {
    if (this.#closed) {
      throw new StorageClosedError("Cannot use the session: it was closed");
    }
  }
}

// The server tells none.
function newTid(last: Tid): Tid {
  return Math.max(Date.now() * 1000, last + 1);
}
