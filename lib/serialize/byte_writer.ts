/**
 * Writes records, value by value, into buffers that it looks after. It knows
 * MessagePack, but nothing of objects.
 *
 * @module
 */
import { Extension, MAX_RECORD_BYTES } from "./extensions.ts";
import type { Oid } from "./record.ts";
import { Unstorable, WHOLE } from "./unstorable.ts";

/** Records up to a quarter of this share one buffer. */
const CHUNK_BYTES = 16384;
/** A bigger buffer than this is not kept for the next big record. */
const SPARE_BYTES = 1 << 20;
/** Up to so many UTF-16 code units, a loop is faster than `TextEncoder`. */
const SHORT = 48;

const textEncoder = new TextEncoder();

/**
 * Makes one record after the other: `start`, any number of values, `finish` if
 * all went well, and `reset` in any case.
 */
export class ByteWriter {
  #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(CHUNK_BYTES);
  #view = new DataView(this.#buffer.buffer);
  /** Where the record begins in the buffer. */
  #start = 0;
  #at = 0;
  /** The buffer of small records and where the next one begins, while a big one is being made. */
  #chunk: Uint8Array<ArrayBuffer> | undefined;
  #chunkStart = 0;
  /** A big buffer for the next big record. */
  #spare: Uint8Array<ArrayBuffer> | undefined;

