import { stateFromJson } from "../../lib/serialize/json_notation.ts";
import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { decode as judgeDecode, encode as judgeEncode } from "@std/msgpack";
import fc from "fast-check";
import vm from "node:vm";
import { DecodeError, EncodeError } from "../../lib/errors.ts";
import { Decoder } from "../../lib/serialize/decoder.ts";
import { Encoder } from "../../lib/serialize/encoder.ts";
import {
  packRecord,
  recordData,
  recordOid,
  recordReferences,
} from "../../lib/serialize/record.ts";
import { assertSame } from "../support/same.ts";

// deno-lint-ignore no-explicit-any
type Any = any;
type State = Record<string, unknown>;

/** Stands for a persistent object. */
class Stub {
  constructor(readonly oid: number, readonly className: string) {}
}

function codec() {
  const stubs = new Map<number, Stub>();
  const encoder = new Encoder({
    oidOf: (value) => value instanceof Stub ? value.oid : undefined,
    classNameOf: (value) => (value as Stub).className,
  });
  const decoder = new Decoder({
    ghost(oid, className) {
      const stub = stubs.get(oid) ?? new Stub(oid, className);
      stubs.set(oid, stub);
      return stub;
    },
  });
  return { encoder, decoder };
}

const { encoder, decoder } = codec();

function encode(state: State): Uint8Array {
  return encoder.encode(12, "Account", state);
}

/** A record of class `C` with the given bytes as its state. */
function recordOf(...bytes: number[]): Uint8Array {
  return packRecord(12, new Uint8Array([0xa1, 67, ...bytes]), []);
}

/** A record whose state is `{ a: value }` with the given bytes as value. */
function valueRecord(...bytes: number[]): Uint8Array {
  return recordOf(0x81, 0xa1, 97, ...bytes);
}

/** The bytes of a value, taken from a record of it. */
function bytesOf(value: unknown): number[] {
  return [...recordData(encoder.encode(1, "C", { a: value })).subarray(5)];
}

function assertRoundTrip(state: State) {
  const record = encode(state);
  const back = decoder.decode(record);
  assertSame(back, state);
  assertEquals(encode(back as State).join(), record.join());
}

function nested(levels: number): unknown {
  let value: unknown = 1;
  for (let i = 0; i < levels; i++) value = [value];
  return value;
}

const shared = { a: 1 };
const VALUES: Record<string, () => unknown> = {
  null: () => null,
  undefined: () => undefined,
  booleans: () => [true, false],
  "small integers": () => [0, 1, -1, 127, 128, -32, -33, -128, -129],
  integers: () => [255, 256, 65535, 65536, -32768, -32769, 2 ** 31 - 1],
  "big integers": () =>
    [31, 32, 33, 53, 63, 64, 1000].flatMap((bits) =>
      [-1, 0, 1].flatMap((more) => [2 ** bits + more, -(2 ** bits) + more])
    ),
  fractions: () => [0.5, -1.1, Number.MIN_VALUE, Number.MAX_VALUE],
  "odd numbers": () => [-0, NaN, Infinity, -Infinity],
  strings: () => ["", "a", "äöü", "€", "😀", "\0", "\u{10ffff}", "\uffff"],
  "a byte order mark": () => "\ufefftext",
  "lone surrogates": () => ["\ud800", "a\udc00b", "\ud800".repeat(3000)],
  "strings of every length up to 300": () =>
    ["x", "ä", "€"].flatMap((text) =>
      Array.from({ length: 300 }, (_, i) => text.repeat(i))
    ),
  "long strings": () =>
    ["x", "ä", "€"].flatMap((text) =>
      [21845, 21846, 32767, 32768, 65535, 65536, 100_000].map((length) =>
        text.repeat(length)
      )
    ),
  bigints: () =>
    [0n, 1n, 255n, 256n, 2n ** 63n, 2n ** 64n, 3n ** 2000n].flatMap((
      n,
    ) => [n, -n]),
  dates: () => [new Date(0), new Date(-1), new Date(8.64e15), new Date(NaN)],
  "a map": () => new Map<unknown, unknown>([["a", 1], [NaN, 2], [shared, 3]]),
  "a set": () => new Set<unknown>([1, "1", undefined, null, shared]),
  "empty containers": () => [[], {}, new Map(), new Set(), new Uint8Array()],
  "regular expressions": () => [/a\/b\n[/]/giu, new RegExp(""), /\ud800/],
  "a lastIndex": () => Object.assign(/x/g, { lastIndex: 7 }),
  "a URL": () => new URL("https://user@example.com:8080/ä?q=1#x"),
  bytes: () =>
    [0, 1, 255, 256, 65535, 65536].map((n) => new Uint8Array(n).fill(n)),
  "typed arrays": () => [
    new Int8Array([-1]),
    new Uint8ClampedArray([1, 2]),
    new Int16Array([-300]),
    new Uint16Array([300]),
    new Int32Array([-70000]),
    new Uint32Array([4e9]),
    new BigInt64Array([-1n]),
    new BigUint64Array([2n ** 64n - 1n]),
    new Float32Array([1.5, NaN]),
    new Float64Array([-0, 1e300]),
  ],
  "Float16Array where it exists": () => {
    const Float16Array = (globalThis as Any).Float16Array;
    return Float16Array ? new Float16Array([1.5, -0]) : undefined;
  },
  "a long typed array": () => new Float64Array(1000).map((_, i) => i / 3),
  buffers: () => [new Uint8Array([1, 2, 3]).buffer, new ArrayBuffer(0)],
  "a data view": () => new DataView(new Uint8Array([1, 2, 3, 4]).buffer, 1, 2),
  errors: () => [
    new Error("plain"),
    new Error(),
    new TypeError("with a cause", { cause: shared }),
    new RangeError("with an undefined cause", { cause: undefined }),
    new AggregateError([new Error("inner"), 1], "many"),
    Object.assign(new SyntaxError("more"), { code: "E_MORE", name: "Other" }),
    Object.assign(new EvalError("assigned"), { cause: 1 }),
    new ReferenceError("x"),
    new URIError("y"),
  ],
  "an error without a stack": () => {
    const error = new Error("x");
    delete error.stack;
    return error;
  },
  "an error that is its own cause": () => {
    const error = new Error("x");
    error.cause = error;
    return error;
  },
  "holes in arrays": () => {
    const array = [1, , undefined, , "x", ,]; // deno-lint-ignore-line no-sparse-arrays
    return [array, new Array(3), new Array(300)];
  },
  "plain objects": () => ({ b: 1, a: { 2: 1, 1: 2, "odd key": [], "": 0 } }),
  "a key with a lone surrogate": () => ({ "\ud800": 1 }),
  "names of things that objects inherit": () => ({
    constructor: 1,
    toString: 2,
    hasOwnProperty: 3,
  }),
  "a key __proto__": () => JSON.parse('{"__proto__": {"polluted": true}}'),
  "an object without a prototype": () =>
    Object.assign(Object.create(null), { a: 1, ["__proto__"]: 2 }),
  "names that begin with _v_ or _p_, below the state": () => ({
    _v_a: 1,
    _p_b: 2,
  }),
  "large containers": () => [
    Array.from({ length: 70_000 }, (_, i) => i),
    Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => ["k" + i, i])),
  ],
  "shared objects": () => [shared, [shared], new Map([[shared, shared]])],
  "more shared objects than a byte can number": () => {
    const list = Array.from({ length: 70_000 }, () => ({}));
    return [...list, ...list];
  },
  "cycles": () => {
    const array: unknown[] = [];
    const object: State = Object.create(null);
    const map = new Map<unknown, unknown>();
    const set = new Set<unknown>([array, object, map]);
    set.add(set);
    map.set(map, set).set("array", array);
    array.push(array, object, map, set);
    object.self = object;
    object.set = set;
    return set;
  },
  "one date twice": () => {
    const values = [new Date(1), /x/, new URL("a:b"), new Uint8Array(1)];
    return [...values, ...values];
  },
  "values nested as deep as allowed": () => nested(499),
};

