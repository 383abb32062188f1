/**
 * Measures the codec on a record of five fields, beside `@std/msgpack` on the
 * same fields: `deno run -A bench/codec_bench.ts`.
 *
 * @module
 */
import { decode, encode } from "@std/msgpack";
import { Decoder } from "../lib/serialize/decoder.ts";
import { Encoder } from "../lib/serialize/encoder.ts";

class Account {
  [key: string]: unknown;
}
class Other {
  constructor(readonly oid: number) {}
}

const encoder = new Encoder({
  oidOf: (value) => value instanceof Other ? value.oid : undefined,
  classNameOf: () => "Other",
});
const decoder = new Decoder({ ghost: (oid) => new Other(oid) });

/** More than the decoder's cache of strings can hold. */
const COUNT = 20_000;
const states = Array.from({ length: COUNT }, (_, i) => ({
  id: i,
  owner: `owner ${i}`,
  balance: i * 1.1,
  active: i % 2 === 0,
  tags: ["new", `tag${i % 7}`, "blue"],
}));
const records = states.map((state, i) => encoder.encode(i, "Account", state));
const packed = states.map((state) => encode(state));
const items = Array.from({ length: 1000 }, (_, i) => new Other(100_000 + i));
const list = encoder.encode(1, "List", { items });

/** Prints the median of several rounds of `run`, for one of `count` steps. */
function measure(name: string, run: () => void, count = COUNT) {
  const rounds = 800_000 / count; // A round may be one call: the compiler needs to see many.
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    run();
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  console.log(
    `${name.padEnd(44)} ${
      (times[times.length >> 1]! / count * 1000).toFixed(3)
    } µs`,
  );
}

console.log(`record of five fields: ${records[0]!.length} bytes`);
measure("encode", () => {
  for (let i = 0; i < COUNT; i++) encoder.encode(i, "Account", states[i]!);
});
measure("encode, @std/msgpack", () => {
  for (let i = 0; i < COUNT; i++) encode(states[i]!);
});
measure("decode into a new object of a class", () => {
  for (let i = 0; i < COUNT; i++) decoder.decode(records[i]!, new Account());
});
measure("decode, @std/msgpack", () => {
  for (let i = 0; i < COUNT; i++) decode(packed[i]!);
});
measure("encode one of 1000 references", () => {
  encoder.encode(1, "List", { items });
}, items.length);
measure("decode one of 1000 references", () => {
  decoder.decode(list);
}, items.length);
