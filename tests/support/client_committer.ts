/**
 * Commits to the server at the port that it is given until the server or the
 * process ends: one object for each commit, in a list of its own. Prints the
 * number of each commit after it, and asks for a pack now and then.
 */
import { ClientStorage } from "../../lib/client/client_storage.ts";
import { packRecord, recordReferences } from "../../lib/serialize/record.ts";

const [port, own] = Deno.args.map(Number) as [number, number];
const storage = new ClientStorage({ port });
const session = storage.session();
// Each client has its own list, which the root refers to.
let list = recordReferences(session.load(own));
for (;;) {
  const [fresh] = session.allocate(1) as [number];
  list = [...list, fresh];
  const number = list.length;
  for (;;) {
    const result = session.commit([
      [own, packRecord(own, new Uint8Array(4), list)],
      [fresh, packRecord(fresh, new Uint8Array(100).fill(number), [])],
    ]);
    if ("tid" in result) break;
    session.sync();
  }
  Deno.stdout.writeSync(new TextEncoder().encode(`${number}\n`));
  if (number % 20 === 10) storage.pack();
}
