/**
 * Listening at an address, and the file of a Unix socket: what a server that
 * was killed left behind is replaced, and what is somebody else's is not.
 *
 * @module
 */
import { ListenError } from "../errors.ts";
import { type Address, formatAddress } from "./address.ts";

/** A listener, and how to take its traces away. */
export interface Listening {
  readonly listener: Deno.Listener;
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
    return { listener, close: () => listener.close() };
  }
  const { path } = address;
  const abstract = path.startsWith("\0");
  if (!abstract) await removeStale(address, path);
  const listener = attempt(
    address,
    () => Deno.listen({ transport: "unix", path }),
  );
  if (abstract) return { listener, close: () => listener.close() };
  const { ino, dev } = Deno.lstatSync(path);
  return {
    listener,
    close() {
      listener.close();
      const file = lstat(path);
      if (file?.isSocket && file.ino === ino && file.dev === dev) {
        Deno.removeSync(path);
      }
    },
  };
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
    if (cause instanceof Deno.errors.ConnectionRefused) {
      Deno.removeSync(path);
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

function lstat(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
