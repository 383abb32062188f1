/**
 * Transactions of many connections are as if they had been made one after the
 * other: whatever each of them has read is what the ones before it had left.
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Oid } from "../../lib/serialize/record.ts";
import type { Progress, Storage } from "../../lib/storage/storage.ts";
import {
  Connection,
  FileStorage,
  MemoryStorage,
  ReadConflictError,
  WriteConflictError,
} from "../../mod.ts";
import {
  assertSerial,
  Register,
  type Root,
  type Transaction,
} from "../support/registers.ts";
import { ServerWorker } from "../support/server_worker.ts";
import { textOf, textRecord } from "../../lib/testing/records.ts";

const long = Deno.env.get("DHARA_TEST_LONG") !== undefined;

const KEYS = 4;

type Step =
  | { do: "read" | "append"; who: number; key: number }
  | { do: "commit" | "abort"; who: number }
  | { do: "pack" };

const who = fc.nat(3);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constantFrom("read" as const, "append"),
      who,
      key: fc.nat(KEYS - 1),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom("commit" as const, "commit", "commit", "abort"),
      who,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("pack" as const) }) },
);

function connect(storage: Storage): Connection<Root> {
  return new Connection<Root>(storage, {
    classes: { Register },
    // Small, so that registers are loaded again.
    cacheSize: 2,
  });
}

function runSteps(storage: Storage, steps: Step[]): void {
  {
    using connection = connect(storage);
    for (let key = 0; key < KEYS; key++) {
      connection.root.set(`r${key}`, new Register());
    }
    connection.commit();
  }
  const connections = Array.from({ length: 4 }, () => connect(storage));
  const open: Transaction[] = connections.map(() => ({ done: [] }));
  /** In the order of their commits, which is the order that they must have. */
  const committed: Transaction[] = [];
  const onlyRead: Transaction[] = [];
  let packing: Iterator<Progress> | undefined;
  let value = 0;

  for (const step of steps) {
    if (step.do === "pack") {
      packing ??= storage.packInSteps()[Symbol.iterator]();
      if (packing.next().done) packing = undefined;
      continue;
    }
    const { who } = step;
    const connection = connections[who]!;
    const transaction = open[who]!;
    if (step.do === "read" || step.do === "append") {
      const register = connection.root.get(`r${step.key}`)!;
      const { key } = step;
      if (step.do === "read") {
        transaction.done.push({ key, read: [...register.values] });
      } else {
        value++;
        // Without a look at what is there the program could not add to it.
        transaction.done.push({ key, read: [...register.values] });
        transaction.done.push({ key, append: value });
        register.values = [...register.values, value];
      }
      continue;
    }
    const writes = transaction.done.some((action) => "append" in action);
    try {
      if (step.do === "commit") connection.commit();
      else connection.abort();
      if (!writes) onlyRead.push(transaction);
      else if (step.do === "commit") committed.push(transaction);
    } catch (error) {
      if (!(error instanceof WriteConflictError)) throw error;
      connection.abort();
    }
    open[who] = { done: [] };
  }
  packing?.return?.();
  for (const connection of connections) connection.close();

  // One after the other.
  const registers: number[][] = Array.from({ length: KEYS }, () => []);
  const states = [structuredClone(registers)];
  for (const { done } of committed) {
    for (const action of done) {
      if ("append" in action) registers[action.key]!.push(action.append);
      else assertEquals(action.read, registers[action.key]);
    }
    states.push(structuredClone(registers));
  }
  // Who only reads sees one moment.
  for (const { done } of onlyRead) {
    const reads = done.filter((action) => "read" in action);
    assert(
      states.some((state) =>
        reads.every(({ key, read }) => `${state[key]}` === `${read}`)
      ),
      `no moment is as ${JSON.stringify(reads)}`,
    );
  }
  using connection = connect(storage);
  registers.forEach((values, key) =>
    assertEquals(connection.root.get(`r${key}`)!.values, values)
  );
}

/**
 * The same with sessions alone: a transaction tells what it has accessed, and
 * half of the sessions let go of their snapshots.
 */
