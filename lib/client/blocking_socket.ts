/**
 * Sockets that block: the thread that reads from one stands still until the
 * bytes are there.
 *
 * @module
 */
import { messageOf } from "../message.ts";
import { ServerUnavailableError } from "../errors.ts";
import { type Address, formatAddress } from "../protocol/address.ts";
import { GRACE, ROOM, SharedCall, ToldError, toTimer } from "./shared_call.ts";
import { Slot } from "./shared_loader.ts";
import {
  Request,
  SOCKET_PROGRAM,
  SocketOutcome,
  SocketSlot,
} from "./socket_program.ts";

/** How long the worker may take to begin, in milliseconds; whatever goes wrong then it tells at once. */
const START = 30_000;

/** A worker that owns any number of sockets, and the memory shared with it. */
export class SocketWorker {
  readonly #call: SharedCall;
  /** Requests are written here, and what was received is read from here. */
  readonly data: Uint8Array<SharedArrayBuffer>;
  readonly #timeout: number;
  #opened = 0;

  /**
   * Starts the worker.
   *
   * @param timeout How long to wait while no byte moves, in milliseconds.
   * @param program What the worker runs; tests give it another.
   * @throws {ServerUnavailableError} if the worker cannot be started.
   */
  constructor(timeout: number, program: string = SOCKET_PROGRAM) {
    this.#timeout = toTimer(timeout);
    try {
      this.#call = new SharedCall({
        program,
        patience: START,
        data: {
          timeout: this.#timeout,
          names: { Request, SocketSlot, SocketOutcome },
        },
      });
    } catch (cause) {
      throw new ServerUnavailableError(
        `Cannot start the worker for the network: ${messageOf(cause)}`,
        { cause },
      );
    }
    this.data = this.#call.data;
  }

  /** Whether it can be used still. */
  get alive(): boolean {
    return this.#call.alive;
  }

  /** Connects a socket; returns its number. */
  open(address: Address): number {
    const socket = ++this.#opened;
    const { written } = new TextEncoder().encodeInto(
      JSON.stringify(address),
      this.data,
    );
    this.#ask(Request.open, socket, written, 0);
    return socket;
  }

  /**
   * Sends the first `length` bytes of `data`, then receives at least `least`
   * bytes into it. Returns how many were received.
   */
  exchange(socket: number, length: number, least: number): number {
    return this.#ask(Request.exchange, socket, length, least);
  }

  /** Closes a socket. */
  close(socket: number): void {
    if (this.alive) this.#ask(Request.close, socket, 0, 0);
  }

  /** Ends the worker, and all sockets with it. */
  terminate(): void {
    this.#call.terminate();
  }

  /** Whether all that the last request had to send is on its way. */
  get sent(): boolean {
    return this.#call.control[SocketSlot.sent] !== 0;
  }

  #ask(
    request: number,
    socket: number,
    length: number,
    least: number,
  ): number {
    const { control } = this.#call;
    control[SocketSlot.sent] = 0;
    control[SocketSlot.least] = least;
    const outcome = this.#send(request, socket, length);
    if (outcome === SocketOutcome.closed) {
      throw new ServerUnavailableError("the server closed the connection");
    }
    if (outcome === SocketOutcome.silent) {
      throw new ServerUnavailableError(
        `no answer came within ${this.#timeout / 1000} seconds`,
      );
    }
    return control[Slot.length]!;
  }

  #send(request: number, socket: number, length: number): number {
    try {
      const patience = this.#timeout + GRACE;
      return this.#call.ask(request, socket, length, { patience });
    } catch (cause) {
      if (cause instanceof ToldError) throw cause;
      throw new ServerUnavailableError(messageOf(cause), { cause });
    }
  }
}

/**
 * One connected socket. What is written waits until something is read, and
 * goes out in the same round trip. After the first failure it is broken: no
 * answer that comes later could be told from the one that was asked for.
 */
export class BlockingSocket {
  #worker: SocketWorker;
  #socket: number;
  /** The address, as people write it. */
  readonly name: string;
  #written = 0;
  // Up to ROOM bytes may be left in it when as many come.
  #input = new Uint8Array(2 * ROOM);
  #start = 0;
  #end = 0;
  #sent = true;
  #broken: Error | undefined;

  /**
   * Connects.
   *
   * @throws {ServerUnavailableError} if no server answers there.
   */
  constructor(worker: SocketWorker, address: Address) {
    this.#worker = worker;
    this.name = formatAddress(address);
    try {
      this.#socket = worker.open(address);
    } catch (cause) {
      throw new ServerUnavailableError(
        `Cannot connect to ${this.name}: ${connectComplaint(cause)}`,
        { cause },
      );
    }
  }

