/**
 * The shell: code is typed, or given in one piece, and its values are shown.
 *
 * @module
 */
import process from "node:process";
import { createInterface, type Interface } from "node:readline";
import type { Connection } from "../connection/connection.ts";
import { complete } from "./completion.ts";
import { display } from "./display.ts";
import {
  defineGlobals,
  describeError,
  evaluate,
  isIncomplete,
} from "./evaluate.ts";
import { appendHistory, historyPath, readHistory } from "./history.ts";

const HELP = `Type JavaScript; the value of the last expression is shown.

  root         the root object: what can be reached from it is stored
  connection   connection.commit() stores the changes and shows you what others
               have committed; connection.abort() takes the changes back
  get(oid)     the object with a number
  storage      the storage underneath
  pp(value)    prints a value in full

All that the library exports is known as well. The Tab key completes names and
the keys of a dict. A star in the prompt says that there are changes to commit.

  .help        this help
  .exit        leaves, as Ctrl-D does`;

const LOST =
  "Uncommitted changes were not stored; end with connection.commit()";

/** Makes the connection, and whatever else is given, known to typed code. */
export function openShell(
  connection: Connection,
  library: Record<string, unknown>,
): void {
  defineGlobals({
    ...library,
    connection,
    root: connection.root,
    storage: connection.storage,
    get: (oid: number) => connection.get(oid),
    pp: (value: unknown) => {
      console.log(display(value, { depth: 100, iterableLimit: Infinity }));
    },
  });
}

/**
 * Runs code, prints its last value, and answers the exit code: 1 if the code
 * throws. A promise is waited for.
 */
export async function runCode(
  connection: Connection,
  code: string,
): Promise<number> {
  try {
    printValue(await evaluate(code));
  } catch (error) {
    console.error(describeError(error));
    return 1;
  }
  if (connection.hasChanges) console.error(LOST);
  return 0;
}

function printValue(value: unknown): void {
  if (value !== undefined) console.log(display(value));
}

/**
 * Reads code from the terminal until the user leaves. From a pipe or a file it
 * reads to the end, prints nothing but values, and stops at the first error.
 * Answers the exit code.
 *
 * @param title What the shell is connected to, for the first line.
 */
export async function runShell(
  connection: Connection,
  title: string,
): Promise<number> {
  const terminal = Deno.stdin.isTerminal() && Deno.stdout.isTerminal();
  const code = terminal
    ? await runInteractive(connection, title)
    : await runScript();
  if (code === 0 && connection.hasChanges) console.error(LOST);
  return code;
}

async function runScript(): Promise<number> {
  const lines = createInterface({ input: process.stdin, terminal: false });
  let code = "";
  const run = async () => {
    try {
      printValue(await evaluate(code));
    } catch (error) {
      console.error(describeError(error));
      return false;
    }
    code = "";
    return true;
  };
  try {
    for await (const line of lines) {
      code += line + "\n";
      if (!isIncomplete(code) && !await run()) return 1;
    }
    return await run() ? 0 : 1;
  } finally {
    lines.close();
  }
}

async function runInteractive(
  connection: Connection,
  title: string,
): Promise<number> {
  const history = historyPath();
  const words = new Set<string>();
  const lines: Interface = createInterface({
    input: process.stdin,
    output: process.stdout,
    terminal: true,
    history: readHistory(history).reverse(),
    historySize: 1000,
    removeHistoryDuplicates: true,
    completer: (line: string) => complete(line, words),
  });
  // Completion pauses the input for a moment; Deno 2.6 loses a key at that.
  lines.pause = () => lines;
  let code = "";
  const prompt = () => {
    const ready = connection.hasChanges ? "dhara*> " : "dhara> ";
    lines.setPrompt(code ? "... ".padStart(ready.length) : ready);
    lines.prompt();
  };
  lines.on("SIGINT", () => {
    const empty = !code && !lines.line;
    // Ends and empties the line, wherever the cursor is in it.
    lines.write(null, { ctrl: true, name: "e" });
    lines.write(null, { ctrl: true, name: "u" });
    console.log(empty ? "\nPress Ctrl-D or type .exit to leave" : "");
    code = "";
    prompt();
  });

  // What fails later, while nobody waits for it, must not end the shell.
  const reportLate = (event: Event, error: unknown) => {
    event.preventDefault();
    console.error("\n" + describeError(error));
    prompt();
  };
  addEventListener("error", (event) => reportLate(event, event.error));
  addEventListener(
    "unhandledrejection",
    (event) => reportLate(event, event.reason),
  );

  console.log(`${title}; .help tells more, .exit or Ctrl-D leaves`);
  prompt();
  for await (const line of lines) {
    appendHistory(history, line);
    const command = code ? "" : line.trim();
    if (command === ".exit") break;
    if (command === ".help") {
      console.log(HELP);
      prompt();
      continue;
    }
    code += line + "\n";
    if (!isIncomplete(code)) {
      await runTyped(code);
      noteWords(code, words);
      code = "";
    }
    prompt();
  }
  lines.close();
  return 0;
}

async function runTyped(code: string): Promise<void> {
  // Without raw mode the terminal ends the process at Ctrl-C, so that an
  // endless loop, or a server that does not answer, can be left.
  process.stdin.setRawMode(false);
  try {
    printValue(await evaluate(code));
  } catch (error) {
    console.error(describeError(error));
  } finally {
    process.stdin.setRawMode(true);
  }
}

/** What is declared stays known, but is not a property of any object that could be asked. */
function noteWords(code: string, words: Set<string>): void {
  const declared = /\b(?:const|let|class)\s+([A-Za-z_$][\w$]*)/g;
  for (const [, name] of code.matchAll(declared)) words.add(name!);
}