for (const [name, make] of Object.entries(VALUES)) {
  Deno.test(`Codec gives back ${name}`, () => {
    assertRoundTrip({ value: make() });
    // Again, at the top level and with something in front and behind.
    assertRoundTrip({ before: [1, "x"], value: make(), after: { a: [] } });
  });
}

Deno.test("Codec gives back SuppressedError where it exists", () => {
  const SuppressedError = (globalThis as Any).SuppressedError;
  if (SuppressedError) {
    assertRoundTrip({ e: new SuppressedError(new Error("a"), "b", "c") });
  }
});

Deno.test("Codec restores errors as real errors", () => {
  const { e } = decoder.decode(encode({ e: new TypeError("x") })) as Any;
  assert(e instanceof TypeError);
  assertEquals(Object.keys(e), []);
  assertEquals(Object.prototype.toString.call(e), "[object Error]");
});

Deno.test("Codec gives back any value that fast-check thinks of", () => {
  const values = fc.anything({
    key: fc.string({ unit: "binary" }),
    withBigInt: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withObjectString: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
    maxDepth: 4,
  });
  const states = fc.dictionary(fc.string(), values).map((state) =>
    Object.fromEntries(
      Object.entries(state).filter(([key]) => !/^_[pv]_/.test(key)),
    )
  );
  fc.assert(fc.property(states, assertRoundTrip), { numRuns: 2000 });
});

Deno.test("Codec gives back any number and any string", () => {
  const units = fc.array(fc.oneof(
    fc.integer({ min: 0, max: 0xffff }),
    fc.integer({ min: 0xd7fe, max: 0xe001 }),
    fc.nat(0x7f),
  )).map((codes) => String.fromCharCode(...codes));
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.double(), fc.integer(), fc.maxSafeInteger())),
      fc.array(fc.oneof(fc.string({ unit: "binary", maxLength: 200 }), units)),
      (numbers, strings) => assertRoundTrip({ numbers, strings }),
    ),
    { numRuns: 1000 },
  );
});

Deno.test("Codec gives back any graph of containers", () => {
  const kinds = fc.constantFrom("array", "object", "null", "map", "set");
  const make: Record<string, () => object> = {
    array: () => [],
    object: () => ({}),
    null: () => Object.create(null),
    map: () => new Map(),
    set: () => new Set(),
  };
  fc.assert(
    fc.property(
      fc.array(kinds, { minLength: 1, maxLength: 40 }),
      fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat()), { maxLength: 120 }),
      (names, edges) => {
        const nodes = names.map((name) => make[name]!());
        for (const [a, b, c] of edges) {
          const from = nodes[a % nodes.length]!;
          const to = nodes[b % nodes.length]!;
          if (Array.isArray(from)) from.push(to);
          else if (from instanceof Set) from.add(to);
          else if (from instanceof Map) from.set(nodes[c % nodes.length], to);
          else (from as State)[`k${c % 5}`] = to;
        }
        assertRoundTrip({ nodes: nodes.filter((_, i) => i % 2 === 0) });
        assertRoundTrip({ first: nodes[0] });
      },
    ),
    { numRuns: 1000 },
  );
});

Deno.test("Codec keeps __proto__ in the state and pollutes nothing", () => {
  const state = JSON.parse('{"__proto__": {"polluted": 1}, "a": 1}');
  const back = decoder.decode(encode(state)) as Any;
  assertEquals(Object.keys(back), ["__proto__", "a"]);
  assertStrictEquals(Object.getPrototypeOf(back), Object.prototype);
  assertStrictEquals(back.polluted, undefined);
  class Account {}
  const target = decoder.decode(encode(state), new Account());
  assertEquals(Object.keys(target), ["__proto__", "a"]);
  assertStrictEquals(Object.getPrototypeOf(target), Account.prototype);
  assertStrictEquals(({} as Any).polluted, undefined);
});

Deno.test("Encoder makes a record of oid, class name, state and references", () => {
  const record = encoder.encode(2 ** 40 + 3, "Account", { a: 1 });
  assertEquals(recordOid(record), 2 ** 40 + 3);
  assertEquals(recordReferences(record), []);
  // deno-fmt-ignore
  assertEquals([...recordData(record)], [
    0xa7, 65, 99, 99, 111, 117, 110, 116, 0x81, 0xa1, 97, 1,
  ]);
  assertEquals(decoder.className(record), "Account");
});

Deno.test("Class names may be any string", () => {
  for (const name of ["", "bank.Account", "ä".repeat(200), "\ud800"]) {
    const record = encoder.encode(1, name, { me: new Stub(2, name) });
    assertEquals(decoder.className(record), name);
    assertEquals((decoder.decode(record) as Any).me.oid, 2);
  }
});

Deno.test("Encoder stores enumerable string keys that do not begin with _v_", () => {
  const state = { a: 1, _v_cache: () => {}, _v: 2, [Symbol("s")]: 3, _x: 4 };
  Object.defineProperty(state, "hidden", { value: 5, enumerable: false });
  assertEquals(decoder.decode(encode(state)), { a: 1, _v: 2, _x: 4 });
});

