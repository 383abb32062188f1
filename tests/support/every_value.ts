/** A database that has everything a database can have. */
import { Connection } from "../../lib/connection/connection.ts";
import { Persistent } from "../../lib/persistent/persistent.ts";
import { type Oid, packRecord } from "../../lib/serialize/record.ts";
import type { Storage } from "../../lib/storage/storage.ts";
import { walk } from "../../lib/maintenance/walk.ts";
import { PersistentDict, PersistentList, PersistentSet } from "../../mod.ts";

class Everything extends Persistent {
  values: Record<string, unknown> = {};
  other: unknown = null;
}

class Unknown extends Persistent {
  secret = new Map([["of", "a class that is not registered elsewhere"]]);
  next: unknown = null;
}

/** One of every kind of value, and of every kind of name. */
export function everyValue(): Record<string, unknown> {
  const shared = { shared: true };
  const cycle: Record<string, unknown> = { shared };
  cycle["self"] = cycle;
  const list: unknown[] = [cycle];
  list.push(list);
  const map = new Map<unknown, unknown>();
  map.set(map, [map, shared]);
  const date = new Date(1e12);
  const error = new Error("its own cause");
  error.cause = error;
  const bytes = new Uint8Array([0, 1, 255]);
  const Float16Array = (globalThis as unknown as {
    Float16Array?: new (items: number[]) => object;
  }).Float16Array;
  return {
    simple: [null, true, false, 0, 1, -1, 0.1, 1e300, 2 ** 53, "", "ä€😀\n"],
    odd: [undefined, NaN, -0, Infinity, -Infinity],
    bigints: [0n, -1n, 2n ** 64n, -(3n ** 200n)],
    surrogates: ["\ud800", "a\udc00b"],
    dates: [date, date, new Date(NaN), new Date(8.64e15), new Date(-1)],
    expressions: [/a\/b/giu, Object.assign(/x/g, { lastIndex: 7 })],
    url: new URL("https://example.com/ä?q=1#x"),
    bytes: [bytes, bytes, new Uint8Array(30_000).fill(7), new Uint8Array()],
    arrays: [
      bytes.buffer.slice(1),
      new DataView(bytes.buffer, 1),
      new Int8Array([-1]),
      new Uint8ClampedArray([1]),
      new Int16Array([-300]),
      new Uint16Array([300]),
      new Int32Array([-70000]),
      new Uint32Array([4e9]),
      new BigInt64Array([-1n]),
      new BigUint64Array([2n ** 64n - 1n]),
      new Float32Array([1.5, NaN]),
      new Float64Array([-0, 1e300]),
      Float16Array ? new Float16Array([1.5]) : null,
    ],
    errors: [
      error,
      new TypeError("with a cause", { cause: shared }),
      new AggregateError([new Error("inner"), 1], "many"),
      Object.assign(new SyntaxError("more"), { code: "E_MORE" }),
    ],
    holes: [1, , undefined, ,], // deno-lint-ignore-line no-sparse-arrays
    maps: [map, new Map(), new Map([[NaN, 1]])],
    sets: [new Set<unknown>([1, "1", shared, undefined]), new Set()],
    graphs: [cycle, list, shared],
    bare: Object.assign(Object.create(null), { a: 1, ["__proto__"]: shared }),
    proto: JSON.parse('{"__proto__": {"polluted": true}, "constructor": 1}'),
    names: { "\ud800": 1, "$": 2, "$date": 3, "$$x": 4, "": 5, "1": 6 },
    "$ref": "a name that begins like those of the notation",
    "\udfff": "a name that is no text",
  };
}

/** Fills a storage with everything. */
export function fillWithEverything(storage: Storage): void {
  using connection = new Connection(storage, {
    classes: { Everything, "bank.Unknown": Unknown },
  });
  const { root } = connection;
  const everything = new Everything();
  Object.assign(everything, everyValue());
  const unknown = new Unknown();
  unknown.next = everything;
  everything.other = [unknown, unknown, everything];
  root["everything"] = everything;
  root["unknown"] = unknown;
  root["dict"] = new PersistentDict([["a", 1]]);
  root["list"] = new PersistentList([1, unknown, new Date(0)]);
  root["numbers"] = new PersistentSet([1, everything]);
  connection.commit();
  // Records of another writer, and a reference that leads nowhere.
  using session = storage.session();
  const [pickle] = session.allocate(1) as [Oid];
  const data = new Uint8Array([0x80, 4, 0x95, 0xff, 0, 46]);
  const rootRecord = session.load(0);
  const strange = new Uint8Array(rootRecord.length + 8);
  strange.set(rootRecord);
  strange.set(
    packRecord(0, new Uint8Array(), [pickle]).subarray(12),
    rootRecord.length,
  );
  session.commit([[0, strange], [
    pickle,
    packRecord(pickle, data, [0, 0, 987_654, pickle]),
  ]]);
}

/** Everything that is in a storage. */
export function dump(storage: Storage): Map<Oid, string> {
  using session = storage.session();
  const records = new Map<Oid, string>();
  for (const entries of walk(session)) {
    for (const [oid, record] of entries) records.set(oid, record.join());
  }
  return records;
}
