/** A client of the storage server that sends and reads bare bytes. */
import { packRecord } from "../../lib/serialize/record.ts";
import type { StorageServer } from "../../server.ts";

/** What can be sent: a letter, or bytes. */
export type Part = string | number[] | Uint8Array;

/** A number of 4 bytes. */
export function int4(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/** A number of 8 bytes. */
export function int8(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

/** A record with text for data. */
export function record(
  oid: number,
  text: string,
  references: number[] = [],
): Uint8Array {
  return packRecord(oid, new TextEncoder().encode(text), references);
}

/** Joins parts to bytes. */
export function join(...parts: Part[]): Uint8Array<ArrayBuffer> {
  const all = parts.map((part) =>
    typeof part === "string"
      ? new TextEncoder().encode(part)
      : part instanceof Uint8Array
      ? part
      : Uint8Array.from(part)
  );
  const bytes = new Uint8Array(all.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of all) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** The bytes of a commit after its `C`, with their length before them. */
export function transaction(
  ...records: [oid: number, record: Uint8Array][]
): Uint8Array {
  const bytes = join(
    ...records.flatMap(([oid, record]) => [
      int4(8 + record.length),
      int8(oid),
      record,
    ]),
  );
  return join(int4(bytes.length), bytes);
}

/** One connection to a server. */
export class RawClient implements Disposable {
  #conn: Deno.Conn;
  #left = new Uint8Array(0);

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  /** Connects to a server; greets it too, so that the server has noticed. */
  static async connect(server: StorageServer): Promise<RawClient> {
    const client = await RawClient.connectSilently(server);
    await client.send("V", int4(1));
    await client.read(4);
    return client;
  }

  /** Connects and says nothing. */
  static async connectSilently(server: StorageServer): Promise<RawClient> {
    const { addr } = server;
    if (addr.transport === "unix") {
      const path = server.name.replace(/^@/, "\0");
      return new RawClient(await Deno.connect({ transport: "unix", path }));
    }
    const { hostname, port } = addr as Deno.NetAddr;
    return new RawClient(await Deno.connect({ hostname, port }));
  }

  async send(...parts: Part[]): Promise<void> {
    const bytes = join(...parts);
    let sent = 0;
    while (sent < bytes.length) {
      sent += await this.#inTime(this.#conn.write(bytes.subarray(sent)));
    }
  }

  /** A server that does not go on must not make a test hang. */
  async #inTime<T>(work: Promise<T>): Promise<T> {
    let timer;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error("The server does not go on")),
        30_000,
      );
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
      // What is left of it ends with the connection.
      work.catch(() => {});
    }
  }

  /** Reads so many bytes; fewer only if the server closes the connection. */
  async read(count: number): Promise<Uint8Array> {
    const pieces = [this.#left];
    for (let length = this.#left.length; length < count;) {
      const buffer = new Uint8Array(64 * 1024);
      const more = await this.#inTime(this.#conn.read(buffer)).catch(
        (error) => {
          if (error instanceof Deno.errors.ConnectionReset) return null;
          throw error;
        },
      );
      if (more === null) break;
      pieces.push(buffer.subarray(0, more));
      length += more;
    }
    const all = pieces.length > 1 ? join(...pieces) : this.#left;
    this.#left = all.subarray(count);
    return all.slice(0, count);
  }

  /** Reads a letter; empty if the server has closed the connection. */
  async letter(): Promise<string> {
    return new TextDecoder().decode(await this.read(1));
  }

  async int4(): Promise<number> {
    return new DataView((await this.read(4)).buffer).getUint32(0);
  }

  async int8(): Promise<number> {
    return Number(new DataView((await this.read(8)).buffer).getBigUint64(0));
  }

  /** Reads a list of numbers with its count before it. */
  async oids(): Promise<number[]> {
    const count = await this.int4();
    const view = new DataView((await this.read(8 * count)).buffer);
    return Array.from(
      { length: count },
      (_, i) => Number(view.getBigUint64(8 * i)),
    );
  }

  /** Asks for new numbers. */
  async allocate(count: number): Promise<number[]> {
    await this.send("M", [count]);
    const oids: number[] = [];
    while (oids.length < count) oids.push(await this.int8());
    return oids;
  }

  /** Loads an object: its record, or the letter of the answer. */
  async load(oid: number): Promise<Uint8Array | string> {
    await this.send("L", int8(oid));
    return await this.answer();
  }

  /** Reads the answer to a load. */
  async answer(): Promise<Uint8Array | string> {
    const letter = await this.letter();
    return letter === "O" ? await this.read(await this.int4()) : letter;
  }

  async sync(): Promise<number[]> {
    await this.send("S");
    return await this.oids();
  }

  /** Commits, whatever was invalidated; returns that and the letter of the answer. */
  async commit(
    ...records: [oid: number, record: Uint8Array][]
  ): Promise<{ invalid: number[]; answer: string }> {
    await this.send("C");
    const invalid = await this.oids();
    await this.send(transaction(...records));
    return { invalid, answer: await this.letter() };
  }

  /** Tells the server that nothing more will be sent. */
  async closeWrite(): Promise<void> {
    await this.#conn.closeWrite();
  }

  close(): void {
    try {
      this.#conn.close();
    } catch {
      // Closed before.
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
