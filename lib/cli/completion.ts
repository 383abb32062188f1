/**
 * What the Tab key offers: names that are known, the properties of a value, and
 * the keys of a dict.
 *
 * @module
 */
import vm from "node:vm";

/** What can stand where the cursor is, and the piece of the line that it replaces. */
export type Completions = [candidates: string[], piece: string];

const NAME = String.raw`[A-Za-z_$][\w$]*`;
/** `root`, `root.ada`, `root["ada"].friends[0]`: looking at such a value calls nothing that was typed. */
const PATH = String
  .raw`${NAME}(?:\.${NAME}|\[\d+\]|\["[^"\\]*"\]|\['[^'\\]*'\])*`;
const KEY = new RegExp(String.raw`(${PATH})\[(["'])([^"'\\]*)$`);
const PROPERTY = new RegExp(String.raw`(${PATH})\.([\w$]*)$`);
const WORD = new RegExp(String.raw`(?<![\w$."'\])])(${NAME})$`);
const STEP = new RegExp(
  String.raw`\.(${NAME})|\[(\d+)\]|\["([^"\\]*)"\]|\['([^'\\]*)'\]`,
  "g",
);

/** More would only fill the screen. */
const MOST = 200;

/**
 * Completes a line whose end is at the cursor.
 *
 * @param words Names that are known beside the global object's properties.
 */
export function complete(line: string, words: Iterable<string>): Completions {
  try {
    return completeLine(line, words);
  } catch {
    // Such as a server that is gone: the keys of what it holds are not known.
    return [[], line];
  }
}

function completeLine(line: string, words: Iterable<string>): Completions {
  const key = KEY.exec(line);
  if (key) {
    const [, path, quote, begin] = key as unknown as string[];
    return [
      matching(ownKeys(lookUp(path!)), begin!).map((name) =>
        quote + name.replaceAll("\\", "\\\\").replaceAll(quote!, "\\" + quote) +
        quote + "]"
      ),
      quote! + begin!,
    ];
  }
  const property = PROPERTY.exec(line);
  if (property) {
    const [, path, begin] = property as unknown as string[];
    return [
      matching(allKeys(lookUp(path!)), begin!).filter((name) =>
        /^[A-Za-z_$][\w$]*$/.test(name)
      ),
      begin!,
    ];
  }
  const word = WORD.exec(line)?.[1] ?? "";
  if (word === "") return [[], line];
  const names = [...words, ...allKeys(globalThis)];
  return [matching(names, word), word];
}

/** The value of a path, or `undefined` if there is none. */
function lookUp(path: string): unknown {
  try {
    const name = /^[\w$]+/.exec(path)![0];
    let value = vm.runInThisContext(name);
    for (const step of path.slice(name.length).matchAll(STEP)) {
      value = value[step.slice(1).find((part) => part !== undefined)!];
    }
    return value;
  } catch {
    return undefined;
  }
}

function* ownKeys(value: unknown): Iterable<string> {
  if (typeof value !== "object" && typeof value !== "function") return;
  if (value === null) return;
  for (const key of Reflect.ownKeys(value)) {
    if (typeof key === "string") yield key;
  }
}

function* allKeys(value: unknown): Iterable<string> {
  if (value === undefined || value === null) return;
  let at: unknown = Object(value);
  while (at !== null && at !== Object.prototype) {
    yield* ownKeys(at);
    at = Object.getPrototypeOf(at);
  }
}

/** The names that begin as typed; names with an underscore only if it was typed. */
function matching(names: Iterable<string>, begin: string): string[] {
  const found = new Set<string>();
  for (const name of names) {
    if (!name.startsWith(begin)) continue;
    if (name.startsWith("_") && !begin.startsWith("_")) continue;
    found.add(name);
    if (found.size >= MOST) break;
  }
  return [...found].sort();
}
