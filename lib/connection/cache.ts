/**
 * The live objects of one connection, by number. Recently used ones are held,
 * so that they stay in memory; the others are only found as long as somebody
 * else holds them.
 *
 * Nothing here walks over all objects: what an object costs is paid when it is
 * used, and once more when it is let go.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";
import { Slot, slotOf, type Stored } from "../persistent/slot.ts";

/** A generation of less than this is not worth a list of its own. */
const SMALL = 32;

/** So many generations are kept apart; where there are more, the oldest two become one. */
const GENERATIONS = 4;

/** The live objects of one connection, by number. */
export class Cache {
  /** How many objects are held after `shrink`, about. */
  size: number;
  /**
   * An object is found through its slot while it is held, and while the object
   * by whose load it was made still has that state. Afterwards it has a
   * `WeakRef`, and keeps it. One is expensive to make, and making or following
   * it keeps the object in memory until the program's synchronous job ends.
   */
  #index = new Map<Oid, Slot | WeakRef<Stored>>();
  #collected = new FinalizationRegistry<Oid>((oid) => {
    const entry = this.#index.get(oid);
    // Another object of that number may have come to life since.
    if (entry instanceof WeakRef && entry.deref() === undefined) {
      this.#index.delete(oid);
    }
  });
  /**
   * What is held, in the order of use: the oldest generation first. An object
   * is in more than one if it was used in them; the one that its slot names counts.
   */
  #generations: Slot[][] = [[]];
  /** The number of the newest generation. */
  #newest = 1;
  /** How many entries of the oldest generation have been looked at. */
  #head = 0;
  #count = 0;
  #drop: (slot: Slot) => void;

  /** Makes an empty cache for about `size` objects, which calls `drop` for one that it lets go. */
  constructor(size: number, drop: (slot: Slot) => void) {
    this.size = size;
    this.#drop = drop;
  }

  /** How many objects are held. */
  get count(): number {
    return this.#count;
  }

  /** Returns the slot of a live object. */
  get(oid: Oid): Slot | undefined {
    const entry = this.#index.get(oid);
    if (entry === undefined || entry instanceof Slot) return entry;
    const object = entry.deref();
    return object && slotOf(object);
  }

  /** Makes an object known that is nobody's yet: it is held, or let go with `release`. */
  add(slot: Slot): void {
    this.#index.set(slot.oid, slot);
  }

  /** Notes that an object is used, and holds it from now on. */
  hold(slot: Slot): void {
    if (slot.generation === this.#newest) return;
    if (slot.generation === 0) this.#count++;
    slot.generation = this.#newest;
    const newest = this.#generations.at(-1)!;
    newest.push(slot);
    if (newest.length >= Math.max(this.size, this.#count, SMALL) / 2) {
      this.#beginGeneration();
    }
  }

  /** The objects that are held, which those of the transaction under way are. */
  *slots(): Generator<Slot, void> {
    let number = this.#oldest;
    let i = this.#head;
    for (const slots of this.#generations) {
      for (; i < slots.length; i++) {
        if (slots[i]!.generation === number) yield slots[i]!;
      }
      i = 0;
      number++;
    }
  }

  /** Every live object, held or not. */
  *all(): Generator<Slot, void> {
    for (const oid of this.#index.keys()) {
      const slot = this.get(oid);
      if (slot !== undefined) yield slot;
    }
  }

  /**
   * Lets go of what was not used for longest, as long as more than `size`
   * objects are held, but not of what `mayGo` refuses.
   */
  shrink(mayGo: (slot: Slot) => boolean): void {
    // What is refused counts as used: it goes to the newest generation, where
    // one look at it is enough.
    const end = this.#newest + 1;
    while (this.#count > this.size && this.#oldest < end) {
      if (this.#generations.length === 1) this.#beginGeneration();
      const slot = this.#generations[0]![this.#head++];
      if (slot === undefined) {
        this.#generations.shift();
        this.#head = 0;
      } else if (slot.generation === this.#oldest) {
        if (mayGo(slot)) this.#letGo(slot);
        else this.hold(slot);
      }
    }
    this.#cutOff();
  }

  /** What was let go must not stay in memory since the list that it was in still has it. */
  #cutOff(): void {
    const oldest = this.#generations[0]!;
    // Not at every step, since what is left moves.
    if (2 * this.#head < oldest.length) return;
    oldest.splice(0, this.#head);
    this.#head = 0;
  }

  /** The object by whose load these were made has dropped its state: it holds them no longer. */
  release(slots: readonly Slot[]): void {
    for (const slot of slots) {
      slot.anchored = false;
      if (slot.generation === 0) this.#weaken(slot);
    }
  }

  /** Forgets everything. */
  clear(): void {
    this.#index.clear();
    this.#generations = [[]];
    this.#head = 0;
    this.#count = 0;
  }

  /** The number of the oldest generation. */
  get #oldest(): number {
    return this.#newest - this.#generations.length + 1;
  }

  #letGo(slot: Slot): void {
    slot.generation = 0;
    this.#count--;
    this.#drop(slot);
    if (!slot.anchored) this.#weaken(slot);
  }

  #weaken(slot: Slot): void {
    if (this.#index.get(slot.oid) !== slot) return;
    this.#index.set(slot.oid, new WeakRef(slot.self));
    this.#collected.register(slot.self, slot.oid);
  }

  #beginGeneration(): void {
    this.#generations.push([]);
    this.#newest++;
    if (this.#generations.length > GENERATIONS) this.#joinOldest();
  }

  #joinOldest(): void {
    const number = this.#oldest;
    const [oldest, next] = this.#generations.splice(0, 2) as [Slot[], Slot[]];
    const joined: Slot[] = [];
    for (let i = this.#head; i < oldest.length; i++) {
      const slot = oldest[i]!;
      if (slot.generation !== number) continue;
      slot.generation = number + 1;
      joined.push(slot);
    }
    for (const slot of next) {
      if (slot.generation === number + 1) joined.push(slot);
    }
    this.#generations.unshift(joined);
    this.#head = 0;
  }
}
