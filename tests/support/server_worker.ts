/**
 * A server in a thread of its own, since a blocking client stands still while
 * it waits for one. It is also the program of that thread.
 */
import { MemoryStorage } from "../../lib/storage/memory_storage.ts";
import { openStorage } from "../../lib/open_storage.ts";
import { StorageServer } from "../../server.ts";

/** What a fake server does with a connection, one step after the other. */
export type Step =
  | { read: number }
  | { write: number[] }
  /** Waits so many milliseconds. */
  | { wait: number }
  | { close: true };

/** How a server begins that does not say which database it serves, as those of Durus. */
export const GREETING: Step[] = [
  { read: 5 },
  { write: [0, 0, 0, 1] },
  { read: 9 },
  { write: [0x4b] },
];

/** What the thread shall serve. */
export type Task =
  /** A storage: the file, or memory where there is none. */
  | { file?: string; readonly?: boolean; address?: string; port?: number }
  /**
   * No storage, but what a server might say that is no server of ours, or is
   * broken: to its first connection, to its second one and so on.
   */
  | { script: Step[][] };

type Answer =
  | { kind: "ready"; port: number }
  | { kind: "log"; line: string }
  | { kind: "stopped" };

/** A server in a worker. */
export class ServerWorker implements AsyncDisposable {
  /** Where it listens on 127.0.0.1, if not on a Unix socket. */
  port = 0;
  readonly log: string[] = [];
  #worker: Worker;
  #packs = new Int32Array(new SharedArrayBuffer(4));
  #stopped = Promise.withResolvers<void>();
  #waiting: (() => void)[] = [];

  private constructor() {
    this.#worker = new Worker(import.meta.url, { type: "module" });
  }

  /** Starts a server; it can be used when the promise resolves. */
  static async start(task: Task = {}): Promise<ServerWorker> {
    const server = new ServerWorker();
    await new Promise<void>((resolve, reject) => {
      server.#worker.onmessage = ({ data }: MessageEvent<Answer>) => {
        if (data.kind === "ready") {
          server.port = data.port;
          resolve();
        } else if (data.kind === "log") {
          server.log.push(data.line);
          server.#waiting.forEach((wake) => wake());
        } else server.#stopped.resolve();
      };
      server.#worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(event.message));
      };
      server.#worker.postMessage({ task, packs: server.#packs });
    });
    return server;
  }

  /** Waits until the log has a line with the text. */
  async logged(text: string): Promise<void> {
    while (!this.log.some((line) => line.includes(text))) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** How many packs have ended. */
  packs(): number {
    return Atomics.load(this.#packs, 0);
  }

  /** Stands still until more than so many packs have ended. */
  waitForPack(packs: number): void {
    if (Atomics.wait(this.#packs, 0, packs, 60_000) === "timed-out") {
      throw new Error("The pack does not end");
    }
  }

  /** Stops the server cleanly. */
  async stop(): Promise<void> {
    this.#worker.postMessage("stop");
    await this.#stopped.promise;
    this.#worker.terminate();
  }

  /** Ends the thread at once, in the middle of whatever it does. */
  kill(): void {
    this.#worker.terminate();
    this.#stopped.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

// What the thread sees of itself; the types are those of the main thread.
const self = globalThis as unknown as Worker;

function answer(message: Answer): void {
  self.postMessage(message);
}

async function serve(
  task: Exclude<Task, { script: Step[][] }>,
  packs: Int32Array<SharedArrayBuffer>,
): Promise<() => Promise<void>> {
  const storage = task.file === undefined
    ? new MemoryStorage()
    : await openStorage(task.file, { readonly: task.readonly ?? false });
  const server = new StorageServer({
    storage,
    port: task.port ?? 0,
    address: task.address,
    log: (level, message) => {
      answer({ kind: "log", line: `${level}: ${message}` });
      if (/^(Packed|Cannot pack)/.test(message)) {
        Atomics.add(packs, 0, 1);
        Atomics.notify(packs, 0);
      }
    },
  });
  await server.listen();
  const { addr } = server;
  answer({ kind: "ready", port: "port" in addr ? addr.port : 0 });
  return async () => {
    await server.shutdown();
    storage.close();
  };
}

function pretend(scripts: Step[][]): () => Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const play = async (conn: Deno.Conn, script: Step[]) => {
    for (const step of script) {
      if ("close" in step) conn.close();
      else if ("write" in step) await conn.write(Uint8Array.from(step.write));
      else if ("wait" in step) {
        await new Promise((resolve) => setTimeout(resolve, step.wait));
      } else {
        let left = step.read;
        while (left > 0) {
          left -= await conn.read(new Uint8Array(left)) ?? left;
        }
      }
    }
  };
  const playAll = async () => {
    for (const script of scripts) {
      const conn = await listener.accept();
      // A client that has gone is none of its business.
      play(conn, script).catch(() => {});
    }
  };
  // The listener may be closed before the last script is played.
  playAll().catch(() => {});
  answer({ kind: "ready", port: listener.addr.port });
  return () => {
    listener.close();
    return Promise.resolve();
  };
}

const inWorker = "WorkerGlobalScope" in globalThis;

if (inWorker) {
  let stop = () => Promise.resolve();
  self.onmessage = async ({ data }) => {
    if (data === "stop") {
      await stop();
      answer({ kind: "stopped" });
      return;
    }
    const { task, packs } = data as {
      task: Task;
      packs: Int32Array<SharedArrayBuffer>;
    };
    stop = "script" in task ? pretend(task.script) : await serve(task, packs);
  };
}
