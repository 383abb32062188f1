/** The part of `@std/cli/parse-args` that Dhara uses, over `npm:minimist`. */
import minimist from "minimist";

export interface ParseOptions {
  string?: string[];
  boolean?: string[];
  collect?: string[];
  alias?: Record<string, string | string[]>;
  default?: Record<string, unknown>;
  stopEarly?: boolean;
  "--"?: boolean;
  unknown?: (arg: string) => boolean;
}

export function parseArgs(
  args: string[],
  options: ParseOptions = {},
): Record<string, unknown> & { _: (string | number)[] } {
  const { collect: _, ...rest } = options;
  return minimist(args, rest);
}
