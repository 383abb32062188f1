/**
 * Options of a command: what they are, and how arguments become values.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { namesServer } from "../open_storage.ts";

/** Something about the arguments is wrong; the message says what, and what to do. */
export class UsageError extends Error {}

/** Refuses the name of a server where only a file or a directory can be. */
export function refuseServer(what: string, place: string): void {
  if (!namesServer(place)) return;
  throw new UsageError(
    `Cannot ${what} ${place}: that is a server, and only files will do here; a file of such a name is ./${place}`,
  );
}

/** One option of a command. */
export interface Option {
  /** The long name, without the two dashes. */
  readonly name: string;
  /** The one-letter name, if there is one. */
  readonly short?: string;
  /** What stands for the value in the help, such as `PATH`; a switch has none. */
  readonly value?: string;
  /** Whether a value of its own may begin with a dash, as code may. */
  readonly dash?: true;
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
  const all = new Map(
    [...options, HELP_OPTION].map((option) => [option.name, option]),
  );
  const fail = (message: string): never => {
    throw new UsageError(`${message}; see ${command} --help`);
  };
  // It only splits the arguments: what they mean, and what is wrong, is said here.
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries([...all.values()].map(describe)),
    strict: false,
    tokens: true,
  });
  const values = new Map<string, string | number | true>();
  const others: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") others.push(token.value);
    if (token.kind !== "option") continue;
    const option = all.get(token.name);
    if (option === undefined) {
      return fail(`Unknown option ${nameOf(token.rawName, args[token.index])}`);
    }
    // Given twice, the last one counts.
    values.set(option.name, valueOf(option, token, fail));
  }
  others.forEach((value, i) => {
    const name = names[i];
    if (name === undefined) return fail(`Unexpected argument ${value}`);
    if (values.has(name)) {
      fail(`Unexpected argument ${value}: there is --${name} already`);
    }
    values.set(name, value);
  });
  return new Values(values);
}

/** An option in the words of `parseArgs`. */
function describe({ name, short, value }: Option) {
  const type = value === undefined ? "boolean" as const : "string" as const;
  return [name, short === undefined ? { type } : { type, short }] as const;
}

/** An unknown option as it was typed: a letter of several may be half of a character. */
function nameOf(name: string, typed = name): string {
  return name.startsWith("--") || typed.length > 2 && /[^ -~]/.test(typed)
    ? typed.replace(/=.*$/s, "")
    : name;
}

function valueOf(
  option: Option,
  { rawName, value, inlineValue }: {
    rawName: string;
    value: string | undefined;
    inlineValue: boolean | undefined;
  },
  fail: (message: string) => never,
): string | number | true {
  if (option.value === undefined) {
    return value === undefined
      ? true
      : fail(`Option --${option.name} takes no value`);
  }
  // `-p=1` is `-p 1`, as `--port=1` is `--port 1`.
  const text = inlineValue && !rawName.startsWith("--")
    ? value?.replace(/^=/, "")
    : value;
  // What looks like the next option is that, unless it was joined with `=`.
  const isNext = !inlineValue && !option.dash && /^-\D/.test(text ?? "");
  if (!text || isNext) return fail(`Option --${option.name} needs a value`);
  return readValue(option, text);
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
