/**
 * A database as text and back: JSON lines, one object a line.
 *
 * @module
 */
import { messageOf } from "../message.ts";
import { DecodeError, DharaError, StorageError } from "../errors.ts";
import { Decoder } from "../serialize/decoder.ts";
import { Encoder } from "../serialize/encoder.ts";
import {
  fromBase64,
  Reference,
  stateFromJson,
  stateToJson,
  stringFromJson,
  stringToJson,
  toBase64,
} from "../serialize/json_notation.ts";
import {
  type Oid,
  packRecord,
  recordData,
  recordReferences,
} from "../serialize/record.ts";
import { isStorableOid } from "../storage/limits.ts";
import { BulkWriter } from "./convert.ts";
import { OidSet } from "../storage/oid_set.ts";
import type { Progress, Storage } from "../storage/storage.ts";
import { walk } from "./walk.ts";

/** The version of the format. */
const VERSION = 1;

/** Settings of {@linkcode exportLines} and {@linkcode importLines}. */
export interface TextOptions {
  /** Called now and then. */
  readonly onProgress?: (progress: Progress) => void;
  /** What to call the text in messages: its file. */
  name?: string;
}

/**
 * Writes all objects that can be reached from the root, as of now, as lines of
 * JSON, each with its line feed. Whatever can be stored is kept without loss.
 *
 * @example
 * ```ts
 * import { Connection, exportLines, importLines, MemoryStorage } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * const from = new MemoryStorage();
 * using connection = new Connection(from);
 * connection.root["when"] = new Date(0);
 * connection.commit();
 * const lines = [...exportLines(from)];
 *
 * const to = new MemoryStorage();
 * await importLines(lines, to);
 * using copy = new Connection(to);
 * assertEquals(copy.root["when"], new Date(0));
 * ```
 */
export function* exportLines(
  from: Storage,
  options: TextOptions = {},
): Generator<string, Progress> {
  using session = from.session();
  yield `{"dhara":"export","version":${VERSION},"tid":${session.tid}}\n`;
  const notation = new Notation();
  let records = 0;
  let bytes = 0;
  for (const entries of walk(session)) {
    for (const [oid, record] of entries) {
      yield notation.line(oid, record) + "\n";
      records++;
      bytes += record.length;
    }
    options.onProgress?.({ records, bytes });
  }
  yield `{"end":true,"objects":${records}}\n`;
  return { records, bytes };
}

/**
 * Fills an empty storage with the objects of an export. Everything is checked;
 * the root is stored last, so that an import that failed leaves no database.
 *
 * @param lines The lines, with or without their line feeds.
 * @throws {StorageError} if the storage is not empty, or a line is not what it should be.
 */
export async function importLines(
  lines: Iterable<string> | AsyncIterable<string>,
  to: Storage,
  options: TextOptions = {},
): Promise<Progress> {
  const { name = "the text" } = options;
  using writer = new BulkWriter(to);
  const reader = new LineReader();
  let number = 0;
  for await (const line of lines) {
    number++;
    if (line.trim() === "") continue;
    try {
      const entry = reader.read(line);
      if (entry) writer.add(...entry);
    } catch (error) {
      if (error instanceof StorageError) throw error;
      throw new StorageError(
        `Cannot import ${name}, line ${number}: ${messageOf(error)}`,
        { cause: error },
      );
    }
    if (number % 256 === 0) options.onProgress?.(writer.progress);
  }
  if (!reader.ended) {
    throw new StorageError(
      `Cannot import ${name}: it was cut off after line ${number}`,
    );
  }
  writer.finish();
  return writer.progress;
}

/** Records as lines and back, without any connection. */
class Notation {
  readonly #decoder = new Decoder({
    ghost: (oid, className) => new Reference(oid, className),
  });
  readonly #encoder = new Encoder({
    oidOf: (value) => value instanceof Reference ? value.oid : undefined,
    classNameOf: (value) => (value as Reference).className,
  });

  line(oid: Oid, record: Uint8Array): string {
    const refs = JSON.stringify(recordReferences(record));
    const own = this.#ownLine(oid, record, refs);
    if (own !== undefined) return own;
    const data = toBase64(recordData(record));
    return `{"oid":${oid},"data":"${data}","refs":${refs}}`;
  }

  // Only if the line makes the very same record again: records that others
  // have written must not be changed.
  #ownLine(oid: Oid, record: Uint8Array, refs: string): string | undefined {
    try {
      const name = stringToJson(this.#decoder.className(record));
      const state = stateToJson(this.#decoder.decode(record));
      const line =
        `{"oid":${oid},"class":${name},"state":${state},"refs":${refs}}`;
      return isSame(this.record(JSON.parse(line)), record) ? line : undefined;
    } catch (error) {
      // Neither is it ours if it nests deeper than JavaScript likes.
      if (error instanceof DharaError || error instanceof RangeError) return;
      throw error;
    }
  }

  record(json: Record<string, unknown>): Uint8Array {
    const oid = json["oid"];
    if (!isStorableOid(oid)) throw new DecodeError("it has no oid");
    const refs = json["refs"];
    const keys = Object.keys(json).sort().join();
    if (keys === "data,oid,refs") {
      const data = fromBase64(json["data"]);
      if (data === undefined) throw new DecodeError("its data is not base64");
      if (!Array.isArray(refs) || !refs.every(isStorableOid)) {
        throw new DecodeError("its refs are no list of oids");
      }
      return packRecord(oid, data, refs);
    }
    if (keys !== "class,oid,refs,state") {
      throw new DecodeError(
        "an object has oid, class, state and refs, or oid, data and refs",
      );
    }
    const record = this.#encoder.encode(
      oid,
      stringFromJson(json["class"]),
      stateFromJson(json["state"]),
    );
    const found = recordReferences(record);
    if (JSON.stringify(refs) !== JSON.stringify(found)) {
      throw new DecodeError(
        `its refs are not what its state refers to: ${JSON.stringify(found)}`,
      );
    }
    return record;
  }
}

/** Reads one line after the other. */
class LineReader {
  readonly #notation = new Notation();
  readonly #seen = new OidSet();
  #began = false;
  #objects = 0;
  /** Whether the last line was there. */
  ended = false;

  read(line: string): readonly [Oid, Uint8Array] | undefined {
    const json = JSON.parse(line);
    if (typeof json !== "object" || json === null) {
      throw new DecodeError("it is no JSON object");
    }
    if (!this.#began) {
      if (json["dhara"] !== "export") {
        throw new DecodeError('an export begins with {"dhara":"export"');
      }
      if (json["version"] !== VERSION) {
        throw new DecodeError(
          `version ${json["version"]} is not known, only ${VERSION}`,
        );
      }
      this.#began = true;
      return undefined;
    }
    if (this.ended) throw new DecodeError("something follows the end");
    if (json["end"] === true) {
      if (json["objects"] !== this.#objects) {
        throw new DecodeError(
          `there should be ${
            json["objects"]
          } objects before it, and there are ${this.#objects}`,
        );
      }
      this.ended = true;
      return undefined;
    }
    const record = this.#notation.record(json);
    const oid: Oid = json["oid"];
    if (!this.#seen.add(oid)) {
      throw new DecodeError(`object #${oid} was there before`);
    }
    this.#objects++;
    return [oid, record];
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
