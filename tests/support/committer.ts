/**
 * Commits to the journal that it is given until it is killed, and prints each
 * number after its commit. Packs now and then.
 */
import { packRecord } from "../../lib/serialize/record.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";

const [path] = Deno.args;
const storage = new FileStorage(path!);
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
  // One object refers to the next, so that packing keeps them all.
  session.commit([
    [0, packRecord(0, data, [1])],
    [count, packRecord(count, data, [count + 1])],
  ]);
  Deno.stdout.writeSync(new TextEncoder().encode(`${count}\n`));
  if (count % 40 === 0) {
    storage.pack();
    session.sync();
  }
}
