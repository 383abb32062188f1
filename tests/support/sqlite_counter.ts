/** Adds 1 to a counter in a SQLite file, so many times, and takes its turn with other processes. */
import { Connection } from "../../lib/connection/connection.ts";
import { SqliteStorage } from "../../lib/storage/sqlite_storage.ts";
import "../../mod.ts";

const [path, times] = Deno.args;
using storage = await SqliteStorage.open(path!);
using connection = new Connection(storage);
const { root } = connection;
for (let i = 0; i < Number(times); i++) {
  connection.transact(() => {
    root["count"] = (root["count"] ?? 0) + 1;
    root[`by ${Deno.pid}`] = (root[`by ${Deno.pid}`] ?? 0) + 1;
  }, { attempts: 1000 });
}
