/**
 * Storages against a model: whatever several sessions do, in whatever order,
 * and however the storage is packed, closed and opened again meanwhile.
 *
 * The model is a list of versions. A version is what there is after a commit,
 * or after a pack; a session is a place in that list.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  ObjectNotFoundError,
  ReadConflictError,
  ReadonlyError,
  StorageClosedError,
  StorageError,
} from "../../lib/errors.ts";
import type { Oid } from "../../lib/serialize/record.ts";
import { ClientStorage } from "../../lib/client/client_storage.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";
import { MemoryStorage } from "../../lib/storage/memory_storage.ts";
import { packToEnd } from "../../lib/storage/pack.ts";
import type {
  Progress,
  Session,
  Storage,
  Tid,
} from "../../lib/storage/storage.ts";
import { ServerWorker } from "../support/server_worker.ts";
import { textRecord } from "../../lib/testing/records.ts";

interface Version {
  readonly tid: Tid;
  /** Every object's record, and what it refers to. */
  readonly objects: ReadonlyMap<
    Oid,
    { record: Uint8Array; references: Oid[] }
  >;
  /** What differs from the version before. */
  readonly changed: ReadonlySet<Oid>;
  readonly by: "commit" | "pack";
}

/** What can be reached from the root, and from others. */
function reachable({ objects }: Version, others: Iterable<Oid> = []): Set<Oid> {
  const found = new Set<Oid>();
  const waiting = [0, ...others];
  for (let oid = waiting.pop(); oid !== undefined; oid = waiting.pop()) {
    if (found.has(oid) || !objects.has(oid)) continue;
    found.add(oid);
    waiting.push(...objects.get(oid)!.references);
  }
  return found;
}

// What is done. Numbers are reduced to what there is when they are used.

type Step =
  | { do: "commit"; who: number; changes: Change[]; accessed: number[] | null }
  | { do: "load" | "allocate" | "loadMany"; who: number; n: number }
  | { do: "sync" | "open" | "close"; who: number }
  | { do: "open to let go"; who: number }
  | { do: "pack" | "stop packing" | "reopen" | "crash" }
  | { do: "pack a little" | "look back"; n: number };

interface Change {
  pick: number;
  length: number;
  references: number[];
}

const who = fc.nat(3);
const pick = fc.nat(40);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant("commit" as const),
      who,
      changes: fc.array(
        fc.record({
          // The root often, or nearly all is garbage.
          pick: fc.oneof(fc.constant(0), pick),
          length: fc.oneof(
            { weight: 8, arbitrary: fc.nat(100) },
            { weight: 1, arbitrary: fc.nat(150_000) },
          ),
          references: fc.array(pick, { maxLength: 6 }),
        }),
        { maxLength: 6 },
      ),
      accessed: fc.option(fc.array(pick, { maxLength: 3 })),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constantFrom("load" as const, "allocate", "loadMany"),
      who,
      n: pick,
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "sync" as const,
        "sync",
        "sync",
        "open",
        "open to let go",
        "close",
      ),
      who,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "pack" as const,
        "pack",
        "stop packing",
        "reopen",
        "crash",
      ),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("look back" as const), n: pick }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("pack a little" as const),
      n: fc.integer({ min: 1, max: 3 }),
    }),
  },
);

/** A storage to try. */
interface Subject {
  storage: Storage;
  /** Closes it and opens it again. */
  reopen?(): Promise<Storage> | Storage;
  /** Leaves it as a crash of the process would, and opens it again. */
  crash?(): Storage;
  dispose(): Promise<void> | void;
  /** Whether it is a client, which cannot tell tids, nor always old revisions. */
  remote?: boolean;
  /** Whether it keeps what was, until it is packed. */
  history?: boolean;
}

interface Participant {
  session: Session;
  /** The place of its snapshot in the list. */
  at: number;
  /** Numbers that it was given, and has not used. */
  numbers: Oid[];
  /** Whether a pack may take its snapshot away. */
  letsGo: boolean;
  /** How many packs, or parts of them, had been made when it moved there. */
  packs: number;
}

