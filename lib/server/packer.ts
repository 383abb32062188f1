/**
 * Packs a storage in the background, in steps between which the server goes on.
 *
 * @module
 */
import type { Progress, Storage } from "../storage/storage.ts";

/** How long steps may follow each other before clients get their turn, in milliseconds. */
const TURN = 5;

/** What a {@linkcode Packer} tells as it goes. */
export interface PackerEvents {
  /** It has begun. */
  started(): void;
  /** It is done; `progress` is the last that the storage told, if anything. */
  finished(progress: Progress | undefined): void;
  /** It failed; the storage is as before. */
  failed(error: unknown): void;
}

/** Packs one storage, one pack at a time. */
export class Packer {
  #storage: Storage;
  #events: PackerEvents;
  #running: Promise<void> | undefined;
  #stopping = false;

  /** Makes a packer for a storage. */
  constructor(storage: Storage, events: PackerEvents) {
    this.#storage = storage;
    this.#events = events;
  }

  /** Whether a pack is under way. */
  get running(): boolean {
    return this.#running !== undefined;
  }

  /**
   * Begins a pack, unless one is under way. Returns false if the storage cannot
   * be packed, such as one that is read-only.
   */
  start(): boolean {
    if (this.running) return true;
    if (this.#stopping) return false;
    let steps: Iterable<Progress>;
    try {
      steps = this.#storage.packInSteps();
    } catch (error) {
      this.#events.failed(error);
      return false;
    }
    this.#events.started();
    this.#running = this.#run(steps).finally(() => this.#running = undefined);
    return true;
  }

  /** Gives up the pack that is under way; the storage is as before then. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
  }

  async #run(steps: Iterable<Progress>): Promise<void> {
    let last: Progress | undefined;
    try {
      await turn();
      let began = Date.now();
      // Leaving the loop early ends the iteration, which lets the storage clean up.
      if (this.#stopping) return;
      for (const progress of steps) {
        last = progress;
        if (Date.now() - began < TURN) continue;
        await turn();
        if (this.#stopping) return;
        began = Date.now();
      }
    } catch (error) {
      this.#events.failed(error);
      return;
    }
    this.#events.finished(last);
  }
}

/** Lets everything else that is ready run. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
