/**
 * Measures a `SqliteStorage` by itself, without objects:
 * `deno run -A bench/sqlite_bench.ts`.
 *
 * It counts the time of the processor, which says more than a clock does on a
 * machine that has other work, and does not sync.
 *
 * @module
 */
import process from "node:process";
import { packRecord } from "../lib/serialize/record.ts";
import { SqliteStorage } from "../mod.ts";

const N = 50_000;
const REFERENCES = 1000;
const data = new Uint8Array(120).fill(7);

let last = 0;

function microseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

function report(figure: string, times: number): void {
  const now = microseconds();
  console.log(`${figure.padEnd(50)}${((now - last) / times).toFixed(2)} µs`);
  last = microseconds();
}

function record(oid: number, references = [0]): [number, Uint8Array] {
  return [oid, packRecord(oid, data, references)];
}

const all = Array.from({ length: N }, (_, i) => i);
const directory = Deno.makeTempDirSync();
try {
  const open = () =>
    SqliteStorage.open(`${directory}/x.sqlite`, { sync: false });
  {
    using storage = await open();
    using session = storage.session();
    last = microseconds();
    session.commit(all.map((oid) => record(oid, oid === 0 ? all : [0])));
    report("store many in one commit, each", N);
  }
  report("close and open", 1);
  using storage = await open();
  using session = storage.session();
  last = microseconds();
  for (const oid of all) session.load(oid);
  report("load in order", N);
  for (const i of all) session.load((i * 7919) % N);
  report("load in any order", N);
  for (const i of all) session.has((i * 7919) % N);
  report("ask whether there is an object", N);
  for (let i = 0; i < 2000; i++) session.commit([record((i * 31) % 1000 + 1)]);
  report("commit one", 2000);
  for (let i = 0; i < 200; i++) {
    session.commit(session.allocate(100).map((oid) => record(oid)));
  }
  report("commit 100 new ones, each", 20_000);
  for (let i = 0; i < 200; i++) {
    const some = Array.from({ length: 100 }, (_, j) => (i * 100 + j) * 17 % N);
    session.commit(some.map((oid) => record(oid, oid === 0 ? all : [0])));
  }
  report("commit 100 changed ones, each", 20_000);
  using other = storage.session();
  for (let i = 0; i < 2000; i++) {
    session.commit([record(5)]);
    other.sync();
  }
  report("commit one, and sync of another session", 2000);
  storage.pack();
  report("pack, each", N);
  session.sync();
  last = microseconds();
  const references = all.slice(0, REFERENCES);
  for (let i = 0; i < 500; i++) session.commit([record(1, references)]);
  report(`commit one of ${REFERENCES} references after a pack`, 500);
} finally {
  Deno.removeSync(directory, { recursive: true });
}
