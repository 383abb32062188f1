/** What is published: everything that its documents link to, and nothing that is not there. */
import { assert, assertEquals } from "@std/assert";
import config from "../../deno.json" with { type: "json" };

const top = new URL("../..", import.meta.url);

function isThere(name: string): boolean {
  try {
    Deno.statSync(new URL(name, top));
    return true;
  } catch {
    return false;
  }
}

function isPublished(name: string): boolean {
  return config.publish.include.some((path) =>
    name === path || name.startsWith(`${path}/`)
  );
}

const documents = [
  ...[...Deno.readDirSync(top)].map(({ name }) => name),
  ...[...Deno.readDirSync(new URL("docs", top))].map((e) => `docs/${e.name}`),
].filter((name) => name.endsWith(".md"));

Deno.test("what the documents link to is there, and is published", () => {
  let links = 0;
  for (const document of documents) {
    assert(isPublished(document), document);
    const text = Deno.readTextFileSync(new URL(document, top));
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(https?:|mailto:|#)/.test(target!)) continue;
      links++;
      const url = new URL(target!.replace(/#.*/, ""), new URL(document, top));
      const name = url.href.slice(top.href.length);
      assert(isThere(name), `${document} links to ${target}`);
      assert(isPublished(name), `${document} links to ${target}`);
    }
  }
  assert(links >= 5, `${links} links`);
});

Deno.test("what is published is there, with all that it exports", () => {
  for (const name of config.publish.include) assert(isThere(name), name);
  for (const name of Object.values(config.exports)) {
    assert(isPublished(name.slice(2)), name);
  }
});

Deno.test("links within the documents lead to a heading", () => {
  const slugs = (text: string) =>
    new Set(
      [...text.matchAll(/^#+ +(.*)$/gm)].map(([, heading]) =>
        heading!.toLowerCase().replace(/[^\w\- ]/g, "").replaceAll(" ", "-")
      ),
    );
  for (const document of documents) {
    const text = Deno.readTextFileSync(new URL(document, top));
    for (const [, path, slug] of text.matchAll(/\]\(([^)#\s]*)#([^)\s]+)\)/g)) {
      if (/^https?:/.test(path!)) continue;
      const other = new URL(
        path || document.replace(/.*\//, ""),
        new URL(document, top),
      );
      const found = slugs(Deno.readTextFileSync(other)).has(slug!);
      assertEquals([document, path, slug, found], [document, path, slug, true]);
    }
  }
});
