/** What the maintenance commands print and answer, for what is right and for anything else. */
import { Database } from "../support/sqlite.ts";
import { assert, assertEquals } from "@std/assert";
import { packRecord } from "../../lib/serialize/record.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";
import { openStorage } from "../../lib/open_storage.ts";
import { inDirectory } from "../support/dhara.ts";
import { inProcess } from "../support/in_process.ts";
import { store, textRecord } from "../../lib/testing/records.ts";

function makeDatabase(path: string): void {
  using storage = new FileStorage(path);
  using session = storage.session();
  store(session, textRecord(0, "root", [1]), textRecord(1, "one"));
  store(session, textRecord(1, "one, changed"));
}

Deno.test("db verify ends with 0 if all is well, and with 1 for damage, a reference to nothing, and no database", async () => {
  await inDirectory(async (directory) => {
    const good = `${directory}/good.dhara`;
    makeDatabase(good);
    const damaged = `${directory}/damaged.dhara`;
    const bytes = Deno.readFileSync(good);
    bytes[bytes.length - 60]! ^= 1;
    Deno.writeFileSync(damaged, bytes);
    const dangling = `${directory}/dangling.dhara`;
    {
      using storage = new FileStorage(dangling);
      using session = storage.session();
      session.commit([[0, packRecord(0, new Uint8Array(3), [7])]]);
    }
    const sqlite = `${directory}/good.sqlite`;
    await inProcess(["db", "convert", good, sqlite]);
    const broken = `${directory}/broken.sqlite`;
    Deno.copyFileSync(sqlite, broken);
    {
      const database = new Database(broken);
      database.exec("UPDATE revision SET record = x'00' WHERE oid = 1");
      database.close();
    }
    const bookkeeping = `${directory}/bookkeeping.sqlite`;
    Deno.copyFileSync(sqlite, bookkeeping);
    const history = `${directory}/history.sqlite`;
    {
      using storage = await openStorage(history);
      using session = storage.session();
      store(session, textRecord(0, "root"));
      store(session, textRecord(0, "root, changed"));
    }
    for (
      const [path, change] of [
        [bookkeeping, "UPDATE dhara SET next = 1"],
        [history, "UPDATE revision SET record = x'00' WHERE id = 1"],
      ] as const
    ) {
      const database = new Database(path);
      database.exec(change);
      database.close();
    }
    const sqliteAdvice =
      "A SQLite file cannot be repaired here; restore a copy of it";
    for (
      const [path, code, last] of [
        [good, 0, "No damage was found"],
        [sqlite, 0, "No damage was found"],
        [damaged, 1, "`dhara db restore` brings back an earlier state"],
        [dangling, 1, "`dhara db restore` brings back an earlier state"],
        [broken, 1, `${sqliteAdvice}\n`],
        [bookkeeping, 1, `${sqliteAdvice}\n`],
        [history, 1, `${sqliteAdvice}. All objects that can be reached can be`],
        [`${directory}/none`, 1, ""],
      ] as const
    ) {
      const outcome = await inProcess(["db", "verify", path]);
      assertEquals(outcome.code, code, outcome.stdout + outcome.stderr);
      const line = `${outcome.stdout.trimEnd().split("\n").at(-1)}\n`;
      assert(line.startsWith(last), outcome.stdout);
    }
    // What is advised works, and what would not is not advised.
    for (
      const [path, code] of [[history, 0], [bookkeeping, 1], [
        broken,
        1,
      ]] as const
    ) {
      const to = `${path}.jsonl`;
      assertEquals(
        (await inProcess(["db", "export", path, "--to", to])).code,
        code,
      );
    }
  });
});

/** Commands, and options that take a place. */
const COMMANDS = [
  ["verify"],
  ["verify", "--repair"],
  ["pack", "--file"],
  ["backup", "--to", "new", "--file"],
  ["backup", "--file", "good.dhara", "--to"],
  ["backup", "--check"],
  ["restore", "--list", "--file"],
  ["restore", "--to", "new", "--file"],
  ["restore", "--to", "new", "--from"],
  ["restore", "--file", "good.dhara", "--to"],
  ["convert", "--to-format=sqlite", "good.dhara"],
  ["export", "good.dhara", "--to"],
  ["import", "--to", "new"],
  ["client", "--eval", "1", "--file"],
];

