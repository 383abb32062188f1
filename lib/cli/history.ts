/**
 * The lines that were typed into the shell, kept for the next time.
 *
 * @module
 */
import { dirname, join } from "node:path";

/** So many lines are kept. */
const MOST = 1000;

/**
 * Where the history is: `$DHARA_HISTORY`, or a file in the user's own state
 * directory; `undefined` if there is no place for it.
 */
export function historyPath(
  env: (name: string) => string | undefined = (name) => Deno.env.get(name),
): string | undefined {
  const given = env("DHARA_HISTORY");
  if (given !== undefined) return given || undefined;
  const home = env("HOME") || env("USERPROFILE");
  const state = env("XDG_STATE_HOME") || env("LOCALAPPDATA") ||
    (home && join(home, ".local", "state"));
  return state ? join(state, "dhara", "history") : undefined;
}

/** Returns the lines kept, the newest last; none if they cannot be read. */
export function readHistory(path: string | undefined): string[] {
  if (path === undefined) return [];
  try {
    const lines = Deno.readTextFileSync(path).split("\n").filter(Boolean);
    if (lines.length > 2 * MOST) {
      Deno.writeTextFileSync(path, lines.slice(-MOST).join("\n") + "\n");
    }
    return lines.slice(-MOST);
  } catch {
    return [];
  }
}

/** Keeps one more line. A history that cannot be written is no reason to stop working. */
export function appendHistory(path: string | undefined, line: string): void {
  if (path === undefined || line.trim() === "") return;
  try {
    Deno.mkdirSync(dirname(path), { recursive: true });
    Deno.writeTextFileSync(path, line + "\n", { append: true, mode: 0o600 });
  } catch {
    // As said above.
  }
}
