/**
 * Room in memory for what is on its way: a bound on the sum of all long
 * requests and answers, however many clients stall in the middle of one.
 *
 * @module
 */

/** So many bytes, of which each client may have a part. */
export class Room<Client extends object> {
  #left: number;
  readonly #bytes: number;
  #parts = new Map<Client, number>();
  #waiting: { client: Client; bytes: number; resolve: () => void }[] = [];

  /** Begins empty. */
  constructor(bytes: number) {
    this.#bytes = this.#left = bytes;
  }

  /** Whether somebody waits for room. */
  get wanted(): boolean {
    return this.#waiting.length > 0;
  }

  /** Whether so little is left that it is worth while to ask how much something needs. */
  get isTight(): boolean {
    return this.wanted || this.#left < this.#bytes / 2;
  }

  /** Whether a client has a part of it. */
  isHeldBy(client: Client): boolean {
    return this.#parts.has(client);
  }

  /** Gives a client room if there is some now; returns whether. What is larger than all of it takes all. */
  tryTake(client: Client, bytes: number): boolean {
    const part = Math.min(bytes, this.#bytes);
    if (this.#waiting.length > 0 || part > this.#left) return false;
    this.#give(client, part);
    return true;
  }

  /** Gives a client room, in the order in which they ask. */
  async take(client: Client, bytes: number): Promise<void> {
    if (this.tryTake(client, bytes)) return;
    const part = Math.min(bytes, this.#bytes);
    await new Promise<void>((resolve) => {
      this.#waiting.push({ client, bytes: part, resolve });
    });
  }

  /** Takes back what a client has, and whatever it waits for. */
  giveBack(client: Client): void {
    this.#left += this.#parts.get(client) ?? 0;
    this.#parts.delete(client);
    this.#waiting = this.#waiting.filter((waiting) => {
      if (waiting.client !== client) return true;
      waiting.resolve();
      return false;
    });
    for (;;) {
      const next = this.#waiting[0];
      if (next === undefined || next.bytes > this.#left) return;
      this.#waiting.shift();
      this.#give(next.client, next.bytes);
      next.resolve();
    }
  }

  #give(client: Client, bytes: number): void {
    this.#left -= bytes;
    this.#parts.set(client, bytes);
  }
}
