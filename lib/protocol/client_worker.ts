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
} as const;

/** How a request went, in `control[Slot.outcome]`. */
export const Outcome = {
  okay: 0,
  /** The data part holds the error's name, a line feed, and its message. */
  error: 1,
  /** The server closed the connection before enough bytes came. */
  closed: 2,
} as const;

/** Where the data part begins in the shared memory. */
export const DATA = 64;

/**
 * The worker's whole program. Its text is what the worker runs, so that a
 * program needs no permission to read this file, nor has to carry it along.
 * So it can use nothing from outside itself; the numbers are those above.
 */
export async function clientWorker(): Promise<void> {
  const { parentPort, workerData } = await import("node:worker_threads");
  const memory: SharedArrayBuffer = workerData;
  const control = new Int32Array(memory, 0, 16);
  const data = new Uint8Array(memory, 64);
  const sockets = new Map<number, Deno.Conn>();
  const buffer = new Uint8Array(256 * 1024);

  async function open(socket: number): Promise<void> {
    const address = JSON.parse(
      new TextDecoder().decode(data.slice(0, control[3])),
    );
    const conn = await Deno.connect(address);
    if ("setNoDelay" in conn) {
      conn.setNoDelay(true);
      conn.setKeepAlive(true);
    }
    sockets.set(socket, conn);
    control[3] = 0;
  }

  async function exchange(socket: number): Promise<number> {
    const conn = sockets.get(socket)!;
    const least = control[4]!;
    const bytes = data.slice(0, control[3]);
    let written = 0;
    while (written < bytes.length) {
      written += await conn.write(bytes.subarray(written));
    }
    let length = 0;
    while (length < least) {
      const room = Math.min(buffer.length, data.length - length);
      const more = await conn.read(buffer.subarray(0, room));
      if (more === null) return 2;
      data.set(buffer.subarray(0, more), length);
      length += more;
    }
    control[3] = length;
    return 0;
  }

  async function answer(): Promise<number> {
    const socket = control[2]!;
    try {
      switch (control[1]) {
        case 0:
          await open(socket);
          return 0;
        case 1:
          return await exchange(socket);
        default:
          sockets.get(socket)?.close();
          sockets.delete(socket);
          return 0;
      }
    } catch (error) {
      const text = error instanceof Error
        ? `${error.name}\n${error.message}`
        : `Error\n${error}`;
      const bytes = new TextEncoder().encode(text).subarray(0, data.length);
      data.set(bytes);
      control[3] = bytes.length;
      return 1;
    }
  }

  parentPort!.on("message", async () => {
    control[5] = await answer();
    Atomics.add(control, 0, 1);
    Atomics.notify(control, 0);
  });
  Atomics.add(control, 0, 1);
  Atomics.notify(control, 0);
}
