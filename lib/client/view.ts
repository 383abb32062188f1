/**
 * What one session sees of the storage of a server: through one connection to it
 * after the other, as long as there is a server.
 *
 * @module
 */
import {
  ObjectNotFoundError,
  ProtocolError,
  ReadConflictError,
  ServerUnavailableError,
  StorageError,
} from "../errors.ts";
import type { Requests } from "./requests.ts";
import type { Served } from "../protocol/identity.ts";
import { transactionLength } from "../protocol/transaction.ts";
import {
  type Oid,
  recordReferences,
  type Records,
} from "../serialize/record.ts";
import type { Notes } from "../storage/notes.ts";
import { OidSet } from "../storage/oid_set.ts";
import type { View } from "../storage/session.ts";
import type { Changed, CommitResult, Tid } from "../storage/storage.ts";

/** How often a commit is sent, when others are faster but change nothing that matters to it. */
const ATTEMPTS = 4;

/** What a view needs of its storage. */
export interface Owner {
  /** Throws if the storage was closed. */
  checkOpen(): void;
  /** Makes a connection when another was lost, which had seen so much. */
  reconnect(seen?: Tid): Requests;
  /** Forgets the view of a session that was closed. */
  forget(view: ClientView): void;
}

/** What one session sees of the storage of a server. */
export class ClientView implements View {
  readonly isPast = false;
  /** The server says so itself. */
  readonly readonly = false;
  readonly noNotes = "its protocol has no place for them";
  #client: Requests;
  readonly #owner: Owner;
  #tid: Tid;
  /** What others changed since the snapshot, as far as the server told already. */
  #pending = new Set<Oid>();
  /** Why the snapshot is lost, if it is; `sync()` finds another. */
  #lost: ServerUnavailableError | ProtocolError | undefined;
  /**
   * If there was another connection before: the objects that are there since
   * this one, as far as is known. The server does not know what the program has
   * held before, and so cannot tell that a pack has removed it meanwhile.
   */
  #certain: OidSet | undefined;
  #closed = false;

  /** Begins on a connection. */
  constructor(client: Requests, owner: Owner) {
    this.#client = client;
    this.#owner = owner;
    this.#tid = newTid(0);
  }

  get name(): string {
    return `the server at ${this.#client.name}`;
  }

  get tid(): Tid {
    return this.#tid;
  }

  checkOpen(): void {
    this.#owner.checkOpen();
  }

  allocate(count: number): Oid[] {
    return count === 0 ? [] : this.#ask((client) => client.allocate(count));
  }

  load(oid: Oid): Uint8Array {
    this.#checkLoad(oid);
    const record = this.#ask((client) => client.load(oid));
    this.#certain?.add(oid);
    return record;
  }

  loadMany(oids: readonly Oid[]): Uint8Array[] {
    for (const oid of oids) this.#checkLoad(oid);
    const records = this.#ask((client) => client.loadMany(oids));
    for (const oid of oids) this.#certain?.add(oid);
    return records;
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

  /** The protocol has no such request: the object is loaded. */
  length(oid: Oid): number {
    try {
      return this.load(oid).length;
    } catch (error) {
      if (
        error instanceof ObjectNotFoundError ||
        error instanceof ReadConflictError
      ) return 0;
      throw error;
    }
  }

  sync(): Changed {
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
    const before = this.#client.served;
    this.#client.end();
    this.#client = this.#owner.reconnect(before?.tid);
    this.#lost = undefined;
    this.#pending.clear();
    this.#certain = new OidSet();
    this.#tid = newTid(this.#tid);
    return goesOn(before, this.#client.served) ? "everything" : "replaced";
  }

  commit(
    records: Records,
    _notes: Notes,
    accessed: (oid: Oid) => boolean,
  ): CommitResult {
    if (transactionLength(records) >= 2 ** 32) {
      throw new StorageError(
        "Cannot commit: the protocol takes less than 4 GiB at once",
      );
    }
    return this.#ask((client) => {
      const certain = this.#certain;
      if (certain !== undefined) checkReferences(client, records, certain);
      const result = this.#commit(client, records, accessed);
      if ("tid" in result) {
        for (const oid of records.keys()) certain?.add(oid);
      }
      return result;
    });
  }

  #commit(
    client: Requests,
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
    this.#owner.forget(this);
  }

  /** Asks the server for something; notes it when the server is lost. */
  #ask<T>(request: (client: Requests) => T): T {
    if (this.#lost !== undefined) throw this.#lost;
    try {
      return request(this.#client);
    } catch (cause) {
      // After nonsense it is not known what the next answer would be to.
      const Lost = cause instanceof ProtocolError
        ? ProtocolError
        : ServerUnavailableError;
      if (!(cause instanceof Lost)) throw cause;
      throw this.#lost = new Lost(
        `${cause.message}; call abort() and start over`,
        { cause },
      );
    }
  }

  #learn(changed: readonly Oid[]): void {
    for (const oid of changed) this.#pending.add(oid);
  }

  #checkLoad(oid: Oid): void {
    if (!this.#pending.has(oid)) return;
    throw new ReadConflictError(
      `Cannot load object #${oid}: it was changed since the snapshot`,
      { oids: [oid] },
    );
  }
}

/**
 * Whether a server that was connected to anew serves what the one before has
 * served, and has lost nothing of what was seen of it. Where neither says what
 * it serves, it is believed.
 */
function goesOn(before: Served | undefined, now: Served | undefined): boolean {
  return before?.identity === now?.identity && (now?.known ?? true);
}

/**
 * Makes sure that whatever the records refer to is there, or was since the
 * connection began: then the server knows what packs have removed since.
 */
function checkReferences(
  client: Requests,
  records: Records,
  certain: OidSet,
): void {
  for (const [oid, record] of records) {
    const doubtful = () =>
      recordReferences(record).filter((reference) =>
        !certain.has(reference) && !records.has(reference)
      );
    if (doubtful().length === 0) continue;
    // What an object has referred to is there. It may be much, and is little to ask for.
    const before = certain.has(oid) ? find(client, oid) : undefined;
    if (before instanceof Uint8Array) {
      for (const reference of recordReferences(before)) certain.add(reference);
    }
    for (const reference of doubtful()) {
      if (find(client, reference) === undefined) {
        throw new StorageError(
          `Cannot commit object #${oid}: it refers to object #${reference}, which is not there any more, since a pack has removed it while the server could not be reached; abort and make that object anew`,
        );
      }
      certain.add(reference);
    }
  }
}

/** Returns a record, `undefined` if there is none, and "changed" if it was changed or removed just now. */
function find(
  client: Requests,
  oid: Oid,
): Uint8Array | "changed" | undefined {
  try {
    return client.load(oid);
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return undefined;
    if (error instanceof ReadConflictError) return "changed";
    throw error;
  }
}

// The server tells none.
function newTid(last: Tid): Tid {
  return Math.max(Date.now() * 1000, last + 1);
}
