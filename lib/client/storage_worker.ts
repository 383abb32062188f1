/**
 * A worker that owns a storage, as the program's thread sees it.
 *
 * @module
 */
import { StorageError } from "../errors.ts";
import { messageOf } from "../message.ts";
import { viewOf } from "../serialize/bytes.ts";
import {
  GRACE,
  SharedCall,
  ToldError,
  toTimer,
  WorkerEndedError,
} from "./shared_call.ts";
import {
  STORAGE_PROGRAM,
  type StorageAnswer,
  StorageOutcome,
  type StorageRequest,
  type What,
} from "./storage_program.ts";
import { revive, reviveOurs } from "./told_errors.ts";

/** An answer, and the records that came with it. */
export interface Answer<W extends What> extends StorageAnswer<W> {
  readonly records: Uint8Array[];
}

/** What goes with a request. */
interface Extras {
  /** The number of the session that is asked. */
  readonly session?: number;
  /** The bytes that follow the request. */
  readonly records?: readonly Uint8Array[];
  /** Answers whether the transaction has accessed an object. */
  readonly accessed?: (oid: number) => boolean;
}

/** No answer came in time; what was asked may still be under way. */
export class NoAnswerError extends StorageError {
  /** Makes the error, which is an ordinary `StorageError` to others. */
  constructor(message: string) {
    super(message);
    this.name = "StorageError";
  }
}

/** Opening loads a module, which takes time on a busy machine, however soon answers are wanted. */
const OPENING = 5000;

/** A worker with one storage. */
export class StorageWorker {
  /** What to call the storage in messages. */
  readonly name: string;
  readonly #call: SharedCall;
  readonly #timeout: number;

  /**
   * Starts the worker, and opens the storage in it.
   *
   * @throws {DharaError} if that fails; a `StorageError` if it is no error of ours that the module throws.
   */
  constructor(module: string, options: unknown, timeout: number) {
    this.name = nameOf(module);
    this.#timeout = toTimer(timeout);
    try {
      this.#call = new SharedCall({
        program: STORAGE_PROGRAM,
        patience: Math.max(this.#timeout, OPENING),
        data: {
          module,
          options,
          timeout: this.#timeout,
          names: { StorageOutcome },
        },
      });
    } catch (cause) {
      // What the storage says in an error of ours needs no more words.
      const ours = cause instanceof ToldError ? reviveOurs(cause) : undefined;
      throw ours ?? new StorageError(
        `Cannot open ${this.name}: ${messageOf(cause)}`,
        { cause },
      );
    }
  }

  /**
   * Asks the storage, or one of its sessions.
   *
   * @throws {NoAnswerError} if no answer came in time.
   * @throws {DharaError} as the storage did; a `StorageError` if that was no error of ours, or if the worker has ended.
   */
  ask<W extends What>(
    request: StorageRequest<W>,
    { session = 0, records = [], accessed }: Extras = {},
  ): Answer<W> {
    const length = this.#write(request, records);
    let failure: { readonly error: unknown } | undefined;
    const onQuestion = (oid: number) => {
      try {
        return accessed!(oid);
      } catch (error) {
        // Nothing must be stored, and this is why.
        failure ??= { error };
        return true;
      }
    };
    const patience = request.what === "pack" ? Infinity : this.#timeout + GRACE;
    const answer = this.#explained(() => {
      const question = { patience, onQuestion };
      return this.#call.ask(0, session, length, question) ===
          StorageOutcome.silent
        ? undefined
        : this.#read<W>();
    });
    if (failure !== undefined) throw failure.error;
    if (answer !== undefined) return answer;
    throw new NoAnswerError(
      `Cannot go on with ${this.name}: no answer to ${request.what}() came within ${
        this.#timeout / 1000
      } seconds`,
    );
  }

  /** Closes the storage and ends the worker. */
  close(): void {
    try {
      if (this.#call.alive) this.ask<"close">({ what: "close" });
    } catch (error) {
      // There is nothing to be closed any more.
      if (!((error as Error).cause instanceof WorkerEndedError)) throw error;
    } finally {
      this.#call.terminate();
    }
  }

  /** Ends the worker without closing the storage. */
  terminate(): void {
    this.#call.terminate();
  }

  #write(request: { what: What }, records: readonly Uint8Array[]): number {
    const json = new TextEncoder().encode(JSON.stringify(request));
    let length = 4 + json.length;
    for (const record of records) length += record.length;
    const data = this.#explained(() => {
      if (length < 2 ** 32) return this.#call.reserve(length);
      throw new RangeError("a transaction has less than 4 GiB");
    });
    viewOf(data).setUint32(0, json.length);
    data.set(json, 4);
    let at = 4 + json.length;
    for (const record of records) {
      data.set(record, at);
      at += record.length;
    }
    return length;
  }

  #read<W extends What>(): Answer<W> {
    const { data } = this.#call;
    let at = 4 + viewOf(data).getUint32(0);
    // Texts cannot be decoded where they may change.
    const text = new TextDecoder().decode(data.slice(4, at));
    const answer: StorageAnswer<W> = JSON.parse(text);
    const records = (answer.sizes ?? []).map((size) =>
      data.slice(at, at += size)
    );
    return { ...answer, records };
  }

  #explained<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      if (cause instanceof ToldError) throw revive(cause);
      const what = cause instanceof WorkerEndedError
        ? `its worker has ended: ${cause.message}`
        : messageOf(cause);
      throw new StorageError(`Cannot use ${this.name}: ${what}`, { cause });
    }
  }
}

/** A file's name, or what else there is to call a module. */
function nameOf(module: string): string {
  const name = /^(?:file|https?|jsr|npm):.*?([^/?#]+)\/*(?:[?#].*)?$/.exec(
    module,
  )
    ?.[1];
  return name === undefined ? "the storage" : decodeURIComponent(name);
}
