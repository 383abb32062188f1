/** Another process that comes in between, just when a storage in SQLite begins to write. */
import { assertEquals } from "@std/assert";
import { Database } from "./sqlite.ts";

/** What is done, once, just before a transaction begins that writes. */
let next: (() => void) | undefined;

/** Does something just before a storage begins to write in `run`. */
export function beforeWriting(something: () => void, run: () => void): void {
  next = something;
  run();
  assertEquals(next, undefined, "nobody wrote");
}

interface Preparing {
  prepare(sql: string): { run(...values: unknown[]): unknown };
}

/** Runs a test with storages for which `beforeWriting()` works. */
export async function watched(run: () => Promise<void>): Promise<void> {
  const { prototype } = Database as unknown as { prototype: Preparing };
  const { prepare } = prototype;
  prototype.prepare = function (this: Preparing, sql: string) {
    const statement = prepare.call(this, sql);
    if (sql !== "BEGIN IMMEDIATE") return statement;
    return {
      run() {
        const something = next;
        next = undefined;
        something?.();
        return statement.run();
      },
    };
  };
  try {
    await run();
  } finally {
    prototype.prepare = prepare;
    next = undefined;
  }
}
