/**
 * Code that looks at what a commit is about to store, and may still change it:
 * for checks, and for indexes.
 *
 * @module
 */
import { ConnectionError } from "../errors.ts";
import { isPromise } from "../persistent/is_promise.ts";
import type { PersistentObject } from "../persistent/persistent.ts";
import { equalBytes } from "../serialize/bytes.ts";
import { Decoder } from "../serialize/decoder.ts";
import type { Session } from "../storage/storage.ts";
import type { Slot } from "../persistent/slot.ts";
import type { Changes, LiveObjects } from "./live_objects.ts";

/** An object that a commit is about to store. */
export interface PendingChange {
  /** The object, as it is now. */
  readonly object: PersistentObject;
  /** Whether it was never stored before. */
  readonly isNew: boolean;
  /**
   * Returns its state as the transaction found it, `undefined` if it is new.
   * What it refers to are the live objects.
   *
   * @throws {ConnectionError} if the listener has returned.
   */
  stored(): Readonly<Record<string, unknown>> | undefined;
}

/** Looks at what a commit is about to store; see {@linkcode Connection.beforeCommit}. */
export type BeforeCommit = (changes: readonly PendingChange[]) => void;

/** Listeners that answer each other's changes for longer than this never stop. */
const MOST_ROUNDS = 100;

/** The listeners of one connection. */
export class BeforeCommitListeners {
  readonly #entries = new Set<{ readonly tell: BeforeCommit }>();
  readonly #objects: LiveObjects;
  readonly #session: Session;

  /** Begins with none. */
  constructor(objects: LiveObjects, session: Session) {
    this.#objects = objects;
    this.#session = session;
  }

  /** Adds one; returns how to take it away. */
  add(tell: BeforeCommit): () => void {
    const entry = { tell };
    this.#entries.add(entry);
    return () => {
      this.#entries.delete(entry);
    };
  }

  /**
   * Encodes all changes when every listener has seen each of them as it is
   * stored: what a listener changes, the others are shown, too.
   *
   * @throws {EncodeError} and whatever a listener throws; nothing has happened then.
   */
  encode(): Changes {
    const objects = this.#objects;
    if (this.#entries.size === 0) return objects.encode();
    const shown = new Map<Slot, Uint8Array>();
    for (let round = 1;; round++) {
      const changes = objects.encode();
      const fresh: { slot: Slot; isNew: boolean }[] = [];
      changes.slots.forEach((slot, i) => {
        const record = changes.records[i]![1];
        const before = shown.get(slot);
        if (before !== undefined && equalBytes(before, record)) return;
        shown.set(slot, record);
        fresh.push({ slot, isNew: i >= changes.changed });
      });
      if (fresh.length === 0) return changes;
      objects.takeBack(changes);
      if (round > MOST_ROUNDS) {
        throw new ConnectionError(
          `Cannot commit: the listeners of beforeCommit() go on changing objects after ${MOST_ROUNDS} rounds`,
        );
      }
      objects.hooks.during(
        "a listener of beforeCommit() is running",
        () => this.#tell(fresh),
      );
    }
  }

  #tell(fresh: readonly { slot: Slot; isNew: boolean }[]): void {
    let running = true;
    const changes = fresh.map(({ slot, isNew }): PendingChange => ({
      object: slot.self as PersistentObject,
      isNew,
      stored: () => {
        if (!running) {
          throw new ConnectionError(
            "Cannot tell what was stored: the listener of beforeCommit() has returned",
          );
        }
        return isNew ? undefined : this.#stored(slot);
      },
    }));
    try {
      for (const { tell } of [...this.#entries]) {
        const result: unknown = tell(changes);
        if (isPromise(result)) {
          // Nobody waits for it.
          Promise.resolve(result).catch(() => {});
          throw new ConnectionError(
            "Cannot commit: a listener of beforeCommit() is asynchronous",
          );
        }
      }
    } finally {
      running = false;
    }
  }

  #stored(slot: Slot): Record<string, unknown> {
    const record = this.#session.load(slot.oid);
    return this.#objects.stateIn(record, slot, new Decoder(this.#objects));
  }
}
