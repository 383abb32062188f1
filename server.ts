/**
 * The storage server: it lets several processes share one storage. It speaks
 * Durus' protocol, so that `ClientStorage` and Durus' own Python clients can
 * use it.
 *
 * @module
 */
import { messageOf } from "./lib/message.ts";
import { ListenError } from "./lib/errors.ts";
import {
  type Address,
  DEFAULT_HOST,
  DEFAULT_PORT,
  formatAddress,
  isLocal,
  toAddress,
} from "./lib/protocol/address.ts";
import { Channel } from "./lib/server/channel.ts";
import { type LimitOptions, limitsOf } from "./lib/server/limits.ts";
import type { StorageServerOptions } from "./lib/server/options.ts";
import { listenAt, type Listening } from "./lib/server/listen.ts";
import { Packer } from "./lib/server/packer.ts";
import { Peer1, type Shared } from "./lib/server/peer1.ts";
import { QuietLog } from "./lib/server/quiet_log.ts";
import { Room } from "./lib/server/room.ts";
import { close, turnAway } from "./lib/server/turn_away.ts";
import { Turns } from "./lib/server/turns.ts";
import { UnusedOids } from "./lib/server/unused_oids.ts";
import type { Storage } from "./lib/storage/storage.ts";

export { DEFAULT_HOST, DEFAULT_PORT };
export type { LimitOptions, StorageServerOptions };
export type { LogLevel } from "./lib/server/quiet_log.ts";
export type { Oid } from "./lib/serialize/record.ts";
export type {
  CommitOptions,
  CommitResult,
  PackOptions,
  Progress,
  Session,
  SessionCommitOptions,
  SessionOptions,
  Storage,
  Tid,
} from "./lib/storage/storage.ts";

/** How often the server looks for clients that take too long, in milliseconds. */
const LOOK = 250;
/** How many clients are told at the same time that there is no room for them. */
const MOST_TURNED_AWAY = 100;

/** A client with its connection. */
interface Attended {
  readonly conn: Deno.Conn;
  done: Promise<void>;
  /** Whether it was cut off for taking too long. */
  late: boolean;
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
  #log: QuietLog;
  #packer: Packer;
  #gcbytes: number;
  #bytesSincePack = 0;
  #shared: Shared;
  #stopping: Promise<void> | undefined;
  #started = false;
  #listening: Listening | undefined;
  #accepting: Promise<void> | undefined;
  #clients = new Map<Peer1, Attended>();
  #turningAway = new Map<Deno.Conn, Promise<void>>();
  #watch: ReturnType<typeof setInterval> | undefined;
  #finish: () => void;

  /**
   * Makes a server; `listen()` starts it.
   *
   * @throws {ListenError} if a limit makes no sense.
   */
  constructor(options: StorageServerOptions) {
    this.#storage = options.storage;
    this.#address = toAddress(options);
    this.#insecure = options.insecure ?? false;
    this.#grace = options.grace ?? 5000;
    this.#gcbytes = options.gcbytes ?? 0;
    this.#log = new QuietLog(options.log ?? (() => {}));
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
    return this.#listening.addr;
  }

