/** The files of `lib/` stand on each other in one direction, types included. */
import { assertEquals } from "@std/assert";
import { MAP } from "../support/dhara.ts";

/**
 * What each folder, and each file in none, may import from elsewhere. Within a
 * folder everything but a circle is allowed.
 */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  "errors.ts": [],
  "message.ts": [],
  "sleep.ts": [],
  "files": ["errors.ts", "message.ts"],
  "serialize": ["errors.ts"],
  "storage": ["errors.ts", "message.ts", "sleep.ts", "files", "serialize"],
  "protocol": ["errors.ts", "serialize"],
  "client": [
    "errors.ts",
    "message.ts",
    "sleep.ts",
    "protocol",
    "serialize",
    "storage",
  ],
  "server": [
    "errors.ts",
    "files",
    "protocol",
    "serialize",
    "storage",
  ],
  "open_storage.ts": ["errors.ts", "client", "storage"],
  "maintenance": [
    "errors.ts",
    "message.ts",
    "files",
    "serialize",
    "storage",
  ],
  "persistent": ["errors.ts", "serialize", "storage"],
  "collections": ["errors.ts", "persistent"],
  "connection": [
    "errors.ts",
    "message.ts",
    "sleep.ts",
    "collections",
    "open_storage.ts",
    "persistent",
    "serialize",
    "storage",
  ],
  "testing": ["errors.ts", "serialize", "storage"],
  "cli": [
    "errors.ts",
    "client",
    "connection",
    "files",
    "maintenance",
    "open_storage.ts",
    "protocol",
    "serialize",
    "server",
    "storage",
  ],
};

type Graph = ReadonlyMap<string, readonly string[]>;

const LIB = import.meta.resolve("../../lib/");

function filesIn(folder: URL): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) =>
    isDirectory
      ? filesIn(new URL(`${name}/`, folder)).map((file) => `${name}/${file}`)
      : [name]
  );
}

/** From here every file of `lib/` can be reached. */
const ENTRIES = ["../../mod.ts", "../../cli.ts", "../../lib/testing/mod.ts"];

/** Returns what each file of `lib/` imports, by names that begin in `lib/`. */
async function graph(): Promise<Graph> {
  const graphs = await Promise.all(ENTRIES.map(graphFrom));
  return new Map(graphs.flatMap((graph) => [...graph]));
}

async function graphFrom(entry: string): Promise<Graph> {
  const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", ...MAP, import.meta.resolve(entry)],
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  const { modules } = JSON.parse(new TextDecoder().decode(stdout)) as {
    modules: {
      specifier: string;
      dependencies?: Record<"code" | "type", { specifier?: string }>[];
    }[];
  };
  return new Map(
    modules.filter(({ specifier }) => specifier.startsWith(LIB)).map((
      { specifier, dependencies = [] },
    ) => [
      specifier.slice(LIB.length),
      dependencies
        .map(({ code, type }) => (code ?? type).specifier ?? "")
        // What the machine or a package brings is nobody's floor.
        .filter((to) => to.startsWith("file:") && !to.includes("/registry/"))
        .map((to) => to.startsWith(LIB) ? to.slice(LIB.length) : to),
    ]),
  );
}

function roomOf(file: string): string {
  return file.split("/")[0]!;
}

/** Returns a circle of files, if there is one. */
function circleIn(files: Graph): string[] | undefined {
  const done = new Set<string>();
  function follow(file: string, path: string[]): string[] | undefined {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const next of files.get(file) ?? []) {
      const circle = follow(next, [...path, file]);
      if (circle !== undefined) return circle;
    }
    done.add(file);
    return undefined;
  }
  for (const file of files.keys()) {
    const circle = follow(file, []);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

const files = await graph();

Deno.test("every file of lib/ can be reached from an entry, and so is seen here", () => {
  const seen = [...files.keys()].sort();
  assertEquals(seen, filesIn(new URL(LIB)).sort());
});

Deno.test("no file of lib/ imports one from a room above its own", () => {
  const wrong: string[] = [];
  for (const [from, targets] of files) {
    const room = roomOf(from);
    for (const to of targets) {
      if (roomOf(to) === room || ALLOWED[room]?.includes(roomOf(to))) continue;
      wrong.push(`${from} imports ${to}`);
    }
  }
  assertEquals(wrong, []);
});

Deno.test("the table of what may be imported has no circle, and nothing that is not needed", () => {
  assertEquals(circleIn(new Map(Object.entries(ALLOWED))), undefined);
  const used = new Set<string>();
  for (const [from, targets] of files) {
    for (const to of targets) used.add(`${roomOf(from)} -> ${roomOf(to)}`);
  }
  const idle = Object.entries(ALLOWED).flatMap(([from, targets]) =>
    targets.map((to) => `${from} -> ${to}`).filter((arrow) => !used.has(arrow))
  );
  assertEquals(idle, []);
});

Deno.test("no files of lib/ import each other in a circle", () => {
  assertEquals(circleIn(files), undefined);
  // The search finds what it is for.
  const circle = circleIn(new Map([["a", ["b"]], ["b", ["c"]], ["c", ["b"]]]));
  assertEquals(circle, ["b", "c", "b"]);
});
