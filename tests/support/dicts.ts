/** Dicts to try things on. */
import {
  Connection,
  MemoryStorage,
  Persistent,
  PersistentDict,
} from "../../mod.ts";

// deno-lint-ignore no-explicit-any
type Properties = Record<string, any>;

/** A dict whose properties TypeScript knows, too. */
// deno-lint-ignore no-explicit-any
export type Dict<K = string, V = any> = PersistentDict<K, V> & Properties;

/** A persistent object to put into dicts. */
export class Account extends Persistent {
  owner = "ada";
}

/** A committed dict, and a second connection to the same storage in which it is a ghost. */
export function committed<K, V>(entries: Iterable<readonly [K, V]>) {
  const storage = new MemoryStorage();
  const connection = new Connection(storage, { classes: { Account } });
  const dict: Dict<K, V> = new PersistentDict(entries);
  connection.root["dict"] = dict;
  connection.commit();
  const other = new Connection(storage, { classes: { Account } });
  const ghost = other.root["dict"] as Dict<K, V>;
  return {
    connection,
    dict,
    other,
    ghost,
    [Symbol.dispose]() {
      connection.close();
      other.close();
    },
  };
}
