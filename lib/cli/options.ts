/**
 * Options of a command: what they are, and how arguments become values.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";

/** Something about the arguments is wrong; the message says what, and what to do. */
export class UsageError extends Error {}

/** One option of a command. */
export interface Option {
  /** The long name, without the two dashes. */
  readonly name: string;
  /** The one-letter name, if there is one. */
  readonly short?: string;
  /** What stands for the value in the help, such as `PATH`; a switch has none. */
  readonly value?: string;
  /** For a whole number: the least and the greatest that make sense. */
  readonly range?: readonly [number, number];
  /** The line in the help. */
  readonly help: string;
}

/** Every command has this one. It has no letter, since `-h` is the host. */
export const HELP_OPTION: Option = { name: "help", help: "Print this help" };

/** The values of a command's options. */
export class Values {
  readonly #values: ReadonlyMap<string, string | number | true>;

  /** Wraps values by the options' long names. */
  constructor(values: ReadonlyMap<string, string | number | true>) {
    this.#values = values;
  }

  /** Whether the option was given. */
  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** The value of a text option, `undefined` if it was not given. */
  text(name: string): string | undefined {
    const value = this.#values.get(name);
    return typeof value === "string" ? value : undefined;
  }

  /** The value of a number option, `undefined` if it was not given. */
  number(name: string): number | undefined {
    const value = this.#values.get(name);
    return typeof value === "number" ? value : undefined;
  }
}

/**
 * Reads the arguments of a command.
 *
 * @param command The command as typed, such as `dhara db start`, for messages.
 * @param names The names under which arguments that are no options are kept.
 * @throws {UsageError} for anything that is not one of `options` with a value that fits.
 */
export function parseOptions(
  command: string,
  options: readonly Option[],
  args: readonly string[],
  names: readonly string[] = [],
): Values {
  const all = [...options, HELP_OPTION];
  const fail = (message: string): never => {
    throw new UsageError(`${message}; see ${command} --help`);
  };
  const parsed = parseArgs(joinCode(args).map(spell), {
    string: ["_", ...all.filter((o) => o.value).map((o) => o.name)],
    boolean: all.filter((o) => !o.value).map((o) => spell(o.name)),
    alias: Object.fromEntries(
      all.filter((o) => o.short).map((o) => [o.name, o.short as string]),
    ),
    unknown: (arg: string) => {
      if (!arg.startsWith("-") || arg === "-") return true;
      return fail(`Unknown option ${unspell(arg).replace(/=.*$/s, "")}`);
    },
  }) as Record<string, unknown> & { _: unknown[] };
  if (parsed._.length > names.length) {
    fail(`Unexpected argument ${parsed._[names.length]}`);
  }

  const values = new Map<string, string | number | true>();
  for (const option of all) {
    // An option that was given twice is a list in one parser, the last value in the other.
    const value = [parsed[spell(option.name)]].flat().at(-1);
    if (value === undefined || value === false) continue;
    if (value === true) values.set(option.name, true);
    else if (value === "") fail(`Option --${option.name} needs a value`);
    else values.set(option.name, readValue(option, String(value)));
  }
  parsed._.forEach((value, i) => {
    const name = names[i]!;
    if (values.has(name)) {
      fail(`Unexpected argument ${value}: there is --${name} already`);
    }
    values.set(name, String(value));
  });
  return new Values(values);
}

/** A parser may take `--no-compress` for the contrary of `--compress`, so it does not see the `no`. */
function spell(arg: string): string {
  return arg.replace(/^(--)?no-/, "$1without-");
}

function unspell(arg: string): string {
  return arg.replace(/^--without-/, "--no-");
}

/** Code may begin with a dash, which would look like the next option: `-e CODE` becomes `--eval=CODE`. */
function joinCode(args: readonly string[]): string[] {
  const joined: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    const next = args[i + 1];
    if ((arg === "-e" || arg === "--eval") && next !== undefined) {
      joined.push(`--eval=${next}`);
      i++;
    } else {
      joined.push(arg);
    }
  }
  return joined;
}

function readValue(option: Option, value: string): string | number {
  if (option.range === undefined) return value;
  const [least, greatest] = option.range;
  const number = /^\d+$/.test(value) ? Number(value) : NaN;
  if (number >= least && number <= greatest) return number;
  const most = greatest === Number.MAX_SAFE_INTEGER
    ? "or more"
    : `to ${greatest}`;
  throw new UsageError(
    `Cannot take --${option.name} ${value}: it must be a whole number, ${least} ${most}`,
  );
}
