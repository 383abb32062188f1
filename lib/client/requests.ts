/**
 * Protocol 1 as a client speaks it, over a socket that blocks.
 *
 * @module
 */
import { viewOf } from "../serialize/bytes.ts";
import {
  ObjectNotFoundError,
  ProtocolError,
  ReadConflictError,
  ServerUnavailableError,
  StorageError,
} from "../errors.ts";
import {
  type Oid,
  readOid,
  recordOid,
  type Records,
} from "../serialize/record.ts";
import type { Tid } from "../storage/storage.ts";
import type { BlockingSocket } from "./blocking_socket.ts";
import {
  decodeServed,
  NO_TID,
  question,
  type Served,
  SERVED_LENGTH,
} from "../protocol/identity.ts";
import { Command, NO_ROOM, PROTOCOL_1, Status } from "../protocol/protocol1.ts";
import { transactionLength } from "../protocol/transaction.ts";

/** The most objects asked for in one `B` request. */
const LOAD_MANY = 5000;
/** The longest answer believed in, in bytes; a longer one means that the server talks nonsense. */
const LONGEST = 2 ** 30;
/** Bytes of a list of numbers that are read at once. */
const PIECE = 64 * 1024;

/** The requests of protocol 1. */
export class Requests {
  #socket: BlockingSocket;
  #served: Served | undefined;

  /**
   * Greets the server at the other end of the socket, and asks which database
   * it serves. `seen` is the last transaction of it that the client has seen.
   */
  constructor(socket: BlockingSocket, seen: Tid = NO_TID) {
    this.#socket = socket;
    socket.writeByte(Command.version);
    socket.writeUint32(PROTOCOL_1);
    const theirs = socket.readUint32();
    if (theirs === NO_ROOM) {
      throw socket.fail(
        new ServerUnavailableError(
          `Cannot connect to ${socket.name}: the server has as many clients as it takes`,
        ),
      );
    }
    if (theirs !== PROTOCOL_1) {
      throw this.#nonsense(`it speaks protocol ${theirs}, not ${PROTOCOL_1}`);
    }
    // Not together with the greeting: a server that has no room closes the
    // connection, and what it has not read would take its answer with it.
    const asked = this.#ask(seen);
    this.#served = this.#readServed(asked);
  }

  /**
   * Which database the server serves, as of the last `sync()` or commit;
   * `undefined` if it does not say, such as one of Durus.
   */
  get served(): Served | undefined {
    return this.#served;
  }

  /** The server's address, as people write it. */
  get name(): string {
    return this.#socket.name;
  }

  /** `M`: returns `count` new numbers. */
  allocate(count: number): Oid[] {
    this.#checkInStep();
    for (let left = count; left > 0; left -= 255) {
      this.#socket.writeByte(Command.newOids);
      this.#socket.writeByte(Math.min(left, 255));
    }
    return this.#readOids(count);
  }

  /** `L`: returns one record. */
  load(oid: Oid): Uint8Array {
    this.#request(Command.load);
    this.#socket.writeOid(oid);
    const record = this.#readRecord(oid, 1);
    if (record instanceof Error) throw record;
    return record;
  }

  /** `B`: returns many records. */
  loadMany(oids: readonly Oid[]): Uint8Array[] {
    const records: Uint8Array[] = [];
    let missing: Error | undefined;
    for (let from = 0; from < oids.length; from += LOAD_MANY) {
      const batch = oids.slice(from, from + LOAD_MANY);
      this.#request(Command.loadMany);
      this.#socket.writeUint32(batch.length);
      for (const oid of batch) this.#socket.writeOid(oid);
      // All answers have to be read, even after one that says no.
      batch.forEach((oid, i) => {
        const record = this.#readRecord(oid, batch.length - i);
        if (!(record instanceof Error)) records.push(record);
        else missing ??= record;
      });
      if (missing !== undefined) throw missing;
    }
    return records;
  }

  /** `S`: moves the server's snapshot; returns what was changed since the last one. */
  sync(): Oid[] {
    this.#request(Command.sync);
    const asked = this.#served && this.#ask(NO_TID);
    const after = asked ? SERVED_LENGTH : 0;
    const oids = this.#readOids(this.#socket.readUint32(4 + after), after);
    if (asked) this.#served = this.#readServed(asked);
    return oids;
  }

  /** `C`: moves the server's snapshot; returns what was changed. The server waits for the records. */
  beginCommit(): Oid[] {
    this.#request(Command.commit);
    return this.#readOids(this.#socket.readUint32());
  }

  /** Ends a commit that was begun, without storing anything. */
  giveUpCommit(): void {
    this.#socket.writeUint32(0);
    this.#socket.flush();
  }

  /**
   * Ends a commit that was begun; returns false on a conflict.
   *
   * @throws {ServerUnavailableError} if no answer came. Once all bytes were on
   * their way, the server has refused the commit, or it is gone, before or
   * after it stored it; nobody can say which.
   */
  finishCommit(records: Records): boolean {
    const asked = this.#served && question(NO_TID);
    const status = this.#sendCommit(records, asked);
    if (status !== Status.okay && status !== Status.invalid) {
      throw this.#nonsense(`it answered a commit with byte ${status}`);
    }
    if (asked) this.#learnAfterCommit(asked);
    return status === Status.okay;
  }

