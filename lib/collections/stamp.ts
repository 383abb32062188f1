/**
 * How the methods of a collection find its slot when they are called on the
 * proxy around it: a method call must not cost a trap.
 *
 * @module
 */
import type { PersistentObject } from "../persistent/persistent.ts";
import { SLOT, type Slot, slotOf } from "../persistent/slot.ts";
import { type Target, wrap } from "../persistent/traps.ts";

/** Puts a proxy around a collection, which {@linkcode slotWithin} looks into. */
export function wrapCollection<T extends PersistentObject>(
  object: T,
  traps: ProxyHandler<Target>,
): T {
  const proxy = wrap(object, traps);
  const slot = slotOf(object)!;
  new Stamp(object, slot);
  new Stamp(proxy, slot);
  return proxy;
}

/** Returns the slot of a collection: of the bare one, of its proxy, or of a proxy around that. */
export function slotWithin(object: object): Slot {
  return Stamp.slot(object);
}

class Returned {
  constructor(object: object) {
    return object;
  }
}

/** Gives an object, and a proxy itself, a private member: no trap stands before those. */
class Stamp extends Returned {
  #slot: Slot;

  constructor(object: object, slot: Slot) {
    super(object);
    this.#slot = slot;
  }

  static slot(object: object): Slot {
    try {
      // Asking first whether it is there would take twice as long.
      return (object as Stamp).#slot;
    } catch {
      // A proxy around ours, or an object that inherits from one.
      return (object as { [SLOT]: Slot })[SLOT];
    }
  }
}
