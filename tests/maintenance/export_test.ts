import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { Encoder } from "../../lib/serialize/encoder.ts";
import { Reference } from "../../lib/serialize/json_notation.ts";
import { packRecord } from "../../lib/serialize/record.ts";
import {
  Connection,
  exportLines,
  importLines,
  MemoryStorage,
  openStorage,
  StorageError,
} from "../../mod.ts";
import { dhara, inDirectory } from "../support/dhara.ts";
import {
  dump,
  everyValue,
  fillWithEverything,
} from "../support/every_value.ts";
import { textRecord } from "../../lib/testing/records.ts";

type State = Record<string, unknown>;

const encoder = new Encoder({
  oidOf: (value) => value instanceof Reference ? value.oid : undefined,
  classNameOf: (value) => (value as Reference).className,
});

function storageOf(record: Uint8Array): MemoryStorage {
  const storage = new MemoryStorage();
  using session = storage.session();
  session.commit([[0, record]]);
  return storage;
}

/** Out as text and in again; returns the object's line. */
async function assertKept(record: Uint8Array): Promise<string> {
  const from = storageOf(record);
  const lines = [...exportLines(from)];
  const to = new MemoryStorage();
  await importLines(lines, to);
  assertEquals(dump(to), dump(from));
  assert(lines.every((line) => line.isWellFormed() && /^.*\n$/.test(line)));
  return lines[1]!;
}

async function assertKeptAsState(state: State): Promise<string> {
  const line = await assertKept(encoder.encode(0, "C", state));
  assertEquals(JSON.parse(line).class, "C");
  return line;
}

async function stateOf(value: unknown): Promise<string> {
  const line = await assertKeptAsState({ a: value });
  return JSON.stringify(JSON.parse(line).state.a);
}

Deno.test("exportLines() writes what JSON has as it is", async () => {
  const line = await assertKeptAsState({
    name: "Ada\u2028\x85",
    list: [1, -2.5, true, null, { deep: [[]] }],
  });
  assertEquals(
    line,
    '{"oid":0,"class":"C","state":{"name":"Ada\\u2028\\u0085","list":[1,-2.5,true,null,{"deep":[[]]}]},"refs":[]}\n',
  );
});

Deno.test("exportLines() writes everything else with a name that begins with $", async () => {
  assertEquals(await stateOf(undefined), '{"$undefined":true}');
  assertEquals(await stateOf(-0), '{"$number":"-0"}');
  assertEquals(await stateOf(NaN), '{"$number":"NaN"}');
  assertEquals(await stateOf(5n), '{"$bigint":"5"}');
  assertEquals(await stateOf("\ud800a"), '{"$utf16":[55296,97]}');
  assertEquals(
    await stateOf(new Date(0)),
    '{"$date":"1970-01-01T00:00:00.000Z"}',
  );
  assertEquals(await stateOf(new Date(NaN)), '{"$date":null}');
  assertEquals(await stateOf(new Map([[1, "x"]])), '{"$map":[[1,"x"]]}');
  assertEquals(await stateOf(new Set([1, "x"])), '{"$set":[1,"x"]}');
  assertEquals(
    await stateOf(/a/g),
    '{"$regexp":"a","flags":"g","lastIndex":0}',
  );
  assertEquals(await stateOf(new URL("http://a/")), '{"$url":"http://a/"}');
  assertEquals(await stateOf(new Uint8Array([255])), '{"$bytes":"/w=="}');
  assertEquals(
    await stateOf(new Int8Array([-1])),
    '{"$bytes":"/w==","type":"Int8Array"}',
  );
  assertEquals(
    await stateOf(Object.assign(Object.create(null), { b: 1 })),
    '{"$bare":{"b":1}}',
  );
  assertEquals(
    await stateOf([1, , 2]), // deno-lint-ignore-line no-sparse-arrays
    '[1,{"$hole":true},2]',
  );
  assertEquals(await stateOf({ $a: 1, $$b: 2 }), '{"$$a":1,"$$$b":2}');
  assertEquals(
    await stateOf({ "\ud800": 1 }),
    '{"$object":[[{"$utf16":[55296]},1]]}',
  );
  assertEquals(
    await stateOf(new Reference(7, "Account")),
    '{"$ref":7,"class":"Account"}',
  );
  const shared = {};
  assertEquals(
    await stateOf([shared, shared]),
    '[{"$shared":1,"value":{}},{"$same":1}]',
  );
  const error = new RangeError("x");
  delete error.stack;
  assertEquals(
    await stateOf(Object.assign(error, { code: 7 })),
    '{"$error":"RangeError","hidden":{"message":"x"},"properties":{"code":7}}',
  );
  const state: State = {};
  state["a"] = state;
  const line = await assertKeptAsState(state);
  assertEquals(JSON.parse(line).state, { a: { $same: 0 } });
});

