import { assert, assertEquals } from "@std/assert";
import { Connection } from "../../lib/connection/connection.ts";
import { FileStorage } from "../../lib/storage/file_storage.ts";
import config from "../../deno.json" with { type: "json" };
import { inProcess } from "../support/in_process.ts";
import {
  DHARA,
  dhara,
  inDirectory,
  Running,
  startServer,
} from "../support/dhara.ts";

function assertOneLine(text: string) {
  assertEquals(text.trimEnd().split("\n").length, 1, text);
}

Deno.test("dhara --version says the version", async () => {
  const version = `dhara ${config.version}\n`;
  assertEquals(await dhara(["--version"]), {
    code: 0,
    stdout: version,
    stderr: "",
  });
  assertEquals((await inProcess(["-v"])).stdout, version);
});

Deno.test("dhara --help helps at every level", async () => {
  for (
    const [args, ...parts] of [
      [["--help"], "Usage: dhara COMMAND", "db "],
      [["-h"], "Usage: dhara COMMAND"],
      [["db", "--help"], "Usage: dhara db COMMAND", "start, server", "pack"],
      [
        ["db", "start", "--help"],
        "Usage: dhara db start [OPTIONS]",
        "--file, -f PATH",
        "--host, -h HOST",
        "--port, -p PORT",
        "--insecure",
      ],
      [["db", "server", "--help"], "Usage: dhara db server"],
      [["db", "client", "--port", "1", "--help"], "--eval, -e CODE"],
      [["db", "pack", "--help"], "--file, -f PATH"],
    ] as [string[], ...string[]][]
  ) {
    const { code, stdout, stderr } = await inProcess(args);
    assertEquals([code, stderr], [0, ""]);
    for (const part of parts) assert(stdout.includes(part), stdout);
    for (const line of stdout.split("\n")) {
      assert(line.length <= 80, `The line is too long: ${line}`);
    }
  }
});

Deno.test("dhara without a command prints the help as an error", async () => {
  for (const args of [[], ["db"]]) {
    const { code, stdout, stderr } = await inProcess(args);
    assertEquals([code, stdout], [2, ""]);
    assert(stderr.includes("Usage: dhara"), stderr);
  }
});

Deno.test("dhara says in one line what is wrong with the arguments", async () => {
  for (
    const [args, message] of [
      ["serve", "Unknown command serve; see dhara --help"],
      ["--frob", "Unknown option --frob; see dhara --help"],
      ["mcp start", "Unknown command mcp; see dhara --help"],
      ["db stop", "Unknown command stop; see dhara db --help"],
      ["db -v", "Unknown option -v; see dhara db --help"],
      [
        "db start --prot 4001",
        "Unknown option --prot; see dhara db start --help",
      ],
      ["db client --prot=4001", "Unknown option --prot; see"],
      ["db client -x", "Unknown option -x; see dhara db client --help"],
      ["db start t.dhara", "Unexpected argument t.dhara; see"],
      ["db start 4001", "Unexpected argument 4001; see"],
      ["db start --port", "Option --port needs a value; see"],
      ["db start --file --port 0", "Option --file needs a value; see"],
      ["db start -f", "Option --file needs a value; see"],
      ["db client -e", "Option --eval needs a value; see"],
      ["db client --file=", "Option --file needs a value; see"],
      [
        "db client --port x",
        "Cannot take --port x: it must be a whole number, 0 to 65535",
      ],
      ["db client --port 65536", "Cannot take --port 65536: it must be"],
      ["db client --port 1.5", "Cannot take --port 1.5: it must be"],
      ["db client --port=-1", "Cannot take --port -1: it must be"],
      ["db client --port 0x10", "Cannot take --port 0x10: it must be"],
      [
        "db client --cache-size 0",
        "Cannot take --cache-size 0: it must be a whole number, 1 or more",
      ],
      [
        "db start --cache-size 0",
        "Cannot take --cache-size 0: it must be a whole number, 1 or more",
      ],
      ["db start --address a --port 1", "Cannot use --address with --host"],
      ["db client --file a --port 1", "Cannot use --file with --host"],
      ["db pack --file a --address b", "Cannot use --file with --host"],
      ["db pack --keep 7d", "Cannot tell a server what to keep"],
      ["db pack --prepack --port 1", "Cannot tell a server what to keep"],
      ["db start --readonly", "Cannot serve nothing but reading: say which"],
      ["db start --repair", "Cannot repair: say which file with --file PATH"],
      [
        "db start --host 0.0.0.0 --port 0",
        "Cannot listen on 0.0.0.0:0: other machines could read and write everything; listen on 127.0.0.1, or add --insecure",
      ],
    ] as const
  ) {
    const { code, stdout, stderr } = await inProcess(args.split(" "));
    assertEquals([code, stdout], [2, ""], args);
    assertOneLine(stderr);
    assert(stderr.startsWith(message), stderr);
  }
});

