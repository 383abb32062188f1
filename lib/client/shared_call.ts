/**
 * Calls that block: the calling thread stands still until a worker has
 * answered through shared memory. `shared_loader.ts` is the worker's half.
 *
 * @module
 */
import { Worker } from "node:worker_threads";
import {
  LAST_WORDS,
  LOADER,
  Outcome,
  type SharedData,
  Slot,
  type Told,
} from "./shared_loader.ts";

/** Bytes of data that there is always room for. */
export const ROOM = 1024 * 1024;
/** How much longer than its program may be silent the worker itself may be, in milliseconds. */
export const GRACE = 5000;
/** How long the worker may take to copy an answer for which there is room now, in milliseconds. */
const COPYING = 60_000;
/** A timer cannot be set to more. */
const LONGEST = 2 ** 31 - 1;
/** Of a worker's last words no more is kept. */
const WORDS = 4096;

/** What went wrong in a worker that goes on. */
export class ToldError extends Error {
  /** All that was told. */
  readonly told: Told;

  /** Makes the error of what was told. */
  constructor(told: Told) {
    super(told.message);
    this.name = told.names[0] ?? "Error";
    if (told.stack !== undefined) this.stack = told.stack;
    this.told = told;
  }
}

/** The worker cannot be used any more. */
export class WorkerEndedError extends Error {}

/** How to start a worker. */
export interface Start {
  /** The text of its program. */
  readonly program: string;
  /** How long it may take to begin, in milliseconds; whatever goes wrong then it tells at once. */
  readonly patience: number;
  /** What the program is given beside the shared memory, and names for its own numbers. */
  readonly data: {
    readonly names: Readonly<Record<string, unknown>>;
    readonly [key: string]: unknown;
  };
}

/** How to ask. */
export interface Question {
  /** How long the worker may do nothing at all, in milliseconds. */
  readonly patience: number;
  /** Answers what the worker asks meanwhile. It must not ask the worker. */
  readonly onQuestion?: (number: number) => boolean;
}

/** A worker, and the memory that is shared with it. */
export class SharedCall {
  /** The numbers, by `Slot`. */
  readonly control: Int32Array<SharedArrayBuffer>;
  /** Requests are written here, and answers are read from here. */
  #data: Uint8Array<SharedArrayBuffer>;
  /** The data of ordinary length. */
  readonly #ordinary: Uint8Array<SharedArrayBuffer>;
  /** Whether the worker does not know of the data yet. */
  #moved = false;
  #worker: Worker | undefined;
  #answers = 0;
  #asking = false;
  #end = "it was closed";

  /**
   * Starts the worker.
   *
   * @throws {ToldError} if its program cannot be started.
   * @throws {WorkerEndedError} if it ends before it begins.
   */
  constructor({ program, patience, data }: Start) {
    const numbers = new SharedArrayBuffer(LAST_WORDS + WORDS);
    const memory = new SharedArrayBuffer(ROOM);
    this.control = new Int32Array(numbers, 0, LAST_WORDS / 4);
    this.#data = this.#ordinary = new Uint8Array(memory);
    const workerData: SharedData = {
      ...data,
      numbers,
      memory,
      program: toUrl(program),
      names: { ...data.names, Slot, Outcome, LAST_WORDS },
    };
    try {
      this.#worker = new Worker(new URL(toUrl(LOADER)), { workerData });
      // It tells what goes wrong in a request; what goes wrong beside one ends it.
      this.#worker.on("error", () => this.terminate(this.#lastWords()));
      // A program that forgets to close its storage must be able to end.
      this.#worker.unref();
      this.#wait(patience);
      this.#settle();
    } catch (error) {
      this.terminate();
      throw error;
    }
  }

  /** Whether it can be used still. */
  get alive(): boolean {
    return this.#worker !== undefined;
  }

  /** The data: a request's, until it is asked, and then the answer's. */
  get data(): Uint8Array<SharedArrayBuffer> {
    return this.#data;
  }

