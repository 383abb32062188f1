/**
 * What the clients of a server may ask of it, and how long they may take.
 *
 * @module
 */
import { ListenError } from "../errors.ts";

/** The limits of a server that can be set. Times are in milliseconds; 0 is no limit for a time. */
export interface LimitOptions {
  /** The most clients at the same time; 1000 unless given. Others are told so, and to come again. */
  maxClients?: number | undefined;
  /** The longest commit taken, in bytes; 256 MiB unless given. */
  maxTransactionBytes?: number | undefined;
  /**
   * The most memory, in bytes, for long requests that are being received and
   * long answers that are being sent, of all clients together; 512 MiB unless
   * given. What has no room waits, and who stalls while others wait is cut off.
   */
  maxBufferedBytes?: number | undefined;
  /** The most objects that one request may load; 1,000,000 unless given. */
  maxLoadMany?: number | undefined;
  /**
   * The most unused numbers that one client may hold; 4,000,000 unless given.
   * All together hold 64 million, and then those get more that hold the fewest.
   */
  maxUnusedOids?: number | undefined;
  /** How long a client may be connected before its first request is complete; 10,000 unless given. */
  greetingTimeout?: number | undefined;
  /**
   * How long a client may keep the server waiting in the middle of a request,
   * or for taking an answer, for each 64 KiB of it; 60,000 unless given.
   */
  stallTimeout?: number | undefined;
  /** How long a client may ask for nothing; 0, for ever, unless given. */
  idleTimeout?: number | undefined;
}

/** The limits of a server, all of them. */
export interface Limits {
  /** Clients at the same time. */
  readonly clients: number;
  /** Bytes of one commit. */
  readonly transactionBytes: number;
  /** Bytes of long requests and answers, of all clients together. */
  readonly bufferedBytes: number;
  /** Objects in one `B` request. */
  readonly loadMany: number;
  /** Numbers that a client holds and has not used. */
  readonly unusedOids: number;
  /** Milliseconds until the first request is complete. */
  readonly greeting: number;
  /** Milliseconds that a client may stall. */
  readonly stall: number;
  /** Milliseconds between requests. */
  readonly idle: number;
}

const MIB = 1024 * 1024;

/**
 * Returns the limits that the options mean.
 *
 * @throws {ListenError} if a number makes no sense.
 */
export function limitsOf(options: LimitOptions): Limits {
  const number = (
    name: keyof LimitOptions,
    otherwise: number,
    least: number,
  ) => {
    const value = options[name] ?? otherwise;
    // NaN is not at least anything.
    if (value >= least) return value;
    throw new ListenError(
      `Cannot serve with ${name} ${value}: it must be a number, ${least} or more`,
    );
  };
  const time = (name: keyof LimitOptions, otherwise: number) =>
    number(name, otherwise, 0) || Infinity;
  return {
    clients: number("maxClients", 1000, 1),
    transactionBytes: number("maxTransactionBytes", 256 * MIB, 1),
    bufferedBytes: number("maxBufferedBytes", 512 * MIB, 1),
    loadMany: number("maxLoadMany", 1_000_000, 1),
    unusedOids: number("maxUnusedOids", 4_000_000, 1),
    greeting: time("greetingTimeout", 10_000),
    stall: time("stallTimeout", 60_000),
    idle: time("idleTimeout", 0),
  };
}