Deno.test("Encoder takes the state from an object of any class", () => {
  class Account {
    owner = "ada";
    get shown() {
      return 1;
    }
  }
  const record = encode(new Account() as unknown as State);
  assertEquals(decoder.decode(record), { owner: "ada" });
});

Deno.test("Encoder writes the bytes that the format describes", () => {
  const a = {};
  assertEquals(bytesOf([a, a]), [0x92, 0x80, 0xd4, 3, 2]);
  assertEquals(bytesOf(undefined), [0xc7, 0, 0]);
  assertEquals(bytesOf(new Array(1)), [0x91, 0xc7, 0, 1]);
  assertEquals(bytesOf("\ud800"), [0xc7, 2, 4, 0xd8, 0]);
  assertEquals(bytesOf(0n), [0xc7, 1, 5, 0]);
  assertEquals(bytesOf(-256n), [0xc7, 3, 5, 1, 1, 0]);
  assertEquals(bytesOf(new Date(1)), [
    ...[0xd7, 6, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0],
  ]);
  assertEquals(bytesOf(new Map([[1, 2]])), [0xc7, 3, 7, 0x81, 1, 2]);
  assertEquals(bytesOf(new Set([5])), [0xc7, 2, 8, 0x91, 5]);
  assertEquals(bytesOf(Object.create(null)), [0xc7, 1, 9, 0x80]);
  assertEquals(bytesOf(/x/g), [0xc7, 5, 10, 0xa1, 120, 0xa1, 103, 0]);
  assertEquals(bytesOf(new URL("a:b")), [0xc7, 4, 11, 0xa3, 97, 58, 98]);
  assertEquals(bytesOf(new Int16Array([258])), [0xc7, 3, 12, 4, 2, 1]);
  const error = new Error();
  delete error.stack;
  assertEquals(bytesOf(error), [
    ...[0xc7, 8, 13, 0xa5, 69, 114, 114, 111, 114, 0x80, 0x80],
  ]);
  assertEquals(bytesOf(NaN), [0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]);
  assertEquals(bytesOf(new Uint8Array([9])), [0xc4, 1, 9]);
});

Deno.test("Encoder numbers classes so that each name is written once", () => {
  const state = {
    a: [
      new Stub(300, "Other"),
      new Stub(7, "Account"),
      new Stub(8, "Third"),
      new Stub(9, "Other"),
      new Stub(70_000, "Third"),
    ],
  };
  const record = encode(state);
  // deno-fmt-ignore
  assertEquals([...recordData(record).subarray(8)], [
    0x81, 0xa1, 97, 0x95,
    0xc7, 9, 2, 0xcd, 1, 44, 0xa5, 79, 116, 104, 101, 114,
    0xc7, 2, 2, 7, 0,
    0xc7, 7, 2, 8, 0xa5, 84, 104, 105, 114, 100,
    0xc7, 2, 2, 9, 1,
    0xc7, 6, 2, 0xce, 0, 1, 0x11, 0x70, 2,
  ]);
  assertEquals((decoder.decode(record) as Any).a, state.a);
});

Deno.test("Encoder lists references once, in order, without the object itself", () => {
  const refer = (...oids: number[]) =>
    recordReferences(encode({ a: oids.map((oid) => new Stub(oid, "C")) }));
  assertEquals(refer(5, 12, 3, 5, 2 ** 50, 3, 0), [5, 3, 2 ** 50, 0]);
  const many = Array.from({ length: 1000 }, (_, i) => (i * 7) % 1000);
  assertEquals(
    refer(...many, ...many),
    many.filter((oid) => oid !== 12),
  );
  assertEquals(refer(), []);
});

Deno.test("References survive, with many classes and in every container", () => {
  const stubs = Array.from(
    { length: 400 },
    (_, i) => new Stub(i, `C${i % 200}`),
  );
  const state = {
    stubs,
    map: new Map([[stubs[1], stubs[2]]]),
    set: new Set([stubs[3]]),
    again: stubs[12],
    far: new Stub(Number.MAX_SAFE_INTEGER, "C1"),
  };
  const { encoder, decoder } = codec();
  const record = encoder.encode(12, "C5", state);
  const back = decoder.decode(record) as typeof state;
  assertSame(back, state);
  assertEquals(
    encoder.encode(12, "C5", back as unknown as State).join(),
    record.join(),
  );
});

Deno.test("A reference in a large container takes about 8 bytes", () => {
  const items = Array.from(
    { length: 100_000 },
    (_, i) => new Stub(100_000 + i, "City"),
  );
  const record = encode({ items });
  assert(recordData(record).length < 9.01 * items.length);
  const back = decoder.decode(record) as { items: Stub[] };
  assertEquals(back.items.length, items.length);
  assertEquals(back.items.at(-1), items.at(-1));
  assertEquals(recordReferences(record).length, items.length);
});

Deno.test("Encoder gives the same bytes for the same state", () => {
  const make = () => ({
    list: Object.values(VALUES).slice(0, 20).map((make) => make()),
    f: new Float64Array([NaN, -NaN]),
    n: [NaN, -NaN, 0 / 0],
    d: new Date(NaN),
  });
  assertEquals(encode(make()).join(), encode(make()).join());
  assertEquals(
    encode(make()).join(),
    codec().encoder.encode(12, "Account", make()).join(),
  );
});

Deno.test("Records keep their bytes while others are made", () => {
  const sizes = [
    1,
    100,
    5000,
    20_000,
    10,
    2_000_000,
    3,
    16_000,
    16_384,
    70_000,
  ];
  const make = (i: number) => ({ i, text: "x".repeat(sizes[i % 10]!) });
  const records = Array.from({ length: 200 }, (_, i) => encode(make(i)));
  records.forEach((record, i) => {
    assertEquals(recordReferences(record), []);
    const back = decoder.decode(record) as ReturnType<typeof make>;
    assert(back.i === i && back.text === make(i).text);
  });
});

const jsonLike = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    fc.constantFrom(null, true, false),
    fc.integer(),
    fc.double({ noNaN: true }).filter((n) => !Object.is(n, -0)),
    fc.string({ unit: "binary", maxLength: 300 }),
    fc.array(tie("value"), { maxLength: 20 }),
    fc.dictionary(fc.string().filter((s) => s !== "__proto__"), tie("value"), {
      noNullPrototype: true,
    }),
    fc.uint8Array({ maxLength: 300 }),
  ),
}));
const jsonState = fc.dictionary(
  fc.string().filter((key) => !/^_[pv]_|^__proto__$/.test(key)),
  jsonLike.value,
  { noNullPrototype: true },
);

