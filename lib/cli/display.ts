/**
 * How the shell shows a value.
 *
 * @module
 */
import { inspect } from "node:util";

/** Returns a value as text, in colours if they are wanted. */
export function display(
  value: unknown,
  options: Deno.InspectOptions = {},
): string {
  // A string by itself is quoted as 'world', the way it would be typed.
  if (typeof value === "string") return inspect(value);
  const colors = Deno.stdout.isTerminal() && !Deno.noColor;
  return Deno.inspect(value, { colors, ...options });
}
