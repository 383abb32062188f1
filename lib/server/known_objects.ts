/**
 * What a client may have in its hands: the server asks this when others have
 * changed something while the client's commit was on its way.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";
import { OidSet } from "../storage/oid_set.ts";

/** How many absent objects are remembered one by one. */
const MOST_ABSENT = 10_000;

/**
 * The objects that a client has asked for or stored, and of whose changes it
 * was not told since: at least those that its transaction has accessed.
 */
export class KnownObjects {
  #present = new OidSet();
  // Their numbers are the client's choice, and may be far apart.
  #absent = new Set<Oid>();
  #everything = false;

  /** Notes that the client was sent an object, or has stored it. */
  add(oid: Oid): void {
    this.#present.add(oid);
    if (this.#absent.size > 0) this.#absent.delete(oid);
  }

  /** Notes that the client was told that there is no such object. */
  addAbsent(oid: Oid): void {
    if (this.#absent.size < MOST_ABSENT) this.#absent.add(oid);
    else this.#everything = true;
  }

  /**
   * Notes that the client was told of a change: to go on with it, it must not
   * have accessed the object, and to access it then, it must ask for it again.
   */
  forget(oid: Oid): void {
    this.#present.delete(oid);
    if (this.#absent.size > 0) this.#absent.delete(oid);
  }

  /** Whether the client may have accessed an object. It may say so wrongly, but never the contrary. */
  has(oid: Oid): boolean {
    return this.#everything || this.#present.has(oid) || this.#absent.has(oid);
  }
}
