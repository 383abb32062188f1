/**
 * Who wants to know of commits.
 *
 * @module
 */
import type { CommitNews } from "./storage.ts";

type Listener = (news: CommitNews) => void;

/** Those who want to know of the commits of one storage. */
export class CommitListeners {
  readonly #entries = new Set<{ readonly tell: Listener }>();

  /** Adds one; returns how to take it away. */
  add(tell: Listener): () => void {
    const entry = { tell };
    this.#entries.add(entry);
    return () => {
      this.#entries.delete(entry);
    };
  }

  /**
   * Tells all of a commit when the synchronous work is done: what a listener
   * does, or throws, must not get into the way of the commit.
   */
  tell(news: () => CommitNews): void {
    if (this.#entries.size === 0) return;
    const told = news();
    for (const entry of this.#entries) {
      queueMicrotask(() => {
        if (this.#entries.has(entry)) entry.tell(told);
      });
    }
  }

  /** Forgets all. */
  clear(): void {
    this.#entries.clear();
  }
}
