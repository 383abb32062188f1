/**
 * The worker's half of a shared call: it runs a program, and tells through
 * shared memory how that goes. `shared_call.ts` is the other half.
 *
 * @module
 */

/** What the numbers in the shared memory mean. */
export const Slot = {
  /**
   * Twice how many answers were given, and 1 if the worker has ended; the
   * program's thread waits for it to change.
   */
  answers: 0,
  /** What is asked: a number of the program's own. */
  request: 1,
  /** Of what it is asked: a number of the program's own. */
  target: 2,
  /** Bytes in the data: of the request, then of the answer. */
  length: 3,
  /** How it went: one of `Outcome`, or of the program's own from 16 on. */
  outcome: 4,
  /** Counts whatever the worker does, so that it can be seen to be alive. */
  steps: 5,
  /** How many bytes its last words have. */
  words: 6,
  /** How many questions of the worker were answered. */
  replies: 7,
  /** The number that it asks about: its upper half. */
  high: 8,
  /** The lower half. */
  low: 9,
  /** What was replied: 0 or 1. */
  reply: 10,
  /** The first number of the program's own. */
  own: 11,
} as const;

/** How a request went, in `control[Slot.outcome]`. */
export const Outcome = {
  okay: 0,
  /** The data holds the error as JSON, a `Told`. */
  error: 1,
  /** The answer has more bytes than there is room. */
  room: 2,
  /** Nothing is answered yet: the worker wants to know something itself. */
  question: 3,
} as const;

/** Where the worker's last words begin in the memory of the numbers. */
export const LAST_WORDS = 64;

/** What is told of an error. */
export interface Told {
  /** Its name, then the names of its class and of those above. */
  readonly names: readonly string[];
  readonly message: string;
  readonly stack?: string;
  /** What errors of ours carry beside the message. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** What every worker is given. */
export interface SharedData {
  /** The numbers, and from `LAST_WORDS` on why the worker has ended. */
  readonly numbers: SharedArrayBuffer;
  /** The data. */
  readonly memory: SharedArrayBuffer;
  /** The program, as a URL. */
  readonly program: string;
  /** What the numbers mean. */
  readonly names: {
    readonly Slot: typeof Slot;
    readonly Outcome: typeof Outcome;
    readonly LAST_WORDS: typeof LAST_WORDS;
  };
}

/** Where the data is, and how the program answers with any number of bytes. */
export interface Room {
  /** The request's bytes are here. Another one may be here with each request. */
  readonly data: Uint8Array<SharedArrayBuffer>;
  /** Puts the bytes of the answer here, as soon as there is room; returns the outcome. */
  put(parts: readonly Uint8Array[], outcome?: number): number;
}

/** Asks the program's thread, which waits for an answer, about a number. */
export type Ask = (number: number) => boolean;

/**
 * Starts a program and serves requests: `serve(workerData, control, room, ask)`,
 * which the program exports, returns a function that does what the shared
 * memory asks for. Whatever goes wrong is told through the shared memory: the
 * program's thread stands still and hears of nothing else.
 *
 * This and the programs are texts, not functions or files of their own: what
 * bundlers and compilers make of a function is of no use elsewhere, and a file
 * would have to be carried along and read. `tests/client/client_worker_test.ts` checks
 * their types.
 */
export const LOADER = `
import { parentPort, workerData } from "node:worker_threads";

/** @type {SharedData} */
const { numbers, memory, program, names } = workerData;
const { Slot, Outcome, LAST_WORDS } = names;
const control = new Int32Array(numbers, 0, LAST_WORDS / 4);

/** @param {number} outcome */
function answer(outcome) {
  control[Slot.outcome] = outcome;
  Atomics.add(control, Slot.answers, 2);
  Atomics.notify(control, Slot.answers);
}

/** @param {unknown} reason */
function end(reason) {
  if ((Atomics.load(control, Slot.answers) & 1) === 1) return;
  const words = reason instanceof Error ? reason.message : String(reason);
  control[Slot.words] = new TextEncoder()
    .encodeInto(words, new Uint8Array(numbers, LAST_WORDS)).written;
  Atomics.or(control, Slot.answers, 1);
  Atomics.notify(control, Slot.answers);
}

addEventListener("error", ({ error, message }) => end(error ?? message));
addEventListener("unhandledrejection", ({ reason }) => end(reason));
addEventListener("unload", () => end("it was ended from within"));

/** @type {{ parts: readonly Uint8Array[], outcome: number } | undefined} */
let kept;

/** @type {{ data: Uint8Array<SharedArrayBuffer> } & Room} */
const room = {
  data: new Uint8Array(memory),
  put(parts, outcome = Outcome.okay) {
    let length = 0;
    for (const part of parts) length += part.length;
    if (length >= 2 ** 32) throw new RangeError("an answer has less than 4 GiB");
    control[Slot.length] = length;
    if (length > room.data.length) {
      kept = { parts, outcome };
      return Outcome.room;
    }
    let at = 0;
    for (const part of parts) {
      room.data.set(part, at);
      at += part.length;
    }
    return outcome;
  },
};

/** @type {Ask} */
function ask(number) {
  const before = Atomics.load(control, Slot.replies);
  control[Slot.high] = Math.floor(number / 2 ** 32);
  control[Slot.low] = number;
  answer(Outcome.question);
  Atomics.wait(control, Slot.replies, before);
  return control[Slot.reply] === 1;
}

/** @param {unknown} error */
function describe(error) {
  /** @type {string[]} */
  const names = [];
  /** @type {Record<string, unknown>} */
  const details = {};
  /** @type {Told} */
  let told = { names, details, message: String(error) };
  if (error instanceof Error) {
    names.push(error.name);
    let type = Object.getPrototypeOf(error);
    while (type !== null) {
      names.push(type.constructor.name);
      type = Object.getPrototypeOf(type);
    }
    for (const key of ["oid", "oids", "classes", "tids", "path", "offset"]) {
      details[key] = Reflect.get(error, key);
    }
    const { message, stack = "" } = error;
    told = { names, details, message, stack };
  }
  let text;
  try {
    text = JSON.stringify(told);
  } catch {
    // What is called as ours is not: a bigint, an object in a circle.
    text = JSON.stringify({ ...told, details: {} });
  }
  return room.put([new TextEncoder().encode(text)], Outcome.error);
}

try {
  const { serve } = await import(program);
  /** @type {() => Promise<number>} */
  const work = await serve(workerData, control, room, ask);
  parentPort?.on("message", (memory) => {
    if (memory !== 0) room.data = new Uint8Array(memory);
    if (kept === undefined) work().catch(describe).then(answer);
    else {
      const { parts, outcome } = kept;
      kept = undefined;
      answer(room.put(parts, outcome));
    }
  });
  answer(Outcome.okay);
} catch (error) {
  answer(describe(error));
}
`;
