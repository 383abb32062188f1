/**
 * What Dhara asks of `@std/assert` and `@std/msgpack`. It holds for these
 * packages and for what stands in for them where JSR cannot be reached.
 */
import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { decode, encode } from "@std/msgpack";

Deno.test("assert() passes what is truthy and names what is not", () => {
  assert(1);
  const error = assertThrows(() => assert("", "it is empty"), Error);
  assertEquals(error.message, "it is empty");
});

Deno.test("assertEquals() compares structures", () => {
  assertEquals({ a: [1, new Map([["b", new Date(0)]])] }, {
    a: [1, new Map([["b", new Date(0)]])],
  });
  assertEquals(new Uint8Array([1, 2]), new Uint8Array([1, 2]));
  assertEquals(NaN, NaN);
  assertThrows(() => assertEquals([1, 2], [2, 1]), Error);
  assertThrows(() => assertEquals(new Set([1]), new Set([2])), Error);
  assertThrows(() => assertEquals<unknown>("1", 1), Error);
});

Deno.test("assertEquals() tells the same things apart everywhere", () => {
  class A {
    x = 1;
  }
  class B {
    x = 1;
  }
  // They differ about 0 and -0, objects without a prototype, and errors.
  const same: [unknown, unknown][] = [
    [[NaN], [NaN]],
    [new Date(NaN), new Date(NaN)],
    [/a/g, /a/g],
    [new Set([{ a: 1 }, 2]), new Set([2, { a: 1 }])],
    [new Map([[1, 2], [3, 4]]), new Map([[3, 4], [1, 2]])],
    [{ a: 1, b: 2 }, { b: 2, a: 1 }],
    [new Proxy({ a: 1 }, {}), { a: 1 }],
    [Object.defineProperty({}, "a", { value: 1 }), {}],
    [new A(), new A()],
  ];
  const different: [unknown, unknown][] = [
    [{ a: undefined }, {}],
    [new A(), new B()],
    [new A(), { x: 1 }],
    [[, 1], [undefined, 1]], // deno-lint-ignore-line no-sparse-arrays
    [new Int8Array([1]), new Uint8Array([1])],
    [new Uint8Array([1]), [1]],
    [new ArrayBuffer(2), new ArrayBuffer(3)],
    [new Set([1, 2]), new Set([1, 3])],
    [{ [Symbol.for("a")]: 1 }, {}],
    [() => 1, () => 1],
    [/a/g, /a/],
    [new URL("http://a"), new URL("http://b")],
    [1n, 1],
    ["1", 1],
    [null, undefined],
    [Object.assign([1], { a: 1 }), [1]],
  ];
  for (const [a, b] of same) assertEquals(a, b);
  for (const [a, b] of different) assertThrows(() => assertEquals(a, b), Error);
});

Deno.test("assertStrictEquals() compares identities", () => {
  const object = {};
  assertStrictEquals(object, object);
  assertThrows(() => assertStrictEquals(object, {}), Error);
});

Deno.test("assertThrows() wants the class and the message it is told, and returns the error", () => {
  const fail = () => {
    throw new RangeError("7 is too much");
  };
  const error = assertThrows(fail, RangeError, "too much");
  assert(error instanceof RangeError);
  assertThrows(() => assertThrows(fail, TypeError), Error);
  assertThrows(() => assertThrows(fail, RangeError, "too little"), Error);
  assertThrows(() => assertThrows(() => 7), Error);
});

Deno.test("assertRejects() wants the class and the message it is told", async () => {
  const fail = () => Promise.reject(new RangeError("7 is too much"));
  const error = await assertRejects(fail, RangeError, "too much");
  assert(error instanceof RangeError);
  await assertRejects(() => assertRejects(fail, RangeError, "too little"));
  await assertRejects(() => assertRejects(() => Promise.resolve(7)), Error);
});

Deno.test("encode() and decode() are the same MessagePack everywhere", () => {
  assertEquals(
    encode({ a: [1, -1, null, true, "é"], b: 1.5 }),
    // deno-fmt-ignore
    new Uint8Array([
      0x82, 0xa1, 0x61, 0x95, 0x01, 0xff, 0xc0, 0xc3, 0xa2, 0xc3, 0xa9,
      0xa1, 0x62, 0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0,
    ]),
  );
  assertEquals(encode(new Uint8Array([7])), new Uint8Array([0xc4, 1, 7]));
  assertEquals(
    decode(encode({ tid: 2 ** 40, flags: [false, null], name: "x" })),
    { tid: 2 ** 40, flags: [false, null], name: "x" },
  );
});