  /** The same address as people write it: `127.0.0.1:2972`, or a path. */
  get name(): string {
    return this.#address.transport === "tcp" && this.#listening !== undefined
      ? formatAddress(this.addr)
      : formatAddress(this.#address);
  }

  /**
   * Starts to listen; resolves as soon as clients can connect. If it cannot
   * listen, it can be tried again.
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
    let listening;
    try {
      listening = await listenAt(this.#address);
    } catch (error) {
      this.#started = false;
      throw error;
    }
    if (this.#stopping !== undefined) return listening.close();
    this.#listening = listening;
    this.#accepting = this.#accept(listening.listener);
    this.#watch = setInterval(() => this.#look(), LOOK);
    this.#log.line("info", `Ready on ${this.name}`);
  }

  /** Listens, and resolves when the server has stopped. */
  async serve(): Promise<void> {
    await this.listen();
    await this.finished;
  }

  /**
   * Stops the server. No more clients or requests are taken; requests under way
   * are finished and answered, up to the time of grace, unless their client
   * stalls; then all clients are cut off and the file of the Unix socket is removed. A pack under way is
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
      this.#log.error(`Cannot clean up ${this.name}: ${messageOf(error)}`);
    }
    for (const [client, { conn }] of this.#clients) {
      if (!client.busy) close(conn);
    }
    for (const conn of this.#turningAway.keys()) close(conn);
    const packer = this.#packer.stop();
    const done = Promise.all([
      ...[...this.#clients.values()].map((attended) => attended.done),
      ...this.#turningAway.values(),
    ]);
    let timer;
    const grace = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.#grace);
    });
    await Promise.race([done, grace]);
    clearTimeout(timer);
    for (const { conn } of this.#clients.values()) close(conn);
    // Who waits for another client does so in vain.
    this.#shared.turns.close();
    for (const client of this.#clients.keys()) {
      this.#shared.room.giveBack(client);
    }
    await Promise.all([done, packer, this.#accepting]);
    clearInterval(this.#watch);
    this.#log.line("info", `Stopped on ${this.name}`);
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
        this.#log.error(`Cannot take a client: ${messageOf(error)}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
        continue;
      }
      if (this.#stopping !== undefined) close(conn);
      else if (this.#clients.size < this.#shared.limits.clients) {
        this.#welcome(conn);
      } else this.#turnAway(conn);
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
      const trusted = this.#address.transport === "unix";
      const client = new Peer1(name, new Channel(conn), this.#shared, trusted);
      this.#log.line("debug", `${name} connected`);
      const attended: Attended = { conn, done: Promise.resolve(), late: false };
      this.#clients.set(client, attended);
      attended.done = this.#attend(client, attended);
    } catch (error) {
      const why = messageOf(error);
      this.#log.error(`Cannot serve ${name}: ${why}`, why);
      close(conn);
    }
  }

  #turnAway(conn: Deno.Conn): void {
    const { clients } = this.#shared.limits;
    this.#log.error(
      `Turned ${
        formatAddress(conn.remoteAddr)
      } away: there are ${clients} clients, which are the most`,
      "Turned away",
    );
    if (this.#turningAway.size >= MOST_TURNED_AWAY) return close(conn);
    const done = turnAway(conn).finally(() => this.#turningAway.delete(conn));
    this.#turningAway.set(conn, done);
  }

  async #attend(client: Peer1, attended: Attended): Promise<void> {
    try {
      await client.serve();
      this.#log.line("debug", `${client.name} is gone`);
    } catch (error) {
      const why = messageOf(error);
      if (isLoss(error)) {
        if (!attended.late) {
          this.#log.line("debug", `${client.name} is gone: ${why}`);
        }
      } else this.#logClosed(client, why);
    } finally {
      close(attended.conn);
      this.#clients.delete(client);
    }
  }

  /** Cuts off whoever takes too long. */
  #look(): void {
    const now = performance.now();
    for (const [client, attended] of this.#clients) {
      const why = attended.late ? undefined : client.look(now);
      if (why === undefined) continue;
      attended.late = true;
      this.#logClosed(client, why);
      close(attended.conn);
    }
  }

  #logClosed(client: Peer1, why: string): void {
    this.#log.error(`Closed the connection of ${client.name}: ${why}`, why);
  }

  #makePacker(): Packer {
    return new Packer(this.#storage, {
      started: () => this.#log.line("info", "Packing"),
      finished: (progress) => {
        this.#bytesSincePack = 0;
        this.#log.line(
          "info",
          progress === undefined
            ? "Packed"
            : `Packed: ${progress.records} objects, ${progress.bytes} bytes`,
        );
      },
      failed: (error) => {
        this.#bytesSincePack = 0;
        const why = messageOf(error);
        this.#log.error(
          why.startsWith("Cannot pack") ? why : `Cannot pack: ${why}`,
        );
      },
    });
  }

  #makeShared(options: StorageServerOptions): Shared {
    const limits = limitsOf(options);
    const isStopping = () => this.#stopping !== undefined;
    return {
      storage: this.#storage,
      limits,
      unused: new UnusedOids<Peer1>(),
      turns: new Turns<Peer1>(),
      room: new Room<Peer1>(limits.bufferedBytes),
      allowQuit: options.allowQuit ?? true,
      get stopping() {
        return isStopping();
      },
      pack: () => this.#packer.start(),
      quit: () => {
        this.#log.line("info", "A client stops the server");
        this.shutdown();
      },
      committed: (client, objects, bytes) => {
        this.#log.line(
          "debug",
          `${client.name} committed ${objects} objects, ${bytes} bytes`,
        );
        this.#bytesSincePack += bytes;
        if (this.#gcbytes > 0 && this.#bytesSincePack >= this.#gcbytes) {
          this.#packer.start();
        }
      },
      refused: (client, why) =>
        this.#log.error(`Refused the commit of ${client.name}: ${why}`, why),
    };
  }
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
