/**
 * The care of databases, by itself: `verify()`, `restore()`, `backup()`,
 * `convert()`, and JSON lines out and in. All of it is exported by the package
 * itself, too; whoever wants no more than this imports `@dhara/dhara/maintenance`.
 *
 * @example
 * ```ts
 * import { Connection } from "@dhara/dhara";
 * import { verify } from "@dhara/dhara/maintenance";
 * import { assert } from "@std/assert";
 *
 * const path = Deno.makeTempDirSync() + "/bank.dhara";
 * new Connection(path).close();
 * assert((await verify(path)).good);
 * ```
 *
 * @module
 */
export { convert, type ConvertOptions } from "./convert.ts";
export { exportLines, importLines, type TextOptions } from "./export_text.ts";
export {
  type Format,
  verify,
  type VerifyOptions,
  type VerifyReport,
} from "./verify.ts";
export {
  restore,
  type Restored,
  type RestoreOptions,
  type RestorePoint,
  restorePoints,
} from "./restore.ts";
export {
  backup,
  type BackupCheck,
  type BackupEntry,
  type BackupOptions,
  type BackupResult,
  checkBackups,
} from "./backup.ts";
export { restoreBackup, type RestoreBackupOptions } from "./backup_restore.ts";
