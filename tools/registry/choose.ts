/**
 * Prints the option that makes Deno take the npm import map, and nothing when
 * JSR can be reached: `deno test $(deno run -q -A tools/registry/choose.ts)`.
 */
try {
  await import("@std/assert");
} catch {
  const map = new URL("./npm.json", import.meta.url);
  console.log(`--import-map=${decodeURIComponent(map.pathname)}`);
}