class Trial {
  #subject: Subject;
  #storage: Storage;
  #versions: Version[] = [
    { tid: 0, objects: new Map(), changed: new Set(), by: "commit" },
  ];
  #participants: (Participant | undefined)[] = [];
  /** Every number that was ever given out, or since the last crash. */
  #given = new Set<Oid>();
  #packing: Iterator<Progress> | undefined;
  #packedFrom = 0;
  /** How many packs, or parts of them, were made. */
  #packs = 0;
  /** The first version that the last pack has left. */
  #oldest = 0;
  #commits = 0;

  constructor(subject: Subject) {
    this.#subject = subject;
    this.#storage = subject.storage;
    // All begins with a root.
    const first = this.#participant(0);
    this.#allocate(first, 3);
    this.#commit(first, [{ pick: 0, length: 1, references: [1, 2] }]);
  }

  async run(steps: Step[]): Promise<void> {
    for (const step of steps) {
      switch (step.do) {
        case "load":
          this.#load(this.#participant(step.who), step.n);
          break;
        case "loadMany":
          this.#loadMany(this.#participant(step.who), step.n);
          break;
        case "allocate":
          this.#allocate(this.#participant(step.who), step.n % 4);
          break;
        case "commit":
          this.#commit(
            this.#participant(step.who),
            step.changes,
            step.accessed,
          );
          break;
        case "sync":
          this.#sync(this.#participant(step.who));
          break;
        case "open":
          this.#participant(step.who);
          break;
        case "open to let go":
          this.#participant(step.who, true);
          break;
        case "close":
          this.#close(step.who);
          break;
        case "pack":
          this.#packAll();
          break;
        case "pack a little":
          this.#packSome(step.n);
          break;
        case "stop packing":
          if (this.#packing === undefined) break;
          this.#packing.return?.();
          this.#packing = undefined;
          // It may have been over but for saying so.
          this.#oldest = this.#versions.length - 1;
          break;
        case "look back":
          this.#lookBack(step.n);
          break;
        case "reopen":
          if (this.#subject.reopen === undefined) break;
          this.#begin(await this.#subject.reopen());
          break;
        case "crash":
          if (this.#subject.crash === undefined) break;
          this.#begin(this.#subject.crash());
          // What was given out and never committed may be given out again.
          this.#given = new Set(this.#versions.flatMap(
            ({ objects }) => [...objects.keys()],
          ));
          break;
      }
    }
    this.#lookAtEverything();
  }

  get #newest(): Version {
    return this.#versions.at(-1)!;
  }

  #participant(who: number, letsGo = false): Participant {
    return this.#participants[who] ??= this.#open(letsGo);
  }

  #open(letsGo: boolean): Participant {
    return {
      session: this.#storage.session({ letsGo }),
      at: this.#versions.length - 1,
      numbers: [],
      letsGo,
      packs: this.#packs,
    };
  }

  /** Makes sure that a participant could not be given what has changed. */
  #checkConflict(
    error: unknown,
    participant: Participant,
    oids: readonly Oid[],
  ): void {
    const { letsGo, packs } = participant;
    const may = this.#subject.remote || (letsGo && packs < this.#packs);
    if (!may || !(error instanceof ReadConflictError)) throw error;
    const invalid = this.#invalid(participant);
    assert(oids.some((oid) => invalid.has(oid)), `#${oids} did not change`);
  }

  /** What others have changed since a participant's snapshot. */
  #invalid({ at }: Participant): Set<Oid> {
    const invalid = new Set<Oid>();
    for (const { changed } of this.#versions.slice(at + 1)) {
      for (const oid of changed) invalid.add(oid);
    }
    return invalid;
  }

  #load(participant: Participant, oid: Oid): void {
    const { session, at } = participant;
    const { tid, objects } = this.#versions[at]!;
    if (!this.#subject.remote) assertEquals(session.tid, tid);
    let record: Uint8Array | undefined;
    try {
      assertEquals(session.has(oid), objects.has(oid), `#${oid}`);
      record = session.load(oid);
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) {
        return this.#checkConflict(error, participant, [oid]);
      }
    }
    assertSame(record, objects.get(oid)?.record, oid);
  }

  #loadMany(participant: Participant, n: number): void {
    const { objects } = this.#versions[participant.at]!;
    const there = [...objects.keys()].slice(n % 7);
    try {
      const records = participant.session.loadMany(there);
      assertEquals(records.length, there.length);
      records.forEach((record, i) =>
        assertSame(record, objects.get(there[i]!)!.record, there[i]!)
      );
      assertThrows(
        () => participant.session.loadMany([...there, 1_000_000]),
        ObjectNotFoundError,
      );
    } catch (error) {
      this.#checkConflict(error, participant, there);
    }
  }

  #allocate({ session, numbers }: Participant, count: number): void {
    const oids = session.allocate(count);
    assertEquals(oids.length, count);
    for (const oid of oids) {
      // A server gives numbers again that a client has left.
      assert(
        this.#subject.remote
          ? !this.#participants.some((other) => other?.numbers.includes(oid)) &&
            !this.#newest.objects.has(oid)
          : !this.#given.has(oid),
        `#${oid} was given out twice`,
      );
      this.#given.add(oid);
      numbers.push(oid);
    }
  }

  #commit(
    participant: Participant,
    changes: Change[],
    alsoAccessed: number[] | null = null,
  ): void {
    const { session, at, numbers } = participant;
    const { objects } = this.#versions[at]!;
    const candidates = [...objects.keys(), ...numbers].sort((a, b) => a - b);
    if (candidates.length === 0) return;
    const choose = (n: number) => candidates[n % candidates.length]!;
    const commit = ++this.#commits;
    const records = new Map<Oid, Uint8Array>();
    const stored = new Map<Oid, { record: Uint8Array; references: Oid[] }>();
    const changed = new Set(changes.map(({ pick }) => choose(pick)));
    for (const { pick, length, references } of changes) {
      const oid = choose(pick);
      const to = references.map(choose)
        .filter((to) => objects.has(to) || changed.has(to));
      const text = `${commit},${oid};`.repeat(1 + length / 5);
      const [, record] = textRecord(oid, text, to);
      records.set(oid, record);
      stored.set(oid, { record, references: to });
    }
    const invalid = this.#invalid(participant);
    let options = {};
    let inTheWay = invalid;
    if (alsoAccessed !== null && !this.#subject.remote) {
      const accessed = changed.union(new Set(alsoAccessed.map(choose)));
      options = { accessed: (oid: Oid) => accessed.has(oid) };
      inTheWay = invalid.intersection(accessed);
    }
    const newest = this.#newest;
    if (records.size > 0 && inTheWay.size === 0) {
      // What others changed may be that a pack has removed something.
      const gone = [...stored.values()].flatMap(({ references }) => references)
        .some((oid) => !newest.objects.has(oid) && !stored.has(oid));
      if (gone) {
        assertThrows(
          () => session.commit(records, options),
          StorageError,
          "a pack has removed",
        );
        return;
      }
    }
    const result = session.commit(records, options);
    if (records.size === 0) {
      assert("tid" in result);
    } else if (inTheWay.size > 0) {
      assert("invalid" in result, "it did not find the conflict");
      assertEquals(new Set(result.invalid), invalid);
    } else {
      assert("tid" in result, "there was no conflict");
      const { tid } = result;
      assertEquals(new Set(result.changed), invalid);
      assert(tid > newest.tid);
      this.#versions.push({
        tid,
        objects: new Map([...newest.objects, ...stored]),
        changed,
        by: "commit",
      });
      participant.at = this.#versions.length - 1;
      participant.packs = this.#packs;
      participant.numbers = numbers.filter((oid) => !changed.has(oid));
    }
  }

  #sync(participant: Participant): void {
    const changed = participant.session.sync();
    assertEquals(new Set<unknown>(changed), this.#invalid(participant));
    participant.at = this.#versions.length - 1;
    participant.packs = this.#packs;
  }

  #close(who: number): void {
    const participant = this.#participants[who];
    if (participant === undefined) return;
    participant.session.close();
    this.#participants[who] = undefined;
    const error = assertThrows(() => participant.session.load(0));
    // A client's session may not have noticed, but its socket is closed.
    if (!this.#subject.remote) assert(error instanceof StorageClosedError);
  }

  /** Reads the storage as it was after a commit. */
  #lookBack(n: number): void {
    // A pack may end at any step.
    if (!this.#subject.history || this.#packing !== undefined) return;
    const at = this.#oldest + n % (this.#versions.length - this.#oldest);
    const { tid, objects } = this.#versions[at]!;
    using session = this.#storage.session({ at: tid });
    assertEquals(session.tid, tid);
    const most = Math.max(0, ...this.#given) + 2;
    for (let oid = 0; oid < most; oid++) {
      this.#load(
        { session, at, numbers: [], letsGo: false, packs: this.#packs },
        oid,
      );
    }
    for (const [oid, { record }] of objects) {
      assertThrows(() => session.commit([[oid, record]]), ReadonlyError);
    }
  }

  #packAll(): void {
    if (this.#packing !== undefined) {
      assertThrows(() => this.#storage.pack(), StorageError);
      return;
    }
    this.#packedFrom = this.#versions.length - 1;
    this.#storage.pack();
    this.#notePacked(true);
  }

  #packSome(steps: number): void {
    // A server does the steps, and nobody can step in.
    if (this.#subject.remote) return;
    if (this.#packing === undefined) {
      this.#packing = this.#storage.packInSteps()[Symbol.iterator]();
      this.#packedFrom = this.#versions.length - 1;
    }
    for (let i = 0; i < steps; i++) {
      const { done } = this.#packing.next();
      this.#notePacked(done === true);
      if (!done) continue;
      this.#packing = undefined;
      return;
    }
  }

  /**
   * What a pack removes while others commit is up to it, within bounds: nothing
   * that can be reached, and all that could be reached neither from the root
   * nor from an object that was committed since it began, as it is or was.
   */
  #notePacked(done: boolean): void {
    const { tid, objects } = this.#newest;
    using session = this.#storage.session();
    const left = new Map(objects);
    for (const oid of objects.keys()) {
      try {
        assertSame(session.load(oid), objects.get(oid)!.record, oid);
      } catch (error) {
        if (!(error instanceof ObjectNotFoundError)) throw error;
        left.delete(oid);
      }
    }
    const needed = reachable(this.#newest);
    for (const oid of needed) assert(left.has(oid), `#${oid} is lost`);
    if (done) {
      const since = this.#versions.slice(this.#packedFrom);
      const committed = since.slice(1).filter(({ by }) => by === "commit")
        .flatMap(({ changed }) => [...changed]);
      const kept = new Set(since.flatMap((version) => [
        ...reachable(version, committed),
      ]));
      for (const oid of left.keys()) {
        assert(kept.has(oid), `#${oid} is garbage, and still there`);
      }
    }
    this.#packs++;
    if (left.size === objects.size) {
      if (done) this.#oldest = this.#versions.length - 1;
      return;
    }
    const changed = new Set(objects.keys()).difference(new Set(left.keys()));
    this.#versions.push({ tid, objects: left, changed, by: "pack" });
    this.#oldest = this.#versions.length - 1;
  }

  /** The storage was opened again. */
  #begin(storage: Storage): void {
    for (const participant of this.#participants) participant?.session.close();
    this.#participants = [];
    if (this.#packing !== undefined) {
      const packing = this.#packing;
      assertThrows(() => packing.next(), StorageClosedError);
      this.#packing = undefined;
      this.#oldest = this.#versions.length - 1;
    }
    this.#storage = storage;
    this.#lookAtEverything();
  }

  #lookAtEverything(): void {
    const fresh = this.#open(false);
    for (const participant of [...this.#participants, fresh]) {
      if (participant === undefined) continue;
      const most = Math.max(0, ...this.#given) + 2;
      for (let oid = 0; oid < most; oid++) this.#load(participant, oid);
    }
    fresh.session.close();
  }
}

function assertSame(
  found: Uint8Array | undefined,
  expected: Uint8Array | undefined,
  oid: Oid,
): void {
  const same = found === undefined || expected === undefined
    ? found === expected
    : found.length === expected.length &&
      found.every((byte, i) => byte === expected[i]);
  if (same) return;
  const decoder = new TextDecoder();
  const show = (bytes?: Uint8Array) =>
    bytes === undefined ? "nothing" : decoder.decode(bytes.subarray(12, 60));
  throw new Error(`#${oid}: ${show(found)}, not ${show(expected)}`);
}

const long = Deno.env.get("DHARA_TEST_LONG") !== undefined;

function model(
  name: string,
  runs: { ordinary: number; long: number; maxLength: number },
  make: () => Promise<Subject> | Subject,
): void {
  const numRuns = long ? runs.long : runs.ordinary;
  Deno.test(`${name} is as the model, ${numRuns} times`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, {
          minLength: 5,
          maxLength: runs.maxLength,
          size: "max",
        }),
        async (steps) => {
          const subject = await make();
          try {
            await new Trial(subject).run(steps);
          } finally {
            await subject.dispose();
          }
        },
      ),
      { numRuns },
    );
  });
}

