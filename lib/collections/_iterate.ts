/**
 * Iteration over content that may be dropped and loaded again between two
 * steps, as happens when a loop commits or aborts.
 *
 * @module
 */

/**
 * Goes through a collection as its native counterpart does. `content` notes
 * the access and returns what is in memory now; if that is no longer what it
 * was, iteration goes on in the new content at the same position.
 */
export function iterate<T>(
  content: () => Iterable<T>,
): Generator<T, undefined, unknown> {
  // Noted when the iterator is made, not at its first step.
  const first = content();
  return (function* () {
    let now = first;
    let iterator = now[Symbol.iterator]();
    let count = 0;
    for (;;) {
      const later = content();
      if (later !== now) {
        now = later;
        iterator = now[Symbol.iterator]();
        for (let i = 0; i < count; i++) iterator.next();
      }
      const step = iterator.next();
      if (step.done) return undefined;
      count++;
      yield step.value;
    }
  })();
}

/** Makes the step of an iterator over entries: `keys()`, `values()`, or both. */
export function pick<T, U>(
  items: Iterator<T, undefined, unknown>,
  choose: (item: T) => U,
): Generator<U, undefined, unknown> {
  return (function* () {
    for (;;) {
      const step = items.next();
      if (step.done) return undefined;
      yield choose(step.value);
    }
  })();
}