Deno.test("Another MessagePack reads what Encoder writes", () => {
  fc.assert(
    fc.property(jsonState, (state) => {
      const data = recordData(encode(state));
      assertEquals(judgeDecode(data.slice(0, 8)), "Account");
      assertSame(plainBytes(judgeDecode(data.slice(8))), state);
    }),
    { numRuns: 500 },
  );
});

Deno.test("Decoder reads what another MessagePack writes", () => {
  fc.assert(
    fc.property(jsonState, (state) => {
      const map = judgeEncode(state as Any);
      const back = decoder.decode(recordOf(...map));
      assertSame(back, state);
    }),
    { numRuns: 500 },
  );
  const numbers = [2 ** 32, 2 ** 53 - 1, -(2 ** 31) - 1, -(2 ** 53) + 1];
  const map = judgeEncode({ numbers });
  assertEquals(decoder.decode(recordOf(...map)), { numbers });
});

/** Makes each byte array a plain `Uint8Array` with a buffer of its own. */
function plainBytes(value: unknown): unknown {
  if (value instanceof Uint8Array) return new Uint8Array(value);
  if (Array.isArray(value)) return value.map(plainBytes);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, plainBytes(item)]),
  );
}

Deno.test("Decoder reads every header of MessagePack", () => {
  const cases: [unknown, number[]][] = [
    [1.5, [0xca, 0x3f, 0xc0, 0, 0]],
    [5, [0xcf, 0, 0, 0, 0, 0, 0, 0, 5]],
    [2n ** 63n, [0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0]],
    [-5, [0xd3, 255, 255, 255, 255, 255, 255, 255, 251]],
    [-(2n ** 63n), [0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0]],
    ["b", [0xd9, 1, 98]],
    ["b", [0xda, 0, 1, 98]],
    ["b", [0xdb, 0, 0, 0, 1, 98]],
    [[1], [0xdc, 0, 1, 1]],
    [[1], [0xdd, 0, 0, 0, 1, 1]],
    [{ b: 1 }, [0xde, 0, 1, 0xa1, 98, 1]],
    [{ b: 1 }, [0xdf, 0, 0, 0, 1, 0xa1, 98, 1]],
    [new Uint8Array([7]), [0xc5, 0, 1, 7]],
    [new Uint8Array([7]), [0xc6, 0, 0, 0, 1, 7]],
    [undefined, [0xc8, 0, 0, 0]],
    [undefined, [0xc9, 0, 0, 0, 0, 0]],
    [-1n, [0xd5, 5, 1, 1]],
    [1n, [0xd6, 5, 0, 0, 0, 1]],
    [0n, [0xd8, 5, ...new Array(16).fill(0)]],
    [5, [0xcc, 5]],
    [-1, [0xd0, 255]],
    [-1, [0xd1, 255, 255]],
    [-1, [0xd2, 255, 255, 255, 255]],
  ];
  for (const [value, bytes] of cases) {
    assertSame(decoder.decode(valueRecord(...bytes)), { a: value });
  }
});

function assertRefused(state: State, message: string) {
  const error = assertThrows(() => encode(state), EncodeError);
  assertEquals(error.message, `Cannot store Account#12${message}`);
}

class Foo {}

const FUNCTION = "a function cannot be stored";
const GENUINE =
  "it has the prototype of a built-in class, but is none of its instances";
