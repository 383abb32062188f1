/**
 * Packs the journal that it is given again and again until it is killed, with
 * a commit between any two steps. Prints each number after its commit, and a
 * line after each pack.
 */
import { packRecord } from "../../lib/serialize/record.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";

const [path] = Deno.args;
const OBJECTS = 4000;
const encoder = new TextEncoder();
const storage = new FileStorage(path!);
const session = storage.session();

function record(oid: number, count: number, references: number[]) {
  const data = new Uint8Array(300).fill(count);
  new DataView(data.buffer).setUint32(0, count);
  return [oid, packRecord(oid, data, references)] as const;
}

// The root refers to all objects; those beyond the first come and go.
const all = Array.from({ length: OBJECTS }, (_, i) => i + 1);
let count = 0;
try {
  count = new DataView(session.load(0).slice().buffer).getUint32(12);
} catch {
  session.commit([record(0, 0, all), ...all.map((oid) => record(oid, 0, []))]);
}

function commit(): void {
  count++;
  session.sync();
  // A new object, and garbage of the one before it.
  const [fresh] = session.allocate(1) as [number];
  session.commit([
    record(0, count, [...all, fresh]),
    record(1 + count % OBJECTS, count, []),
    record(fresh, count, []),
  ]);
  Deno.stdout.writeSync(encoder.encode(`${count}\n`));
}

commit();
for (;;) {
  for (const _ of storage.packInSteps()) commit();
  Deno.stdout.writeSync(encoder.encode("packed\n"));
}
