/**
 * Registers that transactions read and append to, and how to tell whether they
 * were as if one came after the other. Also a worker that makes transactions
 * through a server.
 */
import {
  ClientStorage,
  Connection,
  Persistent,
  type PersistentDict,
} from "../../mod.ts";

/** Holds every value that was ever appended, each of which is appended once. */
export class Register extends Persistent {
  values: number[] = [];
}

export type Root = PersistentDict<string, Register>;

/** What a transaction did that was committed. */
export interface Transaction {
  done: ({ key: number; read: number[] } | { key: number; append: number })[];
}

/**
 * Finds an order in which each transaction has read what the ones before it
 * had left, or throws.
 */
export function assertSerial(transactions: Transaction[]): void {
  const keys = new Set<number>();
  const writers = new Map<number, number>();
  const longest = new Map<number, number[]>();
  for (const [number, { done }] of transactions.entries()) {
    for (const action of done) {
      keys.add(action.key);
      if ("append" in action) writers.set(action.append, number);
    }
    for (const action of done) {
      const values = "read" in action
        ? action.read
        : [...ownRead(done, action.key), action.append];
      if (values.length > (longest.get(action.key)?.length ?? -1)) {
        longest.set(action.key, values);
      }
    }
  }
  const after: Set<number>[] = transactions.map(() => new Set());
  const before = transactions.map(() => 0);
  function order(first: number | undefined, second: number | undefined): void {
    if (first === undefined || second === undefined || first === second) return;
    if (after[first]!.has(second)) return;
    after[first]!.add(second);
    before[second]!++;
  }
  for (const key of keys) {
    const values = longest.get(key)!;
    for (let i = 1; i < values.length; i++) {
      order(writers.get(values[i - 1]!), writers.get(values[i]!));
    }
    for (const [number, { done }] of transactions.entries()) {
      const read = done.find((action) =>
        "read" in action && action.key === key
      );
      if (read === undefined || !("read" in read)) continue;
      // After who wrote the last value that it saw, and before who wrote the next one.
      order(writers.get(read.read.at(-1) ?? -1), number);
      order(number, writers.get(values[read.read.length] ?? -1));
    }
  }
  const ready = [...before.keys()].filter((number) => before[number] === 0);
  const registers = new Map<number, number[]>();
  let count = 0;
  for (
    let number = ready.shift();
    number !== undefined;
    number = ready.shift()
  ) {
    count++;
    for (const action of transactions[number]!.done) {
      const values = registers.get(action.key) ?? [];
      if ("append" in action) {
        registers.set(action.key, [
          ...values,
          action.append,
        ]);
      } else if (`${values}` !== `${action.read}`) {
        throw new Error(`It read ${action.read}, and there was ${values}`);
      }
    }
    for (const next of after[number]!) {
      if (--before[next]! === 0) {
        ready.push(next);
      }
    }
  }
  if (count < transactions.length) {
    throw new Error("There is no order in which the transactions make sense");
  }
}

function ownRead(done: Transaction["done"], key: number): number[] {
  for (const action of done) {
    if ("read" in action && action.key === key) return action.read;
  }
  return [];
}

const KEYS = 6;

/** Makes transactions, and returns those that were committed. */
function work(
  { port, who, transactions, file }: {
    port: number;
    who: number;
    transactions: number;
    file: boolean;
  },
): Transaction[] {
  using storage = new ClientStorage({ port });
  using connection = new Connection<Root>(storage, {
    classes: { Register },
    cacheSize: 3,
  });
  // Whoever comes first makes the registers.
  connection.transact(() => {
    for (let key = 0; key < KEYS; key++) {
      if (connection.root.has(`r${key}`)) continue;
      connection.root.set(`r${key}`, new Register());
    }
  }, { attempts: 100 });
  const log: Transaction[] = [];
  for (let number = 0; number < transactions; number++) {
    let transaction: Transaction = { done: [] };
    connection.transact(() => {
      // It starts over after a conflict.
      transaction = { done: [] };
      const first = Math.floor(Math.random() * KEYS);
      for (let i = 0; i < 3; i++) {
        const key = (first + i) % KEYS;
        const register = connection.root.get(`r${key}`)!;
        transaction.done.push({ key, read: [...register.values] });
        if (i > 0 && Math.random() < 0.5) continue;
        const append = 10 * (1000 * number + i) + who;
        register.values = [...register.values, append];
        transaction.done.push({ key, append });
      }
    }, { attempts: 1000 });
    log.push(transaction);
    if (file && number % 50 === 25) storage.pack();
  }
  return log;
}

if ("WorkerGlobalScope" in globalThis) {
  const self = globalThis as unknown as Worker;
  self.onmessage = ({ data }) => self.postMessage(work(data));
}
