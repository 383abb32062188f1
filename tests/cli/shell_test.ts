import { assert, assertEquals, assertThrows } from "@std/assert";
import { complete } from "../../lib/cli/completion.ts";
import { display } from "../../lib/cli/display.ts";
import {
  defineGlobals,
  describeError,
  evaluate,
  isIncomplete,
} from "../../lib/cli/evaluate.ts";
import {
  appendHistory,
  historyPath,
  readHistory,
} from "../../lib/cli/history.ts";
import {
  Connection,
  MemoryStorage,
  ObjectNotFoundError,
  Persistent,
  PersistentDict,
  PersistentList,
  PersistentSet,
} from "../../mod.ts";

class Account extends Persistent {
  owner = "";
  friends: unknown[] = [];
}

/** An account and its friend, both stored, and a connection that has loaded neither. */
function bank(classes: { Account?: typeof Account } = { Account }) {
  const storage = new MemoryStorage();
  using writer = new Connection(storage, { classes: { Account } });
  const ada = new Account();
  ada.owner = "ada";
  const bob = new Account();
  bob.owner = "bob";
  ada.friends.push(bob);
  writer.root.set("ada", ada);
  writer.commit();
  return new Connection(storage, { classes });
}

Deno.test("evaluate() returns the last value of a list of statements", () => {
  assertEquals(evaluate("1; 2; 3 + 4"), 7);
  assertEquals(evaluate("if (true) { 5 }"), 5);
  assertEquals(evaluate("var nothing"), undefined);
});

Deno.test("evaluate() takes a brace at the beginning as an object where it can be one", () => {
  assertEquals(evaluate("{ a: 1, b: [2] }"), { a: 1, b: [2] });
  assertEquals(evaluate("{ let q = 3; q * 2 }"), 6);
});

Deno.test("evaluate() keeps what was declared", () => {
  evaluate("const keptConst = 1; let keptLet = 2; class KeptClass {}");
  assertEquals(evaluate("keptLet += keptConst"), 3);
  assertEquals(evaluate("new KeptClass() instanceof KeptClass"), true);
});

Deno.test("evaluate() makes values of the realm that the library is in", () => {
  assert(evaluate("[]") instanceof Array);
  assertEquals(Object.getPrototypeOf(evaluate("({})")), Object.prototype);
  assert(evaluate("new Map()") instanceof Map);
});

Deno.test("evaluate() waits at the top level", async () => {
  const soon = "Promise.resolve(20)";
  for (
    const [code, value] of [
      [`await ${soon}`, 20],
      [`await ${soon} + 1`, 21],
      [`const awaited = await ${soon};`, undefined],
      ["awaited", 20],
      [`const { length } = await Promise.resolve("four")`, undefined],
      ["length", 4],
      [`const local = await ${soon}; local + 2`, 22],
      [`let one = await ${soon}, two = 2; one + two;`, 22],
      [`await ${soon}; "a; b"`, "a; b"],
      [`await ${soon} // and; not this`, 20],
      [`for await (const each of [${soon}]) each;`, undefined],
      ["'not; await'", "not; await"],
    ] as const
  ) {
    assertEquals(await evaluate(code), value, code);
  }
});