Deno.test("dhara ends with 2 for wrong arguments, as a process", async () => {
  const { code, stdout, stderr } = await dhara(["db", "start", "--prot", "1"]);
  assertEquals([code, stdout], [2, ""]);
  assertOneLine(stderr);
});

Deno.test("dhara db start says when it is ready, and keeps what clients commit across a restart", async () => {
  await inDirectory(async (cwd) => {
    const first = await startServer(["--file", "t.dhara"], { cwd });
    assertEquals(
      first.server.stdout,
      `dhara ${config.version} ready on 127.0.0.1:${first.port}, serving t.dhara\n`,
    );
    assertEquals(
      await dhara([
        "db",
        "client",
        "--port",
        first.port,
        "-e",
        'root["hello"] = "world"; connection.commit()',
      ]),
      { code: 0, stdout: "", stderr: "" },
    );
    const stopped = await first.server.stop("SIGINT");
    assertEquals([stopped.code, stopped.stderr], [0, ""]);
    assertEquals(
      stopped.stdout.split("\n")[1],
      `dhara stopped on 127.0.0.1:${first.port}`,
    );

    const second = await startServer(["-f", "t.dhara"], { cwd });
    assertEquals(
      await dhara(["db", "client", "-p", second.port, "-e", 'root["hello"]']),
      { code: 0, stdout: "'world'\n", stderr: "" },
    );
    assertEquals((await second.server.stop("SIGTERM")).code, 0);
  });
});

Deno.test("dhara db client works on a file with no server", async () => {
  await inDirectory(async (cwd) => {
    const file = ["db", "client", "--file", "t.dhara"];
    const store = 'root["hello"] = "world"; connection.commit()';
    assertEquals(await dhara([...file, "-e", store], { cwd }), {
      code: 0,
      stdout: "",
      stderr: "",
    });
    assertEquals(await dhara([...file, "-e", 'root["hello"]'], { cwd }), {
      code: 0,
      stdout: "'world'\n",
      stderr: "",
    });
    const readonly = await dhara([...file, "--readonly", "-e", store], { cwd });
    assertEquals(readonly.code, 1);
    assert(readonly.stderr.startsWith("ReadonlyError: "), readonly.stderr);
    assertOneLine(readonly.stderr);
  });
});

