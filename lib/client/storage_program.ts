/**
 * The program of a worker that serves an `AsyncStorage` to the program's
 * thread, which waits on shared memory.
 *
 * A request and its answer are both a text of JSON, with its length before it
 * in 4 bytes, and then the bytes of records.
 *
 * @module
 */
import type { AsyncStorage } from "../storage/async_storage.ts";
import type { Oid } from "../serialize/record.ts";
import type {
  Changed,
  CommitOptions,
  CommitResult,
  PackOptions,
  Progress,
  SessionOptions,
  StorageFeatures,
  Tid,
} from "../storage/storage.ts";
import type { SharedData } from "./shared_loader.ts";

/** How a request went, beside what can be with every worker. */
export const StorageOutcome = {
  /** No answer came in the time that there is. */
  silent: 16,
} as const;

/** What can be asked, first of the storage, then of a session, and what is said with it. */
export interface StorageRequests {
  features: unknown;
  close: unknown;
  session: { readonly options: SessionOptions };
  pack: { readonly options: PackOptions };
  sync: unknown;
  end: unknown;
  allocate: { readonly count: number };
  load: { readonly oid: Oid; readonly at?: Tid };
  loadMany: { readonly oids: readonly Oid[] };
  has: { readonly oid: Oid };
  length: { readonly oid: Oid };
  /** The bytes of the records follow. */
  commit: {
    readonly oids: readonly Oid[];
    readonly sizes: readonly number[];
    readonly notes: CommitOptions;
  };
}

/** What can be asked for. */
export type What = keyof StorageRequests;

/** One request. */
export type StorageRequest<W extends What = What> = {
  [Each in W]: { readonly what: Each } & StorageRequests[Each];
}[W];

/** What each request is answered. */
export interface StorageAnswers {
  features: Partial<StorageFeatures>;
  close: null;
  /** The session's number. */
  session: number;
  pack: Progress;
  sync: Changed;
  end: null;
  allocate: Oid[];
  /** The bytes of the record follow. */
  load: null;
  /** The bytes of the records follow. */
  loadMany: null;
  has: boolean;
  length: number;
  commit: CommitResult;
}

/** What is before the bytes of an answer. */
export interface StorageAnswer<W extends What> {
  readonly value: StorageAnswers[W];
  /** The session's snapshot, if a session was asked. */
  readonly tid?: Tid;
  /** How long the records are. */
  readonly sizes?: readonly number[];
}

/** What the worker is given. */
export interface StorageData extends SharedData {
  /** How long an answer may take, in milliseconds. */
  readonly timeout: number;
  /** The module whose default export makes the storage. */
  readonly module: string;
  /** What that is called with. */
  readonly options: unknown;
  readonly names: SharedData["names"] & {
    readonly StorageOutcome: typeof StorageOutcome;
  };
}

/** A module that makes a storage. */
export interface StorageModule {
  default(options: unknown): AsyncStorage | Promise<AsyncStorage>;
}

