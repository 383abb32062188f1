/**
 * Measures Dhara: `deno task bench [--n 100000] [--json] [--peer FILE.json]`.
 *
 * The work is that of a benchmark of Durus that prints the same figures as
 * JSON. With `--peer` that file's figures stand beside ours. Every figure is
 * microseconds for one operation, but for those named `_ms` and `_bytes`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import {
  ClientStorage,
  Connection,
  FileStorage,
  type Oid,
  Persistent,
  PersistentDict,
  recordReferences,
  ROOT_OID,
} from "@dhara/dhara";
import { Decoder } from "../lib/serialize/decoder.ts";
import { startServer } from "./server_process.ts";
import { printTable } from "./table.ts";

class Account extends Persistent {
  id: number;
  owner: string;
  balance: number;
  active = true;
  tags = ["a", "b", "gold"];

  constructor(i: number) {
    super();
    this.id = i;
    this.owner = `owner${i}`;
    this.balance = i * 1.5;
  }
}

type Accounts = PersistentDict<number, Account>;
type Root = PersistentDict<string, Accounts>;

const { values: args } = parseArgs({
  args: Deno.args,
  options: {
    n: { type: "string", default: "100000" },
    peer: { type: "string" },
    json: { type: "boolean" },
  },
});
const n = Number(args["n"]);
if (!Number.isSafeInteger(n) || n < 1000) {
  console.error("Cannot measure: --n must be an integer of 1000 or more");
  Deno.exit(2);
}

const figures: Record<string, number> = {};
let sum = 0; // Something to do with what was read, so that reading is not optimized away.

function measure<T>(name: string, operations: number, work: () => T): T {
  const start = performance.now();
  const result = work();
  const microseconds = (performance.now() - start) * 1000 / operations;
  figures[name] = name.endsWith("_ms") ? microseconds / 1000 : microseconds;
  if (!args["json"]) console.error(`  ${name}`);
  return result;
}

function connect(storage: FileStorage | ClientStorage): Connection<Root> {
  return new Connection<Root>(storage, {
    classes: { Account },
    cacheSize: 10 * n,
  });
}

function accountsOf(connection: Connection<Root>): Accounts {
  return connection.root.get("accounts")!;
}

function build(connection: Connection<Root>): void {
  const accounts: Accounts = new PersistentDict();
  connection.root.set("accounts", accounts);
  for (let i = 0; i < n; i++) accounts.set(i, new Account(i));
  connection.commit();
}

function smallCommits(
  connection: Connection<Root>,
  accounts: Account[],
  count: number,
): void {
  for (let i = 0; i < count; i++) {
    accounts[i % accounts.length]!.balance += 1;
    connection.commit();
  }
}

function onFile(path: string): void {
  const storage = new FileStorage(path);
  const connection = connect(storage);
  measure("build_and_commit", n, () => build(connection));
  figures["file_bytes_per_object"] = Deno.statSync(path).size / n;

  const accounts = [...accountsOf(connection).values()];
  const read = () => {
    for (const account of accounts) sum += account.balance;
  };
  read();
  measure("read_cached_attribute", 5 * n, () => {
    for (let i = 0; i < 5; i++) read();
  });
  measure("btree_lookup_and_read", n, () => {
    const dict = accountsOf(connection);
    for (let i = 0; i < n; i++) sum += dict.get(i)!.balance;
  });
  measure(
    "small_commit_synced",
    300,
    () => smallCommits(connection, accounts, 300),
  );
  connection.close();
  storage.close();
}

function notSynced(path: string): void {
  const storage = new FileStorage(path, { sync: false });
  const connection = connect(storage);
  const accounts = [...accountsOf(connection).values()].slice(0, 1000);
  for (const account of accounts) sum += account.balance;
  measure(
    "small_commit_not_synced",
    1000,
    () => smallCommits(connection, accounts, 1000),
  );
  connection.close();
  storage.close();
}

/** Opens, loads everything, packs, opens again. */
function again(path: string): void {
  let storage!: FileStorage;
  let connection = measure("open_unpacked_ms", 1, () => {
    storage = new FileStorage(path);
    return connect(storage);
  });
  measure("load_cold_object", n, () => {
    for (const account of accountsOf(connection).values()) {
      sum += account.balance;
    }
  });
  measure("pack_object", n, () => connection.pack());
  connection.close();
  storage.close();
  connection = measure("open_packed_ms", 1, () => {
    storage = new FileStorage(path);
    return connect(storage);
  });
  connection.close();
  storage.close();
}

/** Loads every record and decodes it, in batches of 500, breadth first. */
function crawl(storage: ClientStorage): number {
  const decoder = new Decoder({ ghost: () => ({}) });
  using session = storage.session();
  const seen = new Set<Oid>([ROOT_OID]);
  let batch: Oid[] = [];
  let loaded = 0;
  // A set can grow while it is iterated.
  for (const oid of seen) {
    batch.push(oid);
    if (batch.length < 500 && loaded + batch.length < seen.size) continue;
    for (const record of session.loadMany(batch)) {
      decoder.decode(record);
      for (const oid of recordReferences(record)) seen.add(oid);
    }
    loaded += batch.length;
    batch = [];
  }
  return loaded;
}

async function throughServer(path: string): Promise<void> {
  await using server = await startServer(path);
  const { port } = server;
  const storage = new ClientStorage({ port });
  const connection = connect(storage);
  const some = Math.min(n, 3000);
  measure("load_object_through_server", some, () => {
    let count = 0;
    for (const account of accountsOf(connection).values()) {
      sum += account.balance;
      if (++count === some) break;
    }
  });
  const other = new ClientStorage({ port });
  const crawled = measure("crawl_object_through_server", n, () => crawl(other));
  if (crawled < n) throw new Error(`Only ${crawled} objects were crawled`);
  other.close();
  const accounts = [accountsOf(connection).get(5)!];
  measure(
    "small_commit_through_server_synced",
    300,
    () => smallCommits(connection, accounts, 300),
  );
  connection.close();
  storage.close();
}

const directory = await Deno.makeTempDir();
try {
  const path = `${directory}/bench.dhara`;
  onFile(path);
  notSynced(path);
  again(path);
  await throughServer(path);
} finally {
  await Deno.remove(directory, { recursive: true });
}
if (!Number.isFinite(sum)) {
  throw new Error("What was read is not what was stored");
}

const result = { peer: "dhara", n, ...figures };
if (args["json"]) {
  console.log(JSON.stringify(result, null, 2));
} else {
  const peer = args["peer"]
    ? JSON.parse(await Deno.readTextFile(String(args["peer"])))
    : undefined;
  printTable(result, peer);
}
