/**
 * How commits keep out of each other's way. Most run side by side. But one that
 * takes long to arrive might always find that somebody was faster; so a client
 * that was refused has a turn: while the bytes of its next commit arrive, nobody
 * else begins one.
 *
 * @module
 */

/** How long a client waits at most for others, in milliseconds. */
const LONGEST_WAIT = 10_000;

/** Who is in the middle of a commit, who has the turn, and who waits for it. */
export class Turns<Client extends object> {
  #longest: number;
  /** Who has begun a commit without a turn. */
  #open = new Set<Client>();
  #holder: Client | undefined;
  /** Who waits for a turn, the next one first. */
  #queue: Client[] = [];
  /** What to do when any of that changes. */
  #waiting = new Set<() => void>();
  #closed = false;

  /** Begins with nobody; `longest` is how long anybody waits at most, in milliseconds. */
  constructor(longest = LONGEST_WAIT) {
    this.#longest = longest;
  }

  /** Whether somebody has the turn, or waits for it: then the others wait. */
  get wanted(): boolean {
    return this.#holder !== undefined || this.#queue.length > 0;
  }

  /**
   * Lets a client begin a commit, if need be when others have ended theirs. One
   * with a turn waits for those who have begun; the others wait for it.
   */
  async begin(client: Client, withTurn: boolean): Promise<void> {
    const until = performance.now() + this.#longest;
    if (!withTurn) {
      while (this.wanted && await this.#change(until));
      this.#open.add(client);
      return;
    }
    this.#queue.push(client);
    while (
      (this.#holder !== undefined || this.#queue[0] !== client ||
        this.#open.size > 0) && await this.#change(until)
    );
    this.#queue = this.#queue.filter((other) => other !== client);
    // After so long a wait somebody else may have it still.
    if (this.#holder === undefined) this.#holder = client;
    else this.#open.add(client);
  }

  /** Ends what a client has begun, the turn too. Nobody need have begun. */
  end(client: Client): void {
    if (this.#holder === client) this.#holder = undefined;
    else if (!this.#open.delete(client)) return;
    this.#wake();
  }

  /** Whether it is this client that the others wait for. */
  isAwaited(client: Client): boolean {
    return this.wanted && (this.#holder === client || this.#open.has(client));
  }

  /** Lets nobody wait any more. */
  close(): void {
    this.#closed = true;
    this.#wake();
  }

  /** Waits until something changes; returns false if it is time to go on all the same. */
  async #change(until: number): Promise<boolean> {
    const left = until - performance.now();
    if (left <= 0 || this.#closed) return false;
    await new Promise<void>((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, left);
      this.#waiting.add(wake);
    });
    return true;
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