Deno.test("evaluate() imports modules, such as one with the user's classes", async () => {
  const path = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(path, "export const answer: number = 42;");
  const { href } = new URL(`file://${path}`);
  try {
    assertEquals(
      await evaluate(`(await import(${JSON.stringify(href)})).answer`),
      42,
    );
    assertEquals(await evaluate(`import("node:path").then(() => 1)`), 1);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("evaluate() throws what the code throws, and SyntaxError for what is no code", async () => {
  assertThrows(() => evaluate("throw new RangeError('7')"), RangeError, "7");
  assertThrows(() => evaluate("1 +* 2"), SyntaxError);
  assertThrows(() => evaluate("foo(1"), SyntaxError);
  let caught;
  try {
    await evaluate("await Promise.reject(new RangeError('8'))");
  } catch (error) {
    caught = error;
  }
  assert(caught instanceof RangeError);
});

Deno.test("isIncomplete() tells the beginning of a program from a mistake", () => {
  for (
    const code of [
      "f(1",
      "f(g(1,",
      "`abc",
      "`${a",
      "f(`a${",
      "/* abc",
      "(1",
      "[1, 2",
      "{ a:",
      "function f() {",
      "function f() {\n  g(1",
      "if (a",
      "const x =",
      "x => {",
      "a.",
      "await f(1",
      "await f(() => {",
      "for await (const x of y) {",
    ]
  ) assert(isIncomplete(code), code);
  for (
    const code of [
      "",
      "1",
      "const x",
      "'abc",
      "[1 2",
      "f(1 2",
      "f(1 2, g(3",
      "f(1))",
      "]",
      "/a(/",
      "await 1",
      "const x = await f(1); x",
      "import a from 'b'",
    ]
  ) assert(!isIncomplete(code), code);
});

Deno.test("describeError() takes one line for Dhara's errors, and places in typed code for others", () => {
  assertEquals(
    describeError(new ObjectNotFoundError(7)),
    "ObjectNotFoundError: Cannot load object #7: there is no such object",
  );
  const describe = (code: string) => {
    try {
      evaluate(code);
    } catch (error) {
      return describeError(error);
    }
    return undefined;
  };
  assertEquals(
    describe("function fails() {\n  null.x;\n}\nfails()"),
    "TypeError: Cannot read properties of null (reading 'x')\n" +
      "    at fails (<typed>:2:8)\n    at <typed>:4:1",
  );
  assertEquals(describe("1 +"), "SyntaxError: Unexpected end of input");
  assertEquals(describe("throw 'text'"), 'Uncaught "text"');
});

Deno.test("complete() offers the keys of a dict between quotes", () => {
  using connection = bank();
  const root = connection.root;
  root.set("hello", 1);
  root.set("help me", { deep: [{ deeper: 2 }] });
  root.set('a "b"', 3);
  defineGlobals({ root });
  assertEquals(complete('root["he', []), [['"hello"]', '"help me"]'], '"he']);
  assertEquals(complete("x = root['hel", [])[0], ["'hello']", "'help me']"]);
  assertEquals(complete('root["a', [])[0], ['"a \\"b\\""]', '"ada"]']);
  assertEquals(complete('root["help me"].deep[0].d', []), [["deeper"], "d"]);
  assertEquals(complete('root["help me"]["d', []), [['"deep"]'], '"d']);
  assertEquals(complete('root["none"].x', []), [[], "x"]);
});

Deno.test("complete() offers keys that are names, and members, after a dot", () => {
  using connection = bank();
  connection.root.set("hello", 1);
  connection.root.set("help me", 2);
  defineGlobals({ root: connection.root, connection });
  assertEquals(complete("root.he", []), [["hello"], "he"]);
  assertEquals(complete("1 + root.ada.ow", []), [["owner"], "ow"]);
  assert(complete("root.", [])[0].includes("entries"));
  assert(!complete("root.", [])[0].some((name) => name.startsWith("_p_")));
  assert(complete("root._p_o", [])[0].includes("_p_oid"));
  assertEquals(complete("connection.comm", []), [["commit"], "comm"]);
  assertEquals(complete("f(connection.ab", []), [["abort"], "ab"]);
});

Deno.test("complete() offers names, and calls nothing", () => {
  let called = 0;
  defineGlobals({ countedCall: () => ++called });
  assertEquals(complete("countedC", []), [["countedCall"], "countedC"]);
  assertEquals(complete("f(typedW", ["typedWord", "other"])[0], ["typedWord"]);
  assertEquals(complete("countedCall().toF", [])[0], []);
  assertEquals(complete("", [])[0], []);
  assertEquals(called, 0);
});

Deno.test("history is kept from one shell to the next, and read back from the oldest", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/deep/history`;
    assertEquals(readHistory(path), []);
    appendHistory(path, "root");
    appendHistory(path, "   ");
    appendHistory(path, "connection.commit()");
    assertEquals(readHistory(path), ["root", "connection.commit()"]);
    Deno.writeTextFileSync(
      path,
      Array.from({ length: 3000 }, (_, i) => `line ${i}\n`).join(""),
    );
    assertEquals(readHistory(path).length, 1000);
    assertEquals(readHistory(path).at(-1), "line 2999");
    assertEquals(Deno.readTextFileSync(path).split("\n").length, 1001);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test({
  name: "history is for its user alone",
  ignore: Deno.build.os === "windows",
  async fn() {
    const directory = await Deno.makeTempDir();
    try {
      const path = `${directory}/history`;
      appendHistory(path, "root");
      assertEquals(Deno.statSync(path).mode! & 0o777, 0o600);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
});

Deno.test("history that has no place to be kept is no error", async () => {
  const file = await Deno.makeTempFile();
  try {
    appendHistory(undefined, "root");
    appendHistory(`${file}/history`, "root");
    assertEquals(readHistory(undefined), []);
    assertEquals(readHistory(`${file}/history`), []);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("historyPath() takes what the user says, and the user's state directory otherwise", () => {
  const path = (env: Record<string, string>) =>
    historyPath((name) => env[name])?.replaceAll("\\", "/");
  assertEquals(path({ DHARA_HISTORY: "/h", HOME: "/home/a" }), "/h");
  assertEquals(path({ DHARA_HISTORY: "", HOME: "/home/a" }), undefined);
  assertEquals(
    path({ XDG_STATE_HOME: "/s", HOME: "/home/a" }),
    "/s/dhara/history",
  );
  assertEquals(path({ HOME: "/home/a" }), "/home/a/.local/state/dhara/history");
  assertEquals(path({}), undefined);
});

Deno.test("display() quotes a string as it would be typed", () => {
  assertEquals(display("world"), "'world'");
  assertEquals(display("it's"), `"it's"`);
  assertEquals(display({ a: "b" }), '{ a: "b" }');
});

Deno.test("a persistent object shows its class, its number and its state", () => {
  const account = new Account();
  account.owner = "ada";
  assertEquals(Deno.inspect(account), 'Account { owner: "ada", friends: [] }');
  using connection = bank();
  const ada = connection.root["ada"];
  assertEquals(
    Deno.inspect(ada),
    `Account #${ada._p_oid} { owner: "ada", friends: [ Account #${
      ada.friends[0]._p_oid
    } (not loaded) ] }`,
  );
});

Deno.test("an object of an unregistered class shows the name that it is stored under", () => {
  using connection = bank({});
  const ada = connection.root["ada"];
  assertEquals(
    Deno.inspect(ada).slice(0, 30 + `${ada._p_oid}`.length),
    `Account #${ada._p_oid} { owner: "ada", frie`,
  );
});

