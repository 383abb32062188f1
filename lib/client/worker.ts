/**
 * The worker of a blocking client: it owns the sockets, while the program's
 * thread waits on shared memory. It knows bytes only, no protocol.
 *
 * @module
 */

/** What the program's thread asks of the worker, in `control[Slot.request]`. */
export const Request = { open: 0, exchange: 1, close: 2 } as const;

/** What the numbers at the beginning of the shared memory mean. */
export const Slot = {
  /** How many answers were given; the thread waits for it to change. */
  answers: 0,
  /** What is asked: one of `Request`. */
  request: 1,
  /** Which socket. */
  socket: 2,
  /** Bytes in the data part: to be sent, then received. */
  length: 3,
  /** How many bytes to receive at least. */
  least: 4,
  /** How it went: one of `Outcome`. */
  outcome: 5,
  /** Whether all that was to be sent is on its way: 0 or 1. */
  sent: 6,
  /** Counts whatever the worker does, so that it can be seen to be alive. */
  steps: 7,
} as const;

/** How a request went, in `control[Slot.outcome]`. */
export const Outcome = {
  okay: 0,
  /** The data part holds the error's name, a line feed, and its message. */
  error: 1,
  /** The server closed the connection before enough bytes came. */
  closed: 2,
  /** No byte moved in either direction for too long. */
  silent: 3,
} as const;

/** Where the data part begins in the shared memory. */
export const DATA = 64;

/** What the worker is given. */
export interface WorkerData {
  /** Numbers, and from `DATA` on bytes. */
  readonly memory: SharedArrayBuffer;
  /** How long to wait for a byte to move, in milliseconds. */
  readonly timeout: number;
  /** What to run: `PROGRAM` as a URL. */
  readonly program: string;
  /** What the numbers mean. */
  readonly names: {
    readonly Request: typeof Request;
    readonly Slot: typeof Slot;
    readonly Outcome: typeof Outcome;
    readonly DATA: typeof DATA;
  };
}

/**
 * Starts the worker's program. Whatever is wrong with that is told through the
 * shared memory: the program's thread stands still and hears of nothing else.
 *
 * Both are texts, not functions or files of their own: what bundlers and
 * compilers make of a function is of no use elsewhere, and a file would have
 * to be carried along and read. `tests/client_worker_test.ts` checks their types.
 */
export const LOADER = `
import { parentPort, workerData } from "node:worker_threads";

/** @type {WorkerData} */
const { memory, program, names: { Slot, Outcome, DATA } } = workerData;
const control = new Int32Array(memory, 0, DATA / 4);
const data = new Uint8Array(memory, DATA);

/** @param {number} outcome */
function answer(outcome) {
  control[Slot.outcome] = outcome;
  Atomics.add(control, Slot.answers, 1);
  Atomics.notify(control, Slot.answers);
}

/** @param {unknown} error */
function describe(error) {
  const text = error instanceof Error
    ? error.name + String.fromCharCode(10) + error.message
    : "Error" + String.fromCharCode(10) + error;
  const bytes = new TextEncoder().encode(text).subarray(0, data.length);
  data.set(bytes);
  control[Slot.length] = bytes.length;
  return Outcome.error;
}

try {
  const { serve } = await import(program);
  const work = serve(workerData, control, data);
  parentPort?.on("message", () => work().catch(describe).then(answer));
  answer(Outcome.okay);
} catch (error) {
  answer(describe(error));
}
`;

/** What the worker does. */
export const PROGRAM = `
/**
 * Returns a function that does what the shared memory asks for.
 *
 * @param {WorkerData} workerData
 * @param {Int32Array} control
 * @param {Uint8Array} data
 * @returns {() => Promise<number>}
 */
export function serve({ timeout, names }, control, data) {
  const { Request, Slot, Outcome } = names;
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
      giveUp(Outcome.silent);
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
      if (outcome === Outcome.silent) {
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
    const least = Atomics.load(control, Slot.least);
    const bytes = data.slice(0, control[Slot.length]);
    return watched(async (abandoned) => {
      let written = 0;
      while (written < bytes.length) {
        written += await conn.write(bytes.subarray(written));
        if (abandoned()) return Outcome.silent;
        step();
      }
      control[Slot.sent] = 1;
      let length = 0;
      while (length < least) {
        const room = Math.min(buffer.length, data.length - length);
        const more = await conn.read(buffer.subarray(0, room));
        if (abandoned()) return Outcome.silent;
        if (more === null) return Outcome.closed;
        data.set(buffer.subarray(0, more), length);
        length += more;
        step();
      }
      control[Slot.length] = length;
      return Outcome.okay;
    }, () => close(socket));
  }

  return async () => {
    const socket = Atomics.load(control, Slot.socket);
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
