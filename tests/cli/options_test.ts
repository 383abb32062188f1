/** How arguments become options: a list of arguments, and what it means. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  type Option,
  parseOptions,
  UsageError,
} from "../../lib/cli/options.ts";

const OPTIONS: readonly Option[] = [
  { name: "file", short: "f", value: "PATH", help: "" },
  { name: "host", short: "h", value: "HOST", help: "" },
  { name: "port", short: "p", value: "PORT", range: [0, 65535], help: "" },
  { name: "size", value: "N", range: [1, Number.MAX_SAFE_INTEGER], help: "" },
  { name: "eval", short: "e", value: "CODE", dash: true, help: "" },
  { name: "to", value: "FILE", help: "" },
  { name: "readonly", short: "r", help: "" },
  { name: "full", help: "" },
  { name: "no-compress", help: "" },
];
const NAMES = ["from", "to"];

/** What was given, and the values or what is wrong with it. */
const CASES:
  readonly (readonly [string[], Record<string, unknown> | string])[] = [
    // Nothing, switches, and switches again.
    [[], {}],
    [["--readonly"], { readonly: true }],
    [["-r"], { readonly: true }],
    [["--readonly", "--readonly"], { readonly: true }],
    [["-rr"], { readonly: true }],
    [["--readonly", "--full"], { readonly: true, full: true }],
    [["--help"], { help: true }],
    [["--help", "--full", "a"], { help: true, full: true, from: "a" }],
    [["--no-compress"], { "no-compress": true }],
    [["--no-compress", "--full"], { "no-compress": true, full: true }],
    [["--readonly=true"], "Option --readonly takes no value"],
    [["--readonly=false"], "Option --readonly takes no value"],
    [["--readonly="], "Option --readonly takes no value"],
    [["--no-compress=1"], "Option --no-compress takes no value"],
    [["--help=me"], "Option --help takes no value"],
    [["--readonly", "true"], { readonly: true, from: "true" }],
    [["--readonly", "false"], { readonly: true, from: "false" }],
    [["-r", "x"], { readonly: true, from: "x" }],
    // Values: after a blank, after `=`, and joined to the letter.
    [["--file", "a"], { file: "a" }],
    [["--file=a"], { file: "a" }],
    [["-f", "a"], { file: "a" }],
    [["-fa"], { file: "a" }],
    [["-f=a"], { file: "a" }],
    [["-fa.dhara"], { file: "a.dhara" }],
    [["-f./a-b/c"], { file: "./a-b/c" }],
    [["-f/a"], { file: "/a" }],
    [["-rf", "a"], { readonly: true, file: "a" }],
    [["-rfa"], { readonly: true, file: "a" }],
    [["-fr"], { file: "r" }],
    [["--file", "a=b"], { file: "a=b" }],
    [["--file=a=b"], { file: "a=b" }],
    [["--file==a"], { file: "=a" }],
    [["--file", "=a"], { file: "=a" }],
    [["--file", "a b"], { file: "a b" }],
    [["--file", "a\nb"], { file: "a\nb" }],
    [["--file=a\nb"], { file: "a\nb" }],
    [["--file", "é😀"], { file: "é😀" }],
    [["-fé😀"], { file: "é😀" }],
    [["--file", " "], { file: " " }],
    // Numbers stay as they were typed where text is wanted.
    [["--file", "0123"], { file: "0123" }],
    [["--file", "1e3"], { file: "1e3" }],
    [["-f", "0x10"], { file: "0x10" }],
    [["-f7"], { file: "7" }],
    [["--file", "true"], { file: "true" }],
    [["--file", "null"], { file: "null" }],
    [["007"], { from: "007" }],
    [["1", "2.50"], { from: "1", to: "2.50" }],
    [["1e999"], { from: "1e999" }],
    // Given twice, the last one counts.
    [["--file", "a", "--file", "b"], { file: "b" }],
    [["--file", "a", "-f", "b"], { file: "b" }],
    [["-p1", "--port=2"], { port: 2 }],
    [["--file", "a", "--file"], "Option --file needs a value"],
    [
      ["--port", "x", "--port", "1"],
      "Cannot take --port x: it must be a whole number, 0 to 65535",
    ],
    // No value.
    [["--file"], "Option --file needs a value"],
    [["-f"], "Option --file needs a value"],
    [["-rf"], "Option --file needs a value"],
    [["--file="], "Option --file needs a value"],
    [["-f="], "Option --file needs a value"],
    [["--file", ""], "Option --file needs a value"],
    [["--file", "--port", "1"], "Option --file needs a value"],
    [["--file", "-r"], "Option --file needs a value"],
    [["--file", "--"], "Option --file needs a value"],
    [["--file", "--", "a"], "Option --file needs a value"],
    [["--file", "-1"], { file: "-1" }],
    [
      ["--port", "-1"],
      "Cannot take --port -1: it must be a whole number, 0 to 65535",
    ],
    [["--eval"], "Option --eval needs a value"],
    [["-e", ""], "Option --eval needs a value"],
    // A dash alone is a name: standard input or output.
    [["-"], { from: "-" }],
    [["-", "--to", "-"], { from: "-", to: "-" }],
    [["--to", "-"], { to: "-" }],
    [["--to=-"], { to: "-" }],
    [["-f", "-"], { file: "-" }],
    [["-f-"], { file: "-" }],
    [["a", "-"], { from: "a", to: "-" }],
    [["--to=--full"], { to: "--full" }],
    [["--to=-x"], { to: "-x" }],
    // Code may begin with anything.
    [["-e", "-1 + 2"], { eval: "-1 + 2" }],
    [["--eval", "--full"], { eval: "--full" }],
    [["-e", "--", "a"], { eval: "--", from: "a" }],
    [["-e", "-"], { eval: "-" }],
    [["--eval=-1"], { eval: "-1" }],
    [["-e-1"], { eval: "-1" }],
    [["-e1 + 1"], { eval: "1 + 1" }],
    [["-e", 'root["a=b"]'], { eval: 'root["a=b"]' }],
    [["-re", "-x", "-r"], { readonly: true, eval: "-x" }],
    [["-e", "-e", "-e", "x"], { eval: "x" }],
    // Whole numbers.
    [["--port", "0"], { port: 0 }],
    [["--port=65535"], { port: 65535 }],
    [["-p", "08"], { port: 8 }],
    [["-p4001"], { port: 4001 }],
    [["-p=4001"], { port: 4001 }],
    [
      ["--port", "65536"],
      "Cannot take --port 65536: it must be a whole number, 0 to 65535",
    ],
    [
      ["--port", "1.5"],
      "Cannot take --port 1.5: it must be a whole number, 0 to 65535",
    ],
    [
      ["--port", "0x10"],
      "Cannot take --port 0x10: it must be a whole number, 0 to 65535",
    ],
    [
      ["--port", "1e3"],
      "Cannot take --port 1e3: it must be a whole number, 0 to 65535",
    ],
    [
      ["--port", " 1"],
      "Cannot take --port  1: it must be a whole number, 0 to 65535",
    ],
    [
      ["--port", "١"],
      "Cannot take --port ١: it must be a whole number, 0 to 65535",
    ],
    [
      ["--port=-1"],
      "Cannot take --port -1: it must be a whole number, 0 to 65535",
    ],
    [
      ["--port", "Infinity"],
      "Cannot take --port Infinity: it must be a whole number, 0 to 65535",
    ],
    [
      ["--size", "0"],
      "Cannot take --size 0: it must be a whole number, 1 or more",
    ],
    [["--size", "9007199254740991"], { size: 9007199254740991 }],
    [
      ["--size", "9007199254740992"],
      "Cannot take --size 9007199254740992: it must be a whole number, 1 or more",
    ],
    // Names that objects have.
    [["--constructor=x"], "Unknown option --constructor"],
    [["--constructor"], "Unknown option --constructor"],
    [
      ["--constructor.prototype.x=1"],
      "Unknown option --constructor.prototype.x",
    ],
    [["--__proto__=x"], "Unknown option --__proto__"],
    [["--__proto__", "x"], "Unknown option --__proto__"],
    [["--__proto__.polluted=1"], "Unknown option --__proto__.polluted"],
    [["--toString"], "Unknown option --toString"],
    [["--hasOwnProperty=1"], "Unknown option --hasOwnProperty"],
    [["constructor", "__proto__"], { from: "constructor", to: "__proto__" }],
    [["--file", "__proto__"], { file: "__proto__" }],
    // Nothing of the kind.
    [["--fil", "a"], "Unknown option --fil"],
    [["--File", "a"], "Unknown option --File"],
    [["--file.x=a"], "Unknown option --file.x"],
    [["--no-file"], "Unknown option --no-file"],
    [["--no-readonly"], "Unknown option --no-readonly"],
    [["--no-help"], "Unknown option --no-help"],
    [["--compress"], "Unknown option --compress"],
    [["--without-compress"], "Unknown option --without-compress"],
    [["--f", "a"], "Unknown option --f"],
    [["---file", "a"], "Unknown option ---file"],
    [["--=x"], "Unknown option --"],
    [["-x"], "Unknown option -x"],
    [["-x", "a"], "Unknown option -x"],
    [["-rx"], "Unknown option -x"],
    [["-1"], "Unknown option -1"],
    [["-é"], "Unknown option -é"],
    [["-😀"], "Unknown option -😀"],
    [["-?"], "Unknown option -?"],
    [["--nonsense=a=b\nc"], "Unknown option --nonsense"],
    [["—file"], { from: "—file" }],
    // Names, and the end of the options.
    [["a"], { from: "a" }],
    [["a", "b"], { from: "a", to: "b" }],
    [["a", "b", "c"], "Unexpected argument c"],
    [["a", "--full", "b"], { from: "a", full: true, to: "b" }],
    [["a", "b", "--to", "c"], "Unexpected argument b: there is --to already"],
    [["a", "--to", "c"], { from: "a", to: "c" }],
    [["--", "a"], { from: "a" }],
    [["--"], {}],
    [["--", "--full"], { from: "--full" }],
    [["a", "--", "-x"], { from: "a", to: "-x" }],
    [["--", "--"], { from: "--" }],
    [["--", "a", "b", "c"], "Unexpected argument c"],
    [["--full", "--", "--eval", "x"], { full: true, from: "--eval", to: "x" }],
    [["", "b"], { from: "", to: "b" }],
  ];

function parse(args: string[]) {
  const values = parseOptions("it", OPTIONS, args, NAMES);
  const found: Record<string, unknown> = {};
  for (const name of [...OPTIONS.map(({ name }) => name), "help", ...NAMES]) {
    if (!values.has(name)) continue;
    found[name] = values.text(name) ?? values.number(name) ?? true;
  }
  return found;
}

Deno.test("parseOptions() takes or refuses each of a hundred lists of arguments", () => {
  for (const [args, expected] of CASES) {
    const shown = JSON.stringify(args);
    if (typeof expected !== "string") {
      assertEquals(parse(args), expected, shown);
      continue;
    }
    const error = assertThrows(() => parse(args), UsageError);
    assertEquals(error.message.replace("; see it --help", ""), expected, shown);
  }
  assertEquals(({} as Record<string, unknown>)["polluted"], undefined);
});
