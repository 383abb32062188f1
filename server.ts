/**
 * The storage server: it lets several processes share one storage. It speaks
 * Durus' protocol, so that `ClientStorage` and Durus' own Python clients can
 * use it.
 *
 * @module
 */
import { ListenError } from "./lib/errors.ts";
import {
  type Address,
  DEFAULT_HOST,
  DEFAULT_PORT,
  formatAddress,
  isLocal,
  toAddress,
} from "./lib/protocol/address.ts";
import { Channel } from "./lib/protocol/channel.ts";
import { listenAt, type Listening } from "./lib/protocol/listen.ts";
import { Packer } from "./lib/protocol/packer.ts";
import { Client, type Limits, type Shared } from "./lib/protocol/protocol1.ts";
import { UnusedOids } from "./lib/protocol/unused_oids.ts";
import type { Storage } from "./lib/storage/storage.ts";

export { DEFAULT_HOST, DEFAULT_PORT };
export type { Oid } from "./lib/serialize/record.ts";
export type {
  CommitOptions,
  CommitResult,
  PackOptions,
  PackProgress,
  Session,
  SessionCommitOptions,
  SessionOptions,
  Storage,
  Tid,
} from "./lib/storage/storage.ts";

/** How important a line of the server's log is. */
export type LogLevel = "debug" | "info" | "error";

/** Options of a {@linkcode StorageServer}. */
export interface StorageServerOptions {
  /** What is served. The server does not close it. */
  storage: Storage;
  /** Host name or IP address to listen on; 127.0.0.1 unless given. */
  host?: string | undefined;
  /** TCP port to listen on, 0 for a free one; 2972 unless given. */
  port?: number | undefined;
  /**
   * Path of a Unix socket to listen on, instead of host and port. `@name` is an
   * abstract one (Linux). The socket of a server that was killed is replaced.
   */
  address?: string | undefined;
  /**
   * Allows to listen where other machines can connect. Whoever can connect can
   * read and write everything.
   */
  insecure?: boolean | undefined;
  /** Whether the `Q` request of a client stops the server; true unless given. */
  allowQuit?: boolean | undefined;
  /** Pack by itself each time that so many bytes were committed; 0, the default, is never. */
  gcbytes?: number | undefined;
  /** The longest commit taken, in bytes; 256 MiB unless given. */
  maxTransactionBytes?: number | undefined;
  /** The most objects that one request may load; 1,000,000 unless given. */
  maxLoadMany?: number | undefined;
  /** The most unused numbers that one client may hold; 4,000,000 unless given. */
  maxUnusedOids?: number | undefined;
  /** How long `shutdown()` waits for requests under way, in milliseconds; 5000 unless given. */
  grace?: number | undefined;
  /** Takes the lines of the log; nothing is logged unless given. */
  log?: ((level: LogLevel, message: string) => void) | undefined;
}

/**
 * Serves a storage on a TCP port or a Unix socket. Each client has a session
 * of its own, and one that stalls or dies costs the others nothing.
 *
 * A program must not use a blocking `ClientStorage` on a server in its own
 * thread: it would wait for itself.
 *
 * @example A server for as long as a block lasts
 * ```ts
 * import { MemoryStorage } from "@dhara/dhara";
 * import { StorageServer } from "@dhara/dhara/server";
 * import { assert } from "@std/assert";
 *
 * using storage = new MemoryStorage();
 * await using server = new StorageServer({ storage, port: 0 });
 * await server.listen();
 * assert(server.addr.transport === "tcp");
 * assert(server.addr.port > 0);
 * ```
 */
export class StorageServer implements AsyncDisposable {
  /** Resolves when the server has stopped, however that came about. */
  readonly finished: Promise<void>;

  #storage: Storage;
  #address: Address;
  #insecure: boolean;
  #grace: number;
  #log: (level: LogLevel, message: string) => void;
  #packer: Packer;
  #gcbytes: number;
  #bytesSincePack = 0;
  #shared: Shared;
  #stopping: Promise<void> | undefined;
  #started = false;
  #listening: Listening | undefined;
  #accepting: Promise<void> | undefined;
  #clients = new Map<Client, { conn: Deno.Conn; done: Promise<void> }>();
  #finish: () => void;

  /** Makes a server; `listen()` starts it. */
  constructor(options: StorageServerOptions) {
    this.#storage = options.storage;
    this.#address = toAddress(options);
    this.#insecure = options.insecure ?? false;
    this.#grace = options.grace ?? 5000;
    this.#gcbytes = options.gcbytes ?? 0;
    this.#log = options.log ?? (() => {});
    const { promise, resolve } = Promise.withResolvers<void>();
    this.finished = promise;
    this.#finish = resolve;
    this.#packer = this.#makePacker();
    this.#shared = this.#makeShared(options);
  }

  /**
   * Where the server listens, with the port that it got.
   *
   * @throws {ListenError} if it does not listen.
   */
  get addr(): Deno.Addr {
    if (this.#listening === undefined) {
      throw new ListenError(
        `Cannot tell where the server listens: it does not listen`,
      );
    }
    return this.#listening.listener.addr;
  }