Deno.test("dhara db client --eval prints values readably and ends with 1 when the code throws", async () => {
  await inDirectory(async (cwd) => {
    const run = (code: string) =>
      dhara(["db", "client", "-f", "t.dhara", "-e", code], { cwd });
    for (
      const [code, shown] of [
        ["1 + 1", "2\n"],
        ["-1", "-1\n"],
        ["undefined", ""],
        ["null", "null\n"],
        ["await Promise.resolve([1])", "[ 1 ]\n"],
        ["Promise.resolve(2)", "2\n"],
        ["root", "PersistentDict #0 {}\n"],
        ["get(0) === root && storage === connection.storage", "true\n"],
        ["pp(root)", "PersistentDict #0 {}\n"],
        ["typeof registerClass + typeof FileStorage", "'functionfunction'\n"],
        ["console.log('said')", "said\n"],
        [
          'root["l"] = new PersistentList([[1], { a: new Map() }]); connection.commit(); root["l"]',
          "PersistentList #N [ [ 1 ], { a: Map(0) {} } ]\n",
        ],
      ] as const
    ) {
      const { code: exit, stdout, stderr } = await run(code);
      const anyNumber = stdout.replace(/#[1-9]\d*/, "#N");
      assertEquals([exit, anyNumber, stderr], [0, shown, ""]);
    }
    const failed = await run("null.x");
    assertEquals([failed.code, failed.stdout], [1, ""]);
    assertEquals(
      failed.stderr,
      "TypeError: Cannot read properties of null (reading 'x')\n    at <typed>:1:6\n",
    );
    const refused = await run('root["f"] = () => 1; connection.commit()');
    assertEquals(refused.code, 1);
    assert(refused.stderr.startsWith("EncodeError: Cannot store "));
    assertOneLine(refused.stderr);
  });
});

Deno.test("dhara db client --eval commits nothing by itself, and says so", async () => {
  await inDirectory(async (cwd) => {
    const run = (code: string) =>
      dhara(["db", "client", "-f", "t.dhara", "-e", code], { cwd });
    assertEquals(await run('root["lost"] = 1'), {
      code: 0,
      stdout: "1\n",
      stderr:
        "Uncommitted changes were not stored; end with connection.commit()\n",
    });
    assertEquals((await run('root["lost"]')).stdout, "");
  });
});

Deno.test("dhara db client says in one line that no server answers", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  assertEquals(await dhara(["db", "client", "--port", `${port}`]), {
    code: 1,
    stdout: "",
    stderr:
      `Cannot connect to 127.0.0.1:${port}: no server answers there; start one with: dhara db start --port ${port}\n`,
  });
});

Deno.test("dhara db client says why a server cannot be asked, if not that none answers", async () => {
  for (const host of ["no such host", "\0"]) {
    const { code, stderr } = await inProcess(
      ["db", "client", "--host", host, "-e", "1"],
    );
    assertEquals(code, 1);
    assertOneLine(stderr);
    assert(stderr.includes(`${host}:2972: invalid host`), stderr);
  }
});

Deno.test("dhara db start refuses a file that another process holds", async () => {
  await inDirectory(async (cwd) => {
    const { server } = await startServer(["--file", "t.dhara"], { cwd });
    const second = await dhara(
      ["db", "start", "--file", "t.dhara", "--port", "0"],
      { cwd },
    );
    assertEquals([second.code, second.stdout], [1, ""]);
    assertOneLine(second.stderr);
    assert(
      second.stderr.startsWith("Cannot open t.dhara for writing: "),
      second.stderr,
    );
    assertEquals((await server.stop()).code, 0);
  });
});

Deno.test("dhara db start refuses a port that is in use", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const { code, stdout, stderr } = await dhara(
    ["db", "start", "--port", `${port}`],
  );
  assertEquals([code, stdout], [1, ""]);
  assertOneLine(stderr);
  assert(stderr.startsWith(`Cannot listen on 127.0.0.1:${port}: `), stderr);
});

Deno.test("dhara db start without a file serves a temporary one, which goes away", async () => {
  await inDirectory(async (cwd) => {
    const files = () => [...Deno.readDirSync(cwd)].length;
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const env = { TMPDIR: cwd };
      const { server, port } = await startServer([], { cwd, env });
      assert(server.stdout.endsWith(", serving a temporary file\n"));
      assertEquals(files(), 1);
      const code = 'root["a"] = 1; connection.commit(); root["a"]';
      const client = await dhara(["db", "client", "-p", port, "-e", code]);
      assertEquals(client.stdout, "1\n");
      assertEquals((await server.stop(signal)).code, 0);
      assertEquals(files(), 0);
    }
  });
});

