/** Processes that are killed while they pack. */
import { assert, assertEquals } from "@std/assert";
import {
  type Oid,
  packRecord,
  recordData,
  recordReferences,
} from "../../lib/serialize/record.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";
import type { Session } from "../../lib/storage/storage.ts";
import { store } from "../../lib/testing/records.ts";

const long = Deno.env.get("DHARA_TEST_LONG") !== undefined;

const IMPORT_MAP = import.meta.resolve("@std/assert").startsWith("jsr:")
  ? []
  : [`--import-map=${import.meta.resolve("../../tools/registry/npm.json")}`];

function pathOf(name: string): string {
  return decodeURIComponent(new URL(name, import.meta.url).pathname);
}

/** Starts a program, and collects its lines. */
function start(
  script: string,
  args: string[],
  onLine: (line: string) => void = () => {},
) {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", "--no-check", ...IMPORT_MAP, script, ...args],
    stdout: "piped",
    // A client says that its server is gone.
    stderr: "null",
  }).spawn();
  const lines: string[] = [];
  const reading = (async () => {
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) {
      const more = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      // The last line may be cut.
      rest = more.pop()!;
      for (const line of more) {
        lines.push(line);
        onLine(line);
      }
    }
  })();
  return {
    lines,
    kill() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It is dead already.
      }
    },
    async ended() {
      await reading;
      await child.status;
    },
  };
}

function numberIn(session: Session, oid: Oid): number {
  const data = recordData(session.load(oid));
  return new DataView(data.buffer, data.byteOffset).getUint32(0);
}

async function withPath(run: (path: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await run(`${directory}/test.dhara`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const rounds = long ? 100 : 6;

Deno.test(`a packing process that is killed loses nothing, ${rounds} times`, () =>
  withPath(async (path) => {
    let last = 0;
    let packs = 0;
    let inPack = 0;
    for (let round = 0; round < rounds; round++) {
      const most = 1 + Math.floor(Math.random() * 60);
      const program = start(pathOf("../support/packer.ts"), [path], () => {
        if (program.lines.length >= most) program.kill();
      });
      await program.ended();
      const { lines } = program;
      packs += lines.filter((line) => line === "packed").length;
      const numbers = lines.filter((line) => line !== "packed").map(Number);
      last = Math.max(last, ...numbers);
      try {
        Deno.statSync(`${path}.pack`);
        inPack++;
      } catch {
        // It was between two packs.
      }
      using storage = new FileStorage(path);
      using session = storage.session();
      const count = numberIn(session, 0);
      // One more may be there, which there was no time to print.
      assert(count === last || count === last + 1, `${count}, not ${last}`);
      const references = recordReferences(session.load(0));
      assertEquals(references.length, 4001);
      for (const oid of references.slice(0, 4000)) {
        // The last commit that changed it.
        const expected = count - (count - (oid - 1) + 4000) % 4000;
        assertEquals(numberIn(session, oid), Math.max(0, expected));
      }
      assertEquals(numberIn(session, references[4000]!), count);
      last = count;
    }
    assert(packs > 0 && inPack > 0, `${packs} packs, ${inPack} interrupted`);
  }));

const serverRounds = long ? 30 : 2;
const CLIENTS = 2;

Deno.test(`a server that is killed while it packs and clients commit loses nothing, ${serverRounds} times`, () =>
  withPath(async (path) => {
    {
      using storage = new FileStorage(path);
      using session = storage.session();
      const filler = Array.from({ length: 20_000 }, (_, i) => 10 + i);
      const own = Array.from({ length: CLIENTS }, (_, i) => 1 + i);
      session.allocate(20_010);
      store(
        session,
        [0, packRecord(0, new Uint8Array(), [...own, ...filler])],
        ...own.map((oid) =>
          [oid, packRecord(oid, new Uint8Array(4), [])] as const
        ),
        ...filler.map((oid) =>
          [oid, packRecord(oid, new Uint8Array(300).fill(oid), [])] as const
        ),
      );
    }
    const confirmed = Array.from({ length: CLIENTS }, () => 0);
    for (let round = 0; round < serverRounds; round++) {
      const ready = Promise.withResolvers<number>();
      const server = start(
        pathOf("../../cli.ts"),
        ["db", "start", "--file", path, "--port", "0"],
        (line) => {
          const port = line.match(/:(\d+)/)?.[1];
          if (port !== undefined) ready.resolve(Number(port));
        },
      );
      const port = await ready.promise;
      const most = 40 + Math.floor(Math.random() * 60);
      const clients = confirmed.map((_, i) => {
        const client = start(
          pathOf("../support/client_committer.ts"),
          [`${port}`, `${1 + i}`],
          () => {
            if (client.lines.length >= most) server.kill();
          },
        );
        return client;
      });
      for (const client of clients) await client.ended();
      await server.ended();
      using storage = new FileStorage(path);
      using session = storage.session();
      assertEquals(recordReferences(session.load(0)).length, 20_000 + CLIENTS);
      for (let oid = 10; oid < 20_010; oid++) {
        assertEquals(recordData(session.load(oid))[299], oid % 256);
      }
      for (const [i, client] of clients.entries()) {
        assert(client.lines.length > 0, "it could not commit");
        const last = Number(client.lines.at(-1));
        const list = recordReferences(session.load(1 + i));
        // One more may be there, whose confirmation did not get through.
        assert(list.length === last || list.length === last + 1);
        for (const [n, oid] of list.entries()) {
          assertEquals(recordData(session.load(oid))[0], (n + 1) % 256);
        }
        assert(last > confirmed[i]!);
        confirmed[i] = last;
      }
    }
  }));