Deno.test("collections show their contents", () => {
  using connection = new Connection(new MemoryStorage());
  const { root } = connection;
  assertEquals(Deno.inspect(root), "PersistentDict #0 {}");
  root.set("hello", "world");
  assertEquals(Deno.inspect(root), 'PersistentDict #0 { "hello" => "world" }');
  assertEquals(
    Deno.inspect(new PersistentList([1, "two"])),
    'PersistentList [ 1, "two" ]',
  );
  assertEquals(
    Deno.inspect(new PersistentSet([1, "two"])),
    'PersistentSet { 1, "two" }',
  );
  assertEquals(
    Deno.inspect(new PersistentDict([[1, new PersistentList()]])),
    "PersistentDict { 1 => PersistentList [] }",
  );
});

Deno.test("showing an object loads no other, and is not a change", () => {
  using connection = bank();
  const before = connection.loadCount;
  assert(Deno.inspect(connection.root).includes("(not loaded)"));
  assert(connection.loadCount - before <= 1);
  const ada = connection.root["ada"];
  Deno.inspect(ada);
  assertEquals(ada.friends[0]._p_status, "ghost");
  assertEquals(ada._p_status, "saved");
  assertEquals(connection.hasChanges, false);
});

Deno.test("showing a cycle comes to an end", () => {
  const ada = new Account();
  const bob = new Account();
  ada.friends.push(bob);
  bob.friends.push(ada);
  const shown = Deno.inspect(ada, { depth: 100 });
  assert(shown.includes("[Account]"), shown);
  let chain = ada;
  for (let i = 0; i < 50; i++) {
    const next = new Account();
    next.friends.push(chain);
    chain = next;
  }
  assert(Deno.inspect(chain, { depth: 100 }).length < 1000);
});

Deno.test("an object that cannot be loaded any more is shown nevertheless", () => {
  const connection = bank();
  const ada = connection.root["ada"];
  const bob = ada.friends[0];
  connection.close();
  assert(Deno.inspect(bob).startsWith("Account #"), Deno.inspect(bob));
});