Deno.test({
  name: "dhara db start and client meet on a Unix socket",
  ignore: Deno.build.os === "windows",
  async fn() {
    await inDirectory(async (cwd) => {
      const { server } = await startServer(["--address", "s"], { cwd });
      assert(server.stdout.includes(" ready on s, serving "), server.stdout);
      const place = ["db", "client", "--address", "s"];
      const store = 'root["a"] = [1, 2]; connection.commit()';
      assertEquals((await dhara([...place, "-e", store], { cwd })).code, 0);
      assertEquals(
        (await dhara([...place, "-e", 'root["a"]'], { cwd })).stdout,
        "[ 1, 2 ]\n",
      );
      assertEquals((await server.stop()).code, 0);
      const gone = await dhara([...place, "-e", "root"], { cwd });
      assertEquals(gone, {
        code: 1,
        stdout: "",
        stderr:
          "Cannot connect to s: no server answers there; start one with: dhara db start --address s\n",
      });
    });
  },
});

Deno.test("--readonly refuses changes, on a server and in a client", async () => {
  await inDirectory(async (cwd) => {
    const store = 'root["a"] = 1; connection.commit()';
    const client = async (port: string, ...args: string[]) => {
      const { code, stderr } = await dhara(
        ["db", "client", "--port", port, ...args],
      );
      return `${code} ${stderr}`;
    };
    const first = await startServer(["-f", "t.dhara"], { cwd });
    assertEquals(await client(first.port, "-e", store), "0 ");
    const refused = await client(first.port, "--readonly", "-e", store);
    assert(refused.startsWith("1 ReadonlyError: Cannot commit: "), refused);
    assertEquals(
      await client(first.port, "--readonly", "-e", 'root["a"]'),
      "0 ",
    );
    assertEquals((await first.server.stop()).code, 0);

    const second = await startServer(["-f", "t.dhara", "--readonly"], { cwd });
    assertEquals(await client(second.port, "-e", 'root["a"]'), "0 ");
    const denied = await client(second.port, "-e", store);
    assert(denied.startsWith("1 "), denied);
    assertOneLine(denied);
    assertEquals((await second.server.stop()).code, 0);
  });
});

Deno.test("two clients see each other's commits, and a conflict costs nobody anything", async () => {
  await inDirectory(async (cwd) => {
    const { server, port } = await startServer(["-f", "t.dhara"], { cwd });
    const open = () => new Running(["db", "client", "--port", port], { cwd });
    const [ada, bob] = [open(), open()];
    let asked = 0;
    const run = async (client: Running, code: string) => {
      const before = client.stdout.length;
      const mark = `done ${++asked}`;
      await client.type(`${code}\nconsole.log("${mark}")\n`);
      await client.until(mark);
      return client.stdout.slice(before, client.stdout.indexOf(mark)).trim();
    };
    await run(ada, 'root["n"] = 1; root["other"] = new PersistentDict()');
    assertEquals(await run(bob, 'root["n"]'), "");
    await run(ada, "connection.commit()");
    assertEquals(await run(bob, 'connection.abort(); root["n"]'), "1");

    // Both change the root: the first wins, the second can go on.
    await run(ada, 'root["n"] = "ada"; connection.commit()');
    const conflict =
      'root["n"] = "bob"; try { connection.commit() } catch (e) { e.name + e.oids }';
    assertEquals(await run(bob, conflict), "'WriteConflictError0'");
    assertEquals(await run(ada, 'connection.abort(); root["n"]'), "'ada'");
    assertEquals(await run(bob, 'connection.abort(); root["n"]'), "'ada'");
    await run(bob, 'root["n"] += " and bob"; connection.commit()');
    assertEquals(
      await run(ada, 'connection.commit(); root["n"]'),
      "'ada and bob'",
    );

    // An uncaught conflict ends a script.
    await run(ada, 'root["n"] = 3; connection.commit()');
    await bob.type('root["n"] = 4; connection.commit()\n"not reached"\n');
    const ended = await bob.end();
    assertEquals(ended.code, 1);
    assert(ended.stderr.startsWith("WriteConflictError: Cannot commit: "));
    assertOneLine(ended.stderr);
    assert(!ended.stdout.includes("not reached"));
    assertEquals((await ada.end()).code, 0);
    assertEquals((await server.stop()).code, 0);
  });
});

