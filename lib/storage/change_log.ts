/**
 * What was changed in a storage, once for all of its sessions, and how far each
 * of them has come.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";
import { OidSet } from "./oid_set.ts";

/** A log is never tidied for less. */
const SHORT = 1024;

/** How far somebody has read. Only the log moves it. */
export interface Place {
  /** Everything before this index was read. */
  at: number;
}

/**
 * The numbers of changed objects, in the order of the changes. It takes 8 bytes
 * for each, forgets what everybody has read, and of what is left all but the
 * last change of each object: so it grows with the number of objects that were
 * changed, neither with that of the changes nor with that of the readers.
 */
export class ChangeLog {
  #oids = new Float64Array(SHORT);
  #end = 0;
  readonly #places = new Set<Place>();

  /** How many numbers it has room for before it must be tidied. */
  get capacity(): number {
    return this.#oids.length;
  }

  /** Returns a place at the end: nothing is news to it yet. */
  open(): Place {
    const place = { at: this.#end };
    this.#places.add(place);
    return place;
  }

  /** Forgets a place: what only it has not read is kept no longer. */
  close(place: Place): void {
    this.#places.delete(place);
  }

  /** Notes that objects were changed. */
  add(oids: Iterable<Oid>): void {
    for (const oid of oids) {
      if (this.#end === this.#oids.length) this.#tidy();
      this.#oids[this.#end++] = oid;
    }
  }

  /** Whether nothing was changed since a place. */
  isAtEnd(place: Place): boolean {
    return place.at === this.#end;
  }

  /** Moves a place to the end. */
  catchUp(place: Place): void {
    place.at = this.#end;
  }

  /** Returns what was changed since a place, each object once. */
  since(place: Place): Oid[] {
    const oids: Oid[] = [];
    if (this.isAtEnd(place)) return oids;
    const seen = new OidSet();
    for (let i = place.at; i < this.#end; i++) {
      const oid = this.#oids[i]!;
      if (seen.add(oid)) oids.push(oid);
    }
    return oids;
  }

  /** Returns what was changed since a place, as a set. */
  setSince(place: Place): OidSet {
    const oids = new OidSet();
    for (let i = place.at; i < this.#end; i++) oids.add(this.#oids[i]!);
    return oids;
  }

  /**
   * Keeps the last change of each object, as far back as somebody has not read,
   * and makes room for as much again: so that a number costs the same however
   * long the log is, and however many read it.
   */
  #tidy(): void {
    const places = [...this.#places].sort((a, b) => b.at - a.at);
    const kept = new Float64Array(this.#end);
    const seen = new OidSet();
    let from = this.#end;
    let next = 0;
    for (let i = this.#end;; i--) {
      while (places[next]?.at === i) places[next++]!.at = from;
      if (next === places.length) break;
      const oid = this.#oids[i - 1]!;
      if (seen.add(oid)) kept[--from] = oid;
    }
    for (const place of places) place.at -= from;
    const length = this.#end - from;
    this.#oids = new Float64Array(
      Math.max(SHORT, 2 * length, 4 * places.length),
    );
    this.#oids.set(kept.subarray(from));
    this.#end = length;
  }
}
