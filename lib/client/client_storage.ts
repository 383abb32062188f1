/**
 * A storage that lives in another process: it asks a server for everything,
 * and the program's thread waits for the answers.
 *
 * @module
 */
import { sleepSync } from "../sleep.ts";
import {
  ServerUnavailableError,
  StorageClosedError,
  StorageError,
} from "../errors.ts";
import { type Address, toAddress } from "../protocol/address.ts";
import { BlockingSocket, SocketWorker } from "./blocking_socket.ts";
import { Requests } from "./requests.ts";
import { ClientView } from "./view.ts";
import { StorageSession } from "../storage/session.ts";
import { packToEnd } from "../storage/pack.ts";
import {
  NO_FEATURES,
  type PackOptions,
  type Progress,
  type Session,
  type SessionOptions,
  type Storage,
  type StorageFeatures,
  type Tid,
} from "../storage/storage.ts";

/** The first pause between two attempts to connect, and the longest, in milliseconds. */
const PAUSES = { first: 20, longest: 1000 };

/** Options of a {@linkcode ClientStorage}. */
export interface ClientStorageOptions {
  /** The server's host name or IP address; 127.0.0.1 unless given. */
  host?: string | undefined;
  /** The server's TCP port; 2972 unless given. */
  port?: number | undefined;
  /** Path of the server's Unix socket, instead of host and port. `@name` is an abstract one (Linux). */
  address?: string | undefined;
  /**
   * How long to wait while no byte comes from the server or goes to it, in
   * milliseconds, before the connection is given up; 60,000 unless given. It is
   * no limit on how long an answer may take as a whole.
   */
  timeout?: number | undefined;
  /**
   * How long to try to reach the server again after it was lost, in
   * milliseconds; 10,000 unless given. It counts for all sessions together,
   * from when the first of them missed the server. After that each use tries
   * once, so that a program that serves others does not stand still for long.
   */
  reconnect?: number | undefined;
}

