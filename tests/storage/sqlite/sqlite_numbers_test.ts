/** Which numbers a SQLite file gives out, whatever programs store without asking for any. */
import { assert, assertEquals } from "@std/assert";
import { SqliteStorage } from "../../../mod.ts";
import { inDirectory } from "../../support/dhara.ts";
import { store, textOf, textRecord } from "../../../lib/testing/records.ts";

const fast = { sync: false };

Deno.test("a number that was used without asking is not given out", async () => {
  await inDirectory(async (directory) => {
    using storage = await SqliteStorage.open(`${directory}/x.sqlite`, fast);
    using session = storage.session();
    const used = session.allocate(2).at(-1)! + 5;
    store(session, textRecord(0, "root", [used]), textRecord(used, "mine"));
    for (const oid of session.allocate(200)) assert(oid > used, `#${oid}`);
    assertEquals(textOf(session, used), "mine");
  });
});

Deno.test("the root's number is given out again only while there is no root", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/x.sqlite`;
    {
      using one = await SqliteStorage.open(path, fast);
      using other = await SqliteStorage.open(path, fast);
      using first = one.session();
      using second = other.session();
      // Numbers that somebody has others after cannot be given back.
      assertEquals([first.allocate(1)[0], second.allocate(1)[0]! > 0], [
        0,
        true,
      ]);
      one.close();
    }
    for (const stored of [false, true]) {
      using storage = await SqliteStorage.open(path, fast);
      using session = storage.session();
      if (stored) store(session, textRecord(0, "root"));
      assertEquals(session.allocate(1)[0] === 0, !stored);
    }
  });
});
