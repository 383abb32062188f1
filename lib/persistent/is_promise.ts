/**
 * Whether a program's function was asynchronous.
 *
 * @module
 */
import { slotOf } from "./slot.ts";

/** Returns whether a value is a promise. A persistent object is none, and is not loaded to see that. */
export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null &&
    slotOf(value) === undefined &&
    typeof (value as Partial<PromiseLike<unknown>>).then === "function";
}
