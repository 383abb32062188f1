/**
 * A socket as the server uses it: buffered both ways. Answers wait in a buffer
 * until the server would have to wait for the client, or until there are many,
 * so that requests sent together are answered together. It knows for how long
 * the client has kept the server waiting.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import { type Oid, writeOid } from "../serialize/record.ts";

const BUFFER = 64 * 1024;
/** How much is allocated at once for bytes that were announced but are not here yet. */
const STEP = 1024 * 1024;
/** How much is written at once, so that it can be seen whether the client takes it. */
const WRITE_PIECE = 256 * 1024;
/** After so many bytes that came or went the client is not late any more. */
const PROGRESS = 64 * 1024;

/** The buffered socket of one client. */
export class Channel {
  /** Whether anything was sent to the client. */
  hasAnswered = false;

  #conn: Deno.Conn;
  #input = new Uint8Array(BUFFER);
  #start = 0;
  #end = 0;
  // Up to BUFFER bytes may wait in it, and as many come before it is flushed.
  #output = new Uint8Array(2 * BUFFER + 64);
  #view = new DataView(this.#output.buffer);
  #length = 0;
  /** Since when the server waits for the client, if it does. */
  #waitingSince: number | undefined;
  /** How long it waited before, since the client last made progress. */
  #waited = 0;
  /** How many bytes came or went meanwhile. */
  #moved = 0;

  /** Wraps a connected socket. */
  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  /** Bytes that have arrived and were not read yet. */
  get available(): number {
    return this.#end - this.#start;
  }

  /**
   * For how long, in milliseconds, the server has waited for the client since
   * the last 64 KiB came or went, or since `begin()`. The time in which the
   * server was busy itself does not count. 0 if it does not wait now.
   */
  stalledFor(now: number): number {
    return this.#waitingSince === undefined
      ? 0
      : this.#waited + now - this.#waitingSince;
  }

  /** Begins to measure anew how long the client takes. */
  begin(): void {
    this.#waited = this.#moved = 0;
  }

  /**
   * Reads `count` bytes, at most 64 KiB. They are valid until the next read.
   *
   * @throws {ProtocolError} if the client stops before.
   */
  async read(count: number): Promise<Uint8Array> {
    if (this.available < count) await this.#fill(count);
    const start = this.#start;
    this.#start += count;
    return this.#input.subarray(start, this.#start);
  }

  /**
   * Reads any number of bytes, as a new array. Memory grows as they arrive,
   * whatever was announced.
   *
   * @throws {ProtocolError} if the client stops before.
   */
  async readLarge(count: number): Promise<Uint8Array> {
    await this.flush();
    let bytes = new Uint8Array(Math.min(count, STEP));
    let length = Math.min(this.available, bytes.length);
    bytes.set(this.#input.subarray(this.#start, this.#start + length));
    this.#start += length;
    while (length < count) {
      if (length === bytes.length) {
        const larger = new Uint8Array(Math.min(count, 2 * length));
        larger.set(bytes);
        bytes = larger;
      }
      const more = await this.#receive(bytes.subarray(length));
      if (more === null) throw stopped(length, count);
      length += more;
    }
    return bytes;
  }

  /**
   * Reads one byte, or nothing if the client has closed its side.
   */
  async readByte(): Promise<number | undefined> {
    if (this.available === 0 && !await this.#more()) return undefined;
    return this.#input[this.#start++];
  }

  /** Answers one byte. */
  putByte(byte: number): void {
    this.#output[this.#length++] = byte;
  }

  /** Answers an unsigned number of 4 bytes. */
  putUint32(value: number): void {
    this.#view.setUint32(this.#length, value);
    this.#length += 4;
  }

  /** Answers an oid. */
  putOid(oid: Oid): void {
    writeOid(this.#view, this.#length, oid);
    this.#length += 8;
  }

  /** Answers any number of bytes; waits until the client takes them if they are many. */
  async put(bytes: Uint8Array): Promise<void> {
    if (bytes.length > BUFFER) {
      await this.flush();
      return await this.#write(bytes);
    }
    this.#output.set(bytes, this.#length);
    this.#length += bytes.length;
    if (this.full) await this.flush();
  }

  /** Whether it is time for a `flush()`: ask after each few bytes that were put. */
  get full(): boolean {
    return this.#length > BUFFER;
  }

  /** Sends all answers that are still in the buffer; waits until the client takes them. */
  async flush(): Promise<void> {
    if (this.#length === 0) return;
    const length = this.#length;
    this.#length = 0;
    await this.#write(this.#output.subarray(0, length));
  }

  async #write(bytes: Uint8Array): Promise<void> {
    this.hasAnswered = true;
    let written = 0;
    while (written < bytes.length) {
      const piece = bytes.subarray(written, written + WRITE_PIECE);
      this.#waitingSince = performance.now();
      const more = await this.#conn.write(piece);
      this.#noteProgress(more);
      written += more;
    }
  }

  async #receive(into: Uint8Array): Promise<number | null> {
    this.#waitingSince = performance.now();
    const more = await this.#conn.read(into);
    this.#noteProgress(more ?? 0);
    return more;
  }

  #noteProgress(bytes: number): void {
    this.#waited += performance.now() - this.#waitingSince!;
    this.#waitingSince = undefined;
    this.#moved += bytes;
    if (this.#moved >= PROGRESS) this.begin();
  }

  async #fill(count: number): Promise<void> {
    if (this.#start + count > BUFFER) {
      this.#input.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    while (this.available < count) {
      if (!await this.#more()) throw stopped(this.available, count);
    }
  }

  async #more(): Promise<boolean> {
    await this.flush();
    if (this.available === 0) this.#start = this.#end = 0;
    const more = await this.#receive(this.#input.subarray(this.#end));
    if (more === null) return false;
    this.#end += more;
    return true;
  }
}

function stopped(got: number, count: number): ProtocolError {
  return new ProtocolError(
    `Cannot read the request: the client stopped after ${got} of ${count} bytes`,
  );
}
