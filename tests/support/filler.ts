/**
 * Commits to the journal that it is given until the disk is full, and prints
 * each number after its commit. Then it says what went wrong, what it still
 * reads, and commits one more when the transaction is small enough.
 */
import { packRecord } from "../../lib/serialize/record.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";

const [path, packs] = Deno.args;
const storage = new FileStorage(path!);
const session = storage.session();

function commit(count: number, length: number): void {
  const data = new Uint8Array(length).fill(count);
  new DataView(data.buffer).setUint32(0, count);
  session.sync();
  session.commit([[0, packRecord(0, data, [])]]);
  console.log(count);
}

let count = 0;
try {
  for (;;) {
    commit(count + 1, 30_000);
    count++;
    if (packs && count % 30 === 0) storage.pack();
    if (packs && count > 200) break;
  }
} catch (error) {
  const { name, message } = error as Error;
  console.log(`${name}: ${message}`);
}
console.log(
  `reads ${new DataView(session.load(0).slice().buffer).getUint32(12)}`,
);
commit(count + 1, 10);
storage.close();
console.log("closed");
