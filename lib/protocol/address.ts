/**
 * Where a server listens: a host and port, or a Unix socket.
 *
 * @module
 */
import { resolve } from "node:path";

/** The host a server listens on unless told otherwise. */
export const DEFAULT_HOST = "127.0.0.1";

/** The port a server listens on unless told otherwise. */
export const DEFAULT_PORT = 2972;

/** How a user names the place of a server. */
export interface AddressOptions {
  /** Host name or IP address; 127.0.0.1 unless given. */
  host?: string | undefined;
  /** TCP port; 2972 unless given. */
  port?: number | undefined;
  /** Path of a Unix socket, used instead of host and port. `@name` is an abstract one (Linux). */
  address?: string | undefined;
}

/** An address in the form that `Deno.listen()` and `Deno.connect()` take. */
export type Address =
  | { transport: "tcp"; hostname: string; port: number }
  | {
    transport: "unix";
    path: string;
    /** As the user wrote it. */
    name: string;
  };

/** Makes an address of what the user gave. A path is resolved now, wherever the program goes later. */
export function toAddress(options: AddressOptions): Address {
  if (options.address !== undefined) {
    return {
      transport: "unix",
      path: options.address.startsWith("@")
        ? options.address.replace("@", "\0")
        : resolve(options.address),
      name: options.address,
    };
  }
  return {
    transport: "tcp",
    hostname: options.host ?? DEFAULT_HOST,
    port: options.port ?? DEFAULT_PORT,
  };
}

/** Writes an address as people do: `127.0.0.1:2972`, `[::1]:2972`, `/run/dhara.sock`, `@name`. */
export function formatAddress(address: Address | Deno.Addr): string {
  if ("hostname" in address) {
    const { hostname, port } = address;
    return hostname.includes(":")
      ? `[${hostname}]:${port}`
      : `${hostname}:${port}`;
  }
  if ("name" in address) return address.name;
  if ("path" in address && address.path) {
    return address.path.replace(/^\0/, "@");
  }
  return "a Unix socket";
}

/** Tells whether nobody but this machine can reach the address. */
export function isLocal(address: Address): boolean {
  if (address.transport === "unix") return true;
  const { hostname } = address;
  return hostname === "localhost" || hostname === "::1" ||
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(hostname);
}
