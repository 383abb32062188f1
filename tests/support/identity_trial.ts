/**
 * Programs that need `gc()`: `identity SEED` holds and drops objects at random
 * and looks at each of them on every path to it; `collected SEED` looks
 * whether what nobody holds goes away, `forgotten SEED` whether it leaves
 * anything in the cache, and `reborn SEED` whether what is loaded again in the
 * meantime stays known. They throw if something is wrong.
 */
import {
  Connection,
  MemoryStorage,
  Persistent,
  PersistentDict,
  PersistentList,
} from "../../mod.ts";

declare const gc: () => void;

class Node extends Persistent {
  value = 0;
  next: Node | undefined = undefined;
  others: Node[] = [];
}
const classes = { Node };

const [what, seed] = Deno.args;
let state = Number(seed) >>> 0;
function random(below: number): number {
  // xorshift
  state = (state ^ state << 13) >>> 0;
  state = (state ^ state >>> 17) >>> 0;
  state = (state ^ state << 5) >>> 0;
  return state % below;
}
if (state === 0) state = 1;

function check(truth: boolean, message: string): void {
  if (!truth) throw new Error(message);
}

async function collect(): Promise<void> {
  // Weakly referenced objects live until the job ends; what is gone is told in another one.
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve));
    gc();
  }
  await new Promise((resolve) => setTimeout(resolve));
}

const COUNT = 120;

/** Nodes that refer to each other at random, in lists and dicts that overlap. */
function build(storage: MemoryStorage): void {
  using connection = new Connection(storage, { classes });
  const nodes = Array.from({ length: COUNT }, () => new Node());
  nodes.forEach((node, i) => {
    node.value = i;
    node.next = nodes[(i * 7 + 1) % COUNT];
    node.others = [nodes[random(COUNT)]!, nodes[random(COUNT)]!];
  });
  connection.root["lists"] = new PersistentList(
    Array.from(
      { length: 6 },
      (_, i) => new PersistentList(nodes.filter((_, j) => j % 6 === i)),
    ),
  );
  connection.root["dict"] = new PersistentDict(
    nodes.map((node) => [node.value, node]),
  );
  connection.commit();
}

class Trial {
  storage = new MemoryStorage();
  connection: Connection;
  other: Connection;
  /** What the program holds, by number. */
  held = new Map<number, Node>();
  oids: number[];

  constructor() {
    build(this.storage);
    const options = { classes, cacheSize: 1 + random(40) };
    this.connection = new Connection(this.storage, options);
    this.other = new Connection(this.storage, { classes });
    this.oids = [...this.other.root["dict"].values()].map((n) => n._p_oid);
  }

  /** A node, by one of the paths that lead to it. */
  find(i: number): Node {
    const { root } = this.connection;
    switch (random(4)) {
      case 0:
        return root["dict"].get(i);
      case 1:
        return root["lists"].at(i % 6).at(Math.floor(i / 6));
      case 2:
        return this.connection.get(this.oids[i]!) as Node;
      default: {
        // The one before it refers to it.
        let j = 0;
        while ((j * 7 + 1) % COUNT !== i) j++;
        return root["dict"].get(j).next;
      }
    }
  }

  look(i: number, load: boolean): Node {
    const node = this.find(i);
    const held = this.held.get(i);
    check(held === undefined || held === node, `node ${i} is another object`);
    check(node._p_oid === this.oids[i], `node ${i} has another number`);
    if (load) {
      check(node.value % COUNT === i, `node ${i} holds ${node.value}`);
      for (const other of [node.next!, ...node.others]) {
        const known = this.held.get(this.oids.indexOf(other._p_oid!));
        check(known === undefined || known === other, "a neighbour is another");
      }
    }
    return node;
  }

  async step(): Promise<void> {
    const i = random(COUNT);
    switch (random(14)) {
      case 0:
      case 1:
      case 2:
        this.held.set(i, this.look(i, random(2) === 0));
        break;
      case 3:
      case 4:
        this.held.delete(i);
        break;
      case 5:
      case 6:
        this.look(i, true);
        break;
      case 7:
        this.connection.abort();
        break;
      case 8:
        this.connection.abort();
        this.look(i, true).value += COUNT;
        if (random(2) === 0) this.connection.abort();
        else this.connection.commit();
        break;
      case 9:
        this.connection.abort();
        this.other.transact(() =>
          this.other.root["dict"].get(i).value += COUNT
        );
        break;
      case 10:
        this.connection.shrink();
        break;
      case 11:
        this.connection.cacheSize = 1 + random(60);
        break;
      case 12:
        for (const [i, node] of this.held) {
          check(this.look(i, false) === node, "");
        }
        break;
      default:
        if (random(3) === 0) await collect();
        else gc();
        this.connection.abort();
    }
  }
}

