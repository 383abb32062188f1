/**
 * Pauses between attempts, so that two who are in each other's way do not
 * meet again and again.
 *
 * @module
 */

/** The longest pause, in milliseconds. */
const LONGEST = 100;

const nobodyWakes = new Int32Array(new SharedArrayBuffer(4));

/** Stands still for a random time, which grows with the attempts that have failed: 1 ms at most after the first. */
export function pause(failed: number): void {
  const most = Math.min(2 ** (failed - 1), LONGEST);
  Atomics.wait(nobodyWakes, 0, 0, Math.random() * most);
}
