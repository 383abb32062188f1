/** A small object store in a thread of its own: it keeps objects, and makes new ones only if it is told so. */
const objects = new Map<string, Uint8Array<ArrayBuffer>>();

// What the thread sees of itself; the types are those of the main thread.
const self = globalThis as unknown as Worker;

const server = Deno.serve(
  { hostname: "127.0.0.1", port: 0, onListen() {} },
  async (request) => {
    const { pathname } = new URL(request.url);
    if (request.method === "GET") {
      const bytes = objects.get(pathname);
      return bytes === undefined
        ? new Response(null, { status: 404 })
        : new Response(bytes);
    }
    const bytes = new Uint8Array(await request.arrayBuffer());
    const isNew = request.headers.get("if-none-match") === "*";
    if (isNew && objects.has(pathname)) {
      return new Response(null, { status: 412 });
    }
    objects.set(pathname, bytes);
    return new Response(null, { status: 201 });
  },
);

self.postMessage(server.addr.port);
