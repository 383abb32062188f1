/** A server for a test, and storages for it. */
import { assertEquals } from "@std/assert";
import type { Session, Storage } from "../../lib/storage/storage.ts";
import { packToEnd } from "../../lib/storage/pack.ts";
import { MemoryStorage } from "../../lib/storage/memory_storage.ts";
import {
  type LogLevel,
  StorageServer,
  type StorageServerOptions,
} from "../../server.ts";
import { RawClient, record } from "./raw_client.ts";

/** A server with its storage and log, all of which end with the block. */
export class Served implements AsyncDisposable {
  readonly storage: Storage;
  readonly server: StorageServer;
  readonly lines: string[] = [];
  #waiting: { text: string; resolve: () => void }[] = [];

  private constructor(options: Partial<StorageServerOptions>) {
    this.storage = options.storage ?? new MemoryStorage();
    this.server = new StorageServer({
      port: 0,
      ...options,
      storage: this.storage,
      log: (level, message) => this.#log(level, message),
    });
  }

  static async start(
    options: Partial<StorageServerOptions> = {},
  ): Promise<Served> {
    const served = new Served(options);
    await served.server.listen();
    return served;
  }

  connect(): Promise<RawClient> {
    return RawClient.connect(this.server);
  }

  #log(level: LogLevel, message: string): void {
    this.lines.push(`${level}: ${message}`);
    for (const { text, resolve } of this.#waiting) {
      if (message.includes(text)) resolve();
    }
  }

  /** Waits until the log has a line with the text. */
  async logged(text: string): Promise<void> {
    if (this.lines.some((line) => line.includes(text))) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`"${text}" is not in ${this.lines.join("\n")}`)),
        30_000,
      );
      this.#waiting.push({
        text,
        resolve: () => {
          clearTimeout(timer);
          resolve();
        },
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.shutdown();
    this.storage.close();
  }
}

/** A storage that does something else in its sessions or when it is packed. */
export function altered(
  storage: Storage,
  session: (session: Session) => Partial<Session>,
  packInSteps: Storage["packInSteps"] = () => storage.packInSteps(),
): Storage {
  return {
    features: storage.features,
    session(options) {
      const inner = storage.session(options);
      const changes = session(inner);
      return {
        get tid() {
          return inner.tid;
        },
        allocate: (count) => inner.allocate(count),
        load: (oid, at) => inner.load(oid, at),
        loadMany: (oids) => inner.loadMany(oids),
        has: (oid) => inner.has(oid),
        length: (oid) => inner.length(oid),
        sync: () => inner.sync(),
        commit: (records, options) => inner.commit(records, options),
        close: () => inner.close(),
        [Symbol.dispose]: () => inner.close(),
        ...changes,
      };
    },
    pack: () => packToEnd(packInSteps()),
    packInSteps,
    close: () => storage.close(),
    [Symbol.dispose]: () => storage.close(),
  };
}

/** Stores a root and gives the client's next numbers back. */
export async function makeRoot(client: RawClient): Promise<number[]> {
  const oids = await client.allocate(8);
  const { answer } = await client.commit([0, record(0, "root")]);
  assertEquals(answer, "O");
  return oids.slice(1);
}