  /** What became of the commit is known, whatever happens now. */
  #learnAfterCommit(asked: Uint8Array): void {
    try {
      this.#served = this.#readServed(asked);
    } catch (error) {
      if (
        !(error instanceof ServerUnavailableError ||
          error instanceof ProtocolError)
      ) throw error;
      // The next request finds out. Which transaction it was is not known, so
      // no server can know it.
      this.#served = { ...this.#served!, tid: NO_TID };
    }
  }

  /** Sends records, and after them a question that is answered in the same round trip. */
  #sendCommit(
    records: Records,
    asked: Uint8Array | undefined,
  ): number | undefined {
    const socket = this.#socket;
    let complete = false;
    try {
      socket.writeUint32(transactionLength(records));
      for (const [oid, record] of records) {
        socket.writeUint32(8 + record.length);
        socket.writeOid(oid);
        socket.write(record);
      }
      complete = true;
      if (asked) this.#writeQuestion(asked);
      return socket.read(1)[0];
    } catch (cause) {
      if (!(cause instanceof ServerUnavailableError)) throw cause;
      const fate = complete && socket.sent
        ? "it may have refused the commit (its log tells why) or stored it"
        : "nothing was stored";
      throw new ServerUnavailableError(`${cause.message}; ${fate}`, { cause });
    }
  }

  /** `P`: begins to pack. */
  pack(): void {
    this.#request(Command.pack);
    const status = this.#socket.read(1)[0];
    if (status === Status.invalid) {
      throw new StorageError(
        `Cannot pack: the server at ${this.name} refuses it; its log tells why`,
      );
    }
    if (status !== Status.okay) {
      throw this.#nonsense(`it answered a pack with byte ${status}`);
    }
  }

  /** `.`: ends the conversation. */
  end(): void {
    try {
      this.#socket.writeByte(Command.end);
      this.#socket.flush();
    } catch {
      // Whatever is wrong with the connection, it is over now.
    }
    this.#socket.close();
  }

  /** Asks which database it is, and whether a transaction is one of it. Returns what the answer must name. */
  #ask(tid: Tid): Uint8Array {
    const asked = question(tid);
    this.#writeQuestion(asked);
    return asked;
  }

  #writeQuestion(asked: Uint8Array): void {
    this.#socket.writeByte(Command.load);
    this.#socket.write(asked);
  }

  #readServed(asked: Uint8Array): Served | undefined {
    const socket = this.#socket;
    const status = socket.read(1)[0];
    if (status === Status.unknown) return undefined;
    const length = SERVED_LENGTH - 5;
    if (status !== Status.okay || socket.readUint32(4 + length) !== length) {
      throw this.#nonsense("it does not say which database it serves");
    }
    const record = socket.read(length);
    return this.#understand(() => decodeServed(asked, record));
  }

  /** Reads one answer to `L` or `B`; `answers` more, this one included, will come. */
  #readRecord(oid: Oid, answers: number): Uint8Array | Error {
    const socket = this.#socket;
    const status = socket.read(1, answers)[0];
    if (status === Status.unknown) return new ObjectNotFoundError(oid);
    if (status === Status.invalid) {
      return new ReadConflictError(
        `Cannot load object #${oid}: it was changed since the snapshot`,
        { oids: [oid] },
      );
    }
    if (status !== Status.okay) {
      throw this.#nonsense(`it answered a load with byte ${status}`);
    }
    const length = socket.readUint32(4 + answers - 1);
    if (length > LONGEST) {
      throw this.#nonsense(`it announced a record of ${length} bytes`);
    }
    const record = socket.readLarge(length, length + answers - 1);
    const of = this.#understand(() => recordOid(record));
    if (of !== oid) {
      throw this.#nonsense(`it sent object #${of} instead of #${oid}`);
    }
    return record;
  }

  /** Reads numbers, after which so many bytes will follow. */
  #readOids(count: number, after = 0): Oid[] {
    if (8 * count > LONGEST) {
      throw this.#nonsense(`it announced ${count} numbers`);
    }
    const oids: Oid[] = [];
    while (oids.length < count) {
      const left = 8 * (count - oids.length);
      const bytes = this.#socket.read(Math.min(left, PIECE), left + after);
      const view = viewOf(bytes);
      this.#understand(() => {
        for (let at = 0; at < bytes.length; at += 8) {
          oids.push(readOid(view, at));
        }
      });
    }
    return oids;
  }

  /** Begins a request. */
  #request(command: number): void {
    this.#checkInStep();
    this.#socket.writeByte(command);
  }

  /** After an answer nothing more may come: whatever does would pass for the next answer. */
  #checkInStep(): void {
    const left = this.#socket.available;
    if (left === 0) return;
    throw this.#nonsense(`it sent ${left} bytes that nobody asked for`);
  }

  /** Bytes that cannot be read are the server's fault. */
  #understand<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw this.#nonsense((error as Error).message);
    }
  }

  #nonsense(what: string): ProtocolError {
    return this.#socket.fail(
      new ProtocolError(
        `Cannot understand the server at ${this.#socket.name}: ${what}`,
      ),
    );
  }
}
