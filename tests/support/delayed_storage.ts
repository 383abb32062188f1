/**
 * A storage in memory whose answers take a random time, and some that do not
 * do what they should: what a worker is given in the tests.
 */
import type {
  AsyncSession,
  AsyncStorage,
} from "../../lib/storage/async_storage.ts";
import {
  DamagedFileError,
  ObjectNotFoundError,
  ReadConflictError,
  ServerUnavailableError,
  UndoError,
  WriteConflictError,
} from "../../lib/errors.ts";
import { MemoryStorage } from "../../lib/storage/memory_storage.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";
import type { Session, Storage } from "../../lib/storage/storage.ts";

/** What the storage is told. */
export interface DelayedOptions {
  /** The longest delay of an answer, in milliseconds. Most come at once. */
  readonly delay?: number;
  /** A journal instead of memory. */
  readonly path?: string;
  /** How long a pack takes, in milliseconds. */
  readonly packing?: number;
  /** What `has()` does for object 13. */
  readonly trouble?: keyof typeof TROUBLES;
  /** An array that is told, at 0, how many sessions are open, and at 1 whether it was closed. */
  readonly told?: Int32Array;
}

class RetriesError extends ReadConflictError {}

const never = () => new Promise<never>(() => {});
const fail = (error: unknown) => () => Promise.reject(error);

/** All kinds of trouble. */
export const TROUBLES = {
  never,
  "never lets go": () => {
    for (;;);
  },
  "process.exit": async () => {
    const { default: process } = await import("node:process");
    process.exit(3);
  },
  "Deno.exit": () => Deno.exit(3),
  "throws beside": () => {
    setTimeout(() => {
      throw new RangeError("out of luck");
    }, 5);
    return never();
  },
  "rejects beside": () => {
    Promise.reject(new RangeError("out of luck"));
    return never();
  },
  late: () => new Promise((resolve) => setTimeout(() => resolve(true), 300)),
  TypeError: fail(new TypeError("that is no has()")),
  text: fail("only a text"),
  ObjectNotFoundError: fail(new ObjectNotFoundError(77)),
  ReadConflictError: fail(
    new ReadConflictError("it is gone", { oids: [1, 2], classes: ["A", "B"] }),
  ),
  "a kind of ReadConflictError": fail(
    new RetriesError("it is gone", { oids: [3] }),
  ),
  WriteConflictError: fail(
    new WriteConflictError("somebody was faster", { oids: [5] }),
  ),
  DamagedFileError: fail(
    new DamagedFileError("it is damaged", { path: "a.dhara", offset: 42 }),
  ),
  UndoError: fail(new UndoError("too late", { oids: [1], tids: [9, 8] })),
  ServerUnavailableError: fail(new ServerUnavailableError("the net is down")),
  "odd details": fail(
    Object.assign(new Error("odd"), { oids: 1n, name: "ConflictError" }),
  ),
  "a long message": fail(new Error("long ".repeat(1_000_000))),
};

function pause(delay: number): Promise<void> | undefined {
  if (delay === 0) return undefined;
  return new Promise((resolve) => setTimeout(resolve, Math.random() * delay));
}

class DelayedSession implements AsyncSession {
  constructor(
    private readonly session: Session,
    private readonly options: DelayedOptions,
  ) {
    this.tell(1);
  }

  private tell(by: number): void {
    const { told } = this.options;
    if (told !== undefined) Atomics.add(told, 0, by);
  }

  private async after<T>(work: () => T): Promise<T> {
    // Many small answers would take long otherwise.
    if (Math.random() < 0.1) await pause(this.options.delay ?? 0);
    return work();
  }

  get tid() {
    return this.session.tid;
  }
  allocate(count: number) {
    return this.after(() => this.session.allocate(count));
  }
  load(oid: number, at?: number) {
    return this.after(() => this.session.load(oid, at));
  }
  loadMany(oids: readonly number[]) {
    return this.after(() => this.session.loadMany(oids));
  }
  has(oid: number): Promise<boolean> {
    const { trouble } = this.options;
    if (oid === 13 && trouble !== undefined) {
      return (TROUBLES[trouble] as () => Promise<boolean>)();
    }
    return this.after(() => this.session.has(oid));
  }
  length(oid: number) {
    return this.after(() => this.session.length(oid));
  }
  sync() {
    return this.after(() => this.session.sync());
  }
  commit(...args: Parameters<Session["commit"]>) {
    return this.after(() => this.session.commit(...args));
  }
  async close() {
    await this.after(() => this.session.close());
    this.tell(-1);
  }
}

/** Makes one. */
export default function open(options: DelayedOptions = {}): AsyncStorage {
  const storage: Storage = options.path === undefined
    ? new MemoryStorage()
    : new FileStorage(options.path);
  return {
    features: storage.features,
    async session(wanted) {
      await pause(options.delay ?? 0);
      return new DelayedSession(storage.session(wanted), options);
    },
    async pack(wanted) {
      await new Promise((resolve) => setTimeout(resolve, options.packing ?? 0));
      return storage.pack(wanted);
    },
    async close() {
      await pause(options.delay ?? 0);
      storage.close();
      if (options.told !== undefined) Atomics.store(options.told, 1, 1);
    },
  };
}
