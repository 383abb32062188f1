/**
 * Measures how commits get in each other's way through a server, ours and
 * Durus' in one run, both with Durus' own clients:
 *
 *     DHARA_PYTHON=python deno run -A bench/contention_bench.ts [--clients 64] [--seconds 5] [--only NAME]
 *
 * It prints attempts for each commit, commits in a second, and the longest that
 * a commit took. `own`: each client changes only its own object. `large`: one
 * client commits 10 MB at once beside four that commit little; `shared`: all
 * have loaded the same objects, and the four change any of them. Durus' server does not sync. Ours does where
 * nothing else is said; `unsynced` is ours without.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { FileStorage } from "@dhara/dhara";
import { StorageServer } from "@dhara/dhara/server";

interface Result {
  commits: number;
  attempts: number;
  longest: number;
  seconds: number;
  errors: string[];
}

interface Server {
  readonly address: string;
  stop(): Promise<void>;
}

const PYTHON = Deno.env.get("DHARA_PYTHON") || "python3";
const SCRIPT = pathOf("./contention_clients.py");
const { values: args } = parseArgs({
  options: {
    clients: { type: "string", default: "64" },
    seconds: { type: "string", default: "5" },
    only: { type: "string" },
    serve: { type: "string" },
    unsynced: { type: "boolean" },
  },
});
const clients = Number(args.clients);
const seconds = Number(args.seconds);
const PROCESSES = 4;

function pathOf(relative: string): string {
  return decodeURIComponent(new URL(relative, import.meta.url).pathname);
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Reads what a process prints, line by line. */
function lines(process: Deno.ChildProcess): () => Promise<string> {
  const reader = process.stdout.pipeThrough(new TextDecoderStream())
    .getReader();
  let text = "";
  return async () => {
    while (!text.includes("\n")) {
      const { value, done } = await reader.read();
      if (done) throw new Error("A process ended early");
      text += value;
    }
    const end = text.indexOf("\n");
    const line = text.slice(0, end);
    text = text.slice(end + 1);
    return line;
  };
}

async function ours(file: string, sync: boolean): Promise<Server> {
  const map = import.meta.resolve("@std/assert").startsWith("jsr:")
    ? []
    : [`--import-map=${import.meta.resolve("../tools/registry/npm.json")}`];
  const process = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-q", "-A", ...map, pathOf("./contention_bench.ts")],
      ...["--serve", file, ...(sync ? [] : ["--unsynced"])],
    ],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  return {
    address: await lines(process)(),
    async stop() {
      process.kill("SIGKILL");
      await process.status;
    },
  };
}

async function durus(file: string): Promise<Server> {
  const address = `127.0.0.1:${freePort()}`;
  const process = new Deno.Command(PYTHON, {
    args: [
      ...["-m", "durus", "-s", "--file", file],
      ...["--port", address.split(":")[1]!],
    ],
    stdout: "null",
    stderr: "null",
  }).spawn();
  for (let tries = 0;; tries++) {
    try {
      const [hostname, port] = address.split(":");
      (await Deno.connect({ hostname: hostname!, port: Number(port) })).close();
      break;
    } catch (error) {
      if (tries === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  return {
    address,
    async stop() {
      process.kill("SIGKILL");
      await process.status;
    },
  };
}

/** Runs groups of clients at the same time; each answers its result. */
async function play(address: string, groups: string[][]): Promise<Result[]> {
  const processes = groups.map((group) =>
    new Deno.Command(PYTHON, {
      args: [SCRIPT, address, ...group],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn()
  );
  const outputs = processes.map(lines);
  for (const line of outputs) await line();
  return await Promise.all(processes.map(async (process, i) => {
    const writer = process.stdin.getWriter();
    await writer.write(new TextEncoder().encode("\n"));
    await writer.close();
    return JSON.parse(await outputs[i]!()) as Result;
  }));
}

function sum(results: Result[]): Result {
  return {
    commits: results.reduce((n, r) => n + r.commits, 0),
    attempts: results.reduce((n, r) => n + r.attempts, 0),
    longest: Math.max(...results.map((r) => r.longest)),
    seconds: Math.max(...results.map((r) => r.seconds)),
    errors: results.flatMap((r) => r.errors),
  };
}

function print(what: string, server: string, result: Result): void {
  const { commits, attempts, longest, seconds, errors } = result;
  console.log(
    [
      what.padEnd(28),
      server.padEnd(16),
      `${(attempts / commits).toFixed(2)} attempts`,
      `${(commits / seconds).toFixed(0)} commits/s`,
      `longest ${(longest * 1000).toFixed(0)} ms`,
      ...new Set(errors),
    ].join("  "),
  );
}

async function measure(name: string, server: Server): Promise<void> {
  const { address } = server;
  const { success } = await new Deno.Command(PYTHON, {
    args: [SCRIPT, address, "setup", String(clients)],
  }).output();
  if (!success) throw new Error(`Cannot prepare ${name}`);
  if (!args.only || args.only === "own") {
    const each = Math.ceil(clients / PROCESSES);
    const groups = Array.from({ length: PROCESSES }, (_, i) => [
      ...["own", String(i * each)],
      ...[String(Math.min(each, clients - i * each)), String(seconds)],
    ]);
    print(`${clients} own`, name, sum(await play(address, groups)));
  }
  for (const shared of ["0", "1"]) {
    if (args.only && args.only !== "large") continue;
    const [large, small] = await play(address, [
      ["large", "10", shared],
      ["small", "0", "4", String(seconds), shared],
    ]);
    const what = shared === "1" ? " (shared)" : "";
    print(`10 MB beside four${what}`, name, large!);
    print(`four beside 10 MB${what}`, name, small!);
  }
}

async function main(): Promise<void> {
  const directory = Deno.makeTempDirSync();
  try {
    const kinds: [string, () => Promise<Server>][] = [
      ["Durus", () => durus(`${directory}/durus.durus`)],
      ["Dhara", () => ours(`${directory}/synced.dhara`, true)],
      ["Dhara unsynced", () => ours(`${directory}/unsynced.dhara`, false)],
    ];
    for (const [name, start] of kinds) {
      const server = await start();
      try {
        await measure(name, server);
      } finally {
        await server.stop();
      }
    }
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

if (args.serve) {
  const storage = new FileStorage(args.serve, { sync: !args.unsynced });
  const server = new StorageServer({
    storage,
    port: 0,
    log: (level, message) => level === "error" && console.error(message),
  });
  await server.listen();
  console.log(server.name);
} else {
  await main();
}