  /**
   * Returns data with room for so many bytes of a request.
   *
   * @throws {Error} if the worker is being asked.
   */
  reserve(length: number): Uint8Array<SharedArrayBuffer> {
    // The answer that is waited for will be where the data is now.
    if (this.#asking) throw new Error("it is busy");
    if (length <= ROOM) this.#use(this.#ordinary);
    else if (length !== this.#data.length) {
      this.#use(new Uint8Array(new SharedArrayBuffer(length)));
    }
    return this.#data;
  }

  /**
   * Asks for something, and waits until it is done. Returns the outcome, if
   * that is no error; the answer's length is `control[Slot.length] >>> 0`.
   *
   * @throws {ToldError} if it went wrong.
   * @throws {WorkerEndedError} if the worker has ended, or does not answer: it is terminated then.
   */
  ask(
    request: number,
    target: number,
    length: number,
    { patience, onQuestion }: Question,
  ): number {
    if (this.#asking) throw new Error("it is asked already");
    const { control } = this;
    control[Slot.request] = request;
    control[Slot.target] = target;
    control[Slot.length] = length;
    this.#asking = true;
    try {
      this.#post();
      for (;;) {
        this.#wait(patience);
        if (control[Slot.outcome] !== Outcome.question) break;
        const number = control[Slot.high]! * 2 ** 32 +
          (control[Slot.low]! >>> 0);
        control[Slot.reply] = onQuestion?.(number) ? 1 : 0;
        Atomics.add(control, Slot.replies, 1);
        Atomics.notify(control, Slot.replies);
      }
      return this.#settle();
    } finally {
      this.#asking = false;
    }
  }

  /** Ends the worker. */
  terminate(why?: string): void {
    if (this.#worker !== undefined && why !== undefined) this.#end = why;
    this.#worker?.terminate();
    this.#worker = undefined;
  }

  #use(data: Uint8Array<SharedArrayBuffer>): void {
    if (data === this.#data) return;
    this.#data = data;
    this.#moved = true;
  }

  #post(): void {
    if (this.#worker === undefined) throw new WorkerEndedError(this.#end);
    this.#worker.postMessage(this.#moved ? this.#data.buffer : 0);
    this.#moved = false;
  }

  /** Makes room for an answer that has none, and looks how it went. */
  #settle(): number {
    const { control } = this;
    const length = control[Slot.length]! >>> 0;
    if (control[Slot.outcome] === Outcome.room) {
      try {
        this.#use(new Uint8Array(new SharedArrayBuffer(length)));
      } catch (error) {
        // The worker keeps the answer, and would give it to the next request.
        this.terminate(`there is no memory for an answer of ${length} bytes`);
        throw error;
      }
      this.#post();
      this.#wait(COPYING);
    }
    const outcome = control[Slot.outcome]!;
    if (outcome !== Outcome.error) return outcome;
    // Texts cannot be decoded where they may change.
    const text = new TextDecoder().decode(this.#data.slice(0, length));
    throw new ToldError(JSON.parse(text));
  }

  /** Waits for an answer, while the worker does something at least once in the time. */
  #wait(patience: number): void {
    const { control } = this;
    const before = this.#answers;
    let steps = Atomics.load(control, Slot.steps);
    let end = performance.now() + patience;
    // The worker counts an answer and then wakes us, which may come so late
    // that it wakes us while we wait for the next one: the count decides.
    for (;;) {
      const answers = Atomics.load(control, Slot.answers);
      if ((answers & ~1) !== before) break;
      if ((answers & 1) === 1) {
        this.terminate(this.#lastWords());
        throw new WorkerEndedError(this.#end);
      }
      const left = Math.max(0, end - performance.now());
      if (Atomics.wait(control, Slot.answers, before, left) !== "timed-out") {
        continue;
      }
      const now = Atomics.load(control, Slot.steps);
      if (now === steps) {
        // It may write to the shared memory at any time from now on.
        this.terminate("it does not answer");
        throw new WorkerEndedError(this.#end);
      }
      steps = now;
      end = performance.now() + patience;
    }
    this.#answers = (before + 2) | 0;
  }

  #lastWords(): string {
    const words = new Uint8Array(
      this.control.buffer,
      LAST_WORDS,
      this.control[Slot.words],
    );
    return new TextDecoder().decode(words.slice()) || "it has ended";
  }
}

/** Returns a time limit that a timer can be set to, with the grace. */
export function toTimer(timeout: number): number {
  return Math.min(timeout, LONGEST - GRACE);
}

/** The text of a module as a URL that can be imported, for which no permission is needed. */
function toUrl(program: string): string {
  return `data:text/javascript,${encodeURIComponent(program)}`;
}