const REFUSED: [string, () => State, string][] = [
  ["a function", () => ({ handlers: [() => 1] }), `.handlers[0]: ${FUNCTION}`],
  ["a class", () => ({ Foo }), `.Foo: ${FUNCTION}`],
  [
    "a symbol",
    () => ({ a: { "odd key": Symbol("s") } }),
    '.a["odd key"]: a symbol cannot be stored',
  ],
  [
    "an instance of an unknown class",
    () => ({ a: [1, { b: new Foo() }] }),
    ".a[1].b: an instance of Foo cannot be stored; register its class, or make it a plain object",
  ],
  [
    "an instance of a class without a name",
    () => ({ a: new (class {})() }),
    ".a: an instance of an unnamed class cannot be stored; register its class, or make it a plain object",
  ],
  [
    "a subclass of a built-in class",
    () => ({ a: new (class MyMap extends Map {})() }),
    ".a: an instance of MyMap cannot be stored; register its class, or make it a plain object",
  ],
  [
    "an object made from another",
    () => ({ a: Object.create({ b: 1 }) }),
    ".a: an instance of an unnamed class cannot be stored; register its class, or make it a plain object",
  ],
  [
    "a promise",
    () => ({ a: Promise.resolve() }),
    ".a: an instance of Promise cannot be stored; register its class, or make it a plain object",
  ],
  [
    "a boxed number",
    () => ({ a: new Number(1) }),
    ".a: an instance of Number cannot be stored; register its class, or make it a plain object",
  ],
  [
    "a plain object of another realm",
    () => ({ a: vm.runInNewContext("({ b: 1 })") }),
    ".a: a plain object of another realm cannot be stored; copy it into one of this realm",
  ],
  [
    "an array of another realm",
    () => ({ a: vm.runInNewContext("[1]") }),
    ".a: an array of another realm cannot be stored; copy it into one of this realm",
  ],
  [
    "a property named by a symbol",
    () => ({ a: { [Symbol("s")]: 1 } }),
    ".a[Symbol(s)]: a property named by a symbol cannot be stored",
  ],
  [
    "an accessor",
    () => ({
      a: {
        get b() {
          return 1;
        },
      },
    }),
    ".a.b: an accessor cannot be stored",
  ],
  [
    "a property that is not enumerable",
    () => ({ a: Object.defineProperty({}, "b", { value: 1 }) }),
    ".a.b: a property that is not enumerable cannot be stored",
  ],
  [
    "a property added to an array",
    () => ({ a: "abc".match(/b/) }),
    ".a.index: a property added to the Array cannot be stored",
  ],
  [
    "a property named by a symbol on an array",
    () => ({ a: Object.assign([1], { [Symbol("s")]: 1 }) }),
    ".a[Symbol(s)]: a property added to the Array cannot be stored",
  ],
  [
    "a property added to an array with holes",
    () => ({ a: Object.assign(new Array(2), { b: 1 }) }),
    ".a.b: a property added to the Array cannot be stored",
  ],
  ...[
    new Map(),
    new Set(),
    new Date(),
    /x/,
    new URL("a:b"),
    new ArrayBuffer(1),
    new DataView(new ArrayBuffer(1)),
  ].map((value): [string, () => State, string] => [
    `a property added to the ${value.constructor.name}`,
    () => ({ a: Object.assign(value, { extra: 1 }) }),
    `.a.extra: a property added to the ${value.constructor.name} cannot be stored`,
  ]),
  [
    "a symbol property of an error",
    () => ({ a: Object.assign(new Error("x"), { [Symbol("s")]: 1 }) }),
    ".a[Symbol(s)]: a property added to the Error cannot be stored",
  ],
  [
    "an accessor of an error",
    () => ({ a: Object.defineProperty(new Error("x"), "b", { get: () => 1 }) }),
    ".a.b: an accessor cannot be stored",
  ],
  [
    "a cause that cannot be stored",
    () => ({ a: new Error("x", { cause: [new Error("y", { cause: Foo })] }) }),
    `.a.cause[0].cause: ${FUNCTION}`,
  ],
  [
    "an odd lastIndex",
    () => ({ a: Object.assign(/x/, { lastIndex: "1" }) }),
    ".a.lastIndex: a lastIndex that is not a number cannot be stored",
  ],
  ...[Map, Set, Date, RegExp, URL, ArrayBuffer, TypeError].map((
    Class,
  ): [string, () => State, string] => [
    `an impostor of ${Class.name}`,
    () => ({ a: Object.create(Class.prototype) }),
    `.a: ${GENUINE}`,
  ]),
  ...[Uint8Array, Float64Array, DataView].map((
    Class,
  ): [string, () => State, string] => [
    `an impostor of ${Class.name}`,
    () => ({ a: Object.create(Class.prototype) }),
    `.a: ${GENUINE}`,
  ]),
  [
    "a typed array with the prototype of another",
    () => ({
      a: Object.setPrototypeOf(new Int8Array(8), Float64Array.prototype),
    }),
    `.a: ${GENUINE}`,
  ],
  [
    "an impostor of Array",
    () => ({ a: Object.create(Array.prototype) }),
    ".a: an instance of Array cannot be stored; register its class, or make it a plain object",
  ],
  [
    "a view of shared memory",
    () => ({ a: new Uint8Array(new SharedArrayBuffer(1)) }),
    ".a: memory shared between threads cannot be stored; store a copy",
  ],
  [
    "shared memory",
    () => ({ a: new SharedArrayBuffer(1) }),
    ".a: an instance of SharedArrayBuffer cannot be stored; register its class, or make it a plain object",
  ],
  [
    "a resizable buffer",
    () => ({ a: new ArrayBuffer(1, { maxByteLength: 2 }) }),
    ".a: a resizable ArrayBuffer cannot be stored; store a copy",
  ],
  [
    "a view of a resizable buffer",
    () => ({ a: new Int8Array(new ArrayBuffer(1, { maxByteLength: 2 })) }),
    ".a: a resizable Int8Array cannot be stored; store a copy",
  ],
  [
    "a detached buffer",
    () => {
      const a = new Uint8Array(4);
      structuredClone(a, { transfer: [a.buffer] });
      return { a };
    },
    ".a: a detached Uint8Array cannot be stored",
  ],
  [
    "a name that begins with _p_ in the state",
    () => ({ _p_x: 1 }),
    "._p_x: names that begin with _p_ are Dhara's own",
  ],
  [
    "a value of a map",
    () => ({ a: new Map<Any, Any>([[1, 2], ["k", Foo]]) }),
    `.a.get("k"): ${FUNCTION}`,
  ],
  [
    "a key of a map",
    () => ({ a: new Map<Any, Any>([[1, 2], [Foo, 1]]) }),
    `.a.keys()[1]: ${FUNCTION}`,
  ],
  [
    "a value of a map under an object",
    () => ({ a: new Map<Any, Any>([[{}, { b: Foo }]]) }),
    `.a.values()[0].b: ${FUNCTION}`,
  ],
  [
    "a member of a set",
    () => ({ a: new Set<Any>([1, [Foo]]) }),
    `.a.values()[1][0]: ${FUNCTION}`,
  ],
  [
    "a property of an object without a prototype",
    () => ({ a: Object.assign(Object.create(null), { b: Foo }) }),
    `.a.b: ${FUNCTION}`,
  ],
  [
    "what stands behind a cycle",
    () => {
      const a: State = {};
      a.a = a;
      a.list = [a, a];
      a.äé$1 = Foo;
      return { a };
    },
    `.a.äé$1: ${FUNCTION}`,
  ],
  [
    "an endless array",
    () => ({ a: Object.assign([], { length: 2 ** 32 - 1 }) }),
    ".a: an array of 4294967295 elements is too long",
  ],
];

for (const [name, make, message] of REFUSED) {
  Deno.test(`Encoder refuses ${name} and names the path`, () => {
    assertRefused(make(), message);
  });
}

Deno.test("Encoder refuses values nested too deep, and shortens the path", () => {
  const error = assertThrows(
    () => encode({ value: nested(500) }),
    EncodeError,
    "]: values nested more than 500 deep cannot be stored",
  );
  assert(error.message.startsWith("Cannot store Account#12.value[0][0]"));
  assert(error.message.includes(" ... "));
  assert(error.message.length < 300);
  for (
    const wrap of [
      (value: unknown) => ({ value }),
      (value: unknown) => new Map([[value, 1]]),
      (value: unknown) => new Set([value]),
      (cause: unknown) => new Error("x", { cause }),
      (value: unknown) => Object.assign(Object.create(null), { value }),
    ]
  ) {
    let value: unknown = 1;
    for (let i = 0; i < 499; i++) value = wrap(value);
    assertEquals(Object.keys(decoder.decode(encode({ value }))), ["value"]);
    for (let i = 0; i < 100_000; i++) value = [value];
    assertThrows(() => encode({ value }), EncodeError, "500 deep");
  }
});

Deno.test("Encoder goes on after a failure", () => {
  const state = { a: [shared, shared], b: new Stub(5, "C") };
  const before = encode(state).join();
  const bad = [
    { a: [shared, {}, new Stub(9, "D")], b: Foo },
    { a: "x".repeat(100_000), b: Foo },
    { a: Array.from({ length: 100 }, (_, i) => new Stub(i, `C${i}`)), b: Foo },
  ];
  for (const value of bad) {
    assertThrows(() => encode(value), EncodeError);
    assertEquals(encode(state).join(), before);
  }
});