  /** The same address as people write it: `127.0.0.1:2972`, or a path. */
  get name(): string {
    return this.#address.transport === "tcp" && this.#listening !== undefined
      ? formatAddress(this.addr)
      : formatAddress(this.#address);
  }

  /**
   * Starts to listen; resolves as soon as clients can connect.
   *
   * @throws {ListenError} if it cannot listen there, or the address can be
   * reached from other machines and `insecure` was not given.
   */
  async listen(): Promise<void> {
    if (this.#started || this.#stopping !== undefined) {
      throw new ListenError(
        `Cannot listen on ${this.name}: this server was started before`,
      );
    }
    if (!isLocal(this.#address) && !this.#insecure) {
      throw new ListenError(
        `Cannot listen on ${this.name}: other machines could read and write everything; use 127.0.0.1, or say that it may be insecure`,
      );
    }
    this.#started = true;
    const listening = await listenAt(this.#address);
    if (this.#stopping !== undefined) return listening.close();
    this.#listening = listening;
    this.#accepting = this.#accept(listening.listener);
    this.#log("info", `Ready on ${this.name}`);
  }

  /** Listens, and resolves when the server has stopped. */
  async serve(): Promise<void> {
    await this.listen();
    await this.finished;
  }

  /**
   * Stops the server. No more clients or requests are taken; requests under way
   * are finished and answered, up to the time of grace; then all clients are
   * cut off and the file of the Unix socket is removed. A pack under way is
   * given up. The storage stays open.
   */
  shutdown(): Promise<void> {
    return this.#stopping ??= this.#stop();
  }

  /** Does the same as `shutdown()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }

  async #stop(): Promise<void> {
    try {
      this.#listening?.close();
    } catch (error) {
      this.#log("error", `Cannot clean up ${this.name}: ${messageOf(error)}`);
    }
    for (const [client, { conn }] of this.#clients) {
      if (!client.busy) close(conn);
    }
    const packer = this.#packer.stop();
    const done = Promise.all([...this.#clients.values()].map((c) => c.done));
    let timer;
    const grace = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.#grace);
    });
    await Promise.race([done, grace]);
    clearTimeout(timer);
    for (const { conn } of this.#clients.values()) close(conn);
    await Promise.all([done, packer, this.#accepting]);
    this.#log("info", `Stopped on ${this.name}`);
    this.#listening = undefined;
    this.#finish();
  }

  async #accept(listener: Deno.Listener): Promise<void> {
    while (this.#stopping === undefined) {
      let conn;
      try {
        conn = await listener.accept();
      } catch (error) {
        if (this.#stopping !== undefined) return;
        // Such as too many open files: others may go, and then there is room.
        this.#log("error", `Cannot take a client: ${messageOf(error)}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
        continue;
      }
      this.#welcome(conn);
    }
  }

  #welcome(conn: Deno.Conn): void {
    const name = formatAddress(conn.remoteAddr);
    try {
      if ("setNoDelay" in conn) {
        const tcp = conn as Deno.TcpConn;
        tcp.setNoDelay(true);
        tcp.setKeepAlive(true);
      }
      const client = new Client(name, new Channel(conn), this.#shared);
      this.#log("debug", `${name} connected`);
      this.#clients.set(client, { conn, done: this.#attend(client, conn) });
    } catch (error) {
      this.#log("error", `Cannot serve ${name}: ${messageOf(error)}`);
      close(conn);
    }
  }

  async #attend(client: Client, conn: Deno.Conn): Promise<void> {
    try {
      await client.serve();
      this.#log("debug", `${client.name} is gone`);
    } catch (error) {
      if (isLoss(error)) {
        this.#log("debug", `${client.name} is gone: ${messageOf(error)}`);
      } else {
        this.#log(
          "error",
          `Closed the connection of ${client.name}: ${messageOf(error)}`,
        );
      }
    } finally {
      close(conn);
      this.#clients.delete(client);
    }
  }

  #makePacker(): Packer {
    return new Packer(this.#storage, {
      started: () => this.#log("info", "Packing"),
      finished: (progress) => {
        this.#bytesSincePack = 0;
        this.#log(
          "info",
          progress === undefined
            ? "Packed"
            : `Packed: ${progress.records} objects, ${progress.bytes} bytes`,
        );
      },
      failed: (error) => {
        this.#bytesSincePack = 0;
        this.#log("error", `Cannot pack: ${messageOf(error)}`);
      },
    });
  }

  #makeShared(options: StorageServerOptions): Shared {
    const limits: Limits = {
      transactionBytes: options.maxTransactionBytes ?? 256 * 1024 * 1024,
      loadMany: options.maxLoadMany ?? 1_000_000,
      unusedOids: options.maxUnusedOids ?? 4_000_000,
    };
    const isStopping = () => this.#stopping !== undefined;
    return {
      storage: this.#storage,
      limits,
      unused: new UnusedOids<Client>(),
      allowQuit: options.allowQuit ?? true,
      get stopping() {
        return isStopping();
      },
      pack: () => this.#packer.start(),
      quit: () => {
        this.#log("info", "A client stops the server");
        this.shutdown();
      },
      committed: (client, objects, bytes) => {
        this.#log(
          "debug",
          `${client.name} committed ${objects} objects, ${bytes} bytes`,
        );
        this.#bytesSincePack += bytes;
        if (this.#gcbytes > 0 && this.#bytesSincePack >= this.#gcbytes) {
          this.#packer.start();
        }
      },
    };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whether a connection broke, which is nobody's mistake. */
function isLoss(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionAborted ||
    error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.TimedOut ||
    // Our own shutdown closes sockets in the middle of a read.
    error instanceof Deno.errors.Interrupted ||
    error instanceof Deno.errors.BadResource;
}

function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // It was closed already.
  }
}