Deno.test("db backup, restore and export make no file of the name of a server", async () => {
  await inDirectory(async (directory) => {
    const good = `${directory}/good.dhara`;
    makeDatabase(good);
    for (const place of ["tcp:localhost:2972", "tcp:", "unix:/run/dhara"]) {
      for (
        const command of [
          ["backup", "--file", good, "--to"],
          ["restore", "--file", good, "--to"],
          ["export", good, "--to"],
          ["backup", "--to", `${directory}/b`, "--file"],
        ]
      ) {
        const outcome = await inProcess(["db", ...command, place]);
        assertEquals([outcome.code, outcome.stdout], [2, ""]);
        assert(
          outcome.stderr.includes(`${place}: that is a server`),
          outcome.stderr,
        );
      }
    }
    assertEquals([...Deno.readDirSync(directory)].length, 1);
  });
});

/** Places that are nothing good for most of them. */
const PLACES = [
  ...["good.dhara", "good.sqlite", "text", "empty", "bytes", "list", "utf16"],
  ...["folder", "backups", "nowhere", "none", "none/none", "text/x"],
  ...["\0", "x".repeat(5000), "/", ".", "", "__proto__", "tcp:", "unix:/none"],
];

const OPTIONS = [
  ...["--constructor=x", "--__proto__", "--at=x", "--at=9999-99-99", "--at="],
  ...[
    "--keep-last=0",
    "--keep-last=x",
    "--to-format=x",
    "--port=70000",
    "--host=\0",
  ],
  ...["--nonsense", "-x", "-", "--", "--address=\0", "--cache-size=0"],
];

Deno.test("no command ends with anything but a line that says what is wrong, whatever it is given", async () => {
  await inDirectory(async (directory) => {
    const at = (name: string) => name === "" ? "" : `${directory}/${name}`;
    const prepare = async () => {
      Deno.mkdirSync(directory, { recursive: true });
      makeDatabase(at("good.dhara"));
      Deno.writeTextFileSync(at("text"), "hello\n");
      Deno.writeTextFileSync(at("empty"), "");
      Deno.writeFileSync(at("bytes"), new Uint8Array(5000).map((_, i) => i));
      const list = '{"dhara":"export","version":1}\nnull\n';
      Deno.writeTextFileSync(at("list"), list);
      Deno.writeFileSync(at("utf16"), new Uint8Array([255, 254, 10, 0]));
      Deno.mkdirSync(at("folder"));
      if (Deno.build.os !== "windows") {
        Deno.symlinkSync(at("none/none"), at("nowhere"));
      }
      const good = at("good.dhara");
      await inProcess(["db", "convert", good, at("good.sqlite")]);
      await inProcess(["db", "backup", "--file", good, "--to", at("backups")]);
    };
    const run = async (args: string[]) => {
      const shown = JSON.stringify(args).slice(0, 300);
      const { code, stderr } = await inProcess(["db", ...args]);
      assert(code === 0 || code === 1 || code === 2, shown);
      if (code === 0) return assertEquals(stderr, "", shown);
      assert(!/\n./.test(stderr) && stderr !== "", `${shown}: ${stderr}`);
      assert(!/^\w*Error\b/.test(stderr), `${shown}: ${stderr}`);
      if (code === 2) assert(/^(Say|Cannot|Option|Un)/.test(stderr), stderr);
    };
    await prepare();
    for (const command of COMMANDS) {
      const [name, ...rest] = command;
      const given = rest.map((arg) =>
        /^(new|good\.dhara)$/.test(arg) ? at(arg) : arg
      );
      for (const place of PLACES) {
        const path = /^(tcp|unix):|^\W?$/.test(place) ? place : at(place);
        // One of such a name would be made where the tests are run.
        const made = given.at(-1) === "--to" && /^[.\0]?$/.test(place);
        if (made && path === place && place !== "") continue;
        // A client may make a file where there is none.
        if (name === "client" && /none|proto|nowhere/.test(place)) continue;
        const known = new Set(
          [...Deno.readDirSync(directory)].map((e) => e.name),
        );
        await run([name!, ...given, path]);
        for (const { name } of Deno.readDirSync(directory)) {
          if (known.has(name)) continue;
          Deno.removeSync(at(name), { recursive: true });
        }
      }
      for (const option of OPTIONS) {
        if (name === "import" && option === "-") continue;
        await run([name!, option]);
        await run([name!, option, at("good.dhara")]);
      }
    }
  });
});
