/**
 * Who holds which numbers: a client is handed numbers for objects that it may
 * commit later, and until then nobody else may use them.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";

/** The handed out and not yet used numbers of all clients of a server. */
export class UnusedOids<Holder extends object> {
  #holders = new Map<Oid, Holder>();
  #counts = new WeakMap<Holder, number>();
  /** Numbers that their holders left behind, the smallest last. */
  #left: Oid[] = [];

  /** Hands `count` numbers to a holder: first what others left, then new ones. */
  hand(
    holder: Holder,
    count: number,
    allocate: (count: number) => Oid[],
  ): Oid[] {
    const oids: Oid[] = [];
    while (oids.length < count && this.#left.length > 0) {
      oids.push(this.#left.pop()!);
    }
    if (oids.length < count) oids.push(...allocate(count - oids.length));
    for (const oid of oids) this.#holders.set(oid, holder);
    this.#counts.set(holder, this.count(holder) + oids.length);
    return oids;
  }

  /** Returns how many numbers a holder has. */
  count(holder: Holder): number {
    return this.#counts.get(holder) ?? 0;
  }

  /** Returns who holds a number, if anybody does. */
  holderOf(oid: Oid): Holder | undefined {
    return this.#holders.get(oid);
  }

  /** Notes that numbers are in use now. */
  use(oids: Iterable<Oid>): void {
    for (const oid of oids) {
      const holder = this.#holders.get(oid);
      if (holder === undefined) continue;
      this.#holders.delete(oid);
      this.#counts.set(holder, this.count(holder) - 1);
    }
  }

  /** Takes back everything from a holder who is gone; others get it then. */
  release(holder: Holder): void {
    if (this.count(holder) === 0) return;
    this.#counts.delete(holder);
    for (const [oid, other] of this.#holders) {
      if (other !== holder) continue;
      this.#holders.delete(oid);
      this.#left.push(oid);
    }
    this.#left.sort((a, b) => b - a);
  }
}
