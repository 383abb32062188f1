/**
 * Sockets that block: the thread that reads from one stands still until the
 * bytes are there.
 *
 * @module
 */
import { messageOf } from "../message.ts";
import { Worker } from "node:worker_threads";
import { ServerUnavailableError } from "../errors.ts";
import { type Address, formatAddress } from "../protocol/address.ts";
import {
  DATA,
  LOADER,
  Outcome,
  PROGRAM,
  Request,
  Slot,
  type WorkerData,
} from "./worker.ts";

/** Bytes that travel through shared memory at once. */
const ROOM = 1024 * 1024;
/** How long the worker may take to begin, in milliseconds; whatever goes wrong then it tells at once. */
const START = 30_000;
/** How much longer than a socket may be silent the worker itself may be, in milliseconds. */
const GRACE = 5000;
/** A timer cannot be set to more. */
const LONGEST = 2 ** 31 - 1;

/** A worker that owns any number of sockets, and the memory shared with it. */
export class SocketWorker {
  #control: Int32Array<SharedArrayBuffer>;
  /** Requests are written here, and what was received is read from here. */
  readonly data: Uint8Array<SharedArrayBuffer>;
  #worker: Worker | undefined;
  #answers = 0;
  #opened = 0;
  #timeout: number;

  /**
   * Starts the worker.
   *
   * @param timeout How long to wait while no byte moves, in milliseconds.
   * @param program What the worker runs; tests give it another.
   * @throws {ServerUnavailableError} if the worker cannot be started.
   */
  constructor(timeout: number, program: string = PROGRAM) {
    const memory = new SharedArrayBuffer(DATA + ROOM);
    this.#control = new Int32Array(memory, 0, DATA / 4);
    this.data = new Uint8Array(memory, DATA);
    this.#timeout = Math.min(timeout, LONGEST - GRACE);
    const workerData: WorkerData = {
      memory,
      timeout: this.#timeout,
      program: toUrl(program),
      names: { Request, Slot, Outcome, DATA },
    };
    try {
      this.#worker = new Worker(new URL(toUrl(LOADER)), { workerData });
      // It tells what goes wrong in a request; what goes wrong beside one ends it.
      this.#worker.on("error", () => this.terminate());
      // A program that forgets to close its storage must be able to end.
      this.#worker.unref();
      this.#wait(START);
      if (this.#control[Slot.outcome] !== Outcome.okay) throw this.#error();
    } catch (cause) {
      this.terminate();
      throw new ServerUnavailableError(
        `Cannot start the worker for the network: ${messageOf(cause)}`,
        { cause },
      );
    }
  }

  /** Whether it can be used still. */
  get alive(): boolean {
    return this.#worker !== undefined;
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
    this.#worker?.terminate();
    this.#worker = undefined;
  }

  /** Whether all that the last request had to send is on its way. */
  get sent(): boolean {
    return this.#control[Slot.sent] !== 0;
  }

  #ask(
    request: number,
    socket: number,
    length: number,
    least: number,
  ): number {
    const control = this.#control;
    control[Slot.sent] = 0;
    if (this.#worker === undefined) {
      throw new ServerUnavailableError("the connection was given up before");
    }
    control[Slot.request] = request;
    control[Slot.socket] = socket;
    control[Slot.length] = length;
    control[Slot.least] = least;
    this.#worker.postMessage(0);
    this.#wait(this.#timeout + GRACE);
    switch (control[Slot.outcome]) {
      case Outcome.okay:
        return control[Slot.length]!;
      case Outcome.closed:
        throw new ServerUnavailableError("the server closed the connection");
      case Outcome.silent:
        throw new ServerUnavailableError(
          `no answer came within ${this.#timeout / 1000} seconds`,
        );
      default:
        throw this.#error();
    }
  }

  /** Waits for an answer, while the worker does something at least once in the time. */
  #wait(patience: number): void {
    const control = this.#control;
    const before = this.#answers;
    let steps = Atomics.load(control, Slot.steps);
    let end = performance.now() + patience;
    // The worker counts an answer and then wakes us, which may come so late
    // that it wakes us while we wait for the next one: the count decides.
    while (Atomics.load(control, Slot.answers) === before) {
      const left = Math.max(0, end - performance.now());
      if (Atomics.wait(control, Slot.answers, before, left) !== "timed-out") {
        continue;
      }
      const now = Atomics.load(control, Slot.steps);
      if (now === steps) {
        // It may write to the shared memory at any time from now on.
        this.terminate();
        throw new ServerUnavailableError("it does not answer");
      }
      steps = now;
      end = performance.now() + patience;
    }
    this.#answers++;
  }

  #error(): Error {
    const length = this.#control[Slot.length]!;
    const text = new TextDecoder().decode(this.data.slice(0, length));
    const at = text.indexOf("\n");
    const error = new Error(text.slice(at + 1));
    error.name = text.slice(0, at);
    return error;
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

/** The text of a module as a URL that can be imported, for which no permission is needed. */
function toUrl(program: string): string {
  return `data:text/javascript,${encodeURIComponent(program)}`;
}

function connectComplaint(cause: unknown): string {
  const name = cause instanceof Error ? cause.name : "";
  return name === "ConnectionRefused" || name === "NotFound"
    ? "no server answers there"
    : messageOf(cause);
}
