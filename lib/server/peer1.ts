/**
 * Protocol 1, which Durus' clients speak: one client's requests, answered from
 * its session. `docs/protocol.md` describes it.
 *
 * @module
 */
import { viewOf } from "../serialize/bytes.ts";
import {
  ObjectNotFoundError,
  ProtocolError,
  ReadConflictError,
  StorageError,
} from "../errors.ts";
import {
  type Oid,
  readOid,
  type Records,
  ROOT_OID,
} from "../serialize/record.ts";
import { OidSet } from "../storage/oid_set.ts";
import type { CommitResult, Session, Storage } from "../storage/storage.ts";
import type { Channel } from "./channel.ts";
import { KnownObjects } from "./known_objects.ts";
import type { Limits } from "./limits.ts";
import type { Room } from "./room.ts";
import { askedTid, encodeServed } from "../protocol/identity.ts";
import { Command, PROTOCOL_1, Status } from "../protocol/protocol1.ts";
import { parseTransaction } from "../protocol/transaction.ts";
import type { Turns } from "./turns.ts";
import type { UnusedOids } from "./unused_oids.ts";

/** What the clients of a server have in common. */
export interface Shared {
  readonly storage: Storage;
  readonly limits: Limits;
  readonly unused: UnusedOids<Peer1>;
  readonly turns: Turns<Peer1>;
  readonly room: Room<Peer1>;
  readonly allowQuit: boolean;
  /** Whether the server is stopping: no further requests are taken. */
  readonly stopping: boolean;
  /** Begins to pack, unless that is under way; returns false if it cannot. */
  pack(): boolean;
  /** Begins to stop the server. */
  quit(): void;
  /** Notes a commit of so many objects and bytes. */
  committed(client: Peer1, objects: number, bytes: number): void;
  /** Notes that a client was told no, and why. */
  refused(client: Peer1, why: string): void;
}

/** How long a long answer may go on before other clients get their turn, in milliseconds. */
const TURN = 10;

/** Requests and answers of so many bytes need no room of their own: the client's buffers are as long. */
const SMALL = 64 * 1024;

/**
 * How long a client may keep the others waiting without a sign of life, in
 * milliseconds: for its commit, for room in memory, for the end of the server.
 */
const PATIENCE = 1000;

/** One client of a server. */
export class Peer1 {
  /** Whether a request has begun whose answer is not sent yet. */
  busy = false;
  /** The client's address, for the log. */
  readonly name: string;
  #shared: Shared;
  #channel: Channel;
  #trusted: boolean;
  #session: Session;
  #known = new KnownObjects();
  /** What others have changed and this client, which does not know it, was not told yet. */
  #untold = new Set<Oid>();
  #greeted = false;
  #connected = performance.now();
  /** Whether its last commit was refused for what others did meanwhile, so that the next one gets a turn. */
  #wasRefused = false;
  /** Whether it has kept others waiting in vain, and gets no more turns until it has committed. */
  #wastesTurns = false;

  /**
   * Makes the client that sits at the other end of a channel. Whoever is not
   * `trusted` must greet before it may stop the server.
   */
  constructor(
    name: string,
    channel: Channel,
    shared: Shared,
    trusted = false,
  ) {
    this.name = name;
    this.#trusted = trusted;
    this.#channel = channel;
    this.#shared = shared;
    // A client that stands idle must not keep what a pack has dropped.
    this.#session = shared.storage.session({ letsGo: true });
  }

