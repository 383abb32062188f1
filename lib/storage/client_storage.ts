/**
 * A storage that lives in another process: it asks a server for everything,
 * and the program's thread waits for the answers.
 *
 * @module
 */
import {
  ObjectNotFoundError,
  ReadConflictError,
  StorageClosedError,
  StorageError,
} from "../errors.ts";
import { toAddress } from "../protocol/address.ts";
import { BlockingSocket, SocketWorker } from "../protocol/blocking_socket.ts";
import { Client1 } from "../protocol/client1.ts";
import { checkRecords, transactionLength } from "../protocol/transaction.ts";
import type { Oid } from "../serialize/record.ts";
import { packToEnd } from "./reachable.ts";
import type {
  CommitResult,
  PackOptions,
  PackProgress,
  Session,
  SessionCommitOptions,
  SessionOptions,
  Storage,
  Tid,
} from "./storage.ts";

/** The least numbers asked of the server at once. */
const POOL = 32;

/** Options of a {@linkcode ClientStorage}. */
export interface ClientStorageOptions {
  /** The server's host name or IP address; 127.0.0.1 unless given. */
  host?: string | undefined;
  /** The server's TCP port; 2972 unless given. */
  port?: number | undefined;
  /** Path of the server's Unix socket, instead of host and port. `@name` is an abstract one (Linux). */
  address?: string | undefined;
  /**
   * How long to wait for the server without any byte from it, in milliseconds,
   * before it is taken for dead; 60,000 unless given.
   */
  timeout?: number | undefined;
}

/**
 * The storage of a server, for any number of connections. Everything is
 * synchronous: a worker owns the sockets, and the calling thread stands still
 * until the answer is there. So the server cannot be in the same thread.
 *
 * The program needs the permission `--allow-net`. A program that ends without
 * `close()` ends all the same.
 *
 * The server tells no transaction numbers, so `tid` is the moment at which the
 * session learned of its snapshot. A snapshot is kept by the server, not by
 * the session: see {@linkcode ClientStorage.session}.
 *
 * @example Nobody answers
 * ```ts
 * import { ClientStorage, ServerUnavailableError } from "@dhara/dhara";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(
 *   () => new ClientStorage({ address: "/nowhere/dhara.sock" }),
 *   ServerUnavailableError,
 *   "Cannot connect to /nowhere/dhara.sock: no server answers there",
 * );
 * ```
 */
export class ClientStorage implements Storage {
  #options: ClientStorageOptions;
  #worker: SocketWorker | undefined;
  /** A connection that is open and not yet anybody's session. */
  #spare: Client1 | undefined;
  #sessions = new Set<ClientSession>();
  #closed = false;

