/**
 * Telling a client that there is no room for it, as far as the protocol can:
 * by an answer to its greeting that is no protocol.
 *
 * @module
 */
import { Command, NO_ROOM } from "../protocol/protocol1.ts";

/** How long it may take, in milliseconds. */
const PATIENCE = 1000;

/** Waits for the greeting, answers it, and closes the connection. */
export async function turnAway(conn: Deno.Conn): Promise<void> {
  const timer = setTimeout(() => close(conn), PATIENCE);
  try {
    const greeting = new Uint8Array(5);
    for (let length = 0; length < greeting.length;) {
      const more = await conn.read(greeting.subarray(length));
      if (more === null) return;
      length += more;
    }
    if (greeting[0] !== Command.version) return;
    const answer = new Uint8Array(4);
    new DataView(answer.buffer).setUint32(0, NO_ROOM);
    await conn.write(answer);
    await conn.closeWrite();
    // To close now might throw away the answer, if the client has sent more.
    while (await conn.read(new Uint8Array(1024)) !== null);
  } catch {
    // It is gone, or took too long.
  } finally {
    clearTimeout(timer);
    close(conn);
  }
}

/** Closes a connection, if that was not done before. */
export function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // It was closed already.
  }
}
