/**
 * Listening at an address, and the file of a Unix socket: what a server that
 * was killed left behind is replaced, and what is somebody else's is not.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { ListenError } from "../errors.ts";
import { lockExclusively, unlock } from "../files/lock.ts";
import { type Address, formatAddress } from "../protocol/address.ts";

/** A listener, and how to take its traces away. */
export interface Listening {
  readonly listener: Deno.Listener;
  /** Where it listens. */
  readonly addr: Deno.Addr;
  /** Stops listening and removes the file of the Unix socket, if it is still this one's. */
  close(): void;
}

/**
 * Listens at an address.
 *
 * @throws {ListenError} if somebody else listens there, or something else is in the way.
 */
export async function listenAt(address: Address): Promise<Listening> {
  if (address.transport === "tcp") {
    const listener = attempt(address, () =>
      Deno.listen({
        transport: "tcp",
        hostname: address.hostname,
        port: address.port,
      }));
    return simply(listener);
  }
  const { path } = address;
  if (path.startsWith("\0")) return simply(listenOn(address, path));
  const { listener, ino, dev } = await alone(dirname(path), async () => {
    await removeStale(address, path);
    const listener = listenBeside(address, path);
    const { ino, dev } = Deno.lstatSync(path);
    return { listener, ino, dev };
  });
  return {
    listener,
    addr: { transport: "unix", path },
    close() {
      listener.close();
      const file = lstat(path);
      if (file?.isSocket && file.ino === ino && file.dev === dev) {
        Deno.removeSync(path);
      }
    },
  };
}

function simply(listener: Deno.Listener): Listening {
  const { addr } = listener;
  return { listener, addr, close: () => listener.close() };
}

function listenOn(address: Address, path: string): Deno.Listener {
  return attempt(address, () => Deno.listen({ transport: "unix", path }));
}

/**
 * Listens at another name first: closing a listener removes, some time later,
 * whatever is then at the name with which it began, and that may be the socket of
 * another server by then.
 */
function listenBeside(address: Address, path: string): Deno.Listener {
  // Names of sockets must be short.
  const beside = join(
    dirname(path),
    `.${crypto.randomUUID().slice(0, 7)}`,
  );
  let listener;
  try {
    listener = Deno.listen({ transport: "unix", path: beside });
  } catch {
    // Such as where only the path itself is permitted; it also tells what is wrong.
    return listenOn(address, path);
  }
  try {
    if (lstat(path) !== undefined) throw new Deno.errors.AddrInUse();
    Deno.renameSync(beside, path);
    return listener;
  } catch (error) {
    listener.close();
    return attempt(address, () => {
      throw error;
    });
  }
}

function attempt(address: Address, listen: () => Deno.Listener): Deno.Listener {
  try {
    return listen();
  } catch (cause) {
    throw new ListenError(
      `Cannot listen on ${formatAddress(address)}: ${
        cause instanceof Deno.errors.AddrInUse
          ? "something else listens there"
          : cause instanceof Error
          ? cause.message
          : cause
      }`,
      { cause },
    );
  }
}

/** How long to wait for other servers that start in the same folder, in milliseconds. */
const PATIENCE = 2000;

/**
 * Does something while no other server does it in the same folder: of two that
 * find the same stale socket, the slower one would remove the new socket of the
 * other. A folder that cannot be locked is no hindrance.
 */
async function alone<T>(folder: string, work: () => Promise<T>): Promise<T> {
  let file;
  let locked: string | undefined;
  try {
    file = Deno.openSync(folder);
    const { dev, ino } = file.statSync();
    const identity = ino === null ? "" : `${dev}:${ino}`;
    const until = Date.now() + PATIENCE;
    while (locked === undefined && Date.now() < until) {
      if (lockExclusively(file, identity)) locked = identity;
      else await new Promise((resolve) => setTimeout(resolve, 10));
    }
  } catch {
    // Such as on systems that do not open folders. Without the lock it is as safe as can be.
  }
  try {
    return await work();
  } finally {
    if (file !== undefined && locked !== undefined) unlock(file, locked);
    file?.close();
  }
}

/** Removes a Unix socket on which nobody answers. */
async function removeStale(address: Address, path: string): Promise<void> {
  const file = lstat(path);
  if (file === undefined) return;
  const name = formatAddress(address);
  if (!file.isSocket) {
    throw new ListenError(
      `Cannot listen on ${name}: there is a file that is not a socket`,
    );
  }
  let conn;
  try {
    conn = await Deno.connect({ transport: "unix", path });
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return;
    if (cause instanceof Deno.errors.ConnectionRefused) {
      remove(address, path);
      return;
    }
    throw new ListenError(
      `Cannot listen on ${name}: it cannot be told whether another server is there`,
      { cause },
    );
  }
  conn.close();
  throw new ListenError(
    `Cannot listen on ${name}: another server answers there`,
  );
}

function remove(address: Address, path: string): void {
  try {
    Deno.removeSync(path);
  } catch (cause) {
    // Somebody else has removed it.
    if (cause instanceof Deno.errors.NotFound) return;
    throw new ListenError(
      `Cannot listen on ${
        formatAddress(address)
      }: the socket that a dead server has left cannot be removed`,
      { cause },
    );
  }
}

function lstat(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