  /**
   * Connects to a server.
   *
   * @throws {ServerUnavailableError} if no server answers at the address.
   * @throws {ProtocolError} if what answers there is not a server of ours.
   */
  constructor(options: ClientStorageOptions = {}) {
    this.#options = options;
    try {
      this.#spare = this.#connect();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Opens a session, which has a connection to the server of its own.
   *
   * After a commit that found changes of others (`invalid`) the server has
   * moved on. Until `sync()` these objects cannot be loaded, and `load` throws
   * a `ReadConflictError` for them; all others are as in the snapshot.
   *
   * @throws {ServerUnavailableError} if the server is gone.
   * @throws {StorageError} if it is asked for a moment of the past, which the protocol cannot.
   */
  session({ at }: SessionOptions = {}): Session {
    this.#check();
    if (at !== undefined) {
      throw new StorageError(
        "Cannot go back in time through a server: open its file",
      );
    }
    let client = this.#spare;
    this.#spare = undefined;
    if (client !== undefined) {
      try {
        // It may have been waiting for long: begin with the newest snapshot.
        client.sync();
      } catch {
        client.end();
        client = undefined;
      }
    }
    const session = new ClientSession(
      client ?? this.#connect(),
      () => this.#sessions.delete(session),
    );
    this.#sessions.add(session);
    return session;
  }

  /**
   * Asks the server to pack. It returns once the server has begun.
   *
   * @throws {StorageError} if it is told to keep something, which the protocol cannot.
   */
  pack(options?: PackOptions): PackProgress {
    return packToEnd(this.packInSteps(options));
  }

  /**
   * Asks the server to pack, in a single step. See {@linkcode Storage.packInSteps}.
   *
   * @throws {StorageError} if it is told to keep something, which the protocol cannot.
   */
  packInSteps(
    { keep, prepack }: PackOptions = {},
  ): Generator<PackProgress, void> {
    this.#check();
    if (keep !== undefined || prepack) {
      throw new StorageError(
        "Cannot tell a server what to keep when it packs: pack its file when the server has stopped",
      );
    }
    return this.#steps();
  }

  *#steps(): Generator<PackProgress, void> {
    this.#check();
    const client = this.#connect();
    try {
      client.pack();
    } finally {
      client.end();
    }
    yield { records: 0, bytes: 0 };
  }

  /** Closes all sessions and their connections. Closing twice is fine. */
  close(): void {
    this.#closed = true;
    for (const session of this.#sessions) session.close();
    this.#spare?.end();
    this.#spare = undefined;
    this.#worker?.terminate();
    this.#worker = undefined;
  }

  /** Does the same as `close()`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #connect(): Client1 {
    // A worker that did not answer in time was given up; begin with a new one.
    if (this.#worker === undefined || !this.#worker.alive) {
      this.#worker = new SocketWorker(this.#options.timeout ?? 60_000);
    }
    const address = toAddress(this.#options);
    return new Client1(new BlockingSocket(this.#worker, address));
  }

  #check(): void {
    if (this.#closed) {
      throw new StorageClosedError(
        "Cannot use the storage: it was closed",
      );
    }
  }
}

class ClientSession implements Session {
  #client: Client1;
  #onClose: () => void;
  #tid: Tid;
  /** Numbers from the server that were not asked for yet, the next one last. */
  #pool: Oid[] = [];
  /** What others changed since the snapshot, as far as the server told already. */
  #pending = new Set<Oid>();
  #closed = false;

  constructor(client: Client1, onClose: () => void) {
    this.#client = client;
    this.#onClose = onClose;
    this.#tid = newTid(0);
  }

  get tid(): Tid {
    return this.#tid;
  }

  allocate(count: number): Oid[] {
    this.#check();
    if (this.#pool.length < count) {
      const missing = Math.max(POOL, count - this.#pool.length);
      const more = this.#client.allocate(missing);
      this.#pool = more.reverse().concat(this.#pool);
    }
    return this.#pool.splice(this.#pool.length - count).reverse();
  }

  load(oid: Oid): Uint8Array {
    this.#check();
    this.#checkPending(oid);
    return this.#client.load(oid);
  }

  loadMany(oids: readonly Oid[]): Uint8Array[] {
    this.#check();
    for (const oid of oids) this.#checkPending(oid);
    return this.#client.loadMany(oids);
  }

  has(oid: Oid): boolean {
    this.#check();
    try {
      this.load(oid);
      return true;
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return false;
      throw error;
    }
  }

  sync(): Oid[] {
    this.#check();
    this.#learn(this.#client.sync());
    const changed = [...this.#pending];
    this.#pending.clear();
    this.#tid = newTid(this.#tid);
    return changed;
  }

  commit(
    records: Iterable<readonly [Oid, Uint8Array]>,
    { note, user, accessed = () => true }: SessionCommitOptions = {},
  ): CommitResult {
    this.#check();
    if (note !== undefined || user !== undefined) {
      throw new StorageError(
        "Cannot commit with a note or a user through a server: its protocol has no place for them",
      );
    }
    const all = checkRecords(records);
    if (all.size === 0) return { tid: this.#tid, changed: [] };
    if (transactionLength(all) >= 2 ** 32) {
      throw new StorageError(
        "Cannot commit: the protocol takes less than 4 GiB at once",
      );
    }
    this.#learn(this.#client.beginCommit());
    const changed = [...this.#pending];
    if (changed.some(accessed)) {
      this.#client.giveUpCommit();
      return { invalid: changed };
    }
    if (!this.#client.finishCommit(all)) {
      // Somebody was faster while the records travelled.
      this.#learn(this.#client.sync());
      return { invalid: [...this.#pending] };
    }
    this.#pending.clear();
    this.#tid = newTid(this.#tid);
    return { tid: this.#tid, changed };
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

  #learn(changed: readonly Oid[]): void {
    for (const oid of changed) this.#pending.add(oid);
  }

  #checkPending(oid: Oid): void {
    // What is no number of an object must not travel.
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

function newTid(last: Tid): Tid {
  return Math.max(Date.now() * 1000, last + 1);
}