/** What the worker does. */
export const STORAGE_PROGRAM = `
/**
 * Opens the storage and returns a function that does what the shared memory asks for.
 *
 * @param {StorageData} workerData
 * @param {Int32Array} control
 * @param {Room} room
 * @param {Ask} ask
 * @returns {Promise<() => Promise<number>>}
 */
export async function serve(
  { timeout, module, options, names: { Slot, StorageOutcome } },
  control,
  room,
  ask,
) {
  /** @type {StorageModule} */
  const { default: open } = await import(module);
  if (typeof open !== "function") {
    throw new TypeError("its default export is no function that makes a storage");
  }
  const storage = await open(options);
  for (const name of /** @type {const} */ (["session", "pack", "close"])) {
    if (typeof storage?.[name] !== "function") {
      throw new TypeError("what its default export makes is no AsyncStorage: it has no " + name + "()");
    }
  }

  /** @type {Map<number, AsyncSession>} */
  const sessions = new Map();
  let opened = 0;

  /**
   * Returns the request, and the bytes that follow it.
   *
   * @returns {[StorageRequest, Uint8Array]}
   */
  function read() {
    // It is copied: others may get the bytes, and this memory is used again.
    const bytes = room.data.slice(0, Atomics.load(control, Slot.length) >>> 0);
    const end = 4 + new DataView(bytes.buffer).getUint32(0);
    const text = new TextDecoder().decode(bytes.subarray(4, end));
    return [JSON.parse(text), bytes.subarray(end)];
  }

  /**
   * Puts an answer where it is read.
   *
   * @param {unknown} value
   * @param {AsyncSession} [session]
   * @param {readonly Uint8Array[]} [records]
   */
  function write(value, session, records = []) {
    for (const record of records) {
      if (!(record instanceof Uint8Array)) {
        throw new TypeError("a record that it loads is no Uint8Array");
      }
    }
    const tid = session?.tid;
    if (session !== undefined && !Number.isSafeInteger(tid)) {
      throw new TypeError("the tid of its session is no number, but " + tid);
    }
    const sizes = records.map((record) => record.length);
    const json = new TextEncoder().encode(JSON.stringify({ value, tid, sizes }));
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, json.length);
    return room.put([length, json, ...records]);
  }

  /**
   * @param {StorageRequest<"commit">} request
   * @param {Uint8Array} bytes
   * @param {AsyncSession} session
   * @param {() => boolean} abandoned
   */
  async function commit({ oids, sizes, notes }, bytes, session, abandoned) {
    let at = 0;
    /** @type {[number, Uint8Array][]} */
    const records = oids.map((oid, i) => {
      const start = at;
      at += sizes[i] ?? 0;
      return [oid, bytes.subarray(start, at)];
    });
    let over = false;
    try {
      const result = await session.commit(records, {
        ...notes,
        accessed(oid) {
          if (over || abandoned()) throw new Error("the commit is over");
          return ask(oid);
        },
      });
      if (!("tid" in result || "invalid" in result)) {
        throw new TypeError("its commit() answers neither tid nor invalid");
      }
      return result;
    } finally {
      over = true;
    }
  }

  /**
   * @param {StorageRequest} request
   * @param {Uint8Array} bytes
   * @param {() => boolean} abandoned
   */
  async function answer(request, bytes, abandoned) {
    switch (request.what) {
      case "features":
        return () => write(storage.features ?? {});
      case "close":
        await storage.close();
        return () => write(null);
      case "pack": {
        const progress = await storage.pack(request.options);
        return () => write(progress);
      }
      case "session": {
        const session = await storage.session(request.options);
        if (abandoned()) {
          await session.close();
          return () => 0;
        }
        sessions.set(++opened, session);
        return () => write(opened, session);
      }
    }
    const target = Atomics.load(control, Slot.target);
    const session = sessions.get(target);
    if (session === undefined) throw new Error("there is no such session");
    switch (request.what) {
      case "allocate": {
        const oids = await session.allocate(request.count);
        return () => write(oids, session);
      }
      case "load": {
        const record = await session.load(request.oid, request.at);
        return () => write(null, session, [record]);
      }
      case "loadMany": {
        const records = await session.loadMany(request.oids);
        return () => write(null, session, records);
      }
      case "has": {
        const has = await session.has(request.oid);
        return () => write(has, session);
      }
      case "length": {
        const length = await session.length(request.oid);
        return () => write(length, session);
      }
      case "sync": {
        const changed = await session.sync();
        return () => write(changed, session);
      }
      case "commit": {
        const result = await commit(request, bytes, session, abandoned);
        return () => write(result, session);
      }
      case "end":
        sessions.delete(target);
        await session.close();
        return () => write(null);
    }
  }

  return async () => {
    const [request, bytes] = read();
    let late = false;
    const working = answer(request, bytes, () => late);
    // Packing takes as long as it takes.
    if (request.what === "pack") return (await working)();
    let timer;
    /** @type {Promise<undefined>} */
    const silence = new Promise((resolve) => {
      timer = setTimeout(() => resolve(undefined), timeout);
    });
    try {
      const write = await Promise.race([working, silence]);
      if (write !== undefined) return write();
      late = true;
      // Whatever it comes to, nobody waits for it any more.
      working.catch(() => {});
      return StorageOutcome.silent;
    } finally {
      clearTimeout(timer);
    }
  };
}
`;