model(
  "MemoryStorage",
  { ordinary: 300, long: 5000, maxLength: 80 },
  () => {
    const storage = new MemoryStorage();
    return { storage, dispose: () => storage.close() };
  },
);

function fileSubject(sync: boolean): Subject {
  const directory = Deno.makeTempDirSync();
  let path = `${directory}/0.dhara`;
  let crashes = 0;
  let storage = new FileStorage(path, { sync });
  return {
    history: true,
    storage,
    reopen() {
      storage.close();
      return storage = new FileStorage(path, { sync });
    },
    crash() {
      // What is in the file now is what is left when the process is killed.
      const copy = `${directory}/${++crashes}.dhara`;
      Deno.copyFileSync(path, copy);
      storage.close();
      return storage = new FileStorage(path = copy, { sync });
    },
    dispose() {
      storage.close();
      Deno.removeSync(directory, { recursive: true });
    },
  };
}

model(
  "FileStorage without sync",
  { ordinary: 200, long: 5000, maxLength: 80 },
  () => fileSubject(false),
);
model(
  "FileStorage",
  { ordinary: 30, long: 1000, maxLength: 80 },
  () => fileSubject(true),
);

model(
  "a client of FileStorage",
  { ordinary: 8, long: 150, maxLength: 50 },
  async () => {
    const directory = await Deno.makeTempDir();
    const file = `${directory}/test.dhara`;
    let server = await ServerWorker.start({ file });
    let client = new ClientStorage({ port: server.port });
    const waiting = (): Storage => ({
      features: client.features,
      session: () => client.session(),
      pack() {
        return packToEnd(this.packInSteps());
      },
      *packInSteps() {
        const packs = server.packs();
        for (const progress of client.packInSteps()) {
          server.waitForPack(packs);
          yield progress;
        }
      },
      close: () => client.close(),
      [Symbol.dispose]: () => client.close(),
    });
    return {
      remote: true,
      storage: waiting(),
      async reopen() {
        client.close();
        await server.stop();
        server = await ServerWorker.start({ file });
        client = new ClientStorage({ port: server.port });
        return waiting();
      },
      async dispose() {
        client.close();
        await server.stop();
        await Deno.remove(directory, { recursive: true });
      },
    };
  },
);
