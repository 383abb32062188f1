/**
 * Dhara is a persistent object database: a program keeps its data as ordinary
 * objects, and {@linkcode Connection.commit} makes all that is reachable from
 * the root durable, all of it or none.
 *
 * @example
 * ```ts
 * import { Connection, FileStorage, Persistent } from "@dhara/dhara";
 *
 * class Account extends Persistent {
 *   owner = "";
 *   balance = 0;
 *   deposit(amount: number) {
 *     this.balance += amount;
 *   }
 * }
 *
 * const path = Deno.makeTempDirSync() + "/bank.dhara";
 * using storage = new FileStorage(path);
 * using connection = new Connection(storage, { classes: { Account } });
 * connection.root["ada"] ??= new Account();
 * connection.root["ada"].deposit(10);
 * connection.commit();
 * ```
 *
 * @module
 */
export * from "./lib/errors.ts";
export {
  BrokenObject,
  type ObjectConnection,
  Persistent,
  PersistentObject,
  type Status,
} from "./lib/persistent/persistent.ts";
export {
  type PersistentClass,
  registerClass,
} from "./lib/persistent/classes.ts";
export type {
  BeforeCommit,
  PendingChange,
} from "./lib/connection/before_commit.ts";
export {
  Connection,
  type ConnectionOptions,
  type DefaultRoot,
  type Synchronous,
  type TransactOptions,
} from "./lib/connection/connection.ts";
export { PersistentDict } from "./lib/collections/dict.ts";
export { PersistentList } from "./lib/collections/list.ts";
export { PersistentSet } from "./lib/collections/set.ts";
export {
  type Changed,
  type CommitNews,
  type CommitOptions,
  type CommitResult,
  type HistoricalStorage,
  isHistorical,
  type PackOptions,
  type Progress,
  type RevisionInfo,
  type Session,
  type SessionCommitOptions,
  type SessionOptions,
  type Storage,
  type StorageFeatures,
  type Tid,
  type TransactionInfo,
} from "./lib/storage/storage.ts";
export {
  type Oid,
  packRecord,
  recordData,
  recordOid,
  recordReferences,
  ROOT_OID,
} from "./lib/serialize/record.ts";
export {
  BackedStorage,
  type BackendPack,
  type StorageBackend,
} from "./lib/storage/backed_storage.ts";
export type { Snapshot } from "./lib/storage/snapshots.ts";
export { MemoryStorage } from "./lib/storage/memory_storage.ts";
export {
  FileStorage,
  FileStorage2,
  type FileStorageOptions,
  type Repair,
} from "./lib/storage/file_storage.ts";
export {
  SqliteStorage,
  type SqliteStorageOptions,
} from "./lib/storage/sqlite_storage.ts";
export { openStorage, type OpenStorageOptions } from "./lib/open_storage.ts";
export * from "./lib/maintenance/mod.ts";
export {
  ClientStorage,
  type ClientStorageOptions,
} from "./lib/client/client_storage.ts";
export type {
  AsyncSession,
  AsyncStorage,
} from "./lib/storage/async_storage.ts";
export {
  BlockingStorage,
  type BlockingStorageOptions,
} from "./lib/client/blocking_storage.ts";
