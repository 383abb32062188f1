/**
 * Tests of what every storage must do, for whoever writes one: its answers,
 * its errors, what it keeps and what it refuses. Import it in a test file, and
 * run that with `deno test`.
 *
 * @example
 * ```ts ignore
 * import { MemoryStorage } from "@dhara/dhara";
 * import { testStorage } from "@dhara/dhara/testing";
 *
 * testStorage("MemoryStorage", () => {
 *   const storage = new MemoryStorage();
 *   return { storage, dispose: () => storage.close() };
 * });
 * ```
 *
 * @module
 */
import { testCommitting } from "./committing.ts";
import { testPacking } from "./packing.ts";
import { testReading } from "./reading.ts";
import { testRemembering } from "./remembering.ts";
import { testRemoving } from "./removing.ts";
import {
  type StorageTestOptions,
  type StorageTrial,
  suiteOf,
} from "./suite.ts";

export type { StorageTestOptions, StorageTrial };

/**
 * Registers tests for one kind of storage with `Deno.test`, each under its
 * name, a colon, and what is tested. Each asks for a storage of its own.
 *
 * @param name What to call the storage.
 * @param makeStorage Makes an empty one.
 * @param options What it does otherwise than most.
 */
export function testStorage(
  name: string,
  makeStorage: () => StorageTrial | Promise<StorageTrial>,
  options: StorageTestOptions = {},
): void {
  const suite = suiteOf(name, makeStorage, options);
  testReading(suite);
  testCommitting(suite);
  testPacking(suite);
  testRemoving(suite);
  testRemembering(suite);
}
