/** Runs the `dhara` command in processes of its own, as a user would. */
import { assert } from "@std/assert";

/** The option that tells Deno where the packages are, if it needs one. */
export const MAP: readonly string[] =
  import.meta.resolve("@std/assert").startsWith("jsr:")
    ? []
    : [`--import-map=${import.meta.resolve("../../tools/registry/npm.json")}`];

/** What Deno must be told to run the command. */
export const DHARA = [
  "run",
  "-q",
  "-A",
  "--no-check",
  ...MAP,
  import.meta.resolve("../../cli.ts"),
];

/** How a process ended, and what it had to say. */
export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** A process whose output can be read as it comes. */
export class Running {
  stdout = "";
  stderr = "";
  #process: Deno.ChildProcess;
  #input: WritableStreamDefaultWriter<Uint8Array>;
  #done: Promise<unknown>;
  #changed = Promise.withResolvers<void>();

  /** Starts `dhara` with the arguments, or another program. */
  constructor(
    args: string[],
    options: Partial<Deno.CommandOptions> = {},
    program?: string,
  ) {
    this.#process = new Deno.Command(program ?? Deno.execPath(), {
      ...options,
      args: program ? args : [...DHARA, ...args],
      env: { NO_COLOR: "1", DHARA_HISTORY: "", ...options.env },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#done = Promise.all([
      this.#collect("stdout"),
      this.#collect("stderr"),
    ]);
  }

  async #collect(name: "stdout" | "stderr") {
    const stream = this.#process[name].pipeThrough(new TextDecoderStream());
    for await (const text of stream) {
      this[name] += text;
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
    }
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Waits until the output has the text, and fails if it ends without it. */
  async until(text: string, name: "stdout" | "stderr" = "stdout") {
    let ended = false;
    this.#done.then(() => ended = true);
    while (!this[name].includes(text)) {
      assert(
        !ended,
        `It ended without saying ${text}: ${this.stdout}${this.stderr}`,
      );
      await Promise.race([this.#changed.promise, this.#done]);
    }
  }

  /** Types text, or a line of it. */
  async type(text: string) {
    await this.#input.write(new TextEncoder().encode(text));
  }

  signal(signal: Deno.Signal) {
    this.#process.kill(signal);
  }

  /** Ends the input and waits for the end of the process. */
  async end(): Promise<Outcome> {
    await this.#input.close().catch(() => {});
    const { code } = await this.#process.status;
    await this.#done;
    return { code, stdout: this.stdout, stderr: this.stderr };
  }

  /** Ends the process with a signal and waits. */
  stop(signal: Deno.Signal = "SIGINT"): Promise<Outcome> {
    this.signal(signal);
    return this.end();
  }
}

/** Runs a command to its end. */
export async function dhara(
  args: string[],
  options: Partial<Deno.CommandOptions> & { input?: string } = {},
): Promise<Outcome> {
  const { input, ...rest } = options;
  const running = new Running(args, rest);
  if (input !== undefined) await running.type(input).catch(() => {});
  return await running.end();
}

/** Starts a server on a free port and waits until it is ready. */
export async function startServer(
  args: string[],
  options: Partial<Deno.CommandOptions> = {},
): Promise<{ server: Running; port: string }> {
  const place = args.includes("--address") ? [] : ["--port", "0"];
  const server = new Running(["db", "start", ...place, ...args], options);
  await server.until(", serving ");
  return { server, port: /:(\d+),/.exec(server.stdout)?.[1] ?? "" };
}

/** Runs work with a directory that goes away afterwards. */
export async function inDirectory(work: (path: string) => Promise<void>) {
  const path = await Deno.makeTempDir({ prefix: "dhara-test-" });
  try {
    await work(path);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}
