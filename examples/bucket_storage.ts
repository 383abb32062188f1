/**
 * A storage in a bucket of an object store, for any number of programs:
 * docs/storages.md leads through it. The bucket has a log, one object for each
 * entry: `URL/0`, `URL/1` and so on.
 */
import { Buffer } from "node:buffer";
import {
  type AsyncSession,
  type AsyncStorage,
  type CommitResult,
  ObjectNotFoundError,
  type Oid,
  recordReferences,
  ROOT_OID,
  ServerUnavailableError,
  type SessionCommitOptions,
  type SessionOptions,
  StorageError,
  type Tid,
} from "@dhara/dhara";

/** One entry of the log. */
interface Entry {
  readonly tid: Tid;
  /** The first number that nobody has got yet. */
  readonly next: Oid;
  /** Objects that were stored, in base64, or removed. */
  readonly changes: readonly (readonly [Oid, string | null])[];
}

/** One state of an object: where in the log it is, and the one before it. */
interface Revision {
  readonly at: number;
  readonly record: Uint8Array | undefined;
  readonly before: Revision | undefined;
}

/** Opens a bucket: a `BlockingStorage` calls it in its worker. */
export default function open({ url }: { url: string }): AsyncStorage {
  const log = new Log(url);
  return {
    async session({ at }: SessionOptions = {}) {
      if (at !== undefined) throw new StorageError(`${url} has no history`);
      await log.read();
      return new BucketSession(log);
    },
    pack: () => pack(log),
    async close() {},
  };
}

/** The log, as far as it was read. */
class Log {
  tid: Tid = 0;
  next: Oid = 0;
  /** Which objects each entry has changed. */
  readonly changed: Oid[][] = [];
  readonly objects = new Map<Oid, Revision>();

  constructor(readonly url: string) {}

  /** Reads what others have added. */
  async read(): Promise<void> {
    for (;;) {
      const at = this.changed.length;
      const response = await this.#fetch(at, { method: "GET" });
      if (response.status === 404) return await response.body?.cancel();
      this.#add(at, await response.json());
    }
  }

  /** Adds an entry; returns false if somebody else was faster. */
  async append(changes: Entry["changes"], next = this.next): Promise<boolean> {
    const at = this.changed.length;
    for (const [oid] of changes) next = Math.max(next, oid + 1);
    const tid = Math.max(Date.now() * 1000, this.tid + 1);
    const entry: Entry = { tid, next, changes };
    const response = await this.#fetch(at, {
      method: "PUT",
      headers: { "If-None-Match": "*" },
      body: JSON.stringify(entry),
    });
    await response.body?.cancel();
    if (response.status === 412) return false;
    this.#add(at, entry);
    return true;
  }

  /** Returns an object as it was before an entry. */
  load(oid: Oid, end: number): Uint8Array | undefined {
    let revision = this.objects.get(oid);
    while (revision && revision.at >= end) revision = revision.before;
    return revision?.record;
  }

  #add(at: number, { tid, next, changes }: Entry): void {
    // A call that was given up may still be running, and have read it too.
    if (at !== this.changed.length) return;
    for (const [oid, text] of changes) {
      const record = text === null
        ? undefined
        : new Uint8Array(Buffer.from(text, "base64"));
      this.objects.set(oid, { at, record, before: this.objects.get(oid) });
    }
    this.changed.push(changes.map(([oid]) => oid));
    this.tid = tid;
    this.next = next;
  }

  async #fetch(at: number, request: RequestInit): Promise<Response> {
    const url = `${this.url}/${at}`;
    try {
      const response = await fetch(url, request);
      if (response.ok || [404, 412].includes(response.status)) return response;
      await response.body?.cancel();
      throw new Error(`it answers ${response.status}`);
    } catch (cause) {
      throw new ServerUnavailableError(`Cannot reach ${url}: ${cause}`, {
        cause,
      });
    }
  }
}

class BucketSession implements AsyncSession {
  tid: Tid;
  /** How much of the log it sees. */
  #end: number;

  constructor(readonly log: Log) {
    this.tid = log.tid;
    this.#end = log.changed.length;
  }

  async allocate(count: number): Promise<Oid[]> {
    for (;;) {
      const first = this.log.next;
      if (await this.log.append([], first + count)) {
        return Array.from({ length: count }, (_, i) => first + i);
      }
      await this.log.read();
    }
  }

  load(oid: Oid): Promise<Uint8Array> {
    const record = this.log.load(oid, this.#end);
    return record === undefined
      ? Promise.reject(new ObjectNotFoundError(oid))
      : Promise.resolve(record);
  }

  loadMany(oids: readonly Oid[]): Promise<Uint8Array[]> {
    return Promise.all(oids.map((oid) => this.load(oid)));
  }

  has(oid: Oid): Promise<boolean> {
    return Promise.resolve(this.log.load(oid, this.#end) !== undefined);
  }

  length(oid: Oid): Promise<number> {
    return Promise.resolve(this.log.load(oid, this.#end)?.length ?? 0);
  }

  async sync(): Promise<Oid[]> {
    await this.log.read();
    const changed = this.#news();
    this.#move();
    return changed;
  }

  async commit(
    records: Iterable<readonly [Oid, Uint8Array]>,
    { accessed = () => true }: SessionCommitOptions = {},
  ): Promise<CommitResult> {
    const stored = new Map(records);
    for (;;) {
      await this.log.read();
      const changed = this.#news();
      if (changed.some(accessed)) return { invalid: changed };
      for (const [oid, record] of stored) this.#checkLinks(oid, record, stored);
      const changes = Array.from(
        stored,
        ([oid, record]) =>
          [oid, Buffer.from(record).toString("base64")] as const,
      );
      if (await this.log.append(changes)) {
        this.#move();
        return { tid: this.tid, changed };
      }
    }
  }

  async close(): Promise<void> {}

  /** What was changed since its snapshot. */
  #news(): Oid[] {
    return [...new Set(this.log.changed.slice(this.#end).flat())];
  }

  #move(): void {
    this.tid = this.log.tid;
    this.#end = this.log.changed.length;
  }

  /** A program may hold what a pack has removed: it must not come back half. */
  #checkLinks(oid: Oid, record: Uint8Array, stored: Map<Oid, unknown>): void {
    for (const link of recordReferences(record)) {
      const revision = this.log.objects.get(link);
      if (revision === undefined || revision.record || stored.has(link)) {
        continue;
      }
      throw new StorageError(
        `Cannot commit object #${oid}: it refers to object #${link}, which a pack has removed`,
      );
    }
  }
}

/** Removes what the root does not lead to. */
async function pack(log: Log): Promise<{ records: number; bytes: number }> {
  for (;;) {
    await log.read();
    let bytes = 0;
    const reached = new Set([ROOT_OID]);
    for (const oid of reached) {
      const record = log.objects.get(oid)?.record;
      if (record === undefined) continue;
      bytes += record.length;
      for (const link of recordReferences(record)) reached.add(link);
    }
    const gone = [...log.objects].filter(([oid, { record }]) =>
      record !== undefined && !reached.has(oid)
    );
    const changes = gone.map(([oid]) => [oid, null] as const);
    if (gone.length === 0 || await log.append(changes)) {
      return { records: reached.size, bytes };
    }
  }
}
