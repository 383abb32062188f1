/**
 * Measures a pack while others commit: `deno run -A bench/pack_bench.ts [--n
 * 1000000] [--rate 20] [--json]`.
 *
 * A server in a process of its own packs a database of that many objects, a
 * third of them garbage besides. Meanwhile a client commits so many times a
 * second and measures how long each commit takes. The aims: no commit waits
 * longer than a few steps of the packer, and the server's memory stays less
 * than 300 MB over what it was before.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { ClientStorage, FileStorage, packRecord } from "@dhara/dhara";
import { startServer } from "./server_process.ts";

const { values: args } = parseArgs({
  args: Deno.args,
  options: {
    n: { type: "string", default: "1000000" },
    rate: { type: "string", default: "20" },
    json: { type: "boolean" },
  },
});
const n = Number(args["n"]);
const rate = Number(args["rate"]);
if (!Number.isSafeInteger(n) || n < 1000 || !(rate > 0)) {
  console.error("Cannot measure: --n must be an integer of 1000 or more");
  Deno.exit(2);
}

/** The children of an object in a wide tree: loads go all over the file, as they do in a graph. */
const FAN = 20;
const BATCH = 20_000;

/** Makes the database: a tree of `n` objects, and a third as many that nothing refers to. */
function fill(path: string): void {
  using storage = new FileStorage(path, { sync: false });
  using session = storage.session();
  const all = n + Math.floor(n / 3);
  const data = new Uint8Array(150);
  for (let from = 0; from < all; from += BATCH) {
    const to = Math.min(from + BATCH, all);
    session.allocate(to - from);
    const records: [number, Uint8Array][] = [];
    for (let oid = from; oid < to; oid++) {
      const references: number[] = [];
      for (let child = oid * FAN + 1; child <= oid * FAN + FAN; child++) {
        if (oid < n && child < n) references.push(child);
      }
      crypto.getRandomValues(data.subarray(0, 16));
      records.push([oid, packRecord(oid, data, references)]);
    }
    session.commit(records);
  }
}

/** Memory of a process in MB: now, and the most so far (which can be reset). */
function memory(pid: number): { now: number; peak: number } {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  const mb = (name: string) =>
    Number(status.match(new RegExp(`${name}:\\s+(\\d+)`))![1]) / 1024;
  return { now: mb("VmRSS"), peak: mb("VmHWM") };
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function percentile(sorted: number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!;
}

const directory = await Deno.makeTempDir();
const path = `${directory}/bench.dhara`;
try {
  fill(path);
  const { size } = Deno.statSync(path);
  await using server = await startServer(path);
  using storage = new ClientStorage({ port: server.port });
  using session = storage.session();
  const root = session.load(0).slice();

  let told = 0;
  /** Commits one object at the set rate, for as long as it shall; returns how long each took. */
  const commitWhile = async (goOn: () => boolean): Promise<number[]> => {
    const waits: number[] = [];
    while (goOn()) {
      const began = performance.now();
      const oid = Math.floor(Math.random() * n);
      const record = session.load(oid).slice();
      record[12]!++;
      const start = performance.now();
      const result = session.commit([[oid, record]]);
      if (!("tid" in result)) session.sync();
      const wait = performance.now() - start;
      // The pack is over, and the client is told each number that it removed.
      if ("tid" in result) waits.push(wait);
      else told = Math.max(told, wait);
      const left = 1000 / rate - (performance.now() - began);
      await sleep(Math.max(0, left));
    }
    return waits.sort((a, b) => a - b);
  };

  let end = Date.now() + 5000;
  const quiet = await commitWhile(() => Date.now() < end);
  const before = memory(server.pid);
  // From now on the peak is that of the pack.
  Deno.writeTextFileSync(`/proc/${server.pid}/clear_refs`, "5");
  const began = performance.now();
  storage.pack();
  const { ino } = Deno.statSync(path);
  let seconds = 0;
  let peak = 0;
  end = Date.now() + 600_000;
  const busy = await commitWhile(() => {
    peak = Math.max(peak, memory(server.pid).peak);
    if (Deno.statSync(path).ino !== ino) {
      seconds = (performance.now() - began) / 1000;
      return false;
    }
    if (Date.now() > end) throw new Error("The pack does not end");
    return true;
  });
  end = Date.now() + 2000;
  const after = await commitWhile(() => Date.now() < end);
  peak = Math.max(peak, memory(server.pid).peak);
  if (session.load(0).length !== root.length) throw new Error("It is broken");

  const figures = {
    objects: n,
    garbage: Math.floor(n / 3),
    file_before_mb: size / 2 ** 20,
    file_after_mb: Deno.statSync(path).size / 2 ** 20,
    pack_s: seconds,
    commits_while_packing: busy.length,
    commit_ms_median_before: percentile(quiet, 0.5),
    commit_ms_longest_before: quiet.at(-1)!,
    commit_ms_median: percentile(busy, 0.5),
    commit_ms_99: percentile(busy, 0.99),
    commit_ms_longest: Math.max(busy.at(-1)!, after.at(-1)!),
    told_of_garbage_ms: told,
    server_mb_before: before.now,
    server_mb_peak: peak,
    server_mb_more: peak - before.now,
  };
  if (args["json"]) console.log(JSON.stringify(figures));
  else {
    for (const [name, value] of Object.entries(figures)) {
      const shown = Number.isInteger(value) ? `${value}` : value.toFixed(1);
      console.log(`${name.padEnd(28)}${shown.padStart(10)}`);
    }
  }
} finally {
  await Deno.remove(directory, { recursive: true });
}