Deno.test("exportLines() keeps every kind of value", async () => {
  for (const [key, value] of Object.entries(everyValue())) {
    await assertKeptAsState({ [key]: value });
  }
  await assertKeptAsState(everyValue());
  let deep: unknown = 1;
  for (let i = 0; i < 499; i++) deep = i % 2 ? [deep] : new Map([[deep, 1]]);
  await assertKeptAsState({ deep });
});

Deno.test("exportLines() and importLines() give back any state, byte for byte", async () => {
  const values = fc.anything({
    key: fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom("$ref", "$shared", "$", "$$", "__proto__"),
    ),
    withBigInt: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
    maxDepth: 4,
  });
  const states = fc.dictionary(
    fc.string().filter((key) => !/^_[pv]_/.test(key)),
    values,
  );
  await fc.assert(
    fc.asyncProperty(states, async (state) => {
      await assertKeptAsState(state);
    }),
    { numRuns: 700 },
  );
});

Deno.test("exportLines() and importLines() give back any graph, byte for byte", async () => {
  const make: (() => object)[] = [
    () => [],
    () => ({}),
    () => Object.create(null),
    () => new Map(),
    () => new Set(),
    () => new Date(5),
    () => new Uint8Array([5]),
    () => new Reference(0, "Other"),
  ];
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(make.length - 1), { minLength: 1, maxLength: 20 }),
      fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat()), { maxLength: 60 }),
      async (kinds, edges) => {
        const nodes = kinds.map((kind) => make[kind]!());
        for (const [a, b, c] of edges) {
          const from = nodes[a % nodes.length]!;
          const to = nodes[b % nodes.length]!;
          if (Array.isArray(from)) from.push(to);
          else if (from instanceof Set) from.add(to);
          else if (from instanceof Map) from.set(nodes[c % nodes.length], to);
          else if (
            !(from instanceof Date || from instanceof Uint8Array ||
              from instanceof Reference)
          ) (from as State)[`k${c % 5}`] = to;
        }
        const record = encoder.encode(0, "C", { nodes });
        // A set that holds two references to one object is no set of ours.
        await assertKept(record);
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("exportLines() keeps what others have written as it is", async () => {
  const c = [0xa1, 67];
  const records = [
    [0x80, 4, 0x95, 46], // A pickle.
    [],
    [...c, 0x80, 0], // More than a state.
    [...c, 0x81, 0xa1, 97, 0xcd, 0, 1], // 1, in more bytes than ours.
    [...c, 0x81, 0xa4, 95, 118, 95, 97, 1], // Volatile.
    [...c, 0x82, 0xa1, 97, 1, 0xa1, 97, 2], // A name twice.
  ];
  for (const bytes of records) {
    const record = packRecord(0, new Uint8Array(bytes), [5, 0, 5]);
    const line = JSON.parse(await assertKept(record));
    assertEquals(Object.keys(line), ["oid", "data", "refs"]);
    assertEquals(line.refs, [5, 0, 5]);
  }
  // References that the state does not have.
  const own = encoder.encode(0, "C", {});
  const record = new Uint8Array([...own, 0, 0, 0, 0, 0, 0, 0, 9]);
  assertEquals(JSON.parse(await assertKept(record)).refs, [9]);
});

Deno.test("importLines() says which line is wrong, and leaves no root", async () => {
  const head = '{"dhara":"export","version":1}';
  const line = (state: string) =>
    `{"oid":0,"class":"C","state":${state},"refs":[]}`;
  const good = line("{}");
  const end = '{"end":true,"objects":1}';
  const wrong: [string[], string][] = [
    [[], "the text: it was cut off after line 0"],
    [[head, good], "it was cut off after line 2"],
    [["{}"], 'line 1: an export begins with {"dhara":"export"'],
    [['{"dhara":"export","version":2}'], "line 1: version 2 is not known"],
    [[head, "[]"], "line 2: it has no oid"],
    [[head, "7"], "line 2: it is no JSON object"],
    [[head, "", '{"oid":'], "line 3: "],
    [[head, '{"oid":-1,"data":"","refs":[]}'], "it has no oid"],
    [[head, '{"oid":1,"data":"?","refs":[]}'], "its data is not base64"],
    [[head, '{"oid":1,"data":"","refs":["a"]}'], "its refs are no list"],
    [[head, '{"oid":1,"class":"C","state":{}}'], "an object has oid, class"],
    [[head, '{"oid":1,"class":7,"state":{},"refs":[]}'], "a string is missing"],
    [[head, line("[]")], "an object is missing"],
    [[head, good, good, end], "line 3: object #0 was there before"],
    [[head, good, '{"end":true,"objects":2}'], "there should be 2 objects"],
    [[head, good, end, good], "line 4: something follows the end"],
    [
      [
        head,
        '{"oid":0,"class":"C","state":{"a":{"$ref":3,"class":"D"}},"refs":[]}',
      ],
      "its refs are not what its state refers to: [3]",
    ],
    [[head, line('{"_p_oid":1}')], "_p_"],
  ];
  for (
    const value of [
      '{"$unknown":1}',
      '{"$date":"nonsense"}',
      '{"$date":5}',
      '{"$bigint":"1.5"}',
      '{"$number":"5"}',
      '{"$undefined":1}',
      '{"$map":[[1]]}',
      '{"$map":[[1,1],[1,2]]}',
      '{"$set":[1,1]}',
      '{"$set":{}}',
      '{"$regexp":"(","flags":"","lastIndex":0}',
      '{"$regexp":"a"}',
      '{"$url":"nonsense"}',
      '{"$bytes":"?"}',
      '{"$bytes":"AA==","type":"Int16Array"}',
      '{"$bytes":"AA==","type":"Function"}',
      '{"$error":"Function","hidden":{},"properties":{}}',
      '{"$error":"Error"}',
      '{"$same":1}',
      '{"$shared":1,"value":5}',
      '{"$shared":0,"value":{}}',
      '{"$ref":-1,"class":"C"}',
      '{"$ref":1}',
      '{"$utf16":[65536]}',
      '{"$hole":true}',
      '{"a":1,"$date":null}',
      "[".repeat(600) + "]".repeat(600),
      "[".repeat(20_000) + "]".repeat(20_000),
    ]
  ) {
    wrong.push([
      [head, good.replace("0", "1"), line(`{"a":${value}}`)],
      "line 3: ",
    ]);
  }
  for (const [lines, message] of wrong) {
    const to = new MemoryStorage();
    const error = await assertRejects(
      () => importLines(lines, to, { name: "the text" }),
      StorageError,
      message,
    );
    assert(error.message.startsWith("Cannot import the text"), error.message);
    assertEquals(dump(to).size, 0);
  }
  await assertRejects(
    () => importLines([head], storageOf(textRecord(0, "root")[1])),
    StorageError,
    "it is not empty",
  );
});

Deno.test("dhara db export and import keep everything", async () => {
  await inDirectory(async (directory) => {
    const from = `${directory}/from.dhara`;
    {
      using storage = await openStorage(from);
      fillWithEverything(storage);
    }
    using source = await openStorage(from, { readonly: true });
    const text = `${directory}/text.jsonl`;
    let outcome = await dhara(["db", "export", from, "--to", text]);
    assertEquals(outcome.stderr, "");
    assertEquals(
      outcome.stdout,
      `Exported 7 objects from ${from} to ${text}\n`,
    );
    const printed = await dhara(["db", "export", from]);
    assertEquals(printed.stdout, Deno.readTextFileSync(text));
    for (const name of ["to.dhara", "to.sqlite"]) {
      const to = `${directory}/${name}`;
      outcome = await dhara(["db", "import", "-", "--to", to], {
        input: printed.stdout,
      });
      assertEquals(outcome.stdout, `Imported 7 objects from - to ${to}\n`);
      using storage = await openStorage(to, { readonly: true });
      assertEquals(dump(storage), dump(source));
    }
    using connection = await Connection.open(`${directory}/to.dhara`);
    assertEquals(connection.root["dict"].get("a"), 1);
    assertEquals(connection.root["unknown"]._p_className, "bank.Unknown");
  });
});

Deno.test("dhara db import leaves nothing of a text that is not whole", async () => {
  await inDirectory(async (directory) => {
    const text = `${directory}/text.jsonl`;
    Deno.writeTextFileSync(
      text,
      '{"dhara":"export","version":1}\n{"oid":0,"data":"","refs":[]}',
    );
    const to = `${directory}/to.sqlite`;
    const outcome = await dhara(["db", "import", text, "--to", to]);
    assertEquals(outcome.code, 1);
    assertEquals(
      outcome.stderr,
      `Cannot import ${text}: it was cut off after line 2\n`,
    );
    assertEquals([...Deno.readDirSync(directory)].length, 1);
    const usage = await dhara(["db", "import", text]);
    assertEquals(usage.code, 2);
    assertEquals(
      usage.stderr,
      "Say --to: dhara db import FROM --to FILE\n",
    );
    const nothing = await dhara(["db", "export"]);
    assertEquals(nothing.code, 2);
  });
});
