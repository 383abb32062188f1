/**
 * A storage of somebody else, for one who only wants to look.
 *
 * @module
 */
import { ReadonlyError } from "../errors.ts";
import type { Session, Storage } from "../storage/storage.ts";

/** Returns a view of a storage that refuses to change anything. It closes the storage when it is closed. */
export function readonlyView(storage: Storage): Storage {
  return {
    features: storage.features,
    session: (options) => readonlySession(storage.session(options)),
    pack() {
      throw refusal("pack");
    },
    packInSteps() {
      throw refusal("pack");
    },
    close: () => storage.close(),
    [Symbol.dispose]: () => storage.close(),
  };
}

function readonlySession(session: Session): Session {
  return {
    get tid() {
      return session.tid;
    },
    allocate: (count) => session.allocate(count),
    load: (oid, at) => session.load(oid, at),
    loadMany: (oids) => session.loadMany(oids),
    has: (oid) => session.has(oid),
    length: (oid) => session.length(oid),
    sync: () => session.sync(),
    commit(records) {
      for (const _ of records) throw refusal("commit");
      return { tid: session.tid, changed: [] };
    },
    close: () => session.close(),
    [Symbol.dispose]: () => session.close(),
  };
}

function refusal(what: string): ReadonlyError {
  return new ReadonlyError(
    `Cannot ${what}: the database was opened for reading only`,
  );
}
