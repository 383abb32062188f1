/**
 * Finds changes to plain values inside persistent objects that nobody noted,
 * by comparing what is in memory with what is stored.
 *
 * @module
 */
import { equalBytes } from "../serialize/bytes.ts";
import { ForgottenChangeError } from "../errors.ts";
import { Decoder } from "../serialize/decoder.ts";
import { Encoder } from "../serialize/encoder.ts";
import type { Session } from "../storage/storage.ts";
import { describe, type LiveObjects } from "./live_objects.ts";
import { slotOf } from "../persistent/slot.ts";

/**
 * Looks at every saved object that the transaction under way has accessed.
 *
 * @throws {ForgottenChangeError} naming the object and the property.
 */
export function checkForgottenChanges(
  objects: LiveObjects,
  session: Session,
): void {
  // New objects have no number here and get none: any number that no stored
  // object has makes the difference that is looked for.
  const encoder = new Encoder({
    oidOf(value: object) {
      const slot = slotOf(value);
      return slot && (slot.oid < 0 ? Number.MAX_SAFE_INTEGER : slot.oid);
    },
    classNameOf: (value: object) => slotOf(value)!.self._p_className,
  });
  const decoder = new Decoder(objects);
  // Decoding makes ghosts, which must not be visited.
  for (const slot of [...objects.cache.slots()]) {
    if (slot.status !== "saved" || slot.serial !== objects.serial) continue;
    const now = objects.hooks.getState(slot);
    const before = objects.stateIn(session.load(slot.oid), slot, decoder);
    const keys = new Set([...Object.keys(now), ...Object.keys(before)]);
    for (const key of keys) {
      if (key.startsWith("_v_")) continue;
      // Only what is there: an absent property is not one that is undefined.
      const encode = (state: Record<string, unknown>) =>
        encoder.encode(
          slot.oid,
          slot.className,
          Object.hasOwn(state, key) ? { [key]: state[key] } : {},
        );
      if (!equalBytes(encode(now), encode(before))) {
        throw new ForgottenChangeError(
          `Cannot commit: ${
            describe(slot)
          }.${key} was changed and nobody noted it; call _p_noteChange() on the object after changing a plain value inside it`,
        );
      }
    }
  }
}
