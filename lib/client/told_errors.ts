/**
 * Errors that a worker told, as errors of ours again.
 *
 * @module
 */
import {
  ClassError,
  ConflictError,
  ConnectionError,
  DamagedFileError,
  DecodeError,
  DharaError,
  EncodeError,
  ForgottenChangeError,
  ListenError,
  ObjectNotFoundError,
  ProtocolError,
  ReadConflictError,
  ReadonlyError,
  ServerUnavailableError,
  StorageClosedError,
  StorageError,
  StorageLockedError,
  UndoError,
  WriteConflictError,
} from "../errors.ts";
import type { ToldError } from "./shared_call.ts";

const PLAIN = {
  ClassError,
  ConnectionError,
  DecodeError,
  DharaError,
  EncodeError,
  ForgottenChangeError,
  ListenError,
  ProtocolError,
  ReadonlyError,
  ServerUnavailableError,
  StorageClosedError,
  StorageError,
  StorageLockedError,
};

const CONFLICTS = { ConflictError, ReadConflictError, WriteConflictError };

/** Returns what a worker told as an error of ours; a `StorageError` with its message if it is none. */
export function revive(cause: ToldError): DharaError {
  return reviveOurs(cause) ?? new StorageError(cause.message, { cause });
}

/**
 * Returns the error of ours that a worker told, or that the one that it told is
 * a kind of; `undefined` if it is none.
 */
export function reviveOurs(cause: ToldError): DharaError | undefined {
  const { names, details, message } = cause.told;
  const options = { cause };
  for (const name of names) {
    if (Object.hasOwn(PLAIN, name)) {
      return new PLAIN[name as keyof typeof PLAIN](message, options);
    }
    if (Object.hasOwn(CONFLICTS, name)) {
      const oids = numbers(details.oids);
      const classes = list(details.classes).map(String);
      return new CONFLICTS[name as keyof typeof CONFLICTS](
        message,
        { oids, classes },
        options,
      );
    }
    if (name === "ObjectNotFoundError") {
      const error = new ObjectNotFoundError(Number(details.oid), options);
      error.message = message;
      return error;
    }
    if (name === "UndoError") {
      const [oids, tids] = [numbers(details.oids), numbers(details.tids)];
      return new UndoError(message, { oids, tids }, options);
    }
    if (name === "DamagedFileError") {
      const path = String(details.path);
      const place = { path, offset: Number(details.offset) };
      return new DamagedFileError(message, place, options);
    }
  }
  return undefined;
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function numbers(value: unknown): number[] {
  return list(value).map(Number);
}
