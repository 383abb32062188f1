/**
 * Commands and groups of commands: which one the arguments mean, its help, and
 * what its end means for the process.
 *
 * @module
 */
import { DharaError } from "../errors.ts";
import {
  HELP_OPTION,
  type Option,
  parseOptions,
  UsageError,
  type Values,
} from "./options.ts";

/** A command that does something. */
export interface Command {
  /** Its name, and after it any other names that it answers to. */
  readonly names: readonly [string, ...string[]];
  /** The line in the help of its group. */
  readonly summary: string;
  /** What its own help says between the usage and the options. */
  readonly details?: string;
  /** Its options, beside `--help`. */
  readonly options: readonly Option[];
  /** What its other arguments are, by the names under which `run` finds them. */
  readonly arguments?: readonly string[];
  /** Does the work; answers the process' exit code. */
  run(values: Values): Promise<number>;
}

/** Commands under one name. */
export interface Group {
  /** Its name, and after it any other names that it answers to. */
  readonly names: readonly [string, ...string[]];
  /** The line in the help of the group above. */
  readonly summary: string;
  /** What it holds. */
  readonly commands: readonly (Command | Group)[];
  /** What it prints for `--version` and `-v`, if it knows them. */
  readonly version?: string;
}

/**
 * Runs what the arguments mean and answers the exit code: 0 if all went well,
 * 1 if the work failed, 2 if the arguments make no sense.
 */
export async function runGroup(
  group: Group,
  args: readonly string[],
): Promise<number> {
  try {
    return await dispatch(group, args, group.names[0]);
  } catch (error) {
    console.error(describeFailure(error));
    return error instanceof UsageError ? 2 : 1;
  }
}

/** One line for an error that was to be expected, the whole stack for one that was not. */
function describeFailure(error: unknown): string {
  if (error instanceof UsageError || error instanceof DharaError) {
    return error.message;
  }
  if (error instanceof Error && isSystemError(error)) return error.message;
  return error instanceof Error ? error.stack ?? String(error) : String(error);
}

function isSystemError(error: Error): boolean {
  return Object.values(Deno.errors).some((type) => error instanceof type);
}

async function dispatch(
  group: Group,
  args: readonly string[],
  path: string,
): Promise<number> {
  const [first, ...rest] = args;
  if (first === undefined) {
    console.error(groupHelp(group, path));
    return 2;
  }
  if (first === "--help" || first === "-h") {
    console.log(groupHelp(group, path));
    return 0;
  }
  if (group.version && (first === "--version" || first === "-v")) {
    console.log(group.version);
    return 0;
  }
  const found = group.commands.find(({ names }) => names.includes(first));
  if (!found) {
    const what = first.startsWith("-") ? "option" : "command";
    throw new UsageError(`Unknown ${what} ${first}; see ${path} --help`);
  }
  const name = `${path} ${first}`;
  if ("commands" in found) return await dispatch(found, rest, name);
  const values = parseOptions(name, found.options, rest, found.arguments);
  if (values.has("help")) {
    console.log(commandHelp(found, name));
    return 0;
  }
  return await found.run(values);
}

function groupHelp(group: Group, path: string): string {
  const rows = group.commands.map(({ names, summary }): [string, string] => [
    names.join(", "),
    summary,
  ]);
  const options: [string, string][] = [["--help", HELP_OPTION.help]];
  if (group.version) options.push(["--version, -v", "Print the version"]);
  return `${group.summary}

Usage: ${path} COMMAND

Commands:
${table(rows)}

Options:
${table(options)}

\`${path} COMMAND --help\` tells more about a command.`;
}

function commandHelp(command: Command, path: string): string {
  const rows = [...command.options, HELP_OPTION].map((option) => {
    const names = option.short
      ? `--${option.name}, -${option.short}`
      : `--${option.name}`;
    return [option.value ? `${names} ${option.value}` : names, option.help];
  }) as [string, string][];
  const args = (command.arguments ?? [])
    .map((name) => ` ${name.toUpperCase()}`).join("");
  const details = command.details ? `\n${command.details}\n` : "";
  return `${command.summary}

Usage: ${path} [OPTIONS]${args}
${details}
Options:
${table(rows)}`;
}

function table(rows: readonly [string, string][]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)
    .join("\n");
}
