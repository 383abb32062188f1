/** That the files of `lib/` stand on each other in one direction. */
import { assertEquals } from "@std/assert";
import { dirname, relative } from "node:path";
import { importMap } from "./_dhara.ts";

/**
 * What each folder and each file that is in none stands on. What is not listed
 * is not allowed; inside a folder only circles are not.
 */
const STANDS_ON: Readonly<Record<string, readonly string[]>> = {
  "lib/errors.ts": [],
  "lib/message.ts": [],
  "lib/files": ["lib/errors.ts", "lib/message.ts"],
  "lib/serialize": ["lib/errors.ts"],
  "lib/storage": ["lib/errors.ts", "lib/message.ts", "lib/files", "lib/serialize"],
};
