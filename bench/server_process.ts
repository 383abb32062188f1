/** A server in a process of its own. */
export interface ServerProcess extends AsyncDisposable {
  /** Where it listens, on 127.0.0.1. */
  readonly port: number;
  /** The process' number. */
  readonly pid: number;
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Starts a server on a file and waits until it is ready. */
export async function startServer(path: string): Promise<ServerProcess> {
  const port = freePort();
  // Where the packages come from the npm import map, they do there, too.
  const map = import.meta.resolve("@std/assert").startsWith("jsr:")
    ? []
    : [`--import-map=${import.meta.resolve("../tools/registry/npm.json")}`];
  const cli = decodeURIComponent(
    new URL("../cli.ts", import.meta.url).pathname,
  );
  const process = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-q", "-A", ...map, cli, "db", "start"],
      ...["--file", path, "--port", String(port)],
    ],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = process.stdout.getReader();
  const { done } = await reader.read(); // It prints one line when it is ready.
  if (done) throw new Error("The server did not start");
  return {
    port,
    pid: process.pid,
    async [Symbol.asyncDispose]() {
      await reader.cancel();
      process.kill("SIGTERM");
      await process.status;
    },
  };
}