Deno.test("Encoder passes on what oidOf and classNameOf throw, and goes on", () => {
  let fails = true;
  const encoder = new Encoder({
    oidOf(value) {
      if (fails && value instanceof Foo) throw new SyntaxError("oid");
      return value instanceof Foo ? 3 : undefined;
    },
    classNameOf() {
      throw new SyntaxError("class");
    },
  });
  const state = { a: new Foo() };
  assertThrows(() => encoder.encode(1, "A", state), SyntaxError, "oid");
  fails = false;
  assertThrows(() => encoder.encode(1, "A", state), SyntaxError, "class");
  const record = encoder.encode(1, "A", { b: 1 });
  assertEquals(decoder.decode(record), { b: 1 });
  assertEquals(recordReferences(record), []);
});

Deno.test("Encoder refuses to be used while it is at work", () => {
  const encoder: Encoder = new Encoder({
    oidOf: () => (encoder.encode(2, "B", {}), 2),
    classNameOf: () => "B",
  });
  assertThrows(
    () => encoder.encode(1, "A", { a: new Foo() }),
    EncodeError,
    "Cannot store B#2: its encoder is at work on another object",
  );
  assertEquals(decoder.decode(encoder.encode(1, "A", { a: 1 })), { a: 1 });
});

Deno.test("Encoder asks for an oid only after plain objects and arrays", () => {
  const asked: object[] = [];
  const encoder = new Encoder({
    oidOf: (value) => void asked.push(value),
    classNameOf: () => "",
  });
  const date = new Date();
  encoder.encode(1, "A", { a: {}, b: [], c: Object.create(null), date });
  assertEquals(asked, [date]);
});

Deno.test("Decoder fills the target that it is given", () => {
  class Account {
    owner?: string;
    self?: Account;
  }
  const target = new Account();
  const state: State = { owner: "ada" };
  state.self = state;
  const back = decoder.decode(encode(state), target);
  assertStrictEquals(back, target);
  assertEquals(Object.keys(target), ["owner", "self"]);
  assertStrictEquals(target.self, target);
});

Deno.test("Decoder runs no setters of the target", () => {
  let ran = false;
  class Account {
    get owner() {
      return "getter";
    }
    set balance(_: number) {
      ran = true;
    }
  }
  const state = { owner: "ada", balance: 3, __defineGetter__: 4 };
  const target = decoder.decode(encode(state), new Account()) as Any;
  assertEquals(Object.getOwnPropertyNames(target), Object.keys(state));
  assertEquals({ ...target }, state);
  assertEquals(ran, false);
});

Deno.test("Decoder refuses a state with Dhara's own names for a target", () => {
  const record = recordOf(...judgeEncode({ a: 1, _p_oid: 2 }));
  assertThrows(
    () => decoder.decode(record, {}),
    DecodeError,
    'Cannot decode record of object #12: the state has "_p_oid", a name that is Dhara\'s own',
  );
  assertEquals(decoder.decode(record), { a: 1, _p_oid: 2 });
});

Deno.test("Decoder can be used from ghost()", () => {
  const inner = encode({ x: [{}], y: 2 });
  const decoder: Decoder = new Decoder({
    ghost: () => [decoder.className(inner), decoder.decode(inner)],
  });
  const state = {
    a: [new Stub(1, "C"), new Stub(2, "C")],
    b: [shared, shared],
  };
  const back = decoder.decode(encode(state)) as Any;
  assertEquals(back.a, [
    ["Account", { x: [{}], y: 2 }],
    ["Account", { x: [{}], y: 2 }],
  ]);
  assertStrictEquals(back.b[0], back.b[1]);
});

Deno.test("Decoder passes on what ghost() throws, and goes on", () => {
  let fails = true;
  const decoder = new Decoder({
    ghost(oid) {
      if (fails) throw new SyntaxError("ghost");
      return { oid };
    },
  });
  const record = encode({ a: [shared, shared], b: new Stub(1, "C") });
  assertThrows(() => decoder.decode(record), SyntaxError, "ghost");
  fails = false;
  const back = decoder.decode(record) as Any;
  assertEquals(back, { a: [shared, shared], b: { oid: 1 } });
});

Deno.test("Decoder gives each object bytes of its own", () => {
  const record = encode({ a: new Uint8Array([1]), b: new Int8Array([2]) });
  const back = decoder.decode(record) as Any;
  record.fill(0);
  assertEquals([back.a[0], back.b[0]], [1, 2]);
  assertEquals(back.a.buffer.byteLength, 1);
  assertEquals(back.b.buffer.byteLength, 1);
});

