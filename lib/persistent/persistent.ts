/** STUB: signatures only, being written. @module */
import type { Oid } from "../serialize/record.ts";
import type { Connection } from "./connection.ts";

/** Whether an object's state is in memory, and whether it is as stored. */
export type Status = "ghost" | "saved" | "unsaved";

/** Base of all persistent classes; tracks changes only when told. */
export class PersistentObject {
  static _p_create?: () => PersistentObject;
  get _p_oid(): Oid | undefined {
    return undefined;
  }
  get _p_status(): Status {
    return "unsaved";
  }
  get _p_connection(): Connection | undefined {
    return undefined;
  }
  _p_noteAccess(): void {}
  _p_noteChange(): void {}
  _p_getState(): Record<string, unknown> {
    return this as unknown as Record<string, unknown>;
  }
  _p_setState(_state: Record<string, unknown>): void {}
  _p_clearState(): void {}
}
