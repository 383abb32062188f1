/**
 * The options of `dhara db start` that bound what clients may take.
 *
 * @module
 */
import type { StorageServerOptions } from "../server/options.ts";
import type { Option, Values } from "./options.ts";

type Name =
  | "maxClients"
  | "maxTransactionBytes"
  | "maxBufferedBytes"
  | "maxLoadMany"
  | "maxUnusedOids"
  | "greetingTimeout"
  | "stallTimeout"
  | "idleTimeout"
  | "grace";

/** An option of the command and the option of the server that it is. */
interface Limit {
  readonly option: Option;
  readonly name: Name;
  /** How many of the server's units make one of the option's. */
  readonly factor: number;
}

/** Timers cannot be set for longer than 24 days. */
const MOST_SECONDS = 2_000_000;

function number(
  option: string,
  name: Name,
  help: string,
  value = "N",
): Limit {
  const range = [1, Number.MAX_SAFE_INTEGER] as const;
  return { option: { name: option, value, range, help }, name, factor: 1 };
}

function time(option: string, name: Name, help: string): Limit {
  const range = [0, MOST_SECONDS] as const;
  return {
    option: { name: option, value: "S", range, help },
    name,
    factor: 1000,
  };
}

const LIMITS: readonly Limit[] = [
  number("max-clients", "maxClients", "The most clients at a time (1000)"),
  number(
    "max-commit",
    "maxTransactionBytes",
    "Bytes of the longest commit (268435456)",
    "N",
  ),
  number(
    "max-buffered",
    "maxBufferedBytes",
    "Bytes on their way, of all clients (536870912)",
    "N",
  ),
  number("max-load", "maxLoadMany", "Objects in a request (1000000)"),
  number(
    "max-unused",
    "maxUnusedOids",
    "Unused numbers of a client (4000000)",
  ),
  time(
    "greeting-timeout",
    "greetingTimeout",
    "Seconds until the first request, 0 for ever (10)",
  ),
  time(
    "stall-timeout",
    "stallTimeout",
    "Seconds to stall in a request, 0 for ever (60)",
  ),
  time(
    "idle-timeout",
    "idleTimeout",
    "Seconds to ask for nothing, 0 for ever (0)",
  ),
  time("grace", "grace", "Seconds for requests under way when it stops (5)"),
];

/** The options of the command. */
export const LIMIT_OPTIONS: readonly Option[] = LIMITS.map((limit) =>
  limit.option
);

/** The options of the server that were given. */
export function limitsFrom(
  values: Values,
): Pick<StorageServerOptions, Name> {
  const limits: Pick<StorageServerOptions, Name> = {};
  for (const { option, name, factor } of LIMITS) {
    const value = values.number(option.name);
    if (value !== undefined) limits[name] = value * factor;
  }
  return limits;
}
