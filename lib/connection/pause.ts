/**
 * Pauses between attempts, so that two who are in each other's way do not
 * meet again and again.
 *
 * @module
 */
import { sleepSync } from "../sleep.ts";

/** The longest pause, in milliseconds. */
const LONGEST = 100;

/** Stands still for a random time, which grows with the attempts that have failed: 1 ms at most after the first. */
export function pause(failed: number): void {
  const most = Math.min(2 ** (failed - 1), LONGEST);
  sleepSync(Math.random() * most);
}
