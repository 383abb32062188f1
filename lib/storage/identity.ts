/**
 * What tells a database from all others: 16 random bytes, which it gets when it
 * is made.
 *
 * @module
 */
import { toHex } from "../serialize/bytes.ts";

/** How many bytes an identity has. */
export const IDENTITY_BYTES = 16;

/** Returns an identity that no database has, as 32 hexadecimal digits. */
export function newIdentity(): string {
  return toHex(crypto.getRandomValues(new Uint8Array(IDENTITY_BYTES)));
}
