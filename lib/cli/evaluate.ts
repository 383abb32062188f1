/**
 * Runs code that was typed. It runs in the realm of the library, so that its
 * plain objects and arrays are the ones that can be stored; `const`, `let` and
 * `class` stay for the code that is typed later.
 *
 * @module
 */
import vm from "node:vm";
import { DharaError } from "../errors.ts";

/** What typed code calls itself in a stack. */
const FILE = "<typed>";

/** Makes values known to typed code under their names. */
export function defineGlobals(values: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(values)) {
    Object.defineProperty(globalThis, name, {
      value,
      configurable: true,
      writable: true,
      enumerable: false,
    });
  }
}

/**
 * Runs code and returns the value of its last expression. Code that waits at
 * its top level returns a promise of it.
 *
 * @throws whatever the code throws, and `SyntaxError` if it is not JavaScript.
 */
export function evaluate(code: string): unknown {
  // A brace at the beginning is far more often an object than a block.
  if (/^\s*\{/.test(code) && syntaxError(`(${code}\n)`) === undefined) {
    return run(`(${code}\n)`);
  }
  const error = syntaxError(code);
  if (error === undefined) return run(code);
  if (!/\bawait\b/.test(code)) throw error;
  return evaluateWaiting(code);
}

/** Whether more lines could make this the beginning of a program. */
export function isIncomplete(typed: string): boolean {
  if (syntaxError(typed) === undefined) return false;
  // `void` stands where `await` does, and a script may have it anywhere.
  const code = typed.replace(/\bfor\s+await\b/g, "for")
    .replace(/\bawait\b/g, "void");
  let error = syntaxError(code);
  if (error === undefined) return false;
  if (saysIncomplete(error)) return true;
  if (syntaxError(code + "*/") === undefined) return true;
  if (!error.message.startsWith("missing ) after")) return false;
  // The same error stands for `f(1` and for `f(1 2`: can parentheses cure it?
  for (let cured = code + ")", i = 0; i < 20; i++, cured += ")") {
    error = syntaxError(cured);
    if (error === undefined || saysIncomplete(error)) return true;
  }
  return false;
}

/**
 * Describes what typed code threw: one line for an error of Dhara, and the
 * place in the typed code for others.
 */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return `Uncaught ${Deno.inspect(error)}`;
  const title = `${error.name}: ${error.message}`;
  if (error instanceof DharaError || error instanceof SyntaxError) return title;
  const places = (error.stack ?? "").split("\n").filter((line) =>
    line.trimStart().startsWith("at ") && line.includes(FILE)
  );
  return [title, ...places].join("\n");
}

function saysIncomplete(error: SyntaxError): boolean {
  return /^Unexpected end of input|^Unterminated template|^Missing } in template/
    .test(error.message);
}

function syntaxError(code: string): SyntaxError | undefined {
  try {
    new vm.Script(code, { filename: FILE });
    return undefined;
  } catch (error) {
    return error as SyntaxError;
  }
}

function run(code: string): unknown {
  return vm.runInThisContext(code, {
    filename: FILE,
    // Without it, `import()` fails. Relative paths begin where the command was started.
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
}

/** Scripts cannot wait, functions can: wraps the code, so that its value and its first name survive. */
async function evaluateWaiting(code: string): Promise<unknown> {
  const asExpression = `(async () => (${code}\n))()`;
  if (syntaxError(asExpression) === undefined) return await run(asExpression);

  const named = /^\s*(const|let|var)\s+([\w$]+|\{[^}]*\}|\[[^\]]*\])\s*=(.*)$/s
    .exec(code);
  if (named) {
    const [, kind, pattern, rest] = named as unknown as string[];
    const value = rest!.replace(/;\s*$/, "");
    // In the middle of a conditional a comma is an error: a second name would be lost.
    const waiting = `(async () => (true ? ${value}\n : 0))()`;
    if (syntaxError(waiting) === undefined) {
      const key = Symbol.for("dhara.shell.value");
      Object.assign(globalThis, { [key]: await run(waiting) });
      run(`${kind} ${pattern} = globalThis[Symbol.for("dhara.shell.value")]`);
      return undefined;
    }
  }

  // The last statement's value, where that statement is an expression.
  const trimmed = code.replace(/[;\s]+$/, "");
  for (
    let at = trimmed.lastIndexOf(";");
    at > 0;
    at = trimmed.lastIndexOf(";", at - 1)
  ) {
    const split = `(async () => {${trimmed.slice(0, at)};return (${
      trimmed.slice(at + 1)
    }\n)})()`;
    if (syntaxError(split) === undefined) return await run(split);
  }
  await run(`(async () => {${code}\n})()`);
  return undefined;
}