  /** Begins a record. */
  start() {
    this.#at = this.#start + 12;
    if (this.#at > this.#buffer.length) this.#grow(0);
  }

  /** Makes ready for another record; what was written since `start` is given up. */
  reset() {
    if (this.#chunk === undefined) return;
    this.#spare = this.#buffer.length <= SPARE_BYTES ? this.#buffer : undefined;
    this.#use(this.#chunk);
    this.#start = this.#chunkStart;
    this.#chunk = undefined;
  }

  #use(buffer: Uint8Array<ArrayBuffer>) {
    this.#buffer = buffer;
    this.#view = new DataView(buffer.buffer);
  }

  /** Makes room for `count` bytes more. */
  #grow(count: number) {
    const used = this.#at - this.#start;
    const needed = used + count;
    if (needed > MAX_RECORD_BYTES) {
      throw new Unstorable(
        WHOLE,
        `its record would have more than ${MAX_RECORD_BYTES} bytes`,
      );
    }
    const old = this.#buffer;
    let buffer: Uint8Array<ArrayBuffer>;
    if (needed <= CHUNK_BYTES / 4 && this.#chunk === undefined) {
      buffer = new Uint8Array(CHUNK_BYTES);
    } else {
      if (this.#chunk === undefined) {
        this.#chunk = old;
        this.#chunkStart = this.#start;
      }
      const spare = this.#spare;
      buffer = spare !== undefined && spare !== old && spare.length >= needed
        ? spare
        : new Uint8Array(Math.max(needed * 2, CHUNK_BYTES * 2));
    }
    buffer.set(old.subarray(this.#start, Math.min(this.#at, old.length)));
    this.#use(buffer);
    this.#start = 0;
    this.#at = used;
  }

  /** Ends a record of the object `oid` that refers to the first `count` of `oids`. */
  finish(oid: Oid, oids: readonly Oid[], count: number): Uint8Array {
    if (this.#at + 8 * count > this.#buffer.length) this.#grow(8 * count);
    const start = this.#start;
    const view = this.#view;
    const high = Math.floor(oid / 0x100000000);
    view.setUint32(start, high);
    view.setUint32(start + 4, oid >>> 0);
    view.setUint32(start + 8, this.#at - start - 12);
    let at = this.#at;
    for (let i = 0; i < count; i++) {
      const other = oids[i]!;
      view.setUint32(at, Math.floor(other / 0x100000000));
      view.setUint32(at + 4, other >>> 0);
      at += 8;
    }
    const buffer = this.#buffer;
    if (this.#chunk !== undefined) return buffer.slice(start, at);
    this.#start = at;
    return new Uint8Array(buffer.buffer, start, at - start);
  }

  /** Writes one byte that needs no check for room. */
  #put(byte: number) {
    this.#buffer[this.#at++] = byte;
  }

  /** Writes one byte. */
  byte(byte: number) {
    if (this.#at === this.#buffer.length) this.#grow(1);
    this.#buffer[this.#at++] = byte;
  }

  /** Writes the header of a string, bin, array or map of `length` after a check for room. */
  #header8(code: number, length: number) {
    if (length < 0x100) {
      this.#put(code);
      this.#put(length);
    } else {
      this.#header16(code + 1, length);
    }
  }

  #header16(code: number, length: number) {
    if (length < 0x10000) {
      this.#put(code);
      this.#view.setUint16(this.#at, length);
      this.#at += 2;
    } else {
      this.#put(code + 1);
      this.#view.setUint32(this.#at, length);
      this.#at += 4;
    }
  }

  /** Begins a map of `count` keys with values. */
  mapHeader(count: number) {
    if (this.#at + 5 > this.#buffer.length) this.#grow(5);
    if (count < 16) this.#put(0x80 | count);
    else this.#header16(0xde, count);
  }

  /** Begins an array. */
  arrayHeader(count: number) {
    if (this.#at + 5 > this.#buffer.length) this.#grow(5);
    if (count < 16) this.#put(0x90 | count);
    else this.#header16(0xdc, count);
  }

  /** Writes a number. */
  number(value: number) {
    if (this.#at + 9 > this.#buffer.length) this.#grow(9);
    const integer = value | 0;
    if (integer === value && (integer !== 0 || 1 / value > 0)) {
      if (integer >= 0) {
        if (integer < 0x80) return this.#put(integer);
        this.uint(integer);
      } else if (integer >= -0x20) {
        this.#put(integer);
      } else if (integer >= -0x80) {
        this.#put(0xd0);
        this.#put(integer);
      } else if (integer >= -0x8000) {
        this.#put(0xd1);
        this.#view.setInt16(this.#at, integer);
        this.#at += 2;
      } else {
        this.#put(0xd2);
        this.#view.setInt32(this.#at, integer);
        this.#at += 4;
      }
    } else if (value >>> 0 === value && integer !== 0) {
      this.uint(value);
    } else {
      this.#put(0xcb);
      // The bits of NaN are anybody's choice; the bytes must not be.
      this.#view.setFloat64(this.#at, value === value ? value : NaN);
      this.#at += 8;
    }
  }

  /** Writes an integer from 0 to 2^53 - 1. */
  uint(value: number) {
    if (this.#at + 9 > this.#buffer.length) this.#grow(9);
    if (value < 0x80) {
      this.#put(value);
    } else if (value < 0x100) {
      this.#put(0xcc);
      this.#put(value);
    } else if (value < 0x10000) {
      this.#put(0xcd);
      this.#view.setUint16(this.#at, value);
      this.#at += 2;
    } else if (value < 0x100000000) {
      this.#put(0xce);
      this.#view.setUint32(this.#at, value);
      this.#at += 4;
    } else {
      this.#put(0xcf);
      this.#view.setUint32(this.#at, Math.floor(value / 0x100000000));
      this.#view.setUint32(this.#at + 4, value >>> 0);
      this.#at += 8;
    }
  }

  /** Writes a string. */
  string(text: string) {
    const length = text.length;
    if (length > SHORT) return this.#writeLongString(text);
    if (this.#at + 2 + length > this.#buffer.length) this.#grow(2 + length);
    const buffer = this.#buffer;
    let at = this.#at;
    if (length < 32) {
      buffer[at++] = 0xa0 | length;
    } else {
      buffer[at++] = 0xd9;
      buffer[at++] = length;
    }
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i);
      if (unit > 0x7f) return this.#writeLongString(text);
      buffer[at++] = unit;
    }
    this.#at = at;
  }

  #writeLongString(text: string) {
    if (!text.isWellFormed()) return this.#writeUtf16(text);
    const length = text.length;
    if (this.#at + 5 + 3 * length > this.#buffer.length) {
      this.#grow(5 + 3 * length);
    }
    // Most text is ASCII: leave as much room as the header of such a text takes.
    const guess = headerSize(length);
    const at = this.#at;
    const { written } = textEncoder.encodeInto(
      text,
      this.#buffer.subarray(at + guess),
    );
    const size = headerSize(written);
    if (size !== guess) {
      this.#buffer.copyWithin(at + size, at + guess, at + guess + written);
    }
    if (written < 32) this.#put(0xa0 | written);
    else this.#header8(0xd9, written);
    this.#at = at + size + written;
  }

  #writeUtf16(text: string) {
    const length = text.length;
    const at = this.begin(Extension.Utf16);
    if (this.#at + 2 * length > this.#buffer.length) this.#grow(2 * length);
    for (let i = 0; i < length; i++) {
      this.#view.setUint16(this.#at, text.charCodeAt(i));
      this.#at += 2;
    }
    this.end(at);
  }

  /** Writes a bigint. */
  bigint(value: bigint) {
    let digits = (value < 0n ? -value : value).toString(16);
    if (digits.length % 2 === 1) digits = "0" + digits;
    const length = value === 0n ? 0 : digits.length / 2;
    const at = this.begin(Extension.BigInt);
    if (this.#at + 1 + length > this.#buffer.length) this.#grow(1 + length);
    this.#put(value < 0n ? 1 : 0);
    for (let i = 0; i < length; i++) {
      this.#put(
        hexDigit(digits.charCodeAt(2 * i)) << 4 |
          hexDigit(digits.charCodeAt(2 * i + 1)),
      );
    }
    this.end(at);
  }

  /** Writes an extension without content. */
  empty(type: number) {
    if (this.#at + 3 > this.#buffer.length) this.#grow(3);
    this.#put(0xc7);
    this.#put(0);
    this.#put(type);
  }

  /**
   * Begins an extension whose length is not known yet; answers where its
   * content begins, counted from the start of the record, for `end`.
   */
  begin(type: number): number {
    if (this.#at + 3 > this.#buffer.length) this.#grow(3);
    this.#put(0xc7);
    this.#put(0);
    this.#put(type);
    return this.#at - this.#start;
  }

  /** Ends the extension whose content began at `content`. */
  end(content: number) {
    let from = this.#start + content;
    const length = this.#at - from;
    if (length < 0x100) {
      this.#buffer[from - 2] = length;
      return;
    }
    // Long ones need a longer header than was left room for.
    if (this.#at + 3 > this.#buffer.length) {
      this.#grow(3);
      from = this.#start + content;
    }
    const type = this.#buffer[from - 1]!;
    this.#buffer.copyWithin(from + 3, from, this.#at);
    this.#at += 3;
    this.#buffer[from - 3] = 0xc9;
    this.#view.setUint32(from - 2, length);
    this.#buffer[from + 2] = type;
  }

  /** Writes a time value as a `Date`. */
  date(time: number) {
    if (this.#at + 10 > this.#buffer.length) this.#grow(10);
    this.#put(0xd7);
    this.#put(Extension.Date);
    this.#view.setFloat64(this.#at, time === time ? time : NaN);
    this.#at += 8;
  }

  /** Writes a back reference to the object with this number. */
  backReference(number: number) {
    if (this.#at + 6 > this.#buffer.length) this.#grow(6);
    if (number < 0x100) {
      this.#put(0xd4);
      this.#put(Extension.BackReference);
      this.#put(number);
    } else if (number < 0x10000) {
      this.#put(0xd5);
      this.#put(Extension.BackReference);
      this.#view.setUint16(this.#at, number);
      this.#at += 2;
    } else {
      this.#put(0xd6);
      this.#put(Extension.BackReference);
      this.#view.setUint32(this.#at, number);
      this.#at += 4;
    }
  }

  /** Writes bytes as a bin. */
  bin(bytes: Uint8Array) {
    if (this.#at + 5 > this.#buffer.length) this.#grow(5);
    this.#header8(0xc4, bytes.length);
    this.bytes(bytes);
  }

  /** Writes bytes as they are. */
  bytes(bytes: Uint8Array) {
    if (this.#at + bytes.length > this.#buffer.length) this.#grow(bytes.length);
    this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }
}

function headerSize(length: number): number {
  return length < 32 ? 1 : length < 0x100 ? 2 : length < 0x10000 ? 3 : 5;
}

function hexDigit(unit: number): number {
  return unit < 58 ? unit - 48 : unit - 87;
}