Deno.test("SIGTERM stops a server without losing a commit that was acknowledged", async () => {
  await inDirectory(async (cwd) => {
    const { server, port } = await startServer(["-f", "t.dhara"], { cwd });
    const client = new Running([
      "db",
      "client",
      "--port",
      port,
      "-e",
      `
      for (let n = 1;; n++) { root["n"] = n; connection.commit(); console.log(n + ";"); }
    `,
    ]);
    await client.until("20;");
    assertEquals((await server.stop("SIGTERM")).code, 0);
    const { code, stdout, stderr } = await client.end();
    assertEquals(code, 1);
    assertOneLine(stderr);
    const acknowledged = Number(/(\d+);\s*$/.exec(stdout)![1]);
    const stored = await dhara(
      ["db", "client", "-f", "t.dhara", "-e", 'root["n"]'],
      { cwd },
    );
    const found = Number(stored.stdout);
    assert(
      found === acknowledged || found === acknowledged + 1,
      `${found} found, ${acknowledged} acknowledged`,
    );
  });
});

Deno.test("dhara db pack makes a file smaller, and tells a server to pack", async () => {
  await inDirectory(async (cwd) => {
    const fill = `for (let n = 0; n < 200; n++) {
      root["n"] = "x".repeat(1000) + n; connection.commit()
    }`;
    const file = ["-f", "t.dhara"];
    assertEquals(
      (await dhara(["db", "client", ...file, "-e", fill], { cwd })).code,
      0,
    );
    const before = Deno.statSync(`${cwd}/t.dhara`).size;
    const packed = await dhara(["db", "pack", ...file], { cwd });
    const after = Deno.statSync(`${cwd}/t.dhara`).size;
    assertEquals(packed, {
      code: 0,
      stdout: `Packed t.dhara: ${before} bytes before, ${after} after\n`,
      stderr: "",
    });
    assert(after < before / 10, `${after} of ${before}`);

    const { server, port } = await startServer(file, { cwd });
    const held = await dhara(["db", "pack", ...file], { cwd });
    assertEquals(held.code, 1);
    assertOneLine(held.stderr);
    assertEquals(await dhara(["db", "pack", "--port", port]), {
      code: 0,
      stdout: `Packing has begun on 127.0.0.1:${port}\n`,
      stderr: "",
    });
    const read = await dhara(
      ["db", "client", "-p", port, "-e", 'root["n"].length'],
    );
    assertEquals(read.stdout, "1003\n");
    assertEquals((await server.stop()).code, 0);
  });
});

Deno.test("dhara db pack keeps the history and the old file when asked", async () => {
  await inDirectory(async (cwd) => {
    const path = `${cwd}/t.dhara`;
    const notes: string[] = [];
    {
      using connection = new Connection(path);
      for (let n = 0; n < 3; n++) {
        connection.root["n"] = n;
        connection.commit({ note: `${n}` });
        notes.unshift(`${n}`);
      }
    }
    const before = Deno.readFileSync(path);
    const pack = ["db", "pack", "-f", "t.dhara"];
    const bad = await dhara([...pack, "--keep", "7 weeks"], { cwd });
    assertEquals([bad.code, bad.stdout], [1, ""]);
    assertOneLine(bad.stderr);
    assertEquals(Deno.readFileSync(path), before);

    const packed = await dhara([...pack, "--keep", "2h", "--prepack"], { cwd });
    const after = Deno.statSync(path).size;
    assertEquals(packed, {
      code: 0,
      stdout:
        `Packed t.dhara: ${before.length} bytes before, ${after} after; the old file is t.dhara.prepack\n`,
      stderr: "",
    });
    assertEquals(Deno.readFileSync(`${path}.prepack`), before);
    using storage = new FileStorage(path);
    assertEquals([...storage.transactions()].map(({ note }) => note), [
      ...notes,
      undefined,
    ]);
  });
});

