/**
 * How a server is to be.
 *
 * @module
 */
import type { Storage } from "../storage/storage.ts";
import type { LimitOptions } from "./limits.ts";
import type { LogLevel } from "./quiet_log.ts";

/** Options of a `StorageServer`. */
export interface StorageServerOptions extends LimitOptions {
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
  /**
   * Whether the `Q` request of a client stops the server; true unless given.
   * Where the server listens on a TCP port, the client must have greeted.
   */
  allowQuit?: boolean | undefined;
  /** Pack by itself each time that so many bytes were committed; 0, the default, is never. */
  gcbytes?: number | undefined;
  /**
   * How long `shutdown()` waits for requests under way, in milliseconds; 5000
   * unless given. It does not wait for a client that stalls for a second.
   */
  grace?: number | undefined;
  /** Takes the lines of the log; nothing is logged unless given. */
  log?: ((level: LogLevel, message: string) => void) | undefined;
}
