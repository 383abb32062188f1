/**
 * Iteration over content that may be dropped and loaded again between two
 * steps, as happens when a loop commits or aborts.
 *
 * @module
 */
import { slotOf } from "../persistent/slot.ts";

/**
 * An iterator like those of the native collections: it has the iterator
 * helpers, and leaving a loop early does not end it, which a generator would.
 */
export class Steps<T> extends Iterator<T, undefined, unknown> {
  // Gone after the last step: what is added later no longer counts.
  #step: (() => IteratorResult<T, undefined>) | undefined;

  /** Makes an iterator that takes each step by calling a function. */
  constructor(step: () => IteratorResult<T, undefined>) {
    super();
    this.#step = step;
  }

  /** Takes a step. */
  override next(): IteratorResult<T, undefined> {
    if (this.#step === undefined) return { done: true, value: undefined };
    const result = this.#step();
    if (result.done) this.#step = undefined;
    return result;
  }
}

/** What `iterate` needs of a `Map` or a `Set`. */
interface Content<K, V> {
  has(key: K): boolean;
  keys(): Iterable<K>;
  entries(): Iterator<[K, V], undefined, unknown>;
}

/**
 * Goes through a `Map` or a `Set`. `content` notes the access and returns what
 * is in memory now. If that is no longer what it was, iteration goes on where
 * it had come to, as far as that place can still be told.
 */
export function iterate<K, V, T>(
  content: () => Content<K, V>,
  choose: (entry: [K, V]) => T,
): Steps<T> {
  // Noted when the iterator is made, not at its first step.
  let now = content();
  let entries = now.entries();
  let last: [key: K] | undefined;
  return new Steps(() => {
    const later = content();
    if (later !== now) {
      let ahead = 0;
      while (!entries.next().done) ahead++;
      let skip = last ? place(now, ahead, last[0], later) : 0;
      now = later;
      entries = now.entries();
      while (skip-- > 0) entries.next();
    }
    const step = entries.next();
    if (step.done) return step;
    last = [step.value[0]];
    return { done: false, value: choose(step.value) };
  });
}

/** Returns how many entries of `now` to pass over, given how many were `ahead` in what was `before`. */
function place<K>(
  before: Content<K, unknown>,
  ahead: number,
  last: K,
  now: Content<K, unknown>,
): number {
  const old = [...before.keys()];
  const keys = [...now.keys()];
  const passed = old.length - ahead;
  // Evicted and loaded again, most likely.
  const isSame = old.length === keys.length &&
    old.every((key, i) => Object.is(key, keys[i]) || isPlain(key));
  if (isSame) return passed;
  const indexOf = (key: K) => keys.findIndex((other) => Object.is(other, key));
  // The key given last may be gone since, or stand elsewhere: added again.
  const stays = passed > 0 && Object.is(old[passed - 1], last);
  if (stays && now.has(last)) return indexOf(last) + 1;
  const next = old.findIndex((key, i) => i >= passed && now.has(key));
  if (next >= 0) return indexOf(old[next]!);
  return now.has(last) ? indexOf(last) + 1 : passed;
}

/** Returns whether a value is another object each time that it is loaded. */
function isPlain(value: unknown): boolean {
  return typeof value === "object" && value !== null && !slotOf(value);
}