Deno.test("dhara db pack makes no file where there is none", async () => {
  await inDirectory(async (cwd) => {
    assertEquals(await dhara(["db", "pack", "-f", "t.dhara"], { cwd }), {
      code: 1,
      stdout: "",
      stderr: "Cannot pack t.dhara: there is no such file\n",
    });
    assertEquals([...Deno.readDirSync(cwd)], []);
  });
});

Deno.test("dhara db start --repair cuts a damaged file, and says what it saved", async () => {
  await inDirectory(async (cwd) => {
    const path = `${cwd}/t.dhara`;
    const file = ["db", "client", "-f", "t.dhara", "-e"];
    await dhara([...file, 'root["a"] = "first"; connection.commit()'], { cwd });
    const size = Deno.statSync(path).size;
    await dhara([...file, 'root["a"] = "second"; connection.commit()'], {
      cwd,
    });
    await dhara([...file, 'root["a"] = "third"; connection.commit()'], { cwd });
    const bytes = Deno.readFileSync(path);
    bytes[size + 20]! ^= 0xff;
    Deno.writeFileSync(path, bytes);

    const refused = await dhara(
      ["db", "start", "-f", "t.dhara", "-p", "0"],
      { cwd },
    );
    assertEquals([refused.code, refused.stdout], [1, ""]);
    assertOneLine(refused.stderr);

    const { server, port } = await startServer(
      ["-f", "t.dhara", "--repair"],
      { cwd },
    );
    const tail = [...Deno.readDirSync(cwd)].map(({ name }) => name)
      .find((name) => name.startsWith("t.dhara.tail-"))!;
    assertEquals(
      Deno.statSync(`${cwd}/${tail}`).size + size,
      bytes.length,
      server.stdout,
    );
    assertEquals(
      server.stdout.split("\n")[0],
      `Repaired t.dhara: ${
        bytes.length - size
      } bytes were cut off from byte ${size} on, and saved as ${tail}`,
    );
    const read = await dhara(["db", "client", "-p", port, "-e", 'root["a"]']);
    assertEquals(read.stdout, "'first'\n");
    assertEquals((await server.stop()).code, 0);

    // The header alone, and then nothing at all.
    const header = Deno.readFileSync(path);
    header[20]! ^= 0xff;
    Deno.writeFileSync(path, header);
    for (const what of ["the header was", "nothing had to be cut or"]) {
      const { server } = await startServer(
        ["-f", "t.dhara", "--repair"],
        { cwd },
      );
      assertEquals(
        server.stdout.split("\n")[0],
        `Repaired t.dhara: ${what} written anew`,
      );
      assertEquals((await server.stop()).code, 0);
    }
  });
});

Deno.test("a shell on a pipe prints values and nothing else", async () => {
  await inDirectory(async (cwd) => {
    const run = (input: string) =>
      dhara(["db", "client", "-f", "t.dhara"], { cwd, input });
    assertEquals(
      await run(
        'function f(x) {\n  return x * 2;\n}\nf(21)\nroot["f"] = [\n1,\n2]\nconnection.commit()\n{ a: 1 }',
      ),
      { code: 0, stdout: "42\n[ 1, 2 ]\n{ a: 1 }\n", stderr: "" },
    );
    assertEquals(await run('root["f"]\nmissing\n"not reached"\n'), {
      code: 1,
      stdout: "[ 1, 2 ]\n",
      stderr: "ReferenceError: missing is not defined\n    at <typed>:1:1\n",
    });
    assertEquals(await run('root["g"] = 1'), {
      code: 0,
      stdout: "1\n",
      stderr:
        "Uncommitted changes were not stored; end with connection.commit()\n",
    });
    const unfinished = await run("function f() {\n");
    assertEquals(unfinished.code, 1);
    assertEquals(
      unfinished.stderr,
      "SyntaxError: Unexpected end of input\n",
    );
    assertEquals(await run(""), { code: 0, stdout: "", stderr: "" });
  });
});

