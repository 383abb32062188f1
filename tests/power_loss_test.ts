/** What is left of a journal when the power fails, on a disk that loses all that was not synced. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  DamagedFileError,
  ObjectNotFoundError,
  StorageError,
} from "../lib/errors.ts";
import type { Oid } from "../lib/serialize/record.ts";
import type { Files, OpenFile } from "../lib/storage/_file.ts";
import { JournalStorage } from "../lib/storage/journal_storage.ts";
import type { Session } from "../lib/storage/storage.ts";
import { store, textOf, textRecord } from "./storage_suite.ts";

const SECTOR = 512;

/** One file: what is on the disk, and what was written since the last sync. */
class Inode {
  static count = 0;
  readonly identity = `1:${++Inode.count}`;
  locked = false;
  onDisk = new Uint8Array();
  now = new Uint8Array();
  /** Sectors written since the last sync. */
  dirty = new Set<number>();

  resize(size: number): void {
    const bytes = new Uint8Array(size);
    bytes.set(this.now.subarray(0, size));
    this.now = bytes;
  }

  sync(): void {
    this.onDisk = this.now.slice();
    this.dirty.clear();
  }

  /** Keeps only some of what was not synced. */
  crash(keep: () => boolean): void {
    const { onDisk, now } = this;
    // The length may be there without the bytes.
    const size = keep() ? now.length : onDisk.length;
    const left = new Uint8Array(Math.max(size, 0));
    left.set(onDisk.subarray(0, size));
    for (const sector of this.dirty) {
      if (sector * SECTOR >= size || !keep()) continue;
      const from = sector * SECTOR;
      left.set(now.subarray(from, Math.min(from + SECTOR, size)), from);
    }
    this.now = left;
    this.locked = false;
    this.sync();
  }
}

/** A disk with one directory. */
class SimulatedDisk implements Files {
  #names = new Map<string, Inode>();
  #namesOnDisk = new Map<string, Inode>();
  /** Whether nothing reaches the disk for sure any more. */
  failing = false;

  open(
    path: string,
    options: { create?: boolean; createNew?: boolean },
  ): OpenFile {
    let inode = this.#names.get(path);
    if (inode === undefined) {
      if (!options.create && !options.createNew) {
        throw new Deno.errors.NotFound(path);
      }
      inode = new Inode();
      this.#names.set(path, inode);
    } else if (options.createNew) throw new Deno.errors.AlreadyExists(path);
    return openInode(inode, this);
  }

  identity(path: string): string | undefined {
    return this.#names.get(path)?.identity;
  }

  realPath(path: string): string {
    return path;
  }

  copyAccess(): void {}

  link(from: string, to: string): void {
    this.#names.set(to, this.#names.get(from)!);
  }

  rename(from: string, to: string): void {
    this.#names.set(to, this.#names.get(from)!);
    this.#names.delete(from);
  }

  remove(path: string): void {
    this.#names.delete(path);
  }

  syncDirectory(): void {
    this.#namesOnDisk = new Map(this.#names);
  }

  /** The power fails. */
  crash(keep: () => boolean): void {
    // A rename happens or does not.
    if (!keep()) this.#names = new Map(this.#namesOnDisk);
    for (const inode of this.#names.values()) inode.crash(keep);
    this.syncDirectory();
  }
}

function openInode(inode: Inode, disk: SimulatedDisk): OpenFile {
  let locked = false;
  return {
    identity: inode.identity,
    size: () => inode.now.length,
    read(into, offset) {
      const bytes = inode.now.subarray(offset, offset + into.length);
      into.set(bytes);
      return bytes.length;
    },
    write(bytes, offset) {
      const end = offset + bytes.length;
      if (end > inode.now.length) inode.resize(end);
      inode.now.set(bytes, offset);
      for (let at = offset; at < end; at += SECTOR - at % SECTOR) {
        inode.dirty.add(Math.floor(at / SECTOR));
      }
      return bytes.length;
    },
    truncate(size) {
      if (disk.failing) throw new Error("the power fails");
      inode.resize(size);
    },
    sync() {
      if (disk.failing) throw new Error("the power fails");
      inode.sync();
    },
    lock() {
      if (inode.locked) return false;
      return inode.locked = locked = true;
    },
    close() {
      if (locked) inode.locked = false;
    },
  };
}

type Model = ReadonlyMap<Oid, string>;

const OIDS = Array.from({ length: 41 }, (_, i) => i);

const changes = fc.array(
  fc.record({
    oid: fc.nat(40),
    length: fc.oneof(fc.nat(200), fc.nat(5000), fc.nat(200_000)),
  }),
  { minLength: 1, maxLength: 10 },
);

/** What a program does before the power fails. */
const life = fc.record({
  commits: fc.array(fc.record({ changes, pack: fc.boolean() }), {
    maxLength: 12,
  }),
  /** How far a last pack gets. */
  packSteps: fc.oneof(fc.constant(0), fc.nat(8)),
  /** The commit in the middle of which the power fails. */
  last: changes,
});

/** Commits changes; returns what there is then. */
function change(
  session: Session,
  model: Model,
  changes: { oid: Oid; length: number }[],
  number: number,
  mayFail = false,
): Model {
  const next = new Map(model);
  if (!next.has(0)) next.set(0, "root");
  for (const { oid, length } of changes) {
    next.set(oid, `${number},${oid};`.repeat(Math.ceil(length / 6)));
  }
  const records = [...next]
    .filter(([oid, text]) => model.get(oid) !== text)
    // Everything can be reached from the root.
    .map(([oid, text]) => textRecord(oid, text, OIDS));
  try {
    session.sync();
    store(session, ...records);
  } catch (error) {
    if (!mayFail || !(error instanceof StorageError)) throw error;
  }
  return next;
}

function matches(storage: JournalStorage, model: Model): boolean {
  using session = storage.session();
  return OIDS.every((oid) => {
    try {
      return textOf(session, oid) === model.get(oid);
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return !model.has(oid);
      throw error;
    }
  });
}

Deno.test("whatever the disk keeps when the power fails, no commit is lost", () => {
  fc.assert(
    fc.property(
      fc.array(life, { minLength: 1, maxLength: 3 }),
      fc.infiniteStream(fc.boolean()),
      (lives, coins) => {
        const files = new SimulatedDisk();
        let model: Model = new Map();
        let number = 0;
        for (const { commits, packSteps, last } of lives) {
          const storage = new JournalStorage("x", {}, files);
          const session = storage.session();
          for (const { changes, pack } of commits) {
            model = change(session, model, changes, number++);
            if (pack) { for (const _ of storage.pack()); }
          }
          const steps = storage.pack();
          for (let i = 0; i < packSteps; i++) if (steps.next().done) break;
          files.failing = true;
          const attempt = change(session, model, last, number++, true);
          files.failing = false;
          files.crash(() => coins.next().value as boolean);

          let again: JournalStorage;
          try {
            again = new JournalStorage("x", {}, files);
          } catch (error) {
            // A commit that was not confirmed may look like damage. Then a
            // repair cuts off that, and nothing else.
            if (!(error instanceof DamagedFileError)) throw error;
            again = new JournalStorage("x", { repair: true }, files);
          }
          // The commit that failed may be there, all of it, or not at all.
          if (!matches(again, model)) {
            assertEquals(matches(again, attempt), true);
            model = attempt;
          }
          again.close();
        }
      },
    ),
    { numRuns: 60 },
  );
});