/**
 * The storage of a server, for any number of connections. Everything is
 * synchronous: a worker owns the sockets, and the calling thread stands still
 * until the answer is there. So the server cannot be in the same thread.
 *
 * The program needs the permission `--allow-net`. A program that ends without
 * `close()` ends all the same.
 *
 * A session outlives its server. When it loses it, the transaction under way
 * ends: `load` and `commit` throw a `ServerUnavailableError` until the session
 * is asked to `sync()`, as `Connection.abort()` does. That connects again, and
 * answers `"everything"`: all objects that are held become ghosts, and the next
 * transaction goes on from what the server has now. If that is another database,
 * or an earlier state of the same one, it answers `"replaced"`: the root becomes
 * that of the new database, and all other objects that the program has kept
 * refuse to be used. A server of Durus does not say which database it serves.
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
  /** What it can do: protocol 1 has no words for any of it. */
  readonly features: StorageFeatures = NO_FEATURES;
  readonly #address: Address;
  readonly #timeout: number;
  readonly #patience: number;
  #worker: SocketWorker | undefined;
  /** A connection that is open and not yet anybody's session. */
  #spare: Requests | undefined;
  #views = new Set<ClientView>();
  #identity: string | undefined;
  /** When the server was missed first, on the clock of `performance.now()`, unless it is there. */
  #missedSince: number | undefined;
  #closed = false;

  /**
   * Connects to a server.
   *
   * @throws {ServerUnavailableError} if no server answers at the address.
   * @throws {ProtocolError} if what answers there is not a server of ours.
   * @throws {StorageError} if `timeout` or `reconnect` is not a time.
   */
  constructor(options: ClientStorageOptions = {}) {
    this.#address = toAddress(options);
    this.#timeout = checkTime("timeout", options.timeout ?? 60_000, 1);
    this.#patience = checkTime("reconnect", options.reconnect ?? 10_000, 0);
    try {
      this.#spare = this.#connect();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Tells the database that the server served when it was connected to last, if it says it. */
  get identity(): string | undefined {
    return this.#identity;
  }

  /**
   * Opens a session, which has a connection to the server of its own.
   *
   * After a commit that found changes of others (`invalid`) the server has
   * moved on. Until `sync()` these objects cannot be loaded, and `load` throws
   * a `ReadConflictError` for them; all others are as in the snapshot.
   *
   * @throws {ServerUnavailableError} if the server is gone, and does not come
   * back in the time to reconnect.
   * @throws {StorageError} if it is asked for a moment of the past, which the protocol cannot.
   */
  session({ at }: SessionOptions = {}): Session {
    this.#check();
    if (at !== undefined) {
      throw new StorageError(
        "Cannot go back in time through a server: open its file",
      );
    }
    const view = new ClientView(this.#takeSpare() ?? this.#reconnect(), {
      checkOpen: () => this.#check(),
      reconnect: (seen) => this.#reconnect(seen),
      forget: (view) => this.#views.delete(view),
    });
    this.#views.add(view);
    return new StorageSession(view);
  }

  /**
   * Asks the server to pack. It returns once the server has begun.
   *
   * @throws {StorageError} if it is told to keep something, which the protocol cannot.
   */
  pack(options?: PackOptions): Progress {
    return packToEnd(this.packInSteps(options));
  }

  /**
   * Asks the server to pack, in a single step. See {@linkcode Storage.packInSteps}.
   *
   * @throws {StorageError} if it is told to keep something, which the protocol cannot.
   */
  packInSteps(
    { keep, prepack }: PackOptions = {},
  ): Generator<Progress, void> {
    this.#check();
    if (keep !== undefined || prepack) {
      throw new StorageError(
        "Cannot tell a server what to keep when it packs: pack its file when the server has stopped",
      );
    }
    return this.#steps();
  }

  *#steps(): Generator<Progress, void> {
    this.#check();
    const client = this.#reconnect();
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
    for (const view of this.#views) view.close();
    this.#spare?.end();
    this.#spare = undefined;
    this.#worker?.terminate();
    this.#worker = undefined;
  }

  /** Does the same as `close()`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** The connection that nobody uses yet, if it is still good. */
  #takeSpare(): Requests | undefined {
    const client = this.#spare;
    this.#spare = undefined;
    try {
      // It may have been waiting for long: begin with the newest snapshot.
      client?.sync();
      return client;
    } catch {
      client?.end();
      return undefined;
    }
  }

  /** Connects, and goes on trying with growing pauses while there is time. */
  #reconnect(seen?: Tid): Requests {
    for (let wait = PAUSES.first;; wait = Math.min(2 * wait, PAUSES.longest)) {
      try {
        const client = this.#connect(seen);
        this.#missedSince = undefined;
        return client;
      } catch (error) {
        if (!(error instanceof ServerUnavailableError)) throw error;
        const now = performance.now();
        this.#missedSince ??= now;
        const left = this.#missedSince + this.#patience - now;
        if (left <= 0) throw error;
        // Many clients miss a server at the same time, and should not all come back at once.
        sleepSync(Math.min(left, wait * (0.5 + Math.random())));
      }
    }
  }

  #connect(seen?: Tid): Requests {
    // A worker that did not answer was given up; begin with a new one.
    if (this.#worker === undefined || !this.#worker.alive) {
      this.#worker = new SocketWorker(this.#timeout);
    }
    const socket = new BlockingSocket(this.#worker, this.#address);
    try {
      const client = new Requests(socket, seen);
      this.#identity = client.served?.identity;
      return client;
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  #check(): void {
    if (this.#closed) {
      throw new StorageClosedError(
        "Cannot use the storage: it was closed",
      );
    }
  }
}

function checkTime(name: string, value: number, least: number): number {
  if (typeof value === "number" && value >= least) return value;
  throw new StorageError(
    `Cannot connect to a server: ${name} must be a number of milliseconds of ${least} or more, not ${value}`,
  );
}
