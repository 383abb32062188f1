/**
 * What verifying a journal has found so far: the first of each kind are listed,
 * all are counted.
 *
 * @module
 */
import type { Oid } from "../../serialize/record.ts";
import type { VerifyReport } from "../verify_report.ts";

/** So much is listed at most; the rest is counted. */
const MOST = 100;

/** What has been found. */
export class Findings {
  readonly #damage: { offset: number; message: string }[] = [];
  readonly #dangling: { oid: Oid; from: Oid }[] = [];
  readonly #notes: string[] = [];
  #damageCount = 0;
  #danglingCount = 0;
  /** What could not be read: from, to; in order, and apart from each other. */
  readonly #lost: [number, number][] = [];

  /** How many places are damaged. */
  get damageCount(): number {
    return this.#damageCount;
  }

  /** What a report says of it. */
  get report(): Pick<
    VerifyReport,
    | "good"
    | "damage"
    | "damageCount"
    | "dangling"
    | "danglingCount"
    | "notes"
  > {
    return {
      good: this.#damageCount === 0 && this.#danglingCount === 0,
      damage: this.#damage,
      damageCount: this.#damageCount,
      dangling: this.#dangling,
      danglingCount: this.#danglingCount,
      notes: this.#notes,
    };
  }

  /** Notes damage at a place. */
  damaged(offset: number, message: string): void {
    if (this.#damageCount++ < MOST) this.#damage.push({ offset, message });
  }

  /** Notes a reference that leads nowhere. */
  danglingAt(oid: Oid, from: Oid): void {
    if (this.#danglingCount++ < MOST) this.#dangling.push({ oid, from });
  }

  /** Notes what is worth knowing and no damage. */
  note(note: string): void {
    if (this.#notes.length < MOST) this.#notes.push(note);
  }

  /** Notes that a part cannot be read. None begins before the one noted last. */
  lose(from: number, to: number): void {
    const last = this.#lost.at(-1);
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
    else this.#lost.push([from, to]);
  }

  /** Whether a place is in a part that cannot be read. */
  isLost(offset: number): boolean {
    let low = 0;
    let high = this.#lost.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#lost[middle]![1] <= offset) low = middle + 1;
      else high = middle;
    }
    return low < this.#lost.length && this.#lost[low]![0] <= offset;
  }
}