const HOSTILE: Record<string, [Uint8Array, string]> = {
  "no bytes": [new Uint8Array(0), "Cannot read record"],
  "no data": [
    packRecord(12, new Uint8Array(0), []),
    "Cannot decode record of object #12: 1 bytes are needed where 0 are left (at byte 12)",
  ],
  "no state": [recordOf(), "1 bytes are needed"],
  "a state that is not a map": [recordOf(0x90), "a map is missing"],
  "a class name that is not a string": [
    packRecord(12, new Uint8Array([0x81, 2, 99]), []),
    "a string or a number is missing",
  ],
  "a pickle of Python": [
    packRecord(12, new Uint8Array([0x80, 2, 99]), []),
    "Cannot decode record of object #12: it is a pickle of Python, written by Durus or dhara, which only they can read; read it there",
  ],
  "a pickle of Python's first protocols": [
    packRecord(12, new TextEncoder().encode("cdurus.dict\nDict\n."), []),
    "it is a pickle of Python",
  ],
  "bytes behind the state": [recordOf(0x80, 1, 2), "2 bytes follow the state"],
  "a byte that begins no value": [valueRecord(0xc1), "0xc1 begins no value"],
  "a string that is not there": [
    valueRecord(0xdb, 255, 255, 255, 255, 1),
    "4294967295 bytes are needed where 1 are left",
  ],
  "bytes that are not there": [
    valueRecord(0xc6, 255, 255, 255, 255, 1),
    "4294967295 bytes are needed where 1 are left",
  ],
  "elements that are not there": [
    valueRecord(0xdd, 255, 255, 255, 255, 1),
    "4294967295 bytes are needed where 1 are left",
  ],
  "properties that are not there": [
    valueRecord(0xdf, 255, 255, 255, 255, 0xa0, 1),
    "1 bytes are needed where 0 are left",
  ],
  "an extension that is not there": [
    valueRecord(0xc9, 255, 255, 255, 255, 5, 1),
    "4294967295 bytes are needed where 1 are left",
  ],
  "a name that is not a string": [
    recordOf(0x81, 1, 1),
    "a string is missing",
  ],
  "a name that is undefined": [
    recordOf(0x81, 0xc7, 0, 0, 1),
    "a string or a number is missing",
  ],
  "a Map that cannot be there": [
    valueRecord(0xc7, 6, 7, 0xdf, 255, 255, 255, 255, 1),
    "8589934590 bytes are needed where 1 are left",
  ],
  "a Set that cannot be there": [
    valueRecord(0xc7, 6, 8, 0xdd, 255, 255, 255, 255, 1),
    "4294967295 bytes are needed where 1 are left",
  ],
  "an unknown extension": [
    valueRecord(0xd4, 99, 0),
    "extension type 99 is not one of ours",
  ],
  "the standard timestamp": [
    valueRecord(0xd6, 0xff, 0, 0, 0, 0),
    "extension type -1 is not one of ours",
  ],
  "a Utf-8 that is cut": [valueRecord(0xa1, 0xc3), "is not valid UTF-8"],
  "a surrogate in UTF-8": [
    valueRecord(0xa3, 0xed, 0xa0, 0x80),
    "is not valid UTF-8",
  ],
  "an overlong UTF-8": [valueRecord(0xa2, 0xc0, 0x80), "is not valid UTF-8"],
  "a long string that is not UTF-8": [
    valueRecord(0xd9, 200, ...new Array(199).fill(97), 0xff),
    "is not valid UTF-8",
  ],
  "undefined with content": [
    valueRecord(0xd4, 0, 0),
    "extension 0 has another length than it says",
  ],
  "a hole in an object": [
    valueRecord(0xc7, 0, 1),
    "a hole outside of an array",
  ],
  "a hole in a set": [
    valueRecord(0xc7, 4, 8, 0x91, 0xc7, 0, 1),
    "a hole outside of an array",
  ],
  "a reference without an oid": [
    valueRecord(0xd5, 2, 0xff, 0),
    "a reference without an oid",
  ],
  "a reference to 2^53": [
    valueRecord(0xc7, 10, 2, 0xcf, 0, 32, 0, 0, 0, 0, 0, 0, 0),
    "a number is missing",
  ],
  "a reference to a class without a name": [
    valueRecord(0xd5, 2, 1, 1),
    "a reference without a class name",
  ],
  "a reference in a reference": [
    valueRecord(0xc7, 4, 2, 0xc7, 1, 2, 0),
    "a string or a number is missing",
  ],
  "a back reference to no object": [
    valueRecord(0xd4, 3, 1),
    "a back reference to no object",
  ],
  "a back reference of 8 bytes": [
    valueRecord(0xd7, 3, 0, 0, 0, 0, 0, 0, 0, 0),
    "a back reference to no object",
  ],
  "half a code unit": [valueRecord(0xd4, 4, 0), "half a UTF-16 code unit"],
  "a bigint without a sign": [
    valueRecord(0xc7, 0, 5),
    "1 bytes are needed where 0 are left",
  ],
  "a bigint with an odd sign": [
    valueRecord(0xd5, 5, 2, 1),
    "a bigint's sign is neither 0 nor 1",
  ],
  "a short date": [valueRecord(0xd6, 6, 0, 0, 0, 0), "a date that is not 8"],
  "a date that no Date can hold": [
    valueRecord(0xd7, 6, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0),
    "a date that no Date can hold",
  ],
  "an invalid regular expression": [
    valueRecord(0xc7, 4, 10, 0xa1, 40, 0xa0, 0),
    "a regular expression is not valid",
  ],
  "invalid flags": [
    valueRecord(0xc7, 4, 10, 0xa0, 0xa1, 120, 0),
    "a regular expression is not valid",
  ],
  "a regular expression nested without end": [
    valueRecord(
      ...[0xc8, 0x75, 0x35, 10, 0xda, 0x75, 0x30],
      ...new Array(30_000).fill(40),
      ...[0xa0, 0],
    ),
    "a regular expression is not valid",
  ],
  "an invalid URL": [valueRecord(0xc7, 2, 11, 0xa1, 120), "a URL is not valid"],
  "an unknown typed array": [
    valueRecord(0xd4, 12, 99),
    "a binary class is not known here",
  ],
  "half an element": [
    valueRecord(0xd5, 12, 4, 0),
    "the bytes of a Int16Array do not fit it",
  ],
  "an unknown error class": [
    valueRecord(0xc7, 5, 13, 0xa2, 77, 121, 0x80, 0x80),
    '"My" is no error class',
  ],
  "an error class that is another class": [
    valueRecord(0xc7, 6, 13, 0xa3, 77, 97, 112, 0x80, 0x80),
    '"Map" is no error class',
  ],
  "arrays nested without end": [
    valueRecord(...new Array(20_000).fill(0x91), 0),
    "values are nested more than 500 deep",
  ],
  "maps nested without end": [
    valueRecord(
      ...Array.from({ length: 1000 }, () => [0xc8, 2, 0, 7, 0x81]).flat(),
      ...new Array(600).fill(0),
    ),
    "values are nested more than 500 deep",
  ],
  "many arrays that claim many elements": [
    valueRecord(
      ...Array.from({ length: 498 }, () => [0xdc, 0x10, 0]).flat(),
      ...new Array(5000).fill(0x90),
    ),
    "bytes are needed where",
  ],
};

for (const [name, [record, message]] of Object.entries(HOSTILE)) {
  Deno.test(`Decoder refuses ${name}`, () => {
    assertThrows(() => decoder.decode(record), DecodeError, message);
    assertEquals(decoder.decode(valueRecord(1)), { a: 1 });
  });
}

Deno.test("Decoder refuses more of a bigint than any can have before it reads it", () => {
  const digits = 2 ** 27 + 1;
  const head = valueRecord(0xc9, 0, 0, 0, 0, 5, 0);
  const record = new Uint8Array(head.length + digits);
  record.set(head);
  const view = new DataView(record.buffer);
  view.setUint32(8, record.length - 12);
  view.setUint32(head.length - 6, digits + 1);
  assertThrows(
    () => decoder.decode(record),
    DecodeError,
    `a bigint is too big (at byte ${head.length})`,
  );
});

/** Keys that V8 puts on one place of a table of up to 2^16 places. */
const CROWDED: Record<string, () => unknown[]> = {
  integers() {
    // V8's own hash of an integer; its last 16 bits choose the place.
    const hash = (key: number) => {
      let hash = (~key + (key << 15)) | 0;
      hash ^= hash >>> 12;
      hash = (hash + (hash << 2)) | 0;
      hash ^= hash >>> 4;
      hash = Math.imul(hash, 2057);
      return hash ^ hash >>> 16;
    };
    const keys: number[] = [];
    for (let key = 0; keys.length < 15_000; key++) {
      if ((hash(key) & 0xffff) === 5) keys.push(key);
    }
    return keys;
  },
  bigints: () => Array.from({ length: 15_000 }, (_, i) => (BigInt(i) << 64n)),
  "negative bigints": () =>
    Array.from({ length: 15_000 }, (_, i) => -(BigInt(i) << 64n) - 5n),
  "strings of digits": () =>
    Array.from({ length: 15_000 }, (_, i) => String(1_000_000_000 + i * 65536)),
};

