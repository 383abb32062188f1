/**
 * The program of a blocking client's worker: it owns the sockets, while the
 * program's thread waits on shared memory. It knows bytes only, no protocol.
 *
 * @module
 */
import { type SharedData, Slot } from "./shared_loader.ts";

/** What the program's thread asks of the worker, in `control[Slot.request]`. */
export const Request = { open: 0, exchange: 1, close: 2 } as const;

/** What the numbers of its own mean, in the shared memory. */
export const SocketSlot = {
  /** How many bytes to receive at least. */
  least: Slot.own,
  /** Whether all that was to be sent is on its way: 0 or 1. */
  sent: Slot.own + 1,
} as const;

/** How a request went, beside what can be with every worker. */
export const SocketOutcome = {
  /** The server closed the connection before enough bytes came. */
  closed: 16,
  /** No byte moved in either direction for too long. */
  silent: 17,
} as const;

/** What the worker is given. */
export interface SocketData extends SharedData {
  /** How long to wait for a byte to move, in milliseconds. */
  readonly timeout: number;
  /** What the numbers mean. */
  readonly names: SharedData["names"] & {
    readonly Request: typeof Request;
    readonly SocketSlot: typeof SocketSlot;
    readonly SocketOutcome: typeof SocketOutcome;
  };
}

/** What the worker does. */
export const SOCKET_PROGRAM = `
/**
 * Returns a function that does what the shared memory asks for.
 *
 * @param {SocketData} workerData
 * @param {Int32Array} control
 * @param {Room} room
 * @returns {() => Promise<number>}
 */
export function serve({ timeout, names }, control, { data }) {
  const { Request, Slot, Outcome, SocketSlot, SocketOutcome } = names;
  /** @type {Map<number, Deno.Conn>} */
  const sockets = new Map();
  const buffer = new Uint8Array(256 * 1024);

  // One timer watches whatever is under way, and is not set again for each request.
  /** @type {((outcome: number) => void) | undefined} */
  let giveUp;
  let moved = 0;
  let watching = false;

  function look() {
    if (giveUp === undefined) {
      watching = false;
      return;
    }
    const left = moved + timeout - performance.now();
    if (left > 0) setTimeout(look, left);
    else {
      watching = false;
      giveUp(SocketOutcome.silent);
    }
  }

  function step() {
    moved = performance.now();
    Atomics.add(control, Slot.steps, 1);
  }

  /**
   * Waits for work on a socket until no byte has moved for too long.
   *
   * @param {(abandoned: () => boolean) => Promise<number>} work
   * @param {() => void} abandon
   * @returns {Promise<number>}
   */
  async function watched(work, abandon) {
    /** @type {Promise<number>} */
    const silence = new Promise((resolve) => giveUp = resolve);
    let abandoned = false;
    step();
    if (!watching) {
      watching = true;
      setTimeout(look, timeout);
    }
    const working = work(() => abandoned);
    try {
      const outcome = await Promise.race([working, silence]);
      if (outcome === SocketOutcome.silent) {
        abandoned = true;
        working.catch(() => {});
        abandon();
      }
      return outcome;
    } finally {
      giveUp = undefined;
    }
  }

  /** @param {number} socket */
  function close(socket) {
    const conn = sockets.get(socket);
    sockets.delete(socket);
    try {
      conn?.close();
    } catch {
      // It was closed already.
    }
  }

  /** @param {number} socket */
  function open(socket) {
    const text = new TextDecoder().decode(data.slice(0, control[Slot.length]));
    control[Slot.length] = 0;
    return watched(async (abandoned) => {
      const conn = await Deno.connect(JSON.parse(text));
      sockets.set(socket, conn);
      try {
        if ("setNoDelay" in conn) {
          const tcp = /** @type {Deno.TcpConn} */ (conn);
          tcp.setNoDelay(true);
          tcp.setKeepAlive(true);
        }
      } catch (error) {
        close(socket);
        throw error;
      }
      if (abandoned()) close(socket);
      return Outcome.okay;
    }, () => {});
  }

  /** @param {number} socket */
  function exchange(socket) {
    const conn = sockets.get(socket);
    if (conn === undefined) throw new Error("the socket is closed");
    const least = Atomics.load(control, SocketSlot.least);
    const bytes = data.slice(0, control[Slot.length]);
    return watched(async (abandoned) => {
      let written = 0;
      while (written < bytes.length) {
        written += await conn.write(bytes.subarray(written));
        if (abandoned()) return SocketOutcome.silent;
        step();
      }
      control[SocketSlot.sent] = 1;
      let length = 0;
      while (length < least) {
        const room = Math.min(buffer.length, data.length - length);
        const more = await conn.read(buffer.subarray(0, room));
        if (abandoned()) return SocketOutcome.silent;
        if (more === null) return SocketOutcome.closed;
        data.set(buffer.subarray(0, more), length);
        length += more;
        step();
      }
      control[Slot.length] = length;
      return Outcome.okay;
    }, () => close(socket));
  }

  return async () => {
    const socket = Atomics.load(control, Slot.target);
    switch (Atomics.load(control, Slot.request)) {
      case Request.open:
        return await open(socket);
      case Request.exchange:
        return await exchange(socket);
      default:
        close(socket);
        return Outcome.okay;
    }
  };
}
`;
