/**
 * Standing still, where everything blocks.
 *
 * @module
 */

const nobodyWakes = new Int32Array(new SharedArrayBuffer(4));

/** Stands still for a time, in milliseconds. */
export function sleepSync(milliseconds: number): void {
  Atomics.wait(nobodyWakes, 0, 0, milliseconds);
}