async function identity(): Promise<void> {
  for (let round = 0; round < 8; round++) {
    const trial = new Trial();
    for (let i = 0; i < 200; i++) await trial.step();
    trial.connection.abort();
    for (const i of trial.held.keys()) trial.look(i, true);
    trial.connection.close();
  }
}

/** How many of the objects are still there. */
function living(references: WeakRef<object>[]): number {
  return references.filter((reference) => reference.deref()).length;
}

async function collected(): Promise<void> {
  const storage = new MemoryStorage();
  using connection = new Connection(storage, { classes, cacheSize: 5 });
  const { root } = connection;
  const references: WeakRef<object>[] = [];
  const make = () => {
    const list = new PersistentList<Node>();
    for (let i = 0; i < 500; i++) list.push(new Node());
    for (const node of list) references.push(new WeakRef(node));
    root["list"] = list;
    connection.commit();
  };
  make();
  const load = () => {
    for (const node of root["list"]) node.value++;
    connection.abort();
    for (const node of root["list"]) references.push(new WeakRef(node));
    connection.abort();
    // The list goes, and what it held.
    for (let i = 0; i < 3; i++) {
      root["x"] = new PersistentDict([["a", new PersistentDict()]]);
      connection.commit();
      root["x"].get("a").size;
      connection.abort();
    }
    connection.cacheSize = 1;
    connection.abort();
    connection.abort();
    connection.cacheSize = 5;
  };
  load();
  await collect();
  const left = living(references);
  check(left < 50, `${left} of ${references.length} objects are still there`);
  // What is held stays the same one, also with the others gone.
  const held = root["list"].at(7);
  references.length = 0;
  load();
  await collect();
  check(root["list"].at(7) === held, "it is another object");
  const still = living(references);
  check(still > 0, "what is held is gone");
  check(still < 50, `${still} of ${references.length} are still there`);
}

/** Refers to many, and cannot be loaded. */
class Refusing extends Persistent {
  others: Node[] = [];
  override _p_setState(): void {
    throw new RangeError("I will not");
  }
}

/** A connection to a storage with nodes and a refusing object, of which it has loaded none. */
function manyNodes() {
  const storage = new MemoryStorage();
  const options = { classes: { Node, Refusing }, cacheSize: 1 };
  using writer = new Connection(storage, options);
  const nodes = Array.from({ length: 300 }, () => new Node());
  const refusing = new Refusing();
  refusing.others = nodes;
  writer.root["refusing"] = refusing;
  writer.commit();
  return {
    connection: new Connection(storage, options),
    oids: nodes.map((node) => node._p_oid!),
    refusing: refusing._p_oid!,
  };
}

/** Loads all of them, and lets go of them. */
function use(connection: Connection, oids: number[]): void {
  for (const oid of oids) (connection.get(oid) as Node).value;
  for (let i = 0; i < 3; i++) {
    connection.root.size;
    connection.abort();
  }
}

async function forgotten(): Promise<void> {
  const { connection, oids, refusing } = manyNodes();
  const left = new Set<unknown>();
  const usual = Map.prototype.delete;
  Map.prototype.delete = function (key) {
    left.delete(key);
    return usual.call(this, key);
  };
  const works: Record<string, () => void> = {
    "loaded": () => use(connection, oids),
    "referred to by what could not be loaded": () => {
      try {
        connection.get(refusing);
      } catch (error) {
        if (error instanceof RangeError) return;
        throw error;
      }
      throw new Error("it was loaded");
    },
  };
  for (const [how, work] of Object.entries(works)) {
    work();
    for (const oid of oids) left.add(oid);
    await collect();
    check(left.size < 30, `${left.size} that were ${how} are still known`);
    left.clear();
  }
}

async function reborn(): Promise<void> {
  const { connection, oids } = manyNodes();
  use(connection, oids);
  await new Promise((resolve) => setTimeout(resolve));
  // They are gone, and the cache is told of it only in another job.
  gc();
  const again = oids.map((oid) => connection.get(oid));
  await collect();
  again.forEach((node, i) => {
    check(connection.get(oids[i]!) === node, `object ${i} is another one`);
  });
}

const trials: Record<string, () => Promise<void>> = {
  identity,
  collected,
  forgotten,
  reborn,
};
await trials[what!]!();
