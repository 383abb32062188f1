/** Commits to the SQLite file that it is given until it is killed, packs now and then, and prints each number after its commit. */
import { packRecord } from "../../lib/serialize/record.ts";
import { SqliteStorage } from "../../lib/storage/sqlite_storage.ts";

const storage = await SqliteStorage.open(Deno.args[0]!);
const session = storage.session();
let count = 0;
try {
  count = new DataView(session.load(0).slice().buffer).getUint32(12);
} catch {
  // It is the first run.
}
for (;;) {
  count++;
  const data = new Uint8Array(4 + count % 3000).fill(count);
  new DataView(data.buffer).setUint32(0, count);
  session.commit([
    [0, packRecord(0, data, [1])],
    [count, packRecord(count, data, [count + 1])],
  ]);
  Deno.stdout.writeSync(new TextEncoder().encode(`${count}\n`));
  if (count % 20 === 0) {
    storage.pack();
    session.sync();
  }
}
