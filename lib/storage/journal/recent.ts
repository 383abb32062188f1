/**
 * A cache of bounded size that keeps what was used last.
 *
 * @module
 */

/** One value, between those that were used after it and before it. */
interface Place<V> {
  readonly key: number;
  value: V;
  newer: Place<V>;
  older: Place<V>;
}

/**
 * A map from numbers that throws out what was not used for longest. It is a
 * ring in the order of use: to use a value is to take it out of the ring and
 * to put it in again at the front, which is cheaper than to do so in a `Map`.
 */
export class Recent<V> {
  readonly #most: number;
  #places = new Map<number, Place<V>>();
  /** The value used last; the one before it in the ring was not used for longest. */
  #newest: Place<V> | undefined;

  /** Keeps so many values at most. */
  constructor(most: number) {
    this.#most = most;
  }

  /** Returns the value of a key, which counts as using it. */
  get(key: number): V | undefined {
    const place = this.#places.get(key);
    if (place === undefined) return undefined;
    if (place !== this.#newest) {
      this.#takeOut(place);
      this.#putIn(place);
    }
    return place.value;
  }

  /** Puts in a value, perhaps in place of another one. */
  set(key: number, value: V): void {
    this.delete(key);
    if (this.#places.size >= this.#most) this.delete(this.#newest!.newer.key);
    const place = { key, value } as Place<V>;
    this.#places.set(key, place);
    this.#putIn(place);
  }

  /** Takes out a key. */
  delete(key: number): void {
    const place = this.#places.get(key);
    if (place === undefined) return;
    this.#places.delete(key);
    this.#takeOut(place);
  }

  #takeOut(place: Place<V>): void {
    const { newer, older } = place;
    newer.older = older;
    older.newer = newer;
    if (place === this.#newest) {
      this.#newest = older === place ? undefined : older;
    }
  }

  #putIn(place: Place<V>): void {
    const newest = this.#newest ?? place;
    const oldest = newest.newer ?? place;
    place.older = newest;
    place.newer = oldest;
    newest.newer = place;
    oldest.older = place;
    this.#newest = place;
  }
}