  /** Writes one byte. */
  writeByte(byte: number): void {
    this.#room(1);
    this.#worker.data[this.#written++] = byte;
  }

  /** Writes an unsigned number of 4 bytes. */
  writeUint32(value: number): void {
    this.#room(4);
    const { data } = this.#worker;
    data[this.#written++] = value >>> 24;
    data[this.#written++] = value >>> 16;
    data[this.#written++] = value >>> 8;
    data[this.#written++] = value;
  }

  /** Writes an oid. */
  writeOid(oid: number): void {
    this.writeUint32(Math.floor(oid / 0x100000000));
    this.writeUint32(oid >>> 0);
  }

  /** Writes bytes. */
  write(bytes: Uint8Array): void {
    let from = 0;
    while (from < bytes.length) {
      this.#room(1);
      const count = Math.min(ROOM - this.#written, bytes.length - from);
      this.#worker.data.set(bytes.subarray(from, from + count), this.#written);
      this.#written += count;
      from += count;
    }
  }

  /** Bytes that have arrived and were not read yet. */
  get available(): number {
    return this.#end - this.#start;
  }

  /** Whether the system has taken all of what the last round trip had to send. */
  get sent(): boolean {
    return this.#sent;
  }

  /** Sends what was written and is not sent yet. */
  flush(): void {
    if (this.#written > 0) this.#exchange(0);
  }

  /**
   * Reads `count` bytes, at most 1 MiB. They are valid until the next read.
   *
   * @param least If more will follow for sure: how many bytes that is in all.
   * @throws {ServerUnavailableError} if the server is gone.
   */
  read(count: number, least: number = count): Uint8Array {
    if (this.available < count) this.#fill(count, least);
    const start = this.#start;
    this.#start += count;
    return this.#input.subarray(start, this.#start);
  }

  /** Reads an unsigned number of 4 bytes. */
  readUint32(least = 4): number {
    const bytes = this.read(4, least);
    return (bytes[0]! * 0x1000000) +
      (bytes[1]! << 16 | bytes[2]! << 8 | bytes[3]!);
  }

  /** Reads any number of bytes, as a new array that grows as they come. */
  readLarge(count: number, least = count): Uint8Array {
    if (count <= this.available) return this.read(count).slice();
    let bytes = new Uint8Array(Math.min(count, ROOM));
    let length = 0;
    while (length < count) {
      if (length === bytes.length) {
        const larger = new Uint8Array(Math.min(count, 2 * length));
        larger.set(bytes);
        bytes = larger;
      }
      if (this.#start === this.#end) {
        this.#fill(1, least - length);
      }
      const more = Math.min(this.available, bytes.length - length);
      bytes.set(this.read(more), length);
      length += more;
    }
    return bytes;
  }

  /** Gives the socket up for the given reason, which every later use will tell; returns it. */
  fail<E extends Error>(reason: E): E {
    this.#broken ??= reason;
    this.#start = this.#end = 0;
    this.close();
    return reason;
  }

  /** Closes the socket. Closing twice is fine. */
  close(): void {
    this.#broken ??= new ServerUnavailableError(
      `Cannot reach the server at ${this.name}: the connection is closed`,
    );
    const socket = this.#socket;
    this.#socket = 0;
    if (socket === 0) return;
    try {
      this.#worker.close(socket);
    } catch {
      // The worker is gone, and its sockets with it.
    }
  }

  #room(count: number): void {
    if (this.#written + count > ROOM) this.#exchange(0);
  }

  #fill(count: number, least: number): void {
    if (this.#start > 0) {
      this.#input.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    const missing = Math.max(least, count) - this.#end;
    this.#exchange(Math.min(missing, ROOM));
  }

  #exchange(least: number): void {
    const written = this.#written;
    this.#written = 0;
    this.#sent = false;
    if (this.#broken !== undefined) throw this.#broken;
    let received;
    try {
      received = this.#worker.exchange(this.#socket, written, least);
      this.#sent = true;
    } catch (cause) {
      this.#sent = this.#worker.sent;
      throw this.fail(
        new ServerUnavailableError(
          `Lost the server at ${this.name}: ${messageOf(cause)}`,
          { cause },
        ),
      );
    }
    this.#input.set(this.#worker.data.subarray(0, received), this.#end);
    this.#end += received;
  }
}

function connectComplaint(cause: unknown): string {
  const name = cause instanceof Error ? cause.name : "";
  return name === "ConnectionRefused" || name === "NotFound"
    ? "no server answers there"
    : messageOf(cause);
}
