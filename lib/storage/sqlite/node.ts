/**
 * What Dhara needs of `@db/sqlite`, over the `node:sqlite` that is in Deno.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";

/** A database that is opened as one of `@db/sqlite` is. */
export class Database extends DatabaseSync {
  /** Opens a file; integers beyond 2^53 cannot be read. */
  constructor(
    path: string,
    { readonly = false }: { readonly?: boolean; int64?: boolean } = {},
  ) {
    super(path, { readOnly: readonly });
  }

  /** Closes it; closing twice is fine, as there. */
  override close(): void {
    if (this.isOpen) super.close();
  }
}
