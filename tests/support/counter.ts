/** Adds 1 to a counter in a database, so many times, beside others: `PLACE TIMES`. */
import { Connection } from "../../lib/connection/connection.ts";
import "../../mod.ts";

const [place, times] = Deno.args;
using connection = await Connection.open(place!);
const { root } = connection;
for (let i = 0; i < Number(times); i++) {
  connection.transact(() => {
    root["count"] = (root["count"] ?? 0) + 1;
    root[`by ${Deno.pid}`] = (root[`by ${Deno.pid}`] ?? 0) + 1;
  });
}