function runSessions(storage: Storage, steps: Step[]): void {
  const text = (values: number[]) => values.join(" ");
  const keys = Array.from({ length: KEYS }, (_, key) => key + 1);
  using first = storage.session();
  first.allocate(KEYS + 1);
  first.commit([
    textRecord(0, "root", keys),
    ...keys.map((oid) => textRecord(oid, text([]))),
  ]);
  const sessions = Array.from(
    { length: 4 },
    (_, who) => storage.session({ letsGo: who % 2 === 0 }),
  );
  const begin = () => ({
    reads: new Map<Oid, string>(),
    writes: new Map<Oid, string>(),
    failed: false,
  });
  const open = sessions.map(begin);
  const state = new Map(keys.map((oid) => [oid, text([])]));
  let packing: Iterator<Progress> | undefined;
  let value = 0;
  for (const step of steps) {
    if (step.do === "pack") {
      packing ??= storage.packInSteps()[Symbol.iterator]();
      if (packing.next().done) packing = undefined;
      continue;
    }
    const session = sessions[step.who]!;
    const transaction = open[step.who]!;
    const { reads, writes } = transaction;
    if (step.do === "read" || step.do === "append") {
      const oid = step.key + 1;
      try {
        const found = writes.get(oid) ?? textOf(session, oid);
        if (!writes.has(oid)) reads.set(oid, found);
        if (step.do === "append") writes.set(oid, `${found} ${++value}`);
      } catch (error) {
        if (!(error instanceof ReadConflictError)) throw error;
        assert(step.who % 2 === 0, "it has its snapshot");
        transaction.failed = true;
      }
      continue;
    }
    open[step.who] = begin();
    if (step.do === "abort" || transaction.failed || writes.size === 0) {
      session.sync();
      continue;
    }
    const result = session.commit(
      [...writes].map(([oid, found]) => textRecord(oid, found)),
      { accessed: (oid) => reads.has(oid) || writes.has(oid) },
    );
    if ("invalid" in result) {
      assert(result.invalid.some((oid) => reads.has(oid)), "for no reason");
      session.sync();
      continue;
    }
    // Whatever it has read is what those before it have left.
    for (const [oid, found] of reads) assertEquals(found, state.get(oid));
    for (const [oid, found] of writes) state.set(oid, found);
  }
  packing?.return?.();
  using last = storage.session();
  for (const [oid, found] of state) assertEquals(textOf(last, oid), found);
}

function test(
  name: string,
  numRuns: number,
  make: () => { storage: Storage; dispose(): void },
): void {
  Deno.test(`${name}: transactions are as if one came after the other, ${numRuns} times`, () => {
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 10, maxLength: 120, size: "max" }),
        (steps) => {
          const { storage, dispose } = make();
          try {
            runSteps(storage, steps);
          } finally {
            storage.close();
            dispose();
          }
          const other = make();
          try {
            runSessions(other.storage, steps);
          } finally {
            other.storage.close();
            other.dispose();
          }
        },
      ),
      { numRuns },
    );
  });
}

test("MemoryStorage", long ? 5000 : 200, () => ({
  storage: new MemoryStorage(),
  dispose() {},
}));

test("FileStorage", long ? 3000 : 100, () => {
  const directory = Deno.makeTempDirSync();
  return {
    storage: new FileStorage(`${directory}/test.dhara`, { sync: false }),
    dispose: () => Deno.removeSync(directory, { recursive: true }),
  };
});

const transactions = long ? 2000 : 150;

for (const file of [false, true]) {
  Deno.test(
    `clients of a server of ${
      file ? "FileStorage" : "MemoryStorage"
    }: transactions are as if one came after the other`,
    async () => {
      const directory = await Deno.makeTempDir();
      try {
        await using server = await ServerWorker.start(
          file ? { file: `${directory}/test.dhara` } : {},
        );
        const workers = Array.from(
          { length: 3 },
          () =>
            new Worker(import.meta.resolve("../support/registers.ts"), {
              type: "module",
            }),
        );
        const logs = await Promise.all(
          workers.map((worker, who) =>
            new Promise<Transaction[]>((resolve, reject) => {
              worker.onmessage = ({ data }) => resolve(data);
              worker.onerror = (event) => {
                event.preventDefault();
                reject(new Error(event.message));
              };
              worker.postMessage({
                port: server.port,
                who,
                transactions,
                file,
              });
            })
          ),
        );
        for (const worker of workers) worker.terminate();
        assertSerial(logs.flat());
      } finally {
        await Deno.remove(directory, { recursive: true });
      }
    },
  );
}
