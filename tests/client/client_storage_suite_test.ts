/** What holds for every storage holds for a client of a server too. */
import { ClientStorage } from "../../lib/client/client_storage.ts";
import type { Oid } from "../../lib/serialize/record.ts";
import { packToEnd } from "../../lib/storage/pack.ts";
import type {
  CommitResult,
  PackOptions,
  Progress,
  Session,
  SessionOptions,
  Storage,
  StorageFeatures,
  Tid,
} from "../../lib/storage/storage.ts";
import { ServerWorker, type Task } from "../support/server_worker.ts";
import { type StorageTrial, testStorage } from "../../lib/testing/mod.ts";

/**
 * A client storage with what protocol 1 lacks and the suite counts on: tids
 * that all sessions share, and a pack that is over when it returns. And it
 * asks for the numbers of new objects, which the suite often makes up.
 */
class Adapted implements Storage {
  readonly features: StorageFeatures;
  #storage: ClientStorage;
  #server: ServerWorker;
  #given: Set<Oid>;
  #newest: Tid;

  /** Connects to a server; the database is the one that `before` knew, if any. */
  constructor(server: ServerWorker, before?: Adapted) {
    this.#server = server;
    this.#given = before === undefined ? new Set() : before.#given;
    this.#newest = before === undefined ? 0 : before.#newest;
    this.#storage = new ClientStorage({ port: server.port });
    this.features = this.#storage.features;
  }

  session(options?: SessionOptions): Session {
    const session = this.#storage.session(options);
    let tid = this.#newest;
    return {
      get tid() {
        return tid;
      },
      allocate: (count) => this.#allocate(session, count),
      load: (oid, at) => session.load(oid, at),
      loadMany: (oids) => session.loadMany(oids),
      has: (oid) => session.has(oid),
      length: (oid) => session.length(oid),
      sync: () => {
        const changed = session.sync();
        tid = this.#newest;
        return changed;
      },
      commit: (records, options): CommitResult => {
        const all = [...records];
        if (all.length === 0) return { tid, changed: [] };
        for (const [oid] of all) {
          // What is no number nobody gives.
          if (!Number.isSafeInteger(oid) || oid < 0) continue;
          while (!this.#given.has(oid)) this.#allocate(session, 1);
        }
        const result = session.commit(all, options);
        if ("tid" in result) tid = this.#newest = result.tid;
        return "tid" in result ? { ...result, tid } : result;
      },
      close: () => session.close(),
      [Symbol.dispose]: () => session.close(),
    };
  }

  pack(options?: PackOptions): Progress {
    return packToEnd(this.packInSteps(options));
  }

  packInSteps(options?: PackOptions): Iterable<Progress> {
    return this.#steps(this.#storage.packInSteps(options));
  }

  *#steps(steps: Iterable<Progress>): Generator<Progress> {
    const packs = this.#server.packs();
    for (const progress of steps) {
      this.#server.waitForPack(packs);
      yield progress;
    }
  }

  close(): void {
    this.#storage.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #allocate(session: Session, count: number): Oid[] {
    const oids = session.allocate(count);
    for (const oid of oids) this.#given.add(oid);
    return oids;
  }
}

async function makeTrial(task: Task): Promise<StorageTrial> {
  let server = await ServerWorker.start(task);
  let storage = new Adapted(server);
  return {
    storage,
    async reopen() {
      storage.close();
      await server.stop();
      server = await ServerWorker.start(task);
      storage = new Adapted(server, storage);
      return storage;
    },
    async dispose() {
      storage.close();
      await server.stop();
    },
  };
}

const options = {
  // The snapshot moves on the server when a commit has found changes of others.
  keepsRevisions: false,
  // The server takes what exists, and the numbers that it gave to this client.
  storesRemoved: false,
  remote: true,
};

testStorage("a client of MemoryStorage", async () => {
  const { reopen: _, ...trial } = await makeTrial({});
  return trial;
}, options);

for (
  const [name, file] of [
    ["FileStorage", "data.dhara"],
    ["SqliteStorage", "data.sqlite"],
  ]
) {
  testStorage(`a client of ${name}`, async () => {
    const directory = await Deno.makeTempDir();
    const trial = await makeTrial({ file: `${directory}/${file}` });
    return {
      ...trial,
      async dispose() {
        await trial.dispose();
        await Deno.remove(directory, { recursive: true });
      },
    };
  }, options);
}