  /**
   * Answers requests until the client ends, or the server stops.
   *
   * @throws {ProtocolError} and whatever the storage throws; nothing of the request was done then.
   */
  async serve(): Promise<void> {
    try {
      for (;;) {
        // Answers go out before the client counts as idle, and is cut off by a stop.
        if (this.#channel.available === 0 || this.#shared.stopping) {
          await this.#channel.flush();
        }
        if (this.#shared.stopping) return;
        this.busy = false;
        const command = await this.#channel.readByte();
        if (command === undefined) return;
        this.busy = true;
        this.#channel.begin();
        if (!await this.#answer(command)) return await this.#channel.flush();
      }
    } catch (error) {
      // The requests before this one were fine, and are answered.
      await this.#channel.flush().catch(() => {});
      throw error;
    } finally {
      this.busy = false;
      this.#shared.turns.end(this);
      this.#shared.room.giveBack(this);
      this.#shared.unused.release(this);
      this.#session.close();
    }
  }

  /**
   * Looks whether the client takes too long, and takes its turn away if others
   * wait for it in vain. Returns why it is to be cut off, if it is.
   */
  look(now: number): string | undefined {
    const { limits, turns, room } = this.#shared;
    const stalled = this.#channel.stalledFor(now);
    if (!this.#channel.hasAnswered && now - this.#connected > limits.greeting) {
      return `it asked for nothing within ${seconds(limits.greeting)}`;
    }
    if (!this.busy) {
      return stalled > limits.idle
        ? `it asked for nothing for ${seconds(limits.idle)}`
        : undefined;
    }
    if (stalled > limits.stall) {
      return `it stalled for ${
        seconds(limits.stall)
      } in the middle of a request or its answer`;
    }
    if (stalled <= PATIENCE) return undefined;
    if (room.wanted && room.isHeldBy(this)) {
      return "it stalled in the middle of a long request or answer, and others need the memory";
    }
    if (this.#shared.stopping) return "it stalled, and the server stops";
    if (turns.isAwaited(this)) {
      this.#wastesTurns = true;
      turns.end(this);
    }
    return undefined;
  }

  /** Answers one request; returns whether to go on. */
  async #answer(command: number): Promise<boolean> {
    switch (command) {
      case Command.load:
        await this.#loadOrTell(await this.#channel.read(8));
        return true;
      case Command.loadMany:
        await this.#loadMany();
        return true;
      case Command.newOid:
        await this.#allocate(1);
        return true;
      case Command.newOids:
        await this.#allocate((await this.#channel.read(1))[0]!);
        return true;
      case Command.sync:
        await this.#sync();
        return true;
      case Command.commit:
        await this.#commit();
        return true;
      case Command.pack:
        // A web page can make a browser send "POST ..." here, and a pack drops history.
        if (!this.#greeted) {
          throw new ProtocolError("Cannot pack: the client did not greet");
        }
        this.#channel.putByte(
          this.#shared.pack() ? Status.okay : Status.invalid,
        );
        return true;
      case Command.version:
        return await this.#greet();
      case Command.quit:
        if (!this.#shared.allowQuit) {
          throw new ProtocolError(
            "Cannot stop the server for a client: it was told not to",
          );
        }
        if (!this.#greeted && !this.#trusted) {
          throw new ProtocolError(
            "Cannot stop the server for a client: it did not greet",
          );
        }
        this.#shared.quit();
        return false;
      case Command.end:
        return false;
      default:
        throw new ProtocolError(
          `Cannot answer the client: there is no command ${
            JSON.stringify(String.fromCharCode(command))
          }`,
        );
    }
  }

  async #greet(): Promise<boolean> {
    const theirs = viewOf(await this.#channel.read(4)).getUint32(0);
    this.#channel.putUint32(PROTOCOL_1);
    if (theirs !== PROTOCOL_1) {
      throw new ProtocolError(
        `Cannot serve the client: it speaks protocol ${theirs}, not ${PROTOCOL_1}`,
      );
    }
    this.#greeted = true;
    return true;
  }

  async #allocate(count: number): Promise<void> {
    const { unused, limits } = this.#shared;
    if (unused.count(this) + count > limits.unusedOids) {
      throw new ProtocolError(
        `Cannot give the client numbers: it holds ${
          unused.count(this)
        } unused ones`,
      );
    }
    if (!unused.allows(this, count)) {
      throw new ProtocolError(
        `Cannot give the client numbers: it holds ${
          unused.count(this)
        } unused ones, and all clients together too many`,
      );
    }
    const oids = unused.hand(this, count, (n) => this.#session.allocate(n));
    for (const oid of oids) this.#channel.putOid(oid);
    if (this.#channel.full) await this.#channel.flush();
  }

  async #sync(): Promise<void> {
    let oids = this.#session.sync();
    // The protocol has no word for it; a client that connects again holds nothing.
    if (oids === "everything" || oids === "replaced") {
      throw new ProtocolError(
        "Cannot tell the client what has changed: the storage does not know",
      );
    }
    if (this.#untold.size > 0) {
      for (const oid of oids) this.#untold.add(oid);
      oids = [...this.#untold];
      this.#untold.clear();
    }
    const length = 8 * oids.length;
    if (length > SMALL && !this.#shared.room.tryTake(this, length)) {
      // Many may wait at the same time, so what waits must be small.
      const waiting = new OidSet();
      for (const oid of oids) waiting.add(oid);
      oids = [];
      await this.#shared.room.take(this, length);
      oids = [...waiting];
    }
    this.#channel.putUint32(oids.length);
    for (const oid of oids) {
      this.#known.forget(oid);
      this.#channel.putOid(oid);
      if (this.#channel.full) await this.#channel.flush();
    }
    if (length > SMALL) this.#shared.room.giveBack(this);
  }

  /** Loads an object, or tells which database it is: there is no other request to ask that. */
  async #loadOrTell(bytes: Uint8Array): Promise<void> {
    const tid = askedTid(bytes);
    if (tid === undefined) return await this.#load(readOid(viewOf(bytes), 0));
    const { storage } = this.#shared;
    const { identity } = storage;
    if (identity === undefined) {
      this.#channel.putByte(Status.unknown);
    } else {
      // Before anything waits: the bytes are the channel's.
      const record = encodeServed(bytes, {
        identity,
        tid: this.#session.tid,
        known: storage.knows?.(tid) ?? tid <= this.#session.tid,
      });
      this.#channel.putByte(Status.okay);
      this.#channel.putUint32(record.length);
      await this.#channel.put(record);
    }
    if (this.#channel.full) await this.#channel.flush();
  }

  async #load(oid: Oid): Promise<void> {
    const { room } = this.#shared;
    let record: Uint8Array | undefined;
    try {
      if (room.isTight) {
        // To load it and then let it go until there is room would need the room.
        const length = this.#session.length(oid);
        if (length > SMALL) await room.take(this, length);
      }
      record = this.#session.load(oid);
      const { length } = record;
      if (
        length > SMALL && !room.isHeldBy(this) && !room.tryTake(this, length)
      ) {
        record = undefined;
        await room.take(this, length);
        record = this.#session.load(oid);
      }
    } catch (error) {
      room.giveBack(this);
      this.#channel.putByte(this.#statusOf(oid, error));
      if (this.#channel.full) await this.#channel.flush();
      return;
    }
    this.#known.add(oid);
    // What the client is sent is newer than the change that it was not told.
    if (this.#untold.size > 0) this.#untold.delete(oid);
    this.#channel.putByte(Status.okay);
    this.#channel.putUint32(record.length);
    await this.#channel.put(record);
    if (record.length > SMALL) room.giveBack(this);
  }

  #statusOf(oid: Oid, error: unknown): number {
    if (error instanceof ReadConflictError) return Status.invalid;
    if (!(error instanceof ObjectNotFoundError)) throw error;
    // It may be newer than the snapshot: then the client must sync first, and
    // not be told that there is no such object, which for the root would mean
    // that the database is new.
    using newest = this.#shared.storage.session();
    if (newest.has(oid)) return Status.invalid;
    this.#known.addAbsent(oid);
    return Status.unknown;
  }

  async #loadMany(): Promise<void> {
    const count = viewOf(await this.#channel.read(4)).getUint32(0);
    const most = this.#shared.limits.loadMany;
    if (count > most) {
      throw new ProtocolError(
        `Cannot load ${count} objects at once: ${most} are the most`,
      );
    }
    // Read all of it before the first answer: the client does not read answers while it sends.
    const oids = viewOf(await this.#readLarge(8 * count));
    let turn = Date.now();
    for (let i = 0; i < count; i++) {
      await this.#load(readOid(oids, 8 * i));
      if (i % 100 === 99 && Date.now() - turn > TURN) {
        await this.#channel.flush();
        await new Promise((resolve) => setTimeout(resolve, 0));
        turn = Date.now();
      }
    }
  }

  /** Reads many bytes, when there is room for them. They keep it no longer than until they are here. */
  async #readLarge(count: number): Promise<Uint8Array> {
    if (count <= SMALL) return await this.#channel.readLarge(count);
    await this.#channel.flush();
    await this.#shared.room.take(this, count);
    try {
      return await this.#channel.readLarge(count);
    } finally {
      this.#shared.room.giveBack(this);
    }
  }

  async #commit(): Promise<void> {
    const { turns } = this.#shared;
    const withTurn = this.#wasRefused && !this.#wastesTurns;
    this.#wasRefused = false;
    // The answers to what came before need not wait.
    if (withTurn || turns.wanted) await this.#channel.flush();
    await turns.begin(this, withTurn);
    await this.#sync();
    await this.#channel.flush();
    const length = viewOf(await this.#channel.read(4)).getUint32(0);
    if (length > 0) this.#channel.putByte(await this.#receiveCommit(length));
    turns.end(this);
  }

  /** Takes the bytes of a commit; returns the answer. */
  async #receiveCommit(length: number): Promise<number> {
    const most = this.#shared.limits.transactionBytes;
    if (length > most) {
      throw new ProtocolError(
        `Cannot take the commit: it has ${length} bytes, ${most} are the most`,
      );
    }
    const records = parseTransaction(await this.#readLarge(length));
    this.#checkOids(records.keys());
    const result = this.#store(records);
    if (result === undefined) return Status.invalid;
    if ("invalid" in result) {
      // The list is not lost: the snapshot did not move, so the next sync() has it.
      this.#wasRefused = true;
      return Status.invalid;
    }
    this.#wastesTurns = false;
    for (const oid of result.changed) this.#untold.add(oid);
    for (const oid of records.keys()) this.#known.add(oid);
    this.#shared.unused.use(this, records.keys());
    this.#shared.committed(this, records.size, length);
    return Status.okay;
  }

  /** Stores records; returns nothing if the storage does not take them. */
  #store(records: Records): CommitResult | undefined {
    try {
      return this.#session.commit(records, {
        accessed: (oid) => this.#known.has(oid) || records.has(oid),
      });
    } catch (error) {
      // With a cause, it is something below that failed: nobody knows how it
      // ended, so nobody must be told that nothing was stored.
      if (!(error instanceof StorageError) || error.cause !== undefined) {
        throw error;
      }
      this.#shared.refused(this, error.message);
      return undefined;
    }
  }

  /** Makes sure that each object is either the client's own new one, or exists. */
  #checkOids(oids: Iterable<Oid>): void {
    const { unused } = this.#shared;
    for (const oid of oids) {
      if (unused.holds(this, oid)) continue;
      const held = unused.isHeld(oid);
      const exists = mayExist(this.#session, oid);
      if (!held && exists) continue;
      // Whoever comes first makes the root; the others have a conflict then.
      if (oid === ROOT_OID && !exists) continue;
      throw new ProtocolError(
        held
          ? `Cannot take the commit: another client was given the number #${oid}`
          : `Cannot take the commit: nobody was given the number #${oid}`,
      );
    }
  }
}

function seconds(milliseconds: number): string {
  return `${milliseconds / 1000} seconds`;
}

/** Whether a session has an object, or had one which it is told of as changed. */
function mayExist(session: Session, oid: Oid): boolean {
  try {
    return session.has(oid);
  } catch (error) {
    if (error instanceof ReadConflictError) return true;
    throw error;
  }
}
