/**
 * What has gone wrong with an open journal, how to say so, and what it forbids:
 * nothing is committed after a failure that leaves open what is on the disk,
 * and nothing is built on damage that was seen.
 *
 * @module
 */
import { messageOf } from "../../message.ts";
import { DamagedFileError, DharaError, StorageError } from "../../errors.ts";
import type { OpenFile } from "../../files/file.ts";
import type { Oid } from "../../serialize/record.ts";
import { DamagedPage } from "./index.ts";

/** The failures of one open journal. */
export class JournalHealth {
  readonly #name: string;
  #broken: StorageError | undefined;
  /** What was found damaged first. */
  #damage: DamagedFileError | undefined;

  /** A journal of which nothing bad is known, and what to call it in messages. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Whether no commit is allowed any more, until it is opened again. */
  get isBroken(): boolean {
    return this.#broken !== undefined;
  }

  /** Allows no more commits. */
  break(what: string, cause: unknown): void {
    this.#broken = new StorageError(
      `Cannot commit to ${this.#name}: ${what}: ${
        messageOf(cause)
      }; close the storage and open it again`,
      { cause },
    );
  }

  /**
   * Makes sure that something can be committed.
   *
   * @throws {StorageError} if an earlier failure forbids it.
   * @throws {DamagedFileError} if damage was seen.
   */
  checkWritable(): void {
    if (this.#broken) {
      throw new StorageError(this.#broken.message, { cause: this.#broken });
    }
    if (this.#damage) {
      throw new DamagedFileError(
        `Cannot commit to ${this.#name}: damage was found in it, and nothing was stored; see what dhara db verify says, and repair it or restore it from a backup (${this.#damage.message})`,
        { path: this.#name, offset: this.#damage.offset },
        { cause: this.#damage },
      );
    }
  }

  /**
   * Makes sure that nobody else has removed the file or written to it, and that
   * it ends where we have ended it.
   *
   * @throws {StorageError} if somebody has.
   */
  checkFile(open: OpenFile, end: number): void {
    let file;
    try {
      file = open.look();
    } catch (error) {
      throw this.explainCommit(error);
    }
    if (file.names === 0) {
      throw new StorageError(
        `Cannot commit to ${this.#name}: the file was removed, or another one was put in its place, while it was open; nothing was stored, and all that is in it is gone once it is closed: store what is needed elsewhere before that`,
      );
    }
    if (file.size !== end) {
      throw new StorageError(
        `Cannot commit to ${this.#name}: somebody else has written to the file or cut it while it was open, it has ${file.size} bytes and should have ${end}; nothing was stored, close the storage and see what dhara db verify says`,
      );
    }
  }

  /** Returns what to throw where loading an object has failed. */
  explainLoad(error: unknown, oid: Oid): unknown {
    const what = `Cannot load object #${oid} from ${this.#name}`;
    if (error instanceof DamagedPage) return this.#damagedIndex(what, error);
    if (error instanceof DharaError) return error;
    return new StorageError(`${what}: ${messageOf(error)}`, { cause: error });
  }

  /** Returns what to throw where writing a commit, or the file of a pack, has failed. */
  explainCommit(error: unknown, { packing = false } = {}): unknown {
    const what = `Cannot ${packing ? "pack" : "commit to"} ${this.#name}`;
    if (error instanceof DamagedPage) return this.#damagedIndex(what, error);
    if (error instanceof DharaError) return error;
    const full = /ENOSPC|EDQUOT|space left|quota/i.test(
      `${(error as { code?: string }).code} ${messageOf(error)}`,
    );
    return new StorageError(
      `${what}: ${messageOf(error)}; ${
        packing ? "the file is as it was" : "nothing was stored"
      }${
        full
          ? `, make room on the disk and ${packing ? "pack" : "commit"} again`
          : ""
      }`,
      { cause: error },
    );
  }

  #damagedIndex(what: string, { offset }: DamagedPage): DamagedFileError {
    return this.#seen(
      new DamagedFileError(
        `${what}: the index is damaged at byte ${offset}; opening it with --repair (or repair: true) makes a new one`,
        { path: this.#name, offset },
      ),
    );
  }

  /** Notes damage to an object's entry, and returns what to throw. */
  damaged(offset: number, oid: Oid, why: string): DamagedFileError {
    return this.#seen(
      new DamagedFileError(
        `Cannot load object #${oid} from ${this.#name}: the file is damaged at byte ${offset}: ${why}`,
        { path: this.#name, offset },
      ),
    );
  }

  /** Nothing is built on damage that was seen. */
  #seen(damage: DamagedFileError): DamagedFileError {
    this.#damage ??= damage;
    return damage;
  }
}