/** Whether `script` can give a process a terminal, as it does on Linux. */
async function hasTerminal(): Promise<boolean> {
  try {
    const script = new Deno.Command("script", {
      args: ["-qec", "true", "/dev/null"],
    });
    return (await script.output()).success;
  } catch {
    return false;
  }
}

Deno.test({
  name: "a shell on a terminal prompts, completes, keeps its history and warns",
  ignore: Deno.build.os !== "linux" || !await hasTerminal(),
  async fn() {
    await inDirectory(async (cwd) => {
      const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
      const open = () =>
        new Running(
          [
            "-qec",
            [Deno.execPath(), ...DHARA, "db", "client", "-f", "t.dhara"]
              .map(quote).join(" "),
            "/dev/null",
          ],
          { cwd, env: { DHARA_HISTORY: `${cwd}/history`, TERM: "xterm" } },
          "script",
        );
      const shell = open();
      /** Types, and waits for the texts, one after the other. */
      const expect = async (typed: string, ...texts: string[]) => {
        shell.stdout = "";
        await shell.type(typed);
        for (const text of texts) {
          await shell.until(text);
          const end = shell.stdout.indexOf(text) + text.length;
          shell.stdout = shell.stdout.slice(end);
        }
      };
      await shell.until(`dhara ${config.version} on t.dhara; .help`);
      await shell.until("dhara> ");
      await expect('root["hello"] = "world"\r', "'world'", "dhara*> ");
      await expect("connection.commit()\r", "dhara> ");
      // Keys that come in one piece are text that was pasted: Tab comes by itself.
      await expect("root.he", "root.he");
      await expect("\t", "llo");
      await expect("\r", "'world'", "dhara> ");
      await expect('root["h', 'root["h');
      await expect("\t", 'ello"]');
      await expect(".length\r", "5", "dhara> ");
      await expect("[1,\r", "... ");
      await expect("2]\r", "[ 1, 2 ]", "dhara> ");
      await expect("`never ended\r", "... ");
      await expect("\x03", "dhara> ");
      await expect("nonsense, I think", "think");
      await expect("\x03", "dhara> ");
      await expect("40 + 2\r", "\n42", "dhara> ");
      await expect("\x03", "Press Ctrl-D or type .exit to leave", "dhara> ");
      await expect(".help\r", "root         the root object", "dhara> ");
      await expect(
        'throw new Error("thrown")\r',
        "Error: thrown",
        "dhara> ",
      );
      await expect(
        "Promise.reject(new RangeError('late'))\r",
        "RangeError: late",
      );
      await expect(
        "setTimeout(() => { throw new Error('later') }); 1\r",
        "Error: later",
      );
      await expect("\x1b[A", "setTimeout");
      await expect("\x1b[A", "Promise");
      await expect("\x1b[A", "throw new");
      await expect("\x1b[A", ".help");
      await expect("\x1b[A", "40 + 2");
      await expect("\r", "\n42", "dhara> ");
      await expect('root["lost"] = 1\r', "dhara*> ");
      await expect("\x04", "Uncommitted changes were not stored");
      assertEquals((await shell.end()).code, 0);
      assert(Deno.readTextFileSync(`${cwd}/history`).includes("40 + 2\n"));

      const again = open();
      await again.until("dhara> ");
      await again.type("\x1b[A");
      await again.until('root["lost"] = 1');
      await again.type("\x03");
      await again.type(".exit\r");
      assertEquals((await again.end()).code, 0);
    });
  },
});
