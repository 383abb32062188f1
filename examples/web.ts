/**
 * A guest book on the web, whose entries are in the storage of a server. It
 * outlives that server, which may be killed and started again at any time:
 *
 * ```sh
 * deno task serve                                             # the storage server, at port 2972
 * deno run --allow-net examples/web.ts [PORT [STORAGE_PORT]]  # this program, at port 8000
 * curl localhost:8000 --data "Hello"                          # writes an entry
 * curl localhost:8000                                         # reads all of them
 * ```
 *
 * @module
 */
import {
  ClientStorage,
  Connection,
  PersistentList,
  ServerUnavailableError,
} from "@dhara/dhara";

/** What the client got wrong. */
class BadRequest extends Error {}

const [port = "8000", storagePort = "2972"] = Deno.args;
using storage = new ClientStorage({
  port: Number(storagePort),
  // While it waits, nobody gets an answer.
  reconnect: 2000,
});
using connection = new Connection(storage);

/** Answers one request, in one transaction. */
function answer(method: string, text: string): Response {
  const { root } = connection;
  const entries: PersistentList<string> = root["guestbook"] ??=
    new PersistentList();
  if (method === "GET") return Response.json([...entries]);
  entries.push(text);
  // Whoever throws leaves nothing behind, not even what was done before.
  if (text === "") throw new BadRequest("An entry must not be empty");
  return Response.json(entries.length, { status: 201 });
}

const server = Deno.serve(
  {
    hostname: "127.0.0.1",
    port: Number(port),
    onListen: ({ port }) => console.log(`Ready on http://127.0.0.1:${port}`),
  },
  async (request) => {
    // What takes time comes before the transaction, which nothing interrupts.
    const text = await request.text();
    try {
      return connection.transact(() => answer(request.method, text));
    } catch (error) {
      if (error instanceof BadRequest) {
        return new Response(error.message, { status: 400 });
      }
      if (error instanceof ServerUnavailableError) {
        console.error(error.message);
        return new Response("The database is away", { status: 503 });
      }
      throw error;
    }
  },
);
const stop = () => void server.shutdown();
Deno.addSignalListener("SIGTERM", stop);

// The end of the module closes what `using` has opened: not before the server has ended.
await server.finished;
Deno.removeSignalListener("SIGTERM", stop);
