/**
 * Who holds which numbers: a client is handed numbers for objects that it may
 * commit later, and until then nobody else may use them.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";
import { OidSet } from "../storage/oid_set.ts";

/** How many numbers all may hold together before those who hold many get no more. */
const MOST = 64_000_000;

interface Holding {
  readonly oids: OidSet;
  count: number;
}

/** The handed out and not yet used numbers of all clients of a server. */
export class UnusedOids<Holder extends object> {
  #most: number;
  #holdings = new Map<Holder, Holding>();
  /** What anybody holds. */
  #held = new OidSet();
  #count = 0;
  /** What those who are gone have left behind. */
  #left = new OidSet();

  /** Begins with none; `most` is how many all may hold before it matters who holds how many. */
  constructor(most = MOST) {
    this.#most = most;
  }

  /**
   * Whether a holder may have so many more: where there are too many, those who
   * hold less than their share get more all the same, so that nobody can keep
   * the others from working.
   */
  allows(holder: Holder, count: number): boolean {
    if (this.#count + count <= this.#most) return true;
    return this.count(holder) + count <= this.#most / (this.#holdings.size + 1);
  }

  /** Hands `count` numbers to a holder: first what others left, then new ones. */
  hand(
    holder: Holder,
    count: number,
    allocate: (count: number) => Oid[],
  ): Oid[] {
    let holding = this.#holdings.get(holder);
    if (holding === undefined) {
      holding = { oids: new OidSet(), count: 0 };
      this.#holdings.set(holder, holding);
    }
    const left = this.#left.takeSmallest(count);
    const oids = left.length < count
      ? left.concat(allocate(count - left.length))
      : left;
    for (const oid of oids) {
      holding.oids.add(oid);
      this.#held.add(oid);
    }
    holding.count += oids.length;
    this.#count += oids.length;
    return oids;
  }

  /** Returns how many numbers a holder has. */
  count(holder: Holder): number {
    return this.#holdings.get(holder)?.count ?? 0;
  }

  /** Whether anybody holds a number. */
  isHeld(oid: Oid): boolean {
    return this.#held.has(oid);
  }

  /** Whether a holder has a number. */
  holds(holder: Holder, oid: Oid): boolean {
    return this.#holdings.get(holder)?.oids.has(oid) ?? false;
  }

  /**
   * Notes that numbers are in use now. Nearly always it is their holder who
   * uses them; but the root's number may be anybody's.
   */
  use(user: Holder, oids: Iterable<Oid>): void {
    for (const oid of oids) {
      if (!this.#held.delete(oid)) continue;
      this.#count--;
      const own = this.#holdings.get(user);
      if (own?.oids.delete(oid)) own.count--;
      else this.#takeFromHolder(oid);
    }
  }

  /** Takes back everything from a holder who is gone; others get it then. */
  release(holder: Holder): void {
    const holding = this.#holdings.get(holder);
    if (holding === undefined) return;
    this.#holdings.delete(holder);
    this.#count -= holding.count;
    this.#held.deleteOthers(holding.oids);
    this.#left.addOthers(holding.oids);
  }

  #takeFromHolder(oid: Oid): void {
    for (const holding of this.#holdings.values()) {
      if (holding.oids.delete(oid)) holding.count--;
    }
  }
}
