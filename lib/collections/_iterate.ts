/**
 * Iteration over content that may be dropped and loaded again between two
 * steps, as happens when a loop commits or aborts.
 *
 * @module
 */

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
  readonly size: number;
  has(key: K): boolean;
  entries(): Iterator<[K, V], undefined, unknown>;
}

/**
 * Goes through a `Map` or a `Set`. `content` notes the access and returns what
 * is in memory now. If that is no longer what it was, iteration goes on behind
 * the entry that it had come to, or at the same position if that entry is gone.
 */
export function iterate<K, V, T>(
  content: () => Content<K, V>,
  choose: (entry: [K, V]) => T,
): Steps<T> {
  // Noted when the iterator is made, not at its first step.
  let now = content();
  let entries = now.entries();
  let begun = false;
  let key: K | undefined;
  return new Steps(() => {
    const later = content();
    if (later !== now) {
      let position = now.size;
      while (!entries.next().done) position--;
      now = later;
      entries = now.entries();
      if (begun && now.has(key!)) {
        while (!Object.is(entries.next().value?.[0], key));
      } else {
        while (position-- > 0) entries.next();
      }
    }
    const step = entries.next();
    if (step.done) return step;
    begun = true;
    key = step.value[0];
    return { done: false, value: choose(step.value) };
  });
}
