/**
 * Measures whether time and memory grow with the number of live objects:
 * `deno run -A bench/cache_bench.ts [--n 1000000]`.
 *
 * Each figure is taken in a process of its own, since memory is told of a
 * process. The objects are in lists of 1,000, and read in random order, once
 * each, 1,000 in a transaction.
 *
 * @module
 */
import { parseArgs } from "node:util";
import {
  Connection,
  FileStorage,
  Persistent,
  PersistentList,
} from "@dhara/dhara";

class Item extends Persistent {
  number: number;
  name: string;
  constructor(number: number) {
    super();
    this.number = number;
    this.name = `item ${number}`;
  }
}

type Lists = PersistentList<PersistentList<Item>>;
type Measured = Record<string, number>;

const LIST = 1000;
const SMALL_CACHE = 10_000;
const classes = { Item };

const { values: args } = parseArgs({
  args: Deno.args,
  options: {
    n: { type: "string", default: "1000000" },
    work: { type: "string" },
    path: { type: "string" },
  },
});
const n = Number(args["n"]);
if (!Number.isSafeInteger(n) || n < 1000 || n % LIST !== 0) {
  console.error("Cannot measure: --n must be a multiple of 1000");
  Deno.exit(2);
}

let seed = 20_000;
function random(below: number): number {
  seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
  return Math.floor(seed / 2 ** 32 * below);
}

function shuffled(count: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = random(i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** The most memory that this process has had, in MB; what it has now where that is not told. */
function peak(): number {
  try {
    const status = Deno.readTextFileSync("/proc/self/status");
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)![1]) / 1000;
  } catch {
    return Deno.memoryUsage().rss / 1e6;
  }
}

function newLists(connection: Connection): Lists {
  const lists: Lists = new PersistentList();
  return connection.root["lists"] = lists;
}

function newList(from: number): PersistentList<Item> {
  return PersistentList.from(
    { length: LIST },
    (_, i) => new Item(from + i),
  );
}

function build(path: string): void {
  using storage = new FileStorage(path, { sync: false });
  using connection = new Connection(storage, { classes, cacheSize: 1000 });
  const lists = newLists(connection);
  for (let i = 0; i < n; i += LIST) {
    lists.push(newList(i));
    connection.commit();
  }
}

/** Reads 20 objects in a transaction beside `live` others that are only known. */
function smallTransaction(path: string, live: number): Measured {
  using storage = new FileStorage(path, { readonly: true });
  using connection = new Connection(storage, { classes, cacheSize: 100 });
  const lists: Lists = connection.root["lists"];
  const held: Item[] = [];
  for (let i = 0; i < live / LIST; i++) held.push(...lists.at(i)!);
  connection.abort();
  const rounds = 500;
  const start = performance.now();
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < 20; i++) held[random(live)]!.number;
    connection.abort();
  }
  return { ms: (performance.now() - start) / rounds };
}

/** Reads every object once. */
async function reads(
  path: string,
  cacheSize: number,
  turns: boolean,
  byNumber: boolean,
): Promise<Measured> {
  using storage = new FileStorage(path, { readonly: true });
  using connection = new Connection(storage, { classes, cacheSize });
  const lists: Lists = connection.root["lists"];
  const order = shuffled(n);
  const first = byNumber ? lists.at(0)!.at(0)!._p_oid! : 0;
  const start = performance.now();
  let count = 0;
  let sum = 0;
  for (const i of order) {
    if (byNumber) {
      // The numbers are given in the order of the lists, each before its items.
      const oid = first + i + Math.floor(i / LIST);
      const item = connection.get(oid);
      if (item instanceof Item) sum += item.number;
    } else {
      sum += lists.at(Math.floor(i / LIST))!.at(i % LIST)!.number;
    }
    if (++count % 1000 === 0) {
      connection.abort();
      if (turns) await new Promise((done) => setTimeout(done));
    }
  }
  if (sum === 0) throw new Error("Nothing was read");
  return { s: (performance.now() - start) / 1000, MB: peak() };
}

function commits(path: string, size: number): Measured {
  using storage = new FileStorage(path, { sync: false });
  using connection = new Connection(storage, {
    classes,
    cacheSize: SMALL_CACHE,
  });
  const lists = newLists(connection);
  const start = performance.now();
  for (let i = 0; i < n; i += LIST) {
    lists.push(newList(i));
    if ((i + LIST) % size === 0) connection.commit();
  }
  connection.commit();
  return { s: (performance.now() - start) / 1000, MB: peak() };
}

const works: Record<string, (path: string) => Measured | Promise<Measured>> = {
  build: (path) => (build(path), {}),
};
for (let live = 1000; live <= n; live *= 10) {
  works[`a transaction that reads 20, ${live} others live`] = (path) =>
    smallTransaction(path, live);
}
for (const byNumber of [false, true]) {
  const how = byNumber ? "by number" : "through lists";
  works[`${n} reads ${how}, everything cached`] = (path) =>
    reads(path, 2 * n, false, byNumber);
  works[`${n} reads ${how}, cache of ${SMALL_CACHE}`] = (path) =>
    reads(path, SMALL_CACHE, false, byNumber);
  works[`${n} reads ${how}, cache of ${SMALL_CACHE}, with turns`] = (path) =>
    reads(path, SMALL_CACHE, true, byNumber);
}
works[`${n} new objects in one commit`] = (path) => commits(path + ".1", n);
works[`${n} new objects, 1000 a commit`] = (path) => commits(path + ".2", 1000);

if (args["work"] !== undefined) {
  const measured = await works[args["work"]]!(args["path"]!);
  console.log(JSON.stringify(measured));
} else {
  // Where the packages come from the npm import map, they do there, too.
  const map = import.meta.resolve("@std/assert").startsWith("jsr:")
    ? []
    : [`--import-map=${import.meta.resolve("../tools/registry/npm.json")}`];
  const directory = await Deno.makeTempDir();
  try {
    for (const work of Object.keys(works)) {
      const { code, stdout } = await new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "-A",
          ...map,
          import.meta.filename!,
          `--n=${n}`,
          `--work=${work}`,
          `--path=${directory}/bench.dhara`,
        ],
        stderr: "inherit",
      }).output();
      if (code !== 0) Deno.exit(code);
      const measured: Measured = JSON.parse(new TextDecoder().decode(stdout));
      const figures = Object.entries(measured).map(([unit, value]) =>
        `${value.toFixed(unit === "MB" ? 0 : 2)} ${unit}`
      );
      if (figures.length > 0) console.log(`${work}: ${figures.join(", ")}`);
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
