/**
 * A storage that keeps each transaction in a file of its own, all in one
 * folder: docs/storages.md leads through it.
 */
import { Buffer } from "node:buffer";
import {
  BackedStorage,
  type BackendPack,
  type Oid,
  recordOid,
  type Snapshot,
  type StorageBackend,
  StorageError,
  type Tid,
} from "@dhara/dhara";

/** One state of an object, and the one before it. */
interface Revision {
  readonly tid: Tid;
  readonly record: Uint8Array;
  readonly before: Revision | undefined;
}

/** A database in a folder. */
export class FolderStorage extends BackedStorage {
  constructor(path: string) {
    super(new Folder(path));
  }
}

class Folder implements StorageBackend {
  readonly name: string;
  tid: Tid = 0;
  next: Oid = 0;
  #objects = new Map<Oid, Revision>();

  constructor(path: string) {
    this.name = path;
    Deno.mkdirSync(path, { recursive: true });
    for (const tid of this.#tids()) this.#read(tid);
  }

  holds(oid: Oid): boolean {
    return this.#objects.has(oid);
  }

  snapshot(): Snapshot {
    const { tid } = this;
    const objects = this.#objects;
    function load(oid: Oid): Uint8Array | undefined {
      let revision = objects.get(oid);
      while (revision && revision.tid > tid) revision = revision.before;
      return revision?.record;
    }
    return {
      tid,
      load,
      has: (oid) => load(oid) !== undefined,
      length: (oid) => load(oid)?.length ?? 0,
      // What nobody refers to any more, the garbage collector finds.
      release() {},
    };
  }

  append(records: ReadonlyMap<Oid, Uint8Array>, tid: Tid, next: Oid): void {
    this.#write(tid, next, records.values());
    for (const [oid, record] of records) this.#add(oid, tid, record.slice());
    this.tid = tid;
    this.next = next;
  }

  pack(): BackendPack {
    const before = this.#objects;
    const after = new Map<Oid, Revision>();
    return {
      oids: () => before.keys(),
      copy(oid) {
        const revision = before.get(oid);
        if (revision) after.set(oid, { ...revision, before: undefined });
        return revision?.record;
      },
      finish: () => {
        if (this.tid === 0) return;
        const records = Array.from(after.values(), ({ record }) => record);
        // It takes the place of the newest transaction, and then of all before.
        this.#write(this.tid, this.next, records);
        for (const tid of this.#tids()) {
          if (tid < this.tid) Deno.removeSync(this.#pathOf(tid));
        }
        this.#objects = after;
      },
    };
  }

  close(): void {
    this.#objects = new Map();
  }

  #add(oid: Oid, tid: Tid, record: Uint8Array): void {
    this.#objects.set(oid, { tid, record, before: this.#objects.get(oid) });
  }

  #pathOf(tid: Tid): string {
    return `${this.name}/${String(tid).padStart(16, "0")}`;
  }

  #tids(): Tid[] {
    const names = Array.from(Deno.readDirSync(this.name), ({ name }) => name);
    return names.filter((name) => /^\d{16}$/.test(name)).sort().map(Number);
  }

  #write(tid: Tid, next: Oid, records: Iterable<Uint8Array>): void {
    const parts: Uint8Array[] = [bytesOf(next)];
    for (const record of records) parts.push(bytesOf(record.length), record);
    Deno.writeFileSync(`${this.name}/new`, Buffer.concat(parts));
    using file = Deno.openSync(`${this.name}/new`, { write: true });
    file.syncSync();
    // It is there whole, or not at all.
    Deno.renameSync(`${this.name}/new`, this.#pathOf(tid));
    using folder = Deno.openSync(this.name);
    folder.syncSync();
  }

  #read(tid: Tid): void {
    const bytes = Deno.readFileSync(this.#pathOf(tid));
    const view = new DataView(bytes.buffer);
    try {
      this.next = Number(view.getBigUint64(0));
      for (let at = 8; at < bytes.length;) {
        const length = Number(view.getBigUint64(at));
        const record = bytes.subarray(at + 8, at + 8 + length);
        this.#add(recordOid(record), tid, record);
        at += 8 + length;
      }
    } catch (cause) {
      throw new StorageError(
        `Cannot open ${this.name}: transaction ${tid} is damaged`,
        { cause },
      );
    }
    this.tid = tid;
  }
}

/** A number in 8 bytes. */
function bytesOf(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}
