/**
 * The live objects of one connection, by number. Recently used ones are held
 * strongly, the others weakly, so that an object which the program still holds
 * is found again, and one that nobody holds goes away.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";
import type { PersistentObject } from "./persistent.ts";
import { type Slot, slotOf } from "./slot.ts";

/** The live objects of one connection, by number. */
export class Cache {
  /** How many objects are held strongly after `shrink`, about. */
  size: number;
  #strong = new Map<Oid, Slot>();
  // A WeakRef is expensive to make: an object gets one when it is evicted, not before.
  #weak = new Map<Oid, WeakRef<PersistentObject>>();

  /** Makes an empty cache for about `size` objects. */
  constructor(size: number) {
    this.size = size;
  }

  /** How many objects are held strongly. */
  get count(): number {
    return this.#strong.size;
  }

  /** Returns the slot of a live object. */
  get(oid: Oid): Slot | undefined {
    const slot = this.#strong.get(oid);
    if (slot !== undefined || this.#weak.size === 0) return slot;
    const object = this.#weak.get(oid)?.deref();
    return object && slotOf(object);
  }

  /** Holds an object strongly. */
  set(oid: Oid, slot: Slot): void {
    this.#strong.set(oid, slot);
    if (this.#weak.size > 0) this.#weak.delete(oid);
  }

  /** Forgets an object. */
  delete(oid: Oid): void {
    this.#strong.delete(oid);
    this.#weak.delete(oid);
  }

  /** The objects that are held strongly, which those of the transaction under way are. */
  slots(): Iterable<Slot> {
    return this.#strong.values();
  }

  /**
   * Evicts what was not used for longest, once there are more than `size`
   * objects. Objects that the transaction `serial` accessed stay, since the
   * program may hold parts of their state.
   */
  shrink(serial: number): void {
    if (this.#strong.size <= this.size) return;
    // A tenth more than needed, so that not every transaction must sort.
    let excess = this.#strong.size - Math.floor(this.size * 0.9);
    const candidates: Slot[] = [];
    for (const slot of this.#strong.values()) {
      if (slot.serial !== serial) candidates.push(slot);
    }
    if (candidates.length > excess) {
      candidates.sort((a, b) => a.serial - b.serial);
    }
    for (const slot of candidates) {
      if (excess-- <= 0) break;
      slot.becomeGhost();
      this.#strong.delete(slot.oid);
      this.#weak.set(slot.oid, new WeakRef(slot.self));
    }
    for (const [oid, reference] of this.#weak) {
      if (reference.deref() === undefined) this.#weak.delete(oid);
    }
  }

  /** Forgets everything. */
  clear(): void {
    this.#strong.clear();
    this.#weak.clear();
  }
}
