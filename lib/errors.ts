/**
 * Every error that Dhara throws on purpose. All are subclasses of
 * {@linkcode DharaError}; a `cause` holds the error underneath, if any.
 *
 * @module
 */

/** The superclass of all errors that Dhara throws on purpose. */
export class DharaError extends Error {
  /** Makes an error with a message and, in `options.cause`, what led to it. */
  constructor(message?: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** What a {@linkcode ConflictError} tells beside its message. */
export interface ConflictDetails {
  /** The numbers of the objects that somebody else has changed. */
  oids: readonly number[];
  /** Their class names, in the order of `oids`, where they are known. */
  classes?: readonly string[];
}

/** Somebody else has changed what this transaction stands on. Call `abort()` and start over. */
export class ConflictError extends DharaError {
  /** The numbers of the objects that somebody else has changed. */
  readonly oids: readonly number[];
  /** Their class names, in the order of `oids`; empty where they are not known. */
  readonly classes: readonly string[];

  /** Makes a conflict about the given objects. */
  constructor(
    message: string,
    details: ConflictDetails,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.oids = details.oids;
    this.classes = details.classes ?? [];
  }
}

/** `commit()` failed: an object that this transaction accessed was changed by someone else. */
export class WriteConflictError extends ConflictError {}

/** A load failed: the storage no longer has the revision that this transaction's snapshot needs. */
export class ReadConflictError extends ConflictError {}

/** No object has this number. */
export class ObjectNotFoundError extends DharaError {
  /** The number that was asked for. */
  readonly oid: number;

  /** Makes the error for one number. */
  constructor(oid: number, options?: ErrorOptions) {
    super(`Cannot load object #${oid}: there is no such object`, options);
    this.oid = oid;
  }
}

/** A value cannot be stored; the message names the path to it. */
export class EncodeError extends DharaError {}

/** Bytes are not what they should be: not a record, not a value, not our format. */
export class DecodeError extends DharaError {}

/** A class cannot be registered, or an instance of it cannot be used here. */
export class ClassError extends DharaError {}

/** A plain value inside a persistent object was changed and `_p_noteChange()` was not called. */
export class ForgottenChangeError extends DharaError {}

/** A connection was used in a way that it does not allow, such as after `close()`. */
export class ConnectionError extends DharaError {}

/** The superclass of errors about a storage and its files. */
export class StorageError extends DharaError {}

/** The storage (or the session on it) was closed. */
export class StorageClosedError extends StorageError {}

/** A change was asked of a storage that was opened for reading only. */
export class ReadonlyError extends StorageError {}

/** Somebody else has the file open for writing. */
export class StorageLockedError extends StorageError {}

/** What an {@linkcode UndoError} tells beside its message. */
export interface UndoDetails {
  /** The numbers of the objects that were changed later. */
  oids: readonly number[];
  /** The tids of the later transactions that changed them, the newest first. */
  tids: readonly number[];
}

/** A transaction cannot be undone, since later ones have changed the same objects. */
export class UndoError extends DharaError {
  /** The numbers of the objects that were changed later. */
  readonly oids: readonly number[];
  /** The tids of the later transactions that changed them, the newest first. */
  readonly tids: readonly number[];

  /** Makes the error about the given objects. */
  constructor(message: string, details: UndoDetails, options?: ErrorOptions) {
    super(message, options);
    this.oids = details.oids;
    this.tids = details.tids;
  }
}

/** A file is damaged. */
export class DamagedFileError extends StorageError {
  /** The file. */
  readonly path: string;
  /** Where in it, in bytes from its beginning. */
  readonly offset: number;

  /** Makes the error for one place in one file. */
  constructor(
    message: string,
    place: { path: string; offset: number },
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.path = place.path;
    this.offset = place.offset;
  }
}

/** Somebody at the other end of a socket does not speak our protocol, or stopped in the middle. */
export class ProtocolError extends DharaError {}

/** No server answers at the address. */
export class ServerUnavailableError extends DharaError {}

/** A server cannot listen at the address. */
export class ListenError extends DharaError {}
