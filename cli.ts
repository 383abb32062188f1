/**
 * The `dhara` command: `dhara db start` serves a database, `dhara db client`
 * opens a shell on one, `dhara db pack` drops what is no longer needed.
 *
 * @example
 * ```ts
 * import { main } from "@dhara/dhara/cli";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(await main(["--version"]), 0);
 * ```
 *
 * @module
 */
import config from "./deno.json" with { type: "json" };
import { runGroup } from "./lib/cli/command.ts";
import { dbCommands } from "./lib/cli/db.ts";
import * as library from "./mod.ts";
import { StorageServer } from "./server.ts";

/**
 * Runs the command with its arguments and returns the exit code: 0 if all went
 * well, 1 if the work failed, 2 if the arguments make no sense. What went
 * wrong is printed on the standard error stream; nothing is thrown.
 *
 * @param args What follows `dhara` on the command line.
 */
export function main(args: readonly string[]): Promise<number> {
  return runGroup({
    names: ["dhara"],
    summary:
      "Dhara keeps the objects of programs: a persistent object database.",
    version: `dhara ${config.version}`,
    commands: [dbCommands({
      version: config.version,
      library,
      makeServer: (options) => new StorageServer(options),
    })],
  }, args);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