/** A record with a Map or Set of the given keys, whatever the encoder says of it. */
function collectionOf(extension: number, keys: unknown[]): Uint8Array {
  const items = extension === 8 ? keys : keys.flatMap((key) => [key, 0]);
  // An array has the same items, after a head of 3 or 5 bytes.
  const data = recordData(encoder.encode(1, "C", { a: items }));
  const content = data.subarray(data[5] === 0xdd ? 10 : 8);
  const head = recordData(valueRecord(
    0xc9,
    ...uint32(content.length + 5),
    extension,
    extension === 8 ? 0xdd : 0xdf,
    ...uint32(keys.length),
  ));
  const all = new Uint8Array(head.length + content.length);
  all.set(head);
  all.set(content, head.length);
  return packRecord(1, all, []);
}

function uint32(value: number): number[] {
  return [value >>> 24, value >>> 16 & 255, value >>> 8 & 255, value & 255];
}

for (const [kind, make] of Object.entries(CROWDED)) {
  for (const [what, extension] of [["Map", 7], ["Set", 8]] as const) {
    Deno.test(`A ${what} of ${kind} that were chosen to be slow is neither read nor stored`, () => {
      const keys = make();
      assertThrows(
        () => decoder.decode(collectionOf(extension, keys)),
        DecodeError,
        "the keys of a Map or Set are chosen to be slow",
      );
      // A few do no harm.
      const few = keys.slice(0, 1000);
      const { a } = decoder.decode(collectionOf(extension, few)) as {
        a: Map<unknown, unknown>;
      };
      assertEquals([...a.keys()], few);
      const value = what === "Map"
        ? new Map(keys.map((key) => [key, 0]))
        : new Set(keys);
      assertThrows(
        () => encoder.encode(1, "C", { x: { it: value } }),
        EncodeError,
        "Cannot store C#1.x.it: so many of its keys share a place in a table",
      );
      assertEquals(decoder.decode(valueRecord(1)), { a: 1 });
    });
  }
}

Deno.test("Keys that nobody has chosen to be slow are read and stored, however many", () => {
  for (
    const key of [
      (i: number) => i,
      (i: number) => -i * 1000,
      (i: number) => i * 4096,
      (i: number) => 1.7e12 + i * 60_000,
      (i: number) => i / 8,
      (i: number) => String(i * 1000),
      (i: number) => BigInt(i) << 22n,
      (i: number) => `key ${i}`,
    ]
  ) {
    const set = new Set(Array.from({ length: 50_000 }, (_, i) => key(i)));
    const { set: back } = decoder.decode(encode({ set })) as {
      set: Set<unknown>;
    };
    assertEquals(back.size, 50_000);
  }
});

/** Values whose records are short enough to be attacked byte by byte. */
const SMALL = Object.values(VALUES).map((make) => ({ a: make(), b: [shared] }))
  .filter((state) => encode(state).length < 1000);

Deno.test("Decoder refuses a record cut at any byte", () => {
  assert(SMALL.length > 30);
  for (const state of SMALL) {
    const data = recordData(encode(state));
    for (let length = 0; length < data.length; length++) {
      const record = packRecord(1, data.subarray(0, length), []);
      assertThrows(() => decoder.decode(record), DecodeError);
    }
    assertSame(decoder.decode(packRecord(1, data, [])), state);
  }
});

/** Runs both readers; anything thrown but a DecodeError fails the test. */
function attack(record: Uint8Array): boolean {
  try {
    decoder.className(record);
    decoder.decode(record);
    decoder.decode(record, new Foo());
    return true;
  } catch (error) {
    if (error instanceof DecodeError) return false;
    throw error;
  }
}

Deno.test("Decoder throws nothing but DecodeError on random bytes", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 60 }),
      // More of what begins a value, so that it gets further than the first byte.
      fc.array(
        fc.oneof(
          fc.nat(13),
          fc.integer({ min: 0x80, max: 0x9f }),
          fc.integer({
            min: 0xc0,
            max: 0xdf,
          }),
        ),
        { maxLength: 60 },
      ),
      (bytes, codes) => {
        attack(bytes);
        attack(packRecord(1, bytes, []));
        attack(recordOf(...bytes));
        attack(recordOf(0x8f, ...codes));
        attack(valueRecord(...codes));
        attack(valueRecord(0x9f, ...codes));
      },
    ),
    { numRuns: 5000 },
  );
});

Deno.test("Decoder throws nothing but DecodeError on records with changed bytes", () => {
  const records = SMALL.map((state) =>
    encode({ ...state, c: new Stub(3, "C") })
  );
  let good = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(...records),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      (original, changes) => {
        const record = original.slice();
        for (const [at, byte] of changes) record[at % record.length] = byte;
        if (attack(record)) good++;
      },
    ),
    { numRuns: 20_000 },
  );
  assert(good > 0, "some changes leave a record that can be read");
});

Deno.test("What Decoder makes of changed bytes can be stored again", () => {
  const original = encode({ a: [1, { b: new Map([[1, /x/g]]) }, [, 2n]] }); // deno-lint-ignore-line no-sparse-arrays
  for (let at = 20; at < original.length; at++) {
    for (let byte = 0; byte < 256; byte++) {
      const record = original.slice();
      record[at] = byte;
      let state: State;
      try {
        state = decoder.decode(record) as State;
      } catch (error) {
        assert(error instanceof DecodeError);
        continue;
      }
      const again = encode(state);
      assertEquals(encode(decoder.decode(again) as State).join(), again.join());
    }
  }
});

Deno.test("stateFromJson() refuses keys that were chosen to be slow, and numbers that no bigint can be", () => {
  const keys = CROWDED["strings of digits"]!();
  for (
    const [json, message] of [
      [{ $map: keys.map((key) => [key, 0]) }, "chosen to be slow"],
      [{ $set: keys }, "chosen to be slow"],
      [{ $bigint: "1".padEnd(400_000_000, "0") }, "no bigint is that big"],
    ] as const
  ) {
    assertThrows(() => stateFromJson({ a: json }), DecodeError, message);
  }
  const few = keys.slice(0, 1000);
  assertEquals(stateFromJson({ a: { $set: few } }), { a: new Set(few) });
});
