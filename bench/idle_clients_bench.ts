/**
 * Measures what clients that stand idle cost a server while others make new
 * objects: `deno run -A bench/idle_clients_bench.ts [--clients 200] [--n
 * 500000] [--batch 5000] [--json]`.
 *
 * A server in a process of its own has that many clients that have greeted and
 * looked at the root, and say nothing more. Then one client makes that many
 * new objects, and the idle ones wake up. The same is done without idle
 * clients. The aims: at most 100 MB more, and no commit above 1 s.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { FileStorage, packRecord } from "@dhara/dhara";
import { int4, int8, join, transaction } from "../tests/support/raw_client.ts";
import { type ServerProcess, startServer } from "./server_process.ts";

const { values: args } = parseArgs({
  args: Deno.args,
  options: {
    clients: { type: "string", default: "200" },
    n: { type: "string", default: "500000" },
    batch: { type: "string", default: "5000" },
    json: { type: "boolean" },
  },
});
const [clients, n, batch] = [args["clients"], args["n"], args["batch"]]
  .map(Number) as [number, number, number];
if (![clients, n, batch].every((x) => Number.isSafeInteger(x) && x > 0)) {
  console.error(
    "Cannot measure: --clients, --n and --batch must be integers of 1 or more",
  );
  Deno.exit(2);
}

/** One connection, with nothing of Dhara's own client. */
class Socket {
  #conn: Deno.TcpConn;

  private constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
  }

  static async connect({ port }: ServerProcess): Promise<Socket> {
    const socket = new Socket(await Deno.connect({ port }));
    await socket.send(join("V", int4(1)));
    await socket.read(4);
    return socket;
  }

  async send(bytes: Uint8Array): Promise<void> {
    for (let sent = 0; sent < bytes.length;) {
      sent += await this.#conn.write(bytes.subarray(sent));
    }
  }

  async read(count: number): Promise<DataView> {
    const bytes = new Uint8Array(count);
    for (let at = 0; at < count;) {
      const more = await this.#conn.read(bytes.subarray(at));
      if (more === null) throw new Error("The server closed the connection");
      at += more;
    }
    return new DataView(bytes.buffer);
  }

  async load(oid: number): Promise<Uint8Array> {
    await this.send(join("L", int8(oid)));
    const status = (await this.read(1)).getUint8(0);
    if (status !== 0x4f) throw new Error(`#${oid} was answered with ${status}`);
    const { buffer } = await this.read((await this.read(4)).getUint32(0));
    return new Uint8Array(buffer);
  }

  async sync(): Promise<number> {
    await this.send(join("S"));
    const count = (await this.read(4)).getUint32(0);
    await this.read(8 * count);
    return count;
  }

  async allocate(count: number): Promise<number[]> {
    const oids: number[] = [];
    for (let left = count; left > 0; left -= 255) {
      const some = Math.min(left, 255);
      await this.send(join("M", [some]));
      const numbers = await this.read(8 * some);
      for (let i = 0; i < some; i++) {
        oids.push(Number(numbers.getBigUint64(8 * i)));
      }
    }
    return oids;
  }

  async commit(records: [number, Uint8Array][]): Promise<void> {
    await this.send(join("C"));
    await this.read(8 * (await this.read(4)).getUint32(0));
    await this.send(transaction(...records));
    const status = (await this.read(1)).getUint8(0);
    if (status !== 0x4f) throw new Error(`It answered ${status}`);
  }

  close(): void {
    this.#conn.close();
  }
}

/** Memory of a process in MB: now, and the most so far. */
function memory(pid: number): { now: number; peak: number } {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  const mb = (name: string) =>
    Number(status.match(new RegExp(`${name}:\\s+(\\d+)`))![1]) / 1024;
  return { now: mb("VmRSS"), peak: mb("VmHWM") };
}

/** How many files of a process are open and have no name any more. */
function deletedFiles(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].filter(({ name }) =>
    Deno.readLinkSync(`/proc/${pid}/fd/${name}`).endsWith(" (deleted)")
  ).length;
}

async function measure(count: number) {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/bench.dhara`;
    {
      using storage = new FileStorage(path);
      using session = storage.session();
      session.allocate(1);
      session.commit([[0, packRecord(0, new Uint8Array(10), [])]]);
    }
    await using server = await startServer(path);
    const idle: Socket[] = [];
    while (idle.length < count) {
      const socket = await Socket.connect(server);
      await socket.load(0);
      idle.push(socket);
    }
    const busy = await Socket.connect(server);
    const data = new Uint8Array(100);
    let longest = 0;
    let sum = 0;
    let commits = 0;
    for (let made = 0; made < n; made += batch) {
      const oids = await busy.allocate(Math.min(batch, n - made));
      const records = oids.map((oid): [number, Uint8Array] => [
        oid,
        packRecord(oid, data, []),
      ]);
      const began = performance.now();
      await busy.commit(records);
      const wait = performance.now() - began;
      longest = Math.max(longest, wait);
      sum += wait;
      commits++;
    }
    const after = memory(server.pid);
    const packBegan = performance.now();
    // Nothing refers to the objects: all of them are removed.
    await busy.send(join("P"));
    await busy.read(1);
    const { ino } = Deno.statSync(path);
    while (Deno.statSync(path).ino === ino) {
      await busy.load(0);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const pack = performance.now() - packBegan;
    const pinned = deletedFiles(server.pid);
    const wakeBegan = performance.now();
    let told = 0;
    for (const socket of idle) {
      await socket.load(0);
      told = await socket.sync();
    }
    const wake = (performance.now() - wakeBegan) / Math.max(1, count);
    const end = memory(server.pid);
    for (const socket of [...idle, busy]) socket.close();
    return {
      idle_clients: count,
      commits,
      objects_a_commit: batch,
      commit_ms_mean: sum / commits,
      commit_ms_longest: longest,
      server_mb_now: after.now,
      server_mb_peak: after.peak,
      pack_ms: pack,
      replaced_files_kept: pinned,
      wake_up_ms_a_client: wake,
      told_a_client: told,
      server_mb_peak_in_the_end: end.peak,
    };
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const without = await measure(0);
const with_ = await measure(clients);
if (args["json"]) {
  console.log(JSON.stringify({ without, with: with_ }));
} else {
  for (const [name, value] of Object.entries(without)) {
    const show = (value: number) =>
      (Number.isInteger(value) ? `${value}` : value.toFixed(1)).padStart(12);
    console.log(
      name.padEnd(28) + show(value) + show(with_[name as keyof typeof with_]),
    );
  }
  const more = with_.server_mb_peak_in_the_end -
    without.server_mb_peak_in_the_end;
  console.log(`server_mb_more              ${more.toFixed(1).padStart(24)}`);
}
